//! The kinds of load, each a function from a running server to a sample.
//!
//! All but `push`, `rooms` and `neighbours` are closed loops: a connection sends when an answer came, so a slow server gets less to do and no queue
//! grows without end. Latencies therefore tell of a server under exactly this load, not of one with arrivals of its own.

mod audience;
mod closed_loop;
mod connect;
mod fan_out;
mod http2;
mod idle;
mod multitude;
mod neighbours;
mod push;
mod room;
mod rooms;
mod trouble;
mod waiting;

pub use multitude::hold;
pub use neighbours::Beside;
pub use room::By;
pub use trouble::Kind as Trouble;

use std::time::Duration;

use anyhow::Result;

use crate::frame::{Script, TEXT};
use crate::handshake::Target;
use crate::meter::{Sample, Timing};
use crate::probe;
use crate::process::raise_open_files;
use crate::server::{Needs, Server};
use crate::text;

/// What is sent where, how often, by how many.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// Every connection has `window` messages of `size` bytes under way; each answer is followed by the next.
    Echo {
        /// How many connections.
        connections: usize,
        /// Bytes of payload.
        size: usize,
        /// Messages under way per connection.
        window: usize,
        /// What they say.
        payload: Payload,
    },
    /// The same with HTTP requests on connections that are kept.
    Http {
        /// How many connections.
        connections: usize,
    },
    /// The same over HTTP/2, by `h2load`.
    Http2 {
        /// How many connections.
        connections: usize,
        /// Requests under way on each.
        streams: usize,
    },
    /// Every connection's process sends 200 bytes each `every_ms`.
    Push {
        /// How many connections.
        connections: usize,
        /// Milliseconds.
        every_ms: u64,
    },
    /// One connection speaks, all hear it; when all have, the next message is due.
    FanOut {
        /// How many connections.
        connections: usize,
        /// Bytes of payload.
        size: usize,
        /// What they say.
        payload: Payload,
        /// Messages under way at a time.
        under_way: usize,
        /// How the server sends it.
        by: By,
    },
    /// In each of 100 rooms one member says 200 bytes every `every_ms`, and all hear it.
    Rooms {
        /// Of each room.
        members: usize,
        /// Milliseconds.
        every_ms: u64,
        /// How the server sends it.
        by: By,
    },
    /// One says a large message to connections that do not read.
    Waiting {
        /// How many connections.
        connections: usize,
        /// Bytes of payload.
        size: usize,
        /// How the server sends it.
        by: By,
    },
    /// Connections that stay open: each has echoed `messages` messages of 1 KiB, and its process hibernates.
    Idle {
        /// How many connections.
        connections: usize,
        /// With permessage-deflate.
        deflate: bool,
        /// How many messages each has echoed before.
        messages: usize,
        /// The handler is lazy: on Outrider there is no process before the first message.
        lazy: bool,
    },
    /// The same of connections that have said nothing, and of more than one process may have files for.
    Multitude {
        /// How many connections.
        connections: usize,
    },
    /// Every connection asks for an echo at a fixed pace.
    Neighbours {
        /// How many connections.
        connections: usize,
        /// Bytes of payload.
        size: usize,
        /// What else the server does meanwhile.
        beside: Beside,
    },
    /// Connections come, shake hands, and leave.
    Connect {
        /// How many at a time.
        at_a_time: usize,
    },
}

/// What messages say. All are text frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Payload {
    /// Letters, not compressed.
    Plain,
    /// JSON in permessage-deflate. The messages differ, and there are more of them than deflate's window of 32 KiB holds.
    Deflated,
    /// One JSON text again and again in permessage-deflate: the least work that compression can have.
    DeflatedSame,
}

/// How many different messages there are.
const DIFFERENT: u64 = 256;
/// How long all may take to have their places in a room.
const JOINING: Duration = Duration::from_secs(20);
/// How long the answers to what was sent may take in the end.
const DRAIN: Duration = Duration::from_secs(60);

impl Load {
    /// What is added to the name of a side that gets this load, where the other side gets another.
    pub fn remark(self) -> &'static str {
        match self {
            Load::Neighbours { beside, .. } => beside.remark(),
            Load::FanOut { by, .. } | Load::Rooms { by, .. } | Load::Waiting { by, .. } => by.remark(),
            _ => "",
        }
    }

    /// What its server needs that others do not.
    pub fn needs(self) -> Result<Needs> {
        let Load::Multitude { connections } = self else { return Ok(Needs::default()) };
        let sidecars = multitude::processes(connections, raise_open_files()?);
        // Cowboy has a port for each of them; both have two processes while they are being opened.
        let room = (4 * connections).to_string();
        Ok(Needs {
            sidecars: (sidecars > 1).then_some(sidecars),
            erl_flags: ["+P", &room, "+Q", &room].map(str::to_owned).to_vec(),
        })
    }

    /// Runs the load once.
    pub fn run(self, server: &Server, timing: Timing) -> Result<Sample> {
        match self {
            Load::Echo { connections, size, window, payload } => {
                let script = script(size, payload, window);
                let target = Target::websocket(server.endpoint(), "/echo", script.expect.deflated);
                probe::echo(server.endpoint(), "/echo", script.expect.deflated)?;
                closed_loop::run(server, timing, &target, connections, window, script)
            }
            Load::Http { connections } => {
                let request = format!("GET /reply HTTP/1.1\r\nHost: {}\r\n\r\n", server.endpoint().address);
                let target = Target::http(server.endpoint());
                closed_loop::run(server, timing, &target, connections, 1, Script::of_request(&request, 100))
            }
            Load::Http2 { connections, streams } => http2::run(server, timing, connections, streams),
            Load::Push { connections, every_ms } => push::run(server, timing, connections, every_ms),
            Load::FanOut { connections, size, payload, under_way, by } => {
                fan_out::run(server, timing, connections, by, under_way, script(size, payload, under_way))
            }
            Load::Rooms { members, every_ms, by } => rooms::run(server, timing, members, every_ms, by),
            Load::Waiting { connections, size, by } => waiting::run(server, connections, size, by),
            Load::Idle { connections, deflate, messages, lazy } => {
                let path = if lazy { "/lazy" } else { "/idle" };
                idle::run(server, path, connections, messages, deflate)
            }
            Load::Multitude { connections } => {
                let open_files = raise_open_files()?;
                multitude::run(server, multitude::remark(server.side(), connections, open_files), open_files)
            }
            Load::Neighbours { connections, size, beside } => {
                neighbours::run(server, timing, connections, beside, script(size, Payload::Plain, 1))
            }
            Load::Connect { at_a_time } => connect::run(server, timing, at_a_time),
        }
    }
}

/// At least so many frames as are under way on a connection: all of them can be one write.
fn script(size: usize, payload: Payload, under_way: usize) -> Script {
    match payload {
        Payload::Plain => Script::new(TEXT, &vec![text::plain(size); under_way], false),
        Payload::Deflated => Script::new(TEXT, &text::json(DIFFERENT, size), true),
        Payload::DeflatedSame => Script::new(TEXT, &vec![text::json(1, size).remove(0); under_way], true),
    }
}
