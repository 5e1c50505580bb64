//! A TLS client's bytes, before and after a handshake, into the real reception (`test/rust/tls_records/harness.rs`): what does not
//! keep the protocol is answered alike however it is cut, and is never heard; what does is heard as it is without TLS.
//!
//! The first byte of the input says what it is: bit 0, there is a handshake first, and then what a script says; bit 1, of TLS 1.2.
//! The second how many bytes come at a time; 0: all.

#![no_main]

#[path = "../../test/rust/http_connection/harness.rs"]
mod harness;
#[path = "../../test/rust/tls_records/harness.rs"]
mod script;

use libfuzzer_sys::fuzz_target;
use rustls::version::{TLS12, TLS13};

use script::{greet, speak};

/// More pieces than this take time and teach nothing.
const MOST_PIECES: usize = 64;

fuzz_target!(|input: &[u8]| {
    let Some((&[kind, step], bytes)) = input.split_first_chunk() else { return };
    let step = if step == 0 { usize::MAX } else { usize::from(step).max(bytes.len() / MOST_PIECES) };
    if kind & 1 == 0 {
        assert_eq!(greet(bytes, step), greet(bytes, usize::MAX));
        return;
    }
    let outcome = speak(if kind & 2 == 0 { &TLS13 } else { &TLS12 }, bytes, step);
    if outcome.sound {
        assert_eq!(outcome.received, outcome.expected);
    } else {
        assert!(outcome.expected.starts_with(&outcome.received), "{outcome:?}");
    }
});
