//! Outrider's sidecar: HTTP and WebSocket I/O for an Erlang VM, in a process beside it.
//!
//! # Layout, in the order in which a client's byte meets it
//!
//! - [`config`]: the command line; [`version`]: what it says of the binary
//! - [`acceptor`]: takes clients in, as many as [`addresses`] and [`rate`] allow; [`socket`]: TCP and Unix sockets
//! - [`server`]: what they share; [`queued`]: what waits for all of them
//! - [`http`]: a connection until it ends or becomes a WebSocket
//! - [`websocket`]: a WebSocket's task; [`ws`]: its protocol, without I/O
//! - [`port`]: the protocol with the VM
//! - [`rights`]: what the process gives up
//! - [`watchdog`]: notices a VM that has stopped
//! - [`run`]: puts them together; [`echo`]: an application without a VM; [`log`]: where log events go

#![forbid(unsafe_code)]

pub mod acceptor;
pub mod addresses;
pub mod alarms;
pub mod config;
pub mod echo;
pub mod http;
pub mod log;
pub mod port;
pub mod queued;
pub mod rate;
pub mod rights;
pub mod run;
pub mod scratch;
pub mod server;
pub mod socket;
pub mod version;
pub mod watchdog;
pub mod websocket;
pub mod ws;
