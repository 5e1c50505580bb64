use super::super::frame::Written;
use super::super::{CHUNK, mask};
use super::*;

const OPTIONS: Options = Options { max_frame_size: 1_000_000, validate_utf8: true, max_fragments: u32::MAX };

/// A frame as a client sends it, with the mask of RFC 6455, 5.7: a server's with another first byte, and masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = Written::new(true, false, OpCode::Data(Data::Binary), payload.len() as u64).as_bytes().to_vec();
    frame[0] = first;
    frame[1] |= 0x80;
    frame.extend(key);
    let start = frame.len();
    frame.extend(payload);
    mask::apply(&mut frame[start..], key);
    frame
}

/// The events of `input`, each as text, and the error at its end.
fn events(options: Options, mut input: Vec<u8>) -> (Vec<String>, Option<Error>) {
    let mut events = Vec::new();
    let result = Decoder::new(options, None).decode(&mut input, &mut |event| {
        events.push(format!("{event:?}"));
        ControlFlow::Continue(())
    });
    (events, result.err())
}

fn error(input: Vec<u8>) -> Option<Error> {
    let (events, error) = events(OPTIONS, input);
    assert_eq!(events, [""; 0]);
    error
}

/// Compressed frames and others in one message, cut at every byte.
#[test]
fn of_the_draft_each_frame_of_a_message_is_inflated_for_itself() {
    let input = [
        frame(0x41, b"\xf2\x48\xcd\xc9\xc9\x07\x00"),
        frame(0x00, b" and "),
        frame(0x89, b"ping"),
        frame(0x40, b""),
        frame(0xc0, b"\xf2\x00\x11\x00\x00"),
        frame(0x81, b"plain"),
    ]
    .concat();
    for cut in 0..=input.len() {
        let mut decoder = Decoder::new(OPTIONS, Some(&Agreement { per_frame: true, ..Agreement::default() }));
        let mut events = Vec::new();
        for part in [&input[..cut], &input[cut..]] {
            let used = decoder.decode(&mut part.to_vec(), &mut |event| {
                events.push(format!("{event:?}"));
                ControlFlow::Continue(())
            });
            assert_eq!(used, Ok(part.len()), "{cut}");
        }
        let expected = [
            Event::Ping(b"ping"),
            Event::Message(Kind::Text, b"Hello and Hello"),
            Event::Message(Kind::Text, b"plain"),
        ];
        assert_eq!(events, expected.map(|event| format!("{event:?}")), "{cut}");
    }
}

#[test]
fn frames_of_the_rfc_are_understood() {
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_vec();
    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_vec();
    let hello_event = format!("{:?}", Event::Message(Kind::Text, b"Hello"));
    assert_eq!(events(OPTIONS, hello), (vec![hello_event.clone()], None));
    assert_eq!(events(OPTIONS, pong), (vec![format!("{:?}", Event::Pong(b"Hello"))], None));
    let fragmented = [frame(0x01, b"Hel"), frame(0x80, b"lo")].concat();
    assert_eq!(events(OPTIONS, fragmented), (vec![hello_event], None));
}

#[test]
fn a_control_frame_comes_before_the_message_around_it() {
    let input = [frame(0x01, b"Hel"), frame(0x89, b"!"), frame(0x00, b""), frame(0x80, b"lo")].concat();
    let expected = [Event::Ping(b"!"), Event::Message(Kind::Text, b"Hello")].map(|event| format!("{event:?}"));
    assert_eq!(events(OPTIONS, input), (expected.to_vec(), None));
}

#[test]
fn what_follows_a_close_frame_is_ignored() {
    let mut input = [frame(0x01, "κ".as_bytes().split_at(1).0), frame(0x88, b"\x03\xe8bye"), vec![0xff; 9]].concat();
    let mut events = 0;
    let mut decoder = Decoder::new(OPTIONS, None);
    let mut sink = |event: Event<'_>| {
        assert_eq!(event, Event::Close(Some((1000, b"bye"))));
        events += 1;
        ControlFlow::Break(())
    };
    assert_eq!(decoder.decode(&mut input, &mut sink), Ok(input.len()));
    assert_eq!(decoder.decode(&mut [0xff; 3], &mut sink), Ok(3));
    assert_eq!(events, 1);
}

#[test]
fn a_frame_may_be_as_long_as_the_limit_and_no_longer() {
    let options = Options { max_frame_size: 5, ..OPTIONS };
    for first in [0x81, 0x89] {
        assert_eq!(events(options, frame(first, b"Hell")).1, None);
        assert_eq!(events(options, frame(first, b"Hello")).1, None);
        let long = events(options, frame(first, b"Hello!"));
        assert_eq!(long, (vec![], Some(Error::LongFrame { size: 6, max: 5 })));
    }
}

#[test]
fn fragments_together_may_be_as_long_as_the_limit_and_no_longer() {
    let options = Options { max_frame_size: 5, ..OPTIONS };
    assert_eq!(events(options, [frame(0x01, b"Hel"), frame(0x80, b"lo")].concat()).1, None);
    let long = events(options, [frame(0x01, b"Hel"), frame(0x80, b"lo!")].concat());
    assert_eq!(long, (vec![], Some(Error::LongMessage { size: 6, max: 5 })));
}

#[test]
fn a_message_may_have_as_many_fragments_as_the_limit_and_no_more() {
    for empty in [true, false] {
        let payload: &[u8] = if empty { b"" } else { b"x" };
        let decode = |fragments: usize| {
            let mut input = frame(0x02, payload);
            for n in 1..fragments {
                input.extend(frame(if n + 1 == fragments { 0x80 } else { 0x00 }, payload));
                input.extend(frame(0x89, b"a ping does not count"));
            }
            let mut decoder = Decoder::new(Options { max_fragments: 3, ..OPTIONS }, None);
            decoder.decode(&mut input, &mut |_| ControlFlow::Continue(())).err()
        };
        assert_eq!(decode(2), None);
        assert_eq!(decode(3), None);
        assert_eq!(decode(4), Some(Error::ManyFragments(3)));
    }
}

#[test]
fn text_is_validated_as_its_bytes_come() {
    let (begin, mut wrong) = (frame(0x01, b"\xce"), frame(0x80, b"\xff and more"));
    wrong.truncate(7);
    assert_eq!(error([begin, wrong].concat()), Some(Error::Utf8));
    assert_eq!(error(frame(0x81, b"\xce")), Some(Error::Utf8));
    let options = Options { validate_utf8: false, ..OPTIONS };
    assert_eq!(events(options, frame(0x81, b"\xff")).1, None);
}

#[test]
fn a_chunk_is_one_message_and_a_byte_more_is_two_pieces() {
    for (size, pieces) in [(CHUNK - 1, 1), (CHUNK, 1), (CHUNK + 1, 2)] {
        let payload = vec![7; size];
        let whole = frame(0x82, &payload);
        let fragments = [frame(0x02, &payload[..3]), frame(0x00, &payload[3..]), frame(0x80, b"")].concat();
        assert_eq!(events(OPTIONS, whole).0.len(), pieces);
        assert_eq!(events(OPTIONS, fragments).0.len(), pieces);
    }
}

#[test]
fn an_idle_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 176, "{} bytes", size_of::<Decoder>());
}
