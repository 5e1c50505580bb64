//! A client's bytes: whatever they are, they end in events or one error, and the same ones however they are cut and read.
//!
//! The input is three bytes of circumstances and then what the client sends.
//! - Bit 0: compression was negotiated. Bit 1: without takeover. Bits 2 and 3: `max_frame_size`. Bit 4: no UTF-8 check.
//! - How many bytes come at a time; 0: all.
//! - Bits, in turn: whether the sink breaks at an event.

#![no_main]

#[path = "../../test/rust/ws_support.rs"]
mod ws_support;

use libfuzzer_sys::fuzz_target;
use outrider::ws::{Agreement, CHUNK, Decoder, Options};

use ws_support::{Receiver, Whole};

fuzz_target!(|input: &[u8]| {
    let Some((&[flags, step, breaks], bytes)) = input.split_first_chunk() else { return };
    let max = [u64::MAX, 0, 125, 70_000][usize::from(flags >> 2 & 3)];
    let options = Options { max_frame_size: max, validate_utf8: flags & 16 == 0, max_fragments: u32::MAX };
    let agreement = Agreement { client_context_takeover: flags & 2 == 0, ..Agreement::default() };
    let receiver = || Receiver::new(Decoder::new(options, (flags & 1 != 0).then_some(&agreement)));

    let mut whole = receiver();
    whole.receive(bytes, &mut || false);

    let mut cut = receiver();
    let mut turn = 0;
    for piece in bytes.chunks(if step == 0 { usize::MAX } else { step.into() }) {
        cut.receive(piece, &mut || {
            turn = (turn + 1) % 8;
            breaks >> turn & 1 != 0
        });
    }

    assert_eq!(whole.error, cut.error);
    assert_eq!(whole.events, cut.events);
    assert!(whole.sizes.iter().chain(&cut.sizes).all(|size| *size <= CHUNK));
    for event in &whole.events {
        if let Whole::Message(_, payload) = event {
            assert!(payload.len() as u64 <= max);
        }
    }
});
