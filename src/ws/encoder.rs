//! The sending half of a WebSocket: messages and control frames in, a client's bytes out.
//!
//! Everything is appended to a buffer of the caller. A message is one frame, as in Cowboy, with one exception: a
//! compressed message that comes in pieces is fragmented, because its compressed size is known only at its end.

use std::fmt;
use std::time::Instant;

use super::deflate::Deflater;
use super::frame::Written;
use super::names::{Control, Data, OpCode};
use super::shared::Class;
use super::write::{Gap, compressed, control, frame};
use super::{Agreement, Kind};

/// The sending half of one WebSocket.
pub struct Encoder {
    /// There if compression has been negotiated.
    compression: Option<Box<Compression>>,
    /// The message that is being sent in pieces.
    open: Option<Open>,
}

struct Compression {
    deflater: Deflater,
    /// Compress the messages to come.
    is_on: bool,
    /// Each frame of a message is compressed for itself.
    per_frame: bool,
}

/// A message of which not all pieces have come.
struct Open {
    /// Of the next frame.
    opcode: Data,
    compressed: bool,
    /// Bytes that are still to come.
    left: u64,
}

/// The pieces of a message are more than its announced size, or there is no such message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Overrun {
    /// Bytes that were still to come.
    pub left: u64,
    /// Bytes that came.
    pub size: u64,
}

impl Encoder {
    /// An encoder for the beginning of a connection.
    pub fn new(agreement: Option<&Agreement>) -> Encoder {
        Encoder {
            compression: agreement.map(|agreement| {
                Box::new(Compression {
                    deflater: Deflater::new(agreement),
                    is_on: true,
                    per_frame: agreement.per_frame,
                })
            }),
            open: None,
        }
    }

    /// Appends a whole message. Not while a message is open.
    pub fn message(&mut self, kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
        debug_assert!(self.open.is_none());
        let opcode = OpCode::Data(kind.opcode());
        match &mut self.compression {
            Some(compression) if compression.is_on => {
                compressed(opcode, payload, out, |out| compression.deflater.compress(payload, true, out));
            }
            _ => frame(opcode, payload, out),
        }
    }

    /// Begins a message of `size` bytes that comes in pieces by [`Encoder::part`]. A message of no bytes is whole at once.
    pub fn open(&mut self, kind: Kind, size: u64, out: &mut Vec<u8>) {
        debug_assert!(self.open.is_none());
        if size == 0 {
            return self.message(kind, &[], out);
        }
        let compressed = self.is_compressing();
        if !compressed {
            out.extend_from_slice(Written::new(true, false, OpCode::Data(kind.opcode()), size).as_bytes());
        }
        self.open = Some(Open { opcode: kind.opcode(), compressed, left: size });
    }

    /// Appends the next piece of the open message. `true`: it was the last.
    pub fn part(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<bool, Overrun> {
        let size = payload.len() as u64;
        let Some(open) = &mut self.open else { return Err(Overrun { left: 0, size }) };
        if size > open.left {
            return Err(Overrun { left: open.left, size });
        }
        if size == 0 {
            return Ok(false);
        }
        open.left -= size;
        let last = open.left == 0;
        match &mut self.compression {
            Some(compression) if open.compressed => {
                let Compression { deflater, per_frame, .. } = &mut **compression;
                let before = out.len();
                let gap = Gap::open(payload.len(), out);
                deflater.compress(payload, last || *per_frame, out);
                if gap.is_empty(out) && !last {
                    out.truncate(before);
                } else {
                    gap.fill(last, *per_frame || open.opcode != Data::Continue, OpCode::Data(open.opcode), out);
                    open.opcode = Data::Continue;
                }
            }
            _ => out.extend_from_slice(payload),
        }
        if last {
            self.open = None;
        }
        Ok(last)
    }

    /// Says whether a message is open: then no other may be begun.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Says whether the open message's frame is: then nothing but [`Encoder::part`] may be called. Between the fragments of a
    /// compressed message control frames may stand (RFC 6455, 5.4).
    pub fn is_within_frame(&self) -> bool {
        self.open.as_ref().is_some_and(|open| !open.compressed)
    }

    /// Forgets the open message, whose frame the caller has taken back: only a close frame may follow.
    pub fn abandon(&mut self) {
        self.open = None;
    }

    /// Bytes of the open message that will follow without a header of their own.
    pub fn owed(&self) -> usize {
        match &self.open {
            Some(open) if !open.compressed => usize::try_from(open.left).unwrap_or(usize::MAX),
            _ => 0,
        }
    }

    /// Appends a ping. Of a payload above 125 bytes, here and below, the rest is cut off: the caller has refused it before.
    pub fn ping(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        control(Control::Ping, payload, out);
    }

    /// Appends a pong.
    pub fn pong(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        control(Control::Pong, payload, out);
    }

    /// Appends a close frame with a code and a reason of at most 123 bytes, or with neither.
    pub fn close(&mut self, code: Option<(u16, &[u8])>, out: &mut Vec<u8>) {
        let Some((code, reason)) = code else { return control(Control::Close, &[], out) };
        let mut payload = Vec::with_capacity(2 + reason.len());
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(reason);
        control(Control::Close, &payload, out);
    }

    /// Whether messages are compressed.
    pub fn is_compressing(&self) -> bool {
        self.compression.as_ref().is_some_and(|compression| compression.is_on)
    }

    /// Which of the encodings of a message for many clients is this client's.
    pub fn class(&self) -> Class {
        Class(
            self.compression
                .as_ref()
                .filter(|compression| compression.is_on)
                .map(|compression| compression.deflater.settings()),
        )
    }

    /// A compressed message has been sent that was encoded for the whole [`Class`]: what follows does not refer past it. Not
    /// while a message is open.
    pub fn has_sent_shared(&mut self) {
        debug_assert!(self.open.is_none());
        if let Some(compression) = &mut self.compression {
            compression.deflater.forget();
        }
    }

    /// Compresses the messages to come, or does not. No effect without an agreement.
    pub fn set_deflate(&mut self, compress: bool) {
        if let Some(compression) = &mut self.compression {
            compression.is_on = compress;
        }
    }

    /// Gives back the memory of a compressor that has been idle for long. To be called now and then.
    pub fn rest(&mut self, now: Instant) {
        if let Some(compression) = &mut self.compression
            && self.open.is_none()
        {
            compression.deflater.rest(now);
        }
    }
}

impl fmt::Display for Overrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "piece of {} bytes in a message with {} bytes to come", self.size, self.left)
    }
}

