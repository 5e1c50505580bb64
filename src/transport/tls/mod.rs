//! TLS on a client's socket, by rustls.
//!
//! ```text
//!  handshake.rs   a plain socket ► hosts.rs (which configuration?) ► config.rs ◄ options.rs (what the VM says)
//!       │                                                              └ clients.rs (are they who they say?)
//!       ▼
//!  stream.rs      a socket like any other, above a plain one ► session.rs (records, without I/O) ► rustls
//! ```
//!
//! A connection that waits has no buffer: records are read and decrypted in the event loop's one, and what is kept is the
//! beginning of a record. Handshakes take turns with all else that there is to do, one step each time.

mod alerts;
mod clients;
mod config;
mod handshake;
mod hosts;
mod options;
mod session;
mod stream;

use std::time::Duration;

use tokio::sync::Semaphore;

pub use alerts::TARGET as ALERTS;
pub use config::Invalid;
pub use options::{Answer, Clients, Identity, Key, Options, Revocation, Settings, Tickets, Verify};
pub use session::LEAST_BUFFER;
pub use stream::Stream;

use alerts::Alerts;
use hosts::Hosts;

/// Takes clients in with TLS: what all their handshakes share.
pub struct Acceptor {
    /// Which configuration a client gets.
    pub hosts: Hosts,
    /// From the accept to the end of the handshake.
    timeout: Option<Duration>,
    /// How long a client that is turned away has to read why.
    linger: Option<Duration>,
    /// Steps of handshakes that are done one after the other, before all else has its turn.
    turns: Semaphore,
    alerts: Alerts,
}

impl Acceptor {
    /// One that waits for its settings. `ask` puts the name of a host to the application, which answers by
    /// [`Acceptor::hosts`].
    pub fn new(timeout: Option<Duration>, linger: Option<Duration>, ask: impl Fn(&str) + 'static) -> Self {
        Self { hosts: Hosts::new(ask), timeout, linger, turns: Semaphore::new(1), alerts: Alerts::default() }
    }
}
