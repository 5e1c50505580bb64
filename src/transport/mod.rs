//! One client's bytes: how they come and go, whatever carries them.
//!
//! [`Socket`] is a client's connection, which has TLS ([`tls`]) or has not; [`listener`] takes new ones in, [`scratch`] is the buffer
//! into which all are read.

pub mod listener;
mod plain;
pub mod scratch;
mod socket;
pub mod stall;
pub mod tls;

pub use listener::Listener;
pub use plain::{Endpoint, Plain};
pub use socket::Socket;