impl std::error::Error for Overrun {}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut Encoder::new(None), &mut out);
        out
    }

    /// RFC 6455, 5.7: the examples of frames from a server.
    #[test]
    fn frames_are_those_of_the_rfc() {
        assert_eq!(written(|e, out| e.message(Kind::Text, b"Hello", out)), b"\x81\x05Hello");
        assert_eq!(written(|e, out| e.ping(b"Hello", out)), b"\x89\x05Hello");
        assert_eq!(
            written(|e, out| e.message(Kind::Binary, &[7; 256], out)),
            [&[0x82, 0x7e, 1, 0][..], &[7; 256]].concat()
        );
        let long = written(|e, out| e.message(Kind::Binary, &[7; 65536], out));
        assert_eq!(long[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_length_has_its_shortest_form() {
        for (size, header) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65535, &[0x82, 126, 255, 255]),
            (65536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = written(|e, out| e.message(Kind::Binary, &vec![0; size], out));
            assert_eq!(frame.strip_prefix(header).map(<[u8]>::len), Some(size));
        }
    }

    #[test]
    fn a_close_frame_has_a_code_and_a_reason_or_neither() {
        assert_eq!(written(|e, out| e.close(None, out)), b"\x88\x00");
        assert_eq!(written(|e, out| e.close(Some((1000, b"")), out)), b"\x88\x02\x03\xe8");
        assert_eq!(written(|e, out| e.close(Some((1000, b"bye")), out)), b"\x88\x05\x03\xe8bye");
    }

    #[test]
    fn a_message_in_pieces_is_one_frame() {
        let frame = written(|e, out| {
            e.open(Kind::Text, 5, out);
            assert_eq!(e.part(b"He", out), Ok(false));
            assert!(e.is_open());
            assert_eq!(e.part(b"llo", out), Ok(true));
            assert!(!e.is_open());
        });
        assert_eq!(frame, b"\x81\x05Hello");
    }

    #[test]
    fn of_the_draft_each_frame_of_a_message_is_compressed_for_itself() {
        for server_context_takeover in [true, false] {
            let agreement = Agreement { per_frame: true, server_context_takeover, ..Agreement::default() };
            let pieces = [&b"Hello, "[..], b"Hello, ", b"Hello"];
            let (mut encoder, mut frames) = (Encoder::new(Some(&agreement)), Vec::new());
            encoder.open(Kind::Text, 19, &mut frames);
            for (n, piece) in pieces.iter().enumerate() {
                assert_eq!(encoder.part(piece, &mut frames), Ok(n == 2));
            }
            encoder.message(Kind::Text, b"Hello", &mut frames);
            // A client's inflater, with or without what came before.
            let takes_over = Agreement { client_context_takeover: server_context_takeover, ..agreement };
            let mut inflater = super::super::inflate::Inflater::new(&takes_over);
            let mut rest = &frames[..];
            for (first, piece) in [0x41, 0x40, 0xc0, 0xc1].into_iter().zip(pieces.into_iter().chain([&b"Hello"[..]])) {
                let (frame, behind) = rest.split_at(super::super::frame_size(rest));
                assert_eq!(frame[0], first);
                let mut output = [0; 100];
                let fed = inflater.feed(&frame[2..], true, &mut output).expect("inflates");
                assert_eq!((&output[..fed.made], fed.drained), (piece, true));
                inflater.end().expect("is the end of a block");
                rest = behind;
            }
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn pieces_above_the_announced_size_are_refused() {
        written(|e, out| {
            assert_eq!(e.part(b"x", out), Err(Overrun { left: 0, size: 1 }));
            e.open(Kind::Text, 1, out);
            assert_eq!(e.part(b"xy", out), Err(Overrun { left: 1, size: 2 }));
            assert_eq!(e.part(b"x", out), Ok(true));
        });
    }

    #[test]
    fn a_message_of_no_bytes_is_whole_when_it_is_opened() {
        assert_eq!(written(|e, out| e.open(Kind::Binary, 0, out)), b"\x82\x00");
    }
}
