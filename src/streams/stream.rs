//! What a stream is to those who have its number: a request ([`crate::http`]) or a WebSocket ([`crate::websocket`]).

use std::rc::Rc;

use tokio::time::Instant;

use super::broadcast::Broadcast;
use super::driver::Cause;
use super::status::Status;
use crate::port::message::{Command, TraceOptions, Traffic};

/// What commands can be sent to. Each call is short: it changes the stream's state, and wakes its task if that has to act.
pub trait Stream {
    /// Carries out a command. Says whether the stream has something to be written: it is then flushed at its turn.
    fn command(&self, command: Command<'_>) -> bool;

    /// Sends frames that others are sent, too.
    fn deliver(&self, broadcast: &Broadcast) -> Delivered;

    /// Writes what is left to be written, now that it is its turn.
    fn flush(&self, _turn: Turn) {}

    /// What a WebSocket's client has sent and was sent.
    fn traffic(&self) -> Option<Traffic> {
        None
    }

    /// Since when the client has taken nothing of what waits for it.
    fn blocked_since(&self) -> Option<Instant>;

    /// Ends the stream as if the client's `send_timeout` had passed.
    fn give_up(&self);

    /// Ends the stream because the whole process ends, as politely as it allows.
    fn go_away(&self);

    /// What there is to say of a WebSocket.
    fn status(&self) -> Option<Status> {
        None
    }

    /// Ends a WebSocket with a close frame, as if its handler had, but that nothing which waits is sent before. Says whether it
    /// was open.
    fn kick(&self, _code: u16, _text: &[u8]) -> bool {
        false
    }

    /// What the handler of a WebSocket has still to begin with, if it is lazy: empty where it has begun. None if it is not open.
    fn take_lazy(&self) -> Option<Vec<u8>> {
        None
    }

    /// Tells the application of the WebSocket's frames from now on.
    fn trace(&self, _number: u64, _options: &TraceOptions) -> Result<(), &'static str> {
        Err("not_found")
    }

    /// Ends that.
    fn untrace(&self, _number: u64) {}

    /// The alarm that it has set has rung.
    fn ring(&self) {}

    /// The driver gives it a turn.
    fn turn(self: Rc<Self>, _cause: Cause) {}

    /// Gives back what is kept for a client that is idle.
    fn rest(&self, _now: Instant) {}
}

/// Why a stream is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// For a command of its own.
    Own,
    /// For what is sent to many.
    Shared,
}

/// What has become of frames for many at one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// They are to be written: the stream is then flushed at its turn.
    Queued,
    /// There is nothing to do: they were dropped, the stream is flushed already, or it is no open WebSocket.
    Nothing,
    /// More waits than may: the client is to be closed.
    TooMuch,
}
