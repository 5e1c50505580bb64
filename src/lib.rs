//! Outrider: HTTP and WebSocket I/O for an Erlang VM, in a process beside it.
pub mod ws;
