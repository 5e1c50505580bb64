use proptest::prelude::*;

use super::*;
use crate::port::message::Frame;
use crate::streams::Delivered;
use crate::streams::broadcast::Broadcast;
use crate::streams::queued::Queued;
use crate::ws::{Kind, frame_size};

/// What happens to a session: a message of so many bytes, one in two pieces, or a write of a part of what waits.
#[derive(Clone, Debug)]
enum Step {
    Message(usize),
    Pieces(usize, usize),
    Write(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..70_000usize).prop_map(Step::Message),
        (0..200usize).prop_map(Step::Message),
        (1..70_000usize, 1..70_000usize).prop_map(|(first, second)| Step::Pieces(first, second)),
        any::<prop::sample::Index>().prop_map(Step::Write),
    ]
}

/// Writes a part of what waits to `client`: all of it, for the highest `part`.
fn write(session: &mut Session, part: &prop::sample::Index, client: &mut Vec<u8>) {
    let n = part.index(session.waiting() + 1);
    client.extend_from_slice(&session.out.bytes()[..n]);
    if n > 0 {
        session.has_written(n);
    }
}

proptest! {
    #[test]
    fn a_cut_at_any_moment_leaves_whole_frames(
        steps in prop::collection::vec(step(), 0..30),
        between in any::<prop::sample::Index>(),
        end in prop::option::of(1..70_000usize),
    ) {
        let (mut session, _) = Session::new(None, &WebsocketOptions::default());
        session.begin(b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec());
        let mut client = Vec::new();
        let send = |session: &mut Session, command: Command<'_>| session.command(command).expect("is allowed");
        for step in &steps {
            match step {
                Step::Message(size) => send(&mut session, Command::Message(Kind::Binary, &vec![0; *size])),
                Step::Pieces(first, second) => {
                    send(&mut session, Command::Open(Kind::Binary, (first + second) as u64));
                    send(&mut session, Command::Part(&vec![0; *first]));
                    write(&mut session, &between, &mut client);
                    send(&mut session, Command::Part(&vec![0; *second]));
                }
                Step::Write(part) => write(&mut session, part, &mut client),
            }
            prop_assert!(session.out.is_compact());
        }
        let mut is_begun = false;
        if let Some(size) = end {
            let before = session.waiting();
            send(&mut session, Command::Open(Kind::Binary, size as u64));
            let header = session.waiting() - before;
            write(&mut session, &between, &mut client);
            is_begun = session.waiting() < header;
        }
        send(&mut session, Command::Cut(1013));
        prop_assert_eq!(session.phase == Phase::Gone, is_begun, "no close frame can stand inside a frame");
        if is_begun {
            return Ok(());
        }
        let last = session.out.bytes();
        client.extend_from_slice(&last);
        let mut rest = client.strip_prefix(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").expect("begins with the answer");
        while rest.len() > 4 {
            let (frame, behind) = rest.split_at(frame_size(rest));
            prop_assert_eq!(frame[0], 0x82);
            rest = behind;
        }
        prop_assert_eq!(rest, b"\x88\x02\x03\xf5");
    }
}

/// A session whose client has agreed to compression, with the answer to the upgrade written.
fn compressing() -> Session {
    let options = WebsocketOptions { deflate: Some(ws::DeflateOpts::default()), ..WebsocketOptions::default() };
    let (mut session, _) = Session::new(Some(b"permessage-deflate"), &options);
    session.begin(b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec());
    session.has_written(session.waiting());
    session
}

/// Bytes that do not compress.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 1u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(size)
    .collect()
}

/// The first bytes of the frames.
fn kinds(mut frames: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let Some(kind) = frames.first() {
        kinds.push(*kind);
        frames = &frames[frame_size(frames)..];
    }
    kinds
}

