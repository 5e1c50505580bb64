//! One client's bytes: how they come and go, whatever carries them.
//!
//! [`Socket`] is a client's connection, [`listener`] takes new ones in, [`scratch`] is the buffer into which all are read.

pub mod listener;
pub mod scratch;
mod socket;
pub mod stall;

pub use listener::Listener;
pub use socket::{Endpoint, Socket};
