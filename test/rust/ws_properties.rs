//! The WebSocket engine against what clients and networks may do: cut the bytes anywhere, be read slowly, send anything.

mod ws_support;

use outrider::ws::{Agreement, CHUNK, Decoder, Encoder, Kind, Options};
use proptest::collection::vec;
use proptest::prelude::*;

use ws_support::{FIN, RSV1, Receiver, Whole, client_frame, server_frame};

/// What a client may send.
#[derive(Clone, Debug)]
enum Sent {
    Message {
        kind: Kind,
        payload: Vec<u8>,
        compressed: bool,
        /// Where the payload is cut into frames, modulo its size.
        cuts: Vec<usize>,
        /// A ping after each frame but the last.
        pings: bool,
        /// The continuations of a compressed message have RSV1 too.
        rsv1: bool,
    },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        10 => vec(any::<u8>(), 0..300),
        5 => vec(prop::sample::select(b"abc ".to_vec()), 0..3000),
        2 => (CHUNK - 2..CHUNK + 3, any::<u8>()).prop_map(|(size, byte)| vec![byte; size]),
        1 => (any::<u32>(), 0..300_000usize).prop_map(|(seed, size)| {
            (0..size as u32).map(|i| (i.wrapping_mul(seed) >> 24) as u8).collect()
        }),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![10 => any::<String>(), 1 => (any::<char>(), 1..70_000usize).prop_map(|(c, size)| String::from(c).repeat(size))]
}

fn sent() -> impl Strategy<Value = Sent> {
    let content = prop_oneof![
        payload().prop_map(|payload| (Kind::Binary, payload)),
        text().prop_map(|text| (Kind::Text, text.into_bytes())),
    ];
    let message = (content, any::<bool>(), vec(any::<usize>(), 0..5), any::<bool>(), any::<bool>()).prop_map(
        |((kind, payload), compressed, cuts, pings, rsv1)| Sent::Message {
            kind,
            payload,
            compressed,
            cuts,
            pings,
            rsv1,
        },
    );
    prop_oneof![8 => message, 1 => vec(any::<u8>(), 0..126).prop_map(Sent::Ping), 1 => vec(any::<u8>(), 0..126).prop_map(Sent::Pong)]
}

fn close() -> impl Strategy<Value = Sent> {
    let code = prop_oneof![1000..=1003u16, 1007..=1011u16, 3000..=4999u16];
    prop::option::of((code, "[a-zκ水]{0,40}")).prop_map(Sent::Close)
}

/// The bytes of a client that sends these, and what a server receives. The engine's own compressor stands in for the
/// client's; test/rust/ws_compression.rs holds it against another.
fn bytes(sent: &[Sent], deflate: bool, mask: [u8; 4]) -> (Vec<u8>, Vec<Whole>) {
    let (mut bytes, mut expected) = (Vec::new(), Vec::new());
    let mut compressor = Encoder::new(Some(&Agreement::default()));
    for sent in sent {
        match sent {
            Sent::Message { kind, payload, compressed, cuts, pings, rsv1 } => {
                let compressed = *compressed && deflate;
                let mut frame = Vec::new();
                if compressed {
                    compressor.message(*kind, payload, &mut frame);
                }
                let wire = if compressed { server_frame(&frame).1 } else { payload };
                let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (wire.len() + 1)).collect();
                cuts.sort_unstable();
                cuts.push(wire.len());
                let mut at = 0;
                for (index, cut) in cuts.iter().enumerate() {
                    let last = index == cuts.len() - 1;
                    let opcode = if index > 0 { 0 } else { 1 + u8::from(*kind == Kind::Binary) };
                    let rsv1 = if compressed && (index == 0 || *rsv1) { RSV1 } else { 0 };
                    bytes.extend(client_frame((if last { FIN } else { 0 }) | rsv1 | opcode, &wire[at..*cut], mask));
                    at = *cut;
                    if *pings && !last {
                        bytes.extend(client_frame(FIN | 9, b"between", mask));
                        expected.push(Whole::Ping(b"between".to_vec()));
                    }
                }
                expected.push(Whole::Message(*kind, payload.clone()));
            }
            Sent::Ping(payload) => {
                bytes.extend(client_frame(FIN | 9, payload, mask));
                expected.push(Whole::Ping(payload.clone()));
            }
            Sent::Pong(payload) => {
                bytes.extend(client_frame(FIN | 10, payload, mask));
                expected.push(Whole::Pong(payload.clone()));
            }
            Sent::Close(close) => {
                let payload =
                    close.as_ref().map_or(vec![], |(code, reason)| [&code.to_be_bytes(), reason.as_bytes()].concat());
                bytes.extend(client_frame(FIN | 8, &payload, mask));
                expected.push(Whole::Close(close.as_ref().map(|(code, reason)| (*code, reason.as_bytes().to_vec()))));
            }
        }
    }
    (bytes, expected)
}

fn receiver(max_frame_size: u64, deflate: bool) -> Receiver {
    let agreement = deflate.then(Agreement::default);
    Receiver::new(Decoder::new(
        Options { max_frame_size, validate_utf8: true, max_fragments: u32::MAX },
        agreement.as_ref(),
    ))
}