/// Delivers frames for many to this client alone.
fn deliver(session: &mut Session, frames: &[Frame<'_>]) {
    assert_eq!(
        session.deliver(&Broadcast::new(frames, &Queued::new(None), Queued::new(None).share(), 1 << 20)),
        Delivered::Queued
    );
}

/// The bytes that a message takes behind what was sent before.
fn takes(session: &mut Session, message: &[u8]) -> usize {
    let before = session.waiting();
    session.command(Command::Message(Kind::Binary, message)).expect("is allowed");
    session.waiting() - before
}

#[test]
fn only_a_compressed_message_for_many_begins_the_history_anew() {
    let message = noise(1000);
    for (frames, begins_anew) in [
        (&[Frame::Ping(b""), Frame::Pong(b"p")][..], false),
        (&[Frame::Ping(b""), Frame::Message(Kind::Text, b"x")], true),
    ] {
        let forgets = |share: &dyn Fn(&mut Session)| {
            let mut session = compressing();
            takes(&mut session, &message);
            share(&mut session);
            takes(&mut session, &message) > message.len() / 2
        };
        assert_eq!(forgets(&|session| deliver(session, frames)), begins_anew);
        // Behind a message that was open when they came.
        let in_between = |session: &mut Session| {
            session.command(Command::Open(Kind::Binary, 2)).expect("is allowed");
            deliver(session, frames);
            session.command(Command::Part(b"xy")).expect("is allowed");
        };
        assert_eq!(forgets(&in_between), begins_anew);
        let uncompressed = |session: &mut Session| {
            session.command(Command::Deflate(false)).expect("is allowed");
            deliver(session, frames);
            session.command(Command::Deflate(true)).expect("is allowed");
        };
        assert!(!forgets(&uncompressed));
    }
}

const PIECE: usize = 65_536;

fn pieces(session: &mut Session, size: usize, sent: usize) {
    session.command(Command::Open(Kind::Binary, (size * PIECE) as u64)).expect("is allowed");
    for piece in noise(sent * PIECE).chunks(PIECE) {
        session.command(Command::Part(piece)).expect("is allowed");
    }
}

#[test]
fn a_close_frame_stands_between_the_fragments_of_a_message_that_does_not_go_on() {
    let mut session = compressing();
    pieces(&mut session, 3, 2);
    session.close(Some((1001, b"")));
    assert_eq!((session.phase, kinds(&session.out.bytes())), (Phase::Ending, vec![0x42, 0x00, 0x88]));
}

#[test]
fn a_cut_leaves_the_message_whole_of_which_a_fragment_has_been_written() {
    for written in 0..3 {
        let mut session = compressing();
        pieces(&mut session, 4, 4);
        let all = session.out.bytes();
        let ends: Vec<_> = (0..3)
            .scan(0, |at, _| {
                *at += frame_size(&all[*at..]);
                Some(*at)
            })
            .collect();
        session.has_written(ends[written] - 1);
        session.command(Command::Message(Kind::Text, b"not begun")).expect("is allowed");
        session.command(Command::Cut(1013)).expect("is allowed");
        let expected = [&[0x00, 0x00, 0x80][written..], &[0x88]].concat();
        assert_eq!(kinds(&session.out.bytes()[1..]), expected); // Behind the last byte of a fragment.
    }
}

#[test]
fn a_cut_at_the_end_of_a_fragment_leaves_the_message_whole_too() {
    let mut session = compressing();
    pieces(&mut session, 2, 1);
    session.has_written(session.waiting());
    session.command(Command::Part(&noise(PIECE))).expect("is allowed");
    session.command(Command::Message(Kind::Text, b"not begun")).expect("is allowed");
    session.command(Command::Cut(1013)).expect("is allowed");
    assert_eq!(kinds(&session.out.bytes()), [0x80, 0x88]);
}

#[test]
fn a_close_takes_back_a_frame_that_is_not_complete_unless_some_of_it_has_been_written() {
    for written in [0, 1] {
        let mut session = compressing();
        session.command(Command::Deflate(false)).expect("is allowed");
        session.command(Command::Message(Kind::Text, b"before")).expect("is allowed");
        let before = session.waiting();
        pieces(&mut session, 2, 1);
        session.has_written(before + written);
        session.close(Some((1001, b"")));
        match written {
            0 => assert_eq!(session.out.bytes(), *b"\x88\x02\x03\xe9"),
            _ => assert_eq!(session.phase, Phase::Gone),
        }
    }
}
