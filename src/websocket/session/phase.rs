//! Where a WebSocket is in its life, and how it has ended.

use crate::metrics::{Side, count};

/// Where a WebSocket is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Messages both ways.
    Open,
    /// The application has been told the end; the close frame with this code (or none) goes out when it says `finish`.
    Closing(Option<u16>),
    /// A close frame is the last of what is to be written.
    Ending,
    /// Nothing more can or will be written.
    Gone,
}

/// How a WebSocket has ended.
pub struct Ended {
    /// Who has come to it first, and the code that says why.
    pub by: (Side, u16),
    /// It has no socket of its own, but a stream of HTTP/2: so it is counted.
    pub is_stream: bool,
}

impl Phase {
    /// Goes on to the next. The first end is the one that counts: who came to it, and the code that says why.
    pub fn leave(&mut self, next: Self, ended: &mut Ended, by: (Side, u16)) {
        if *self == Self::Open {
            ended.by = by;
            count(|metrics| {
                metrics.websockets.sub(1);
                metrics.websocket_streams.sub(ended.is_stream.into());
                metrics.closed(by.0, by.1);
            });
        }
        *self = next;
    }
}
