//! The events and answers that go up to the VM, each as its term (docs/port-protocol.md, "Events").

use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use super::Port;
use super::etf::Writer;
use super::message::{self, Reason, SIDECAR, StreamId};
use crate::transport::Endpoint;
use crate::ws::{self, Kind};

/// Topics in one event.
const TOPICS_AT_ONCE: usize = 256;

impl Port {
    /// A piece of a request's body.
    pub fn data(&self, stream: StreamId, fin: bool, bytes: &[u8]) {
        self.event(stream, |w| {
            w.tuple(3).atom("data").atom(if fin { "fin" } else { "nofin" }).binary(bytes);
        });
    }

    /// A piece of a message that is not its last.
    pub fn part(&self, stream: StreamId, bytes: &[u8]) {
        self.event(stream, |w| {
            w.tuple(2).atom("part").binary(bytes);
        });
    }

    /// A message, or its last piece.
    pub fn message(&self, stream: StreamId, kind: Kind, bytes: &[u8]) {
        self.event(stream, |w| {
            w.tuple(2).atom(if kind == Kind::Text { "text" } else { "binary" }).binary(bytes);
        });
    }

    /// A ping, which has been answered.
    pub fn ping(&self, stream: StreamId, payload: &[u8]) {
        self.event(stream, |w| control_frame(w, "ping", payload));
    }

    /// A pong.
    pub fn pong(&self, stream: StreamId, payload: &[u8]) {
        self.event(stream, |w| control_frame(w, "pong", payload));
    }

    /// Bytes that have reached the client's socket.
    pub fn credit(&self, stream: StreamId, bytes: usize) {
        self.event(stream, |w| {
            w.tuple(2).atom("credit").integer(bytes as u64);
        });
    }

    /// The stream's last event.
    pub fn closed(&self, stream: StreamId, reason: &Reason) {
        self.event(stream, |w| {
            w.tuple(2).atom("closed");
            match reason {
                Reason::Remote(None) => w.atom("remote"),
                Reason::Remote(Some((code, text))) => w.tuple(3).atom("remote").integer(u64::from(*code)).binary(text),
                Reason::Timeout => w.atom("timeout"),
                Reason::Kicked => w.atom("stop"),
                Reason::Protocol(reason) => w.tuple(2).atom("error").atom(protocol_error(*reason)),
                Reason::Socket(name) => w.tuple(2).atom("error").atom(name),
                Reason::Reset(code) => w.tuple(2).atom("reset").atom(code),
                Reason::Stream(code) => w.tuple(2).atom("stream_error").atom(code),
                Reason::Connection(code) => w.tuple(2).atom("connection_error").atom(code),
            };
        });
    }

    /// A log event, of stream 0. Dropped while the VM does not read: a log must not fill our memory.
    pub fn log(&self, level: &'static str, target: &str, text: &str) {
        if self.outgoing.borrow().congested.is_none() {
            self.event(SIDECAR, |w| {
                w.tuple(4).atom("log").atom(level).binary(target.as_bytes()).binary(text.as_bytes());
            });
        }
    }

    /// The first packet: our version, and where we listen. Not an event list.
    pub fn hello(&self, listening: &[Endpoint]) {
        self.packet(|w| {
            w.tuple(3).atom("hello").integer(message::VERSION).map(3);
            w.atom("vsn").binary(env!("CARGO_PKG_VERSION").as_bytes());
            w.atom("os_pid").integer(u64::from(std::process::id()));
            w.atom("listening");
            endpoint_list(w, listening);
        });
    }

    /// Instead of the hello: an address that cannot be bound.
    pub fn listen_error(&self, address: &str, posix: &'static str) {
        self.packet(|w| {
            w.tuple(3).atom("listen_error").binary(address.as_bytes()).atom(posix);
        });
    }

    /// Where the sidecar listens from now on; nowhere while it is suspended.
    pub fn listening(&self, endpoints: &[Endpoint]) {
        self.event(SIDECAR, |w| {
            w.tuple(2).atom("listening");
            endpoint_list(w, endpoints);
        });
    }

