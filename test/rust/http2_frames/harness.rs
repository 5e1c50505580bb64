//! A client's frames of HTTP/2 in short, and what the server's must be. Shared with the fuzz target `http2`.
//!
//! A script is a sequence of frames, each of four bytes and its payload: the kind, flags, stream, and length of the payload. The kind's
//! highest bit: the payload is there 64 times. The kind [`RAW`]: the payload comes as it is, whatever the connection makes of it.
//! What is cut off at the end of a script is not sent.

#![allow(dead_code, reason = "each of its users needs a part of it")]

use std::collections::HashMap;

use outrider::reception::Protocol;
use outrider::transport::line::frames::{Frame, PREFACE, Scanner};

use crate::harness::{Talk, run};

/// The kind of what is no frame.
pub const RAW: u8 = 0x7f;

/// Kinds of frames, and flags (RFC 9113, 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// How often a payload is repeated.
const TIMES: usize = 64;

/// What the server may send before the client says more (RFC 9113, 6.5.2 and 6.9.2).
const FRAME: usize = 16_384;
const WINDOW: u64 = 65_535;

/// What came of a script.
#[derive(Debug)]
pub struct Outcome {
    /// The server's frames.
    pub frames: Vec<Frame>,
    /// Requests that the application has heard of.
    pub requests: usize,
    /// What it heard of WebSockets and of streams that ended by themselves.
    pub heard: Vec<String>,
    /// The server has ended the connection.
    pub closed: bool,
}

/// A frame in a script.
pub fn brief(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("fits a script");
    [&[kind, flags, stream, length], payload].concat()
}

/// What a client sends by a script, from the preface on, and the bytes of all windows that it opens.
fn bytes(script: &[u8]) -> (Vec<u8>, u64) {
    let (mut sent, mut room) = ([PREFACE, &[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]].concat(), 0);
    let mut rest = script;
    while let Some((&[kind, flags, stream, length], behind)) = rest.split_first_chunk() {
        let Some((payload, behind)) = behind.split_at_checked(length.into()) else { break };
        rest = behind;
        if kind == RAW {
            sent.extend_from_slice(payload);
            room = u64::MAX; // Whatever it says.
            continue;
        }
        let payload = if kind & 0x80 == 0 { payload.to_vec() } else { payload.repeat(TIMES) };
        if kind & 0x7f == WINDOW_UPDATE
            && let Some(increment) = payload.first_chunk()
        {
            room = room.saturating_add(u32::from_be_bytes(*increment).into());
        }
        sent.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        sent.extend_from_slice(&[kind & 0x7f, flags, 0, 0, 0, stream]);
        sent.extend_from_slice(&payload);
    }
    (sent, room.saturating_add(WINDOW))
}

/// What comes of a script that is sent so many bytes at a time. The server's frames are those that a client must be able to expect.
pub fn speak(script: &[u8], step: usize) -> Outcome {
    let (sent, room) = bytes(script);
    run(async {
        let mut talk = Talk::start(Protocol::Http2, None);
        for piece in sent.chunks(step) {
            talk.send(piece).await;
        }
        let frames = expected(&talk.received, room);
        let (requests, closed) = (talk.requests(), talk.closed);
        let heard = talk.end().await.heard;
        Outcome { frames, requests, heard, closed }
    })
}

/// The frames in what the server has sent, where it keeps the protocol.
fn expected(received: &[u8], mut room: u64) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut ended = HashMap::new();
    let scanned = Scanner::default().scan(received, |frame| {
        assert!(!frames.is_empty() || (frame.kind, frame.flags) == (SETTINGS, 0), "the first is {frame:?}");
        assert!(frame.length <= FRAME, "{frame:?}");
        let is_of_stream = matches!(frame.kind, DATA | HEADERS | RST_STREAM);
        assert_eq!(is_of_stream, frame.stream != 0 && frame.kind != WINDOW_UPDATE, "{frame:?}");
        if matches!(frame.kind, DATA | HEADERS) {
            assert!(frame.stream % 2 == 1, "{frame:?}");
            let over = ended.entry(frame.stream).or_insert(false);
            assert!(!*over, "{frame:?} behind the end");
            *over = frame.flags & END_STREAM != 0;
        }
        if frame.kind == RST_STREAM {
            ended.insert(frame.stream, true);
        }
        if frame.kind == DATA {
            room = room.checked_sub(frame.length as u64).expect("keeps within the client's window");
        }
        frames.push(frame);
        Ok::<_, ()>(())
    });
    assert!(scanned.is_ok());
    frames
}
