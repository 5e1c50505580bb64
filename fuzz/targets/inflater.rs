//! Compressed messages: what we inflate with borrowed inflaters and a history of our own is what one inflater that lives as
//! long as the connection makes of them.
//!
//! The first byte of the input separates the messages in the rest.

#![no_main]

#[path = "../../test/rust/ws_support.rs"]
mod ws_support;

use flate2::{Decompress, FlushDecompress, Status};
use libfuzzer_sys::fuzz_target;
use outrider::ws::{Agreement, Decoder, Kind, Options};

use ws_support::{FIN, RSV1, Receiver, Whole, client_frame};

/// A few bytes can become many; more than this teaches nothing.
const MAX: usize = 200_000;

fuzz_target!(|input: &[u8]| {
    let Some((separator, rest)) = input.split_first() else { return };
    let options = Options { max_frame_size: MAX as u64, validate_utf8: false, max_fragments: u32::MAX };
    let mut receiver = Receiver::new(Decoder::new(options, Some(&Agreement::default())));
    let mut reference = Some(Decompress::new(false));
    for message in rest.split(|byte| byte == separator) {
        receiver.receive(&client_frame(FIN | RSV1 | 2, message, [0; 4]), &mut || false);
        if receiver.error.is_some() {
            return;
        }
        let Some(Whole::Message(Kind::Binary, payload)) = receiver.events.pop() else {
            panic!("a message is a message")
        };
        assert!(payload.len() <= MAX);
        reference = reference.and_then(|mut inflater| inflate(&mut inflater, message, &payload).then_some(inflater));
    }
});

/// Compares, unless the message is one of those that zlib alone cannot read to its end: without data, or with a final
/// block. Says whether to go on comparing.
fn inflate(inflater: &mut Decompress, message: &[u8], expected: &[u8]) -> bool {
    if message.is_empty() {
        return true;
    }
    let mut output = Vec::with_capacity(MAX + 1);
    let input = [message, &[0x00, 0x00, 0xff, 0xff]].concat();
    match inflater.decompress_vec(&input, &mut output, FlushDecompress::Sync) {
        Ok(Status::StreamEnd) => false,
        Ok(_) => {
            assert!(output == expected, "{} bytes, not {}", expected.len(), output.len());
            true
        }
        Err(error) => panic!("an error of zlib that we have not seen: {error}"),
    }
}