/// Receives `bytes` cut at `cuts`, with a sink that breaks as often as `breaks` says, in turn.
fn receive(mut receiver: Receiver, bytes: &[u8], cuts: &[usize], breaks: &[bool]) -> Receiver {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.sort_unstable();
    cuts.push(bytes.len());
    let mut breaks = breaks.iter().copied().cycle();
    let mut at = 0;
    for cut in cuts {
        receiver.receive(&bytes[at..cut], &mut || breaks.next().unwrap_or(false));
        at = cut;
    }
    receiver
}

/// Bytes that are nearly frames: valid ones with a byte changed, or anything.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let changed = (vec(sent(), 1..5), any::<[u8; 4]>(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(sent, mask, at, byte)| {
            let (mut bytes, _) = bytes(&sent, true, mask);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        },
    );
    let deflated = vec(any::<u8>(), 0..200).prop_map(|data| client_frame(FIN | RSV1 | 2, &data, [1, 2, 3, 4]));
    prop_oneof![changed, deflated, vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_a_client_sends_is_received_however_it_is_cut_and_read(
        mut sent in vec(sent(), 0..8),
        close in prop::option::of(close()),
        deflate: bool,
        mask: [u8; 4],
        cuts in vec(any::<usize>(), 0..20),
        breaks in vec(any::<bool>(), 0..7),
    ) {
        sent.extend(close);
        let (bytes, expected) = bytes(&sent, deflate, mask);
        let received = receive(receiver(u64::MAX, deflate), &bytes, &cuts, &breaks);
        prop_assert_eq!(received.error, None);
        prop_assert_eq!(received.events, expected);
        prop_assert!(received.sizes.iter().all(|size| *size <= CHUNK));
    }

    #[test]
    fn a_message_that_fits_into_one_event_is_one_event(
        content in prop_oneof![Just(CHUNK), Just(CHUNK - 1), 0..CHUNK],
        cuts in vec(any::<usize>(), 0..20),
        breaks in vec(any::<bool>(), 0..3),
        fragments in vec(any::<usize>(), 0..9),
        compressed: bool,
    ) {
        let message = Sent::Message { kind: Kind::Binary, payload: vec![7; content], compressed, cuts: fragments, pings: false, rsv1: false };
        let (bytes, _) = bytes(&[message], true, [1, 2, 3, 4]);
        let received = receive(receiver(u64::MAX, true), &bytes, &cuts, &breaks);
        prop_assert_eq!(received.sizes, [content]);
    }

    #[test]
    fn any_bytes_end_in_events_or_one_error_however_they_are_cut_and_read(
        bytes in hostile(),
        deflate: bool,
        max in prop_oneof![Just(u64::MAX), 0..70_000u64],
        cuts in vec(any::<usize>(), 0..20),
        breaks in vec(any::<bool>(), 0..7),
    ) {
        let whole = receive(receiver(max, deflate), &bytes, &[], &[]);
        let cut = receive(receiver(max, deflate), &bytes, &cuts, &breaks);
        prop_assert_eq!(whole.error, cut.error);
        prop_assert_eq!(&whole.events, &cut.events);
        for event in whole.events {
            if let Whole::Message(_, payload) = event {
                prop_assert!(payload.len() as u64 <= max);
            }
        }
    }

    #[test]
    fn what_the_server_sends_says_what_was_given(sent in vec(sent(), 0..6), mask: [u8; 4], deflate: bool, step in 1..CHUNK) {
        let agreement = Agreement::default();
        let mut encoder = Encoder::new(deflate.then_some(&agreement));
        let (mut out, mut expected) = (Vec::new(), Vec::new());
        for sent in sent {
            match sent {
                Sent::Message { kind, payload, compressed, pings: in_pieces, .. } => {
                    encoder.set_deflate(compressed);
                    if in_pieces {
                        encoder.open(kind, payload.len() as u64, &mut out);
                        let count = payload.len().div_ceil(step);
                        for (index, piece) in payload.chunks(step).enumerate() {
                            prop_assert!(encoder.is_open());
                            prop_assert_eq!(encoder.part(piece, &mut out), Ok(index + 1 == count));
                        }
                        prop_assert!(!encoder.is_open());
                    } else {
                        encoder.message(kind, &payload, &mut out);
                    }
                    expected.push(Whole::Message(kind, payload));
                }
                Sent::Ping(payload) => {
                    encoder.ping(&payload, &mut out);
                    expected.push(Whole::Ping(payload));
                }
                Sent::Pong(payload) => {
                    encoder.pong(&payload, &mut out);
                    expected.push(Whole::Pong(payload));
                }
                Sent::Close(_) => {}
            }
        }
        // Masked, a server's bytes are a client's.
        let (mut masked, mut rest) = (Vec::new(), &out[..]);
        while !rest.is_empty() {
            let (first, payload, after) = server_frame(rest);
            masked.extend(client_frame(first, payload, mask));
            rest = after;
        }
        let received = receive(receiver(u64::MAX, deflate), &masked, &[], &[]);
        prop_assert_eq!(received.error, None);
        prop_assert_eq!(received.events, expected);
    }
}
