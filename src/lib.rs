//! Outrider's sidecar: HTTP and WebSocket I/O for an Erlang VM, in a process beside it.
//!
//! # The floors, from the roof down
//!
//! Each part knows those below it and none above (docs/decisions/0007-floors.md); `make lint` holds that by this list. A
//! client's byte comes in by [`transport`], is taken up by the [`http`], [`http2`] or [`websocket`] connection that reads it, and goes
//! by way of the [`streams`]' application to the [`port`]. The VM's commands come from the port to [`run`], and by the table
//! of streams to the connection, which writes.

#![deny(unsafe_code)]

// Start and end: puts the parts together.
pub mod run;

// The command line: flags become the typed options of each part.
pub mod config;

// An application without a VM.
pub mod echo;

// The process: its memory, what it gives up, when the VM has stopped, what is told of it, where log events go, which build it is.
pub mod allocator;
pub mod log;
pub mod report;
pub mod rights;
pub mod version;
pub mod watchdog;

// Takes clients in.
pub mod acceptor;

// From a client's first byte to the protocol that it speaks.
pub mod reception;

// A connection with many streams, each until it ends or becomes a WebSocket.
pub mod http2;

// A connection of HTTP/1.1 until it ends or becomes a WebSocket; what a request is, in either.
pub mod http;

// A WebSocket's life.
pub mod websocket;

// The table from number to stream, and what all streams share; what a stream is, and what an application.
pub mod streams;

// Who may come in: counts, rates, orders of the VM.
pub mod gate;

// The protocol with the VM.
pub mod port;

// One client's bytes, and the sockets on which clients arrive.
pub mod transport;

// The WebSocket protocol, without I/O.
pub mod ws;

// What everybody may count.
pub mod metrics;
