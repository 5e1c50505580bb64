//! A connection's first bytes where a PROXY header is expected: what they are does not depend on how they come, and where a
//! header ends nothing behind it counts.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrider::reception::proxy::{Header, header, source};

fuzz_target!(|bytes: &[u8]| {
    let mut found = Header::Partial;
    for end in 0..=bytes.len() {
        let now = header(&bytes[..end]);
        match found {
            Header::Partial => {
                found = now;
                if let Header::Complete(length) = found {
                    assert_eq!(length, end);
                    let _ = source(&bytes[..length]);
                }
            }
            known => assert_eq!(now, known),
        }
    }
});
