//! Messages for many clients: encoded once for all that would be sent the same bytes.
//!
//! That are the clients of one [`Class`], as long as a message refers to none that was sent before, which RFC 7692 (7.1.1.1)
//! leaves to the sender at any time. The receiving side keeps such a message in its window all the same:
//! [`Encoder::has_sent_shared`](super::Encoder::has_sent_shared) sees to it that what follows does not refer past it.

use super::memo::Settings;
use super::names::{Control, OpCode};
use super::write::{compressed, control, frame};
use super::{Kind, deflate};

/// Clients that are sent the same bytes for the same message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Class(pub(super) Option<Settings>);

impl Class {
    /// Messages to these clients are compressed.
    pub fn compresses(self) -> bool {
        self.0.is_some()
    }

    /// Appends a message that refers to none before it.
    pub fn message(self, kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
        let opcode = OpCode::Data(kind.opcode());
        let Some(settings) = self.0 else { return frame(opcode, payload, out) };
        compressed(opcode, payload, out, |out| deflate::alone(settings, payload, out));
    }

    /// Appends a ping; of a payload above 125 bytes, here and below, the rest is cut off.
    pub fn ping(self, payload: &[u8], out: &mut Vec<u8>) {
        control(Control::Ping, payload, out);
    }

    /// Appends a pong.
    pub fn pong(self, payload: &[u8], out: &mut Vec<u8>) {
        control(Control::Pong, payload, out);
    }
}
