//! The harness of the fuzz target `tls` reaches what it is there for: else it would find nothing, and nobody would know.

#[path = "../http_connection/harness.rs"]
mod harness;
mod nothing;
#[path = "harness.rs"]
mod script;

use rustls::{SupportedProtocolVersion, version};

use script::*;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// Types of records (RFC 8446, 5.1).
const ALERT: u8 = 21;

#[test]
fn what_is_said_in_records_is_heard_as_without_them() {
    let (begin, end) = GET.split_at(7);
    let script = [step(SAY, begin), step(REKEY, b""), step(SAY, end), step(SAY, GET)].concat();
    for version in VERSIONS {
        for at_a_time in [usize::MAX, 100, 1] {
            let outcome = speak(version, &script, at_a_time);
            assert!(outcome.sound && !outcome.closed, "{outcome:?}");
            assert_eq!(outcome.received, outcome.expected);
            assert_eq!(outcome.received.matches("HTTP/1.1 200 OK").count(), 2, "{outcome:?}");
        }
    }
}

#[test]
fn much_is_heard_too() {
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 12800\r\n\r\n";
    for version in VERSIONS {
        let outcome = speak(version, &[step(SAY, head), step(SAY_MUCH, &[b'x'; 200])].concat(), 1000);
        assert_eq!(outcome.received, outcome.expected);
        assert!(outcome.received.len() > 12800, "{outcome:?}");
    }
}

#[test]
fn a_record_that_was_changed_is_not_heard_and_ends_the_connection() {
    let spoiled = step(SPOIL, &[b"\x14", GET].concat());
    for version in VERSIONS {
        let outcome = speak(version, &[step(SAY, GET), spoiled.clone(), step(SAY, GET)].concat(), 10);
        assert!(outcome.closed && !outcome.sound, "{outcome:?}");
        assert_eq!(outcome.received, outcome.expected);
    }
}

#[test]
fn a_change_of_no_record_changes_nothing() {
    for version in VERSIONS {
        let outcome = speak(version, &[step(SPOIL, b""), step(SAY, GET)].concat(), 10);
        assert!(outcome.sound, "{outcome:?}");
        assert_eq!(outcome.received, outcome.expected);
    }
}

#[test]
fn so_many_changes_of_keys_are_heard_and_no_more() {
    for (changes, sound) in [(REKEYS, true), (REKEYS + 1, false)] {
        let outcome = speak(&version::TLS13, &[step(REKEY, b"").repeat(changes), step(SAY, GET)].concat(), 1000);
        assert_eq!(outcome.sound, sound, "{outcome:?}");
        assert_eq!(outcome.closed, !sound, "{outcome:?}");
        assert_eq!(outcome.received, outcome.expected);
    }
}

/// Its answer has said that it is the last: what comes behind is not looked at.
#[test]
fn what_comes_after_the_end_changes_nothing() {
    let last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for version in VERSIONS {
        let outcome = speak(version, &[step(SAY, last), step(SPOIL, &[20; 200])].concat(), 1);
        assert!(outcome.received.starts_with("HTTP/1.1 200 OK"), "{outcome:?}");
        assert_eq!(outcome.received, outcome.expected);
    }
}

#[test]
fn what_is_no_handshake_gets_an_alert() {
    for at_a_time in [usize::MAX, 1] {
        assert_eq!(greet(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", at_a_time), (vec![ALERT], true));
    }
}
