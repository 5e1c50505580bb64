//! One client's bytes: how they come and go, whatever carries them.
//!
//! [`Socket`] is a client's connection, which has TLS ([`tls`]) or has not, and may be shared by the streams of HTTP/2 ([`line`]);
//! [`Channel`] is what carries a WebSocket, a connection or a stream; [`listener`] takes new ones in, [`scratch`] is the buffer
//! into which all are read, and a [`poller`] watches many of them at once.

mod channel;
pub mod line;
pub mod listener;
pub mod output;
mod plain;
pub mod poller;
pub mod scratch;
mod socket;
pub mod stall;
mod time_limit;
pub mod tls;

pub use channel::Channel;
pub use listener::Listener;
pub use plain::{Endpoint, Plain, Queue};
pub use socket::Socket;
pub use time_limit::TimeLimit;

use std::time::Duration;

/// Waits for it, but no longer than this; `None` is infinity.
async fn within(timeout: Option<Duration>, future: impl Future<Output = ()>) {
    match timeout {
        Some(timeout) => drop(tokio::time::timeout(timeout, future).await),
        None => future.await,
    }
}
