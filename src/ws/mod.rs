//! The WebSocket protocol (RFC 6455, 7692) of one connection, without I/O: bytes in, events and bytes out.
//!
//! - [`Decoder`] takes what a client sent and gives [`Event`]s: messages, control frames, or an [`Error`].
//! - [`Encoder`] takes what the server sends and appends frames to a buffer.
//! - [`extension`] negotiates compression before there is either.
//!
//! The task of the connection calls all of this; nothing here reads a socket, a clock or a log, and the current time is
//! an argument where it matters. A client gets exactly what Cowboy gives it, except where Cowboy has a defect.
//!
//! The path of a client's byte: [`frame`] (header) ► [`mask`] ► [`inflate`] ► [`utf8`] and size ► [`message`] (pieces).
//! The path of a server's byte: [`deflate`] ► [`frame`].
//!
//! Left out: the opening handshake (the HTTP side's part), the echo of a close frame and the answer to a ping (the
//! caller's part: only it knows what it has promised to send before).

mod close;
mod decoder;
mod deflate;
mod encoder;
mod error;
pub mod extension;
mod frame;
mod history;
mod inflate;
mod mask;
mod memo;
mod message;
mod offers;
mod utf8;

pub use decoder::{Decoder, Options};
pub use deflate::Strategy;
pub use encoder::{Encoder, Overrun};
pub use error::{Error, Reason};
pub use extension::{Agreement, DeflateOpts};
pub use frame::{derive_accept_key, frame_size, is_within_message};

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

/// What a client has sent. Payloads are unmasked, inflated and, if text, valid UTF-8 so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event<'a> {
    /// A piece of a message that is not its last: at most [`CHUNK`] bytes.
    Part(&'a [u8]),
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
