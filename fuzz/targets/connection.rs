//! A whole connection: what a client gets, and what the application hears, does not depend on how the bytes are cut. The
//! real wire, hyper and port; the application is a stub (`test/rust/http_connection/harness.rs`).
//!
//! The input is three bytes of circumstances and then what the client sends.
//! - Where the first piece ends (two bytes, the lower one first; modulo the length).
//! - How many bytes come at a time after it; 0: all.

#![no_main]

#[path = "../../test/rust/http_connection/harness.rs"]
mod harness;

use libfuzzer_sys::fuzz_target;

use harness::talk;

/// More pieces than this take time and teach nothing.
const MOST_PIECES: usize = 64;

fuzz_target!(|input: &[u8]| {
    let Some((&[low, high, step], bytes)) = input.split_first_chunk() else { return };
    let (first, rest) = bytes.split_at(usize::from(u16::from_le_bytes([low, high])) % (bytes.len() + 1));
    let step = if step == 0 { usize::MAX } else { usize::from(step).max(rest.len() / MOST_PIECES) };
    assert_eq!(talk([first].into_iter().chain(rest.chunks(step))), talk([bytes]));
});
