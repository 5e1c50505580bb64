//! An HTTP/2 client's frames: whatever they are, the server's are as the protocol has them, and no stream outlives its connection.
//! The real reception, h2 and port; the application is a stub (`test/rust/http_connection/harness.rs`).
//!
//! The input is how many bytes come at a time (0: all; times 16), and a script of frames (`test/rust/http2_frames/harness.rs`).

#![no_main]

#[path = "../../test/rust/http_connection/harness.rs"]
mod harness;
#[path = "../../test/rust/http2_frames/harness.rs"]
mod script;

use libfuzzer_sys::fuzz_target;

/// More frames and pieces than this take time and teach nothing.
const LONGEST: usize = 1024;

fuzz_target!(|input: &[u8]| {
    let Some((&step, script)) = input.split_first() else { return };
    let step = if step == 0 { usize::MAX } else { 16 * usize::from(step) };
    script::speak(&script[..script.len().min(LONGEST)], step);
});
