//! The harness of the fuzz target `http2` reaches what it is there for: else it would find nothing, and nobody would know.

#[path = "../http_connection/harness.rs"]
mod harness;
#[path = "harness.rs"]
mod script;

use script::*;

/// `GET /`, and `CONNECT` for a WebSocket, by HPACK's static table and literals (RFC 7541, appendix A).
const GET: &[u8] = b"\x82\x84\x86\x41\x01x";
const WEBSOCKET: &[u8] = b"\x02\x07CONNECT\x84\x86\x41\x01x\x00\x09:protocol\x09websocket";

/// The same however it is cut.
fn spoken(script: &[u8]) -> Outcome {
    let [whole, cut] = [usize::MAX, 1].map(|step| speak(script, step));
    assert_eq!((whole.requests, whole.closed), (cut.requests, cut.closed));
    cut
}

fn has(outcome: &Outcome, kind: u8, stream: u32, flags: u8) -> bool {
    outcome.frames.iter().any(|frame| (frame.kind, frame.stream, frame.flags & flags) == (kind, stream, flags))
}

#[test]
fn a_request_is_heard_and_answered() {
    let outcome = spoken(&brief(HEADERS, END_HEADERS | END_STREAM, 1, GET));
    assert_eq!((outcome.requests, outcome.closed), (1, false));
    assert!(has(&outcome, HEADERS, 1, 0) && has(&outcome, DATA, 1, END_STREAM), "{outcome:?}");
    assert!(has(&outcome, SETTINGS, 0, ACK), "{outcome:?}");
}

#[test]
fn a_websocket_is_heard() {
    let open = brief(HEADERS, END_HEADERS, 1, WEBSOCKET);
    let outcome = spoken(&[open, brief(DATA, 0, 1, b"\x81\x82\0\0\0\0hi")].concat());
    assert_eq!(outcome.requests, 1);
    assert!(outcome.heard.iter().any(|said| said.contains("text")), "{outcome:?}");
}

#[test]
fn a_payload_can_be_longer_than_a_script() {
    let open = brief(HEADERS, END_HEADERS, 1, b"\x83\x84\x86\x41\x01x");
    let body = brief(0x80 | DATA, END_STREAM, 1, &[b'x'; 200]);
    let outcome = spoken(&[open, body].concat());
    let answered: usize = outcome.frames.iter().filter(|frame| frame.kind == DATA).map(|frame| frame.length).sum();
    assert!(answered > 64 * 200, "{outcome:?}");
}

#[test]
fn what_is_no_frame_ends_the_connection_and_its_streams() {
    let open = brief(HEADERS, END_HEADERS, 1, WEBSOCKET);
    let outcome = speak(&[open, brief(RAW, 0, 0, b"\0\0\x01\x06\0\0\0\0\0x")].concat(), 1);
    assert!(outcome.closed && has(&outcome, GOAWAY, 0, 0), "{outcome:?}");
    assert!(outcome.heard.iter().any(|said| said.contains("closed")), "{outcome:?}");
}