    /// The order to listen again cannot be carried out.
    pub fn relisten_error(&self, address: &str, posix: &'static str) {
        self.event(SIDECAR, |w| {
            w.tuple(3).atom("listen_error").binary(address.as_bytes()).atom(posix);
        });
    }

    /// Whether the settings of this number hold from now on, or why not: then those before them do.
    pub fn tls(&self, number: u64, result: &Result<(), String>) {
        self.event(SIDECAR, |w| {
            w.tuple(3).atom("tls").integer(number);
            match result {
                Ok(()) => w.atom("ok"),
                Err(reason) => w.tuple(2).atom("error").binary(reason.as_bytes()),
            };
        });
    }

    /// Asks for the certificate of a host.
    pub fn host(&self, name: &str) {
        self.event(SIDECAR, |w| {
            w.tuple(2).atom("host").binary(name.as_bytes());
        });
    }

    /// The answer to a question: how many subscribers a topic has.
    pub fn subscribers(&self, question: u64, count: usize) {
        self.event(SIDECAR, |w| {
            w.tuple(3).atom("subscribers").integer(question).integer(count as u64);
        });
    }

    /// The answer to an order: a trace has begun, or why not.
    pub fn tracing(&self, number: u64, result: Result<(), &'static str>) {
        self.event(SIDECAR, |w| {
            w.tuple(3).atom("tracing").integer(number);
            match result {
                Ok(()) => w.atom("ok"),
                Err(reason) => w.tuple(2).atom("error").atom(reason),
            };
        });
    }

    /// The answer to an order: the handler of this stream has begun, if it is an open WebSocket.
    pub fn woken(&self, question: u64, stream: Option<StreamId>) {
        self.event(SIDECAR, |w| {
            w.tuple(3).atom("woken").integer(question);
            match stream {
                Some(stream) => w.integer(stream),
                None => w.atom("undefined"),
            };
        });
    }

    /// The answer to an order: so many of the WebSockets were open, and are closed now.
    pub fn kicked(&self, question: u64, count: usize) {
        self.event(SIDECAR, |w| {
            w.tuple(3).atom("kicked").integer(question).integer(count as u64);
        });
    }

    /// The answer to a question: all topics that have a subscriber, in one event or several, of which the last is empty.
    pub fn topics(&self, question: u64, names: &[Rc<[u8]>]) {
        for names in names.chunks(TOPICS_AT_ONCE).chain([&[][..]]) {
            self.event(SIDECAR, |w| {
                w.tuple(3).atom("topics").integer(question).list(names.len());
                for name in names {
                    w.binary(name);
                }
                w.nil();
            });
        }
    }
}

fn control_frame(w: &mut Writer<'_>, name: &'static str, payload: &[u8]) {
    if payload.is_empty() {
        w.atom(name);
    } else {
        w.tuple(2).atom(name).binary(payload);
    }
}

/// The name that `terminate/3` knows.
pub(crate) fn protocol_error(reason: ws::Reason) -> &'static str {
    match reason {
        ws::Reason::Badframe => "badframe",
        ws::Reason::Badencoding => "badencoding",
        ws::Reason::Badsize => "badsize",
    }
}

fn endpoint_list(w: &mut Writer<'_>, endpoints: &[Endpoint]) {
    w.list(endpoints.len());
    for endpoint in endpoints {
        endpoint_term(w, endpoint);
    }
    w.nil();
}

/// `{Ip, Port}` or `{local, Path}`.
pub(crate) fn endpoint_term(w: &mut Writer<'_>, endpoint: &Endpoint) {
    w.tuple(2);
    match endpoint {
        Endpoint::Ip(addr) => {
            match addr.ip() {
                IpAddr::V4(ip) => {
                    w.tuple(4);
                    for part in ip.octets() {
                        w.integer(part.into());
                    }
                }
                IpAddr::V6(ip) => {
                    w.tuple(8);
                    for part in ip.segments() {
                        w.integer(part.into());
                    }
                }
            }
            w.integer(u64::from(addr.port()));
        }
        Endpoint::Local(path) => {
            w.atom("local").binary(path.as_os_str().as_bytes());
        }
    }
}
