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
mod event;
pub mod extension;
mod frame;
mod history;
mod inflate;
mod kept;
mod limits;
mod mask;
mod memo;
mod message;
mod names;
mod offers;
mod shared;
mod utf8;
mod write;

pub use decoder::Decoder;
pub use encoder::{Encoder, Overrun};
pub use error::{Error, Reason};
pub use event::{CHUNK, Event, Kind};
pub use extension::{Agreement, DeflateOpts, Strategy};
pub use frame::{frame_size, is_within_message};
pub use kept::Kept;
pub use limits::Options;
pub use names::derive_accept_key;
pub use shared::Class;
