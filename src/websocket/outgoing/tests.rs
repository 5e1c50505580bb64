use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::port::message::Frame;
use crate::streams::broadcast::Broadcast;
use crate::streams::queued::Queued;
use crate::ws::{Encoder, Kind};

/// What happens to a client's bytes.
#[derive(Clone, Debug)]
enum Step {
    Own(usize),
    Shared(usize),
    /// A message in two pieces, and a shared frame between them.
    Pieces(usize, usize),
    Write(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..300usize).prop_map(Step::Own),
        (0..70_000usize).prop_map(Step::Own),
        (0..300usize).prop_map(Step::Shared),
        (0..70_000usize).prop_map(Step::Shared),
        (1..70_000usize, 1..300usize).prop_map(|(first, second)| Step::Pieces(first, second)),
        any::<prop::sample::Index>().prop_map(Step::Write),
    ]
}

fn shared(number: u8, size: usize) -> Rc<Shared> {
    let payload = vec![number; size];
    let frames = [Frame::Message(Kind::Binary, &payload)];
    Broadcast::new(&frames, &Queued::new(None), Queued::new(None).share(), 0).encoded(Encoder::new(None).class())
}

/// Writes some of what waits, and at the end all of it.
fn write(out: &mut Outgoing, part: Option<&prop::sample::Index>, client: &mut Vec<u8>) {
    while out.writable() > 0 {
        let taken = out.write(|slices| {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            let n = part.map_or(all.len(), |part| part.index(all.len() + 1));
            client.extend_from_slice(&all[..n]);
            Ok::<_, Infallible>(n)
        });
        let Ok(n) = taken;
        out.has_written(n, false);
        if part.is_some() {
            return;
        }
    }
}

/// The frames' numbers and lengths.
fn frames(mut bytes: &[u8]) -> Vec<(Option<u8>, usize)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (frame, rest) = bytes.split_at(ws::frame_size(bytes));
        let header = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        frames.push((frame.get(header).copied(), frame.len() - header));
        bytes = rest;
    }
    frames
}

proptest! {
    #[test]
    fn a_client_gets_its_own_frames_and_the_shared_ones_in_their_order(
        steps in prop::collection::vec(step(), 0..40),
        cut in any::<bool>(),
    ) {
        let (mut out, mut encoder, mut client) = (Outgoing::default(), Encoder::new(None), Vec::new());
        let mut expected = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            let number = number as u8;
            let mut expect = |size: usize| expected.push(((size > 0).then_some(number), size));
            match step {
                Step::Own(size) => {
                    encoder.message(Kind::Binary, &vec![number; *size], out.own(0));
                    expect(*size);
                }
                Step::Shared(size) => {
                    out.share(shared(number, *size), false);
                    expect(*size);
                }
                Step::Pieces(first, second) => {
                    encoder.open(Kind::Binary, (first + second) as u64, out.own(0));
                    encoder.part(&vec![number; *first], out.own(encoder.owed())).expect("is announced");
                    out.share(shared(number, *second), true);
                    write(&mut out, None, &mut client);
                    encoder.part(&vec![number; *second], out.own(encoder.owed())).expect("is announced");
                    out.release();
                    expect(first + second);
                    expect(*second);
                }
                Step::Write(part) => write(&mut out, Some(part), &mut client),
            }
            prop_assert_eq!(out.is_empty(), out.waiting() == 0);
        }
        if cut {
            out.cut();
            write(&mut out, None, &mut client);
            let got = frames(&client);
            prop_assert_eq!(&got[..], &expected[..got.len()]);
        } else {
            write(&mut out, None, &mut client);
            prop_assert_eq!(frames(&client), expected);
        }
        prop_assert!(out.is_empty());
    }
}

#[test]
fn a_shared_frame_alone_is_one_piece_which_is_the_cheaper_call() {
    let mut out = Outgoing::default();
    let pieces = |out: &Outgoing| out.write(|slices| Ok::<_, ()>(slices.len()));
    out.share(shared(1, 100), false);
    assert_eq!(pieces(&out), Ok(1));
    Encoder::new(None).message(Kind::Text, b"own", out.own(0));
    assert_eq!(pieces(&out), Ok(2));
}

#[test]
fn a_frame_that_waits_for_many_is_held_once_also_behind_a_cut() {
    let shared = shared(1, 1_000_000);
    let mut clients: Vec<_> = (0..100).map(|_| Outgoing::default()).collect();
    clients.iter_mut().for_each(|out| out.share(Rc::clone(&shared), false));
    assert_eq!(Rc::strong_count(&shared), 101);
    let is_shared = |out: &Outgoing| {
        out.own_waiting() == size_of::<Piece>() && out.writable() + out.written == shared.bytes().len()
    };
    assert!(clients.iter().all(is_shared));
    for out in &mut clients {
        out.has_written(1, false);
        out.cut();
    }
    assert!(clients.iter().all(is_shared) && Rc::strong_count(&shared) == 101);
    clients.clear();
    assert_eq!(Rc::strong_count(&shared), 1);
}
