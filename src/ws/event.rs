//! What a client's bytes become.

use super::names::Data;
use crate::metrics::Opcode;

/// The most payload that one event carries, in bytes. Longer messages come in pieces.
pub const CHUNK: usize = 64 * 1024;

/// What a message is made of (RFC 6455, 5.6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
}

impl Kind {
    /// That of a message's first frame.
    pub(super) fn opcode(self) -> Data {
        match self {
            Kind::Text => Data::Text,
            Kind::Binary => Data::Binary,
        }
    }
}

impl From<Kind> for Opcode {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text,
            Kind::Binary => Self::Binary,
        }
    }
}

/// What a client has sent. Payloads are unmasked, inflated and, if text, valid UTF-8 so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event<'a> {
    /// A piece of a message that is not its last: at most [`CHUNK`] bytes.
    Part(Kind, &'a [u8]),
    /// A whole message, or the last piece of one: at most [`CHUNK`] bytes, and none at all where the end of a long
    /// message became known late.
    Message(Kind, &'a [u8]),
    /// A ping, at most 125 bytes. The caller owes a pong with the same payload.
    Ping(&'a [u8]),
    /// A pong, at most 125 bytes.
    Pong(&'a [u8]),
    /// A close frame: code and reason, or nothing. The last event.
    Close(Option<(u16, &'a [u8])>),
}
