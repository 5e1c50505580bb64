//! The extension header: any text is an offer that we take or not, and an answer never grants more than the options.
//!
//! The first byte of the input chooses the options.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrider::ws::DeflateOpts;
use outrider::ws::extension::negotiate;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, offers)) = input.split_first() else { return };
    let Ok(offers) = str::from_utf8(offers) else { return };
    let options = DeflateOpts {
        server_context_takeover: choice & 1 == 0,
        client_context_takeover: choice & 2 == 0,
        server_max_window_bits: 8 + (choice >> 2 & 7),
        client_max_window_bits: 8 + (choice >> 5),
        ..DeflateOpts::default()
    };
    let Some((answer, agreement)) = negotiate(offers, &options) else { return };
    if answer == "x-webkit-deflate-frame" {
        return;
    }
    assert!(answer.starts_with("permessage-deflate"));
    assert!((8..=options.server_max_window_bits).contains(&agreement.server_max_window_bits));
    assert!((8..=options.client_max_window_bits).contains(&agreement.client_max_window_bits));
    assert!(options.server_context_takeover || !agreement.server_context_takeover);
    assert!(options.client_context_takeover || !agreement.client_context_takeover);
    // What the answer says is what we hold ourselves to; what it does not say is the protocol's default.
    let says = |parameter: &str| answer.split("; ").any(|word| word == parameter);
    assert_eq!(says("server_no_context_takeover"), !agreement.server_context_takeover);
    assert_eq!(says("client_no_context_takeover"), !agreement.client_context_takeover);
    for (name, bits) in [
        ("server_max_window_bits", agreement.server_max_window_bits),
        ("client_max_window_bits", agreement.client_max_window_bits),
    ] {
        assert!(says(&format!("{name}={bits}")) || bits == 15 && !answer.contains(name), "{offers} => {answer}");
    }
});
