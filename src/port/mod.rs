//! The port to the Erlang VM: events go up, commands come down (docs/port-protocol.md).
//!
//! [`Port`] collects the events of one turn of the event loop into one packet; the task in `stdio.rs` writes it when
//! the other ready tasks have run, and reads the VM's packets. All in the event loop's thread; a call here only copies
//! bytes. What waits for the VM is bounded: above [`CONGESTED`] bytes the streams stop reading from their clients.

mod control;
pub mod decode;
mod etf;
pub mod message;
mod metrics;
mod query;
pub mod stdio;
mod terms;
mod tls;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use rustc_hash::FxHashSet;

use crate::metrics::count;
use crate::transport::Endpoint;
use crate::ws::Kind;
use etf::Writer;
use message::{Reason, SIDECAR, StreamId};

/// Bytes waiting for the VM above which no client is read; below half of it reading goes on.
pub const CONGESTED: usize = 4 << 20;

/// A packet is closed when it has this many bytes, so that the VM is not given all of a busy turn in one piece.
const PACKET_LIMIT: usize = 1 << 18;

/// Topics in one event.
const TOPICS_AT_ONCE: usize = 256;

/// Length, version, list tag, count: what a packet begins with before its first event.
const PACKET_HEAD: usize = 4 + 1 + 1 + 4;

/// Events on their way to the VM.
#[derive(Default)]
pub struct Port {
    outgoing: RefCell<Outgoing>,
    /// Counts what only a VM that runs can have done.
    signs_of_life: Cell<u64>,
}

#[derive(Default)]
struct Outgoing {
    /// Whole packets, then the open one from `open_at` on, if `events` is not 0.
    bytes: Vec<u8>,
    open_at: usize,
    /// Events in the open packet.
    events: u32,
    /// Bytes that the writer has taken and not yet written.
    in_flight: usize,
    writer: Option<Waker>,
    /// Since when, if so.
    congested: Option<Instant>,
    /// Nothing has come from the VM for long.
    mute: bool,
    /// Who waits to read from clients, longest first; and each by what makes a waker that task's, `Waker::data`.
    waiting: Vec<Waker>,
    known: FxHashSet<usize>,
}

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

    /// Waits until the VM has been sent everything so far.
    pub async fn flushed(&self) {
        while self.waiting() > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// The VM has read or written: it runs.
    pub fn heard(&self) {
        self.signs_of_life.set(self.signs_of_life.get().wrapping_add(1));
        let mut outgoing = self.outgoing.borrow_mut();
        if std::mem::take(&mut outgoing.mute) {
            outgoing.go_on();
        }
    }

    /// Bytes that wait for the VM.
    pub fn waiting(&self) -> usize {
        let outgoing = self.outgoing.borrow();
        outgoing.in_flight + outgoing.bytes.len()
    }

    /// For how long, in microseconds, it has been congested since it began.
    pub fn congested_us(&self) -> u64 {
        let since = self.outgoing.borrow().congested;
        let now = since.map_or(0, |since| since.elapsed().as_micros() as u64);
        count(|metrics| metrics.port_congested_us.get()) + now
    }

    /// Changes with every sign of life.
    pub fn signs_of_life(&self) -> u64 {
        self.signs_of_life.get()
    }

    /// The VM has stopped: as congested until it is [heard](Port::heard).
    pub fn mute(&self) {
        self.outgoing.borrow_mut().mute = true;
    }

    /// Whether so much waits for the VM, or it has been silent for so long, that no client should be read.
    pub fn is_congested(&self) -> bool {
        let outgoing = self.outgoing.borrow();
        outgoing.is_congested()
    }

    /// The same. If so, the task is woken when that is over, in its turn.
    pub fn poll_congested(&self, cx: &mut Context<'_>) -> bool {
        let mut outgoing = self.outgoing.borrow_mut();
        let congested = outgoing.is_congested();
        if congested {
            let waker = cx.waker();
            if outgoing.known.insert(waker.data().addr()) {
                outgoing.waiting.push(waker.clone());
            }
        }
        congested
    }

    /// Any event: `write` appends its term.
    pub fn event(&self, stream: StreamId, write: impl FnOnce(&mut Writer<'_>)) {
        let mut outgoing = self.outgoing.borrow_mut();
        let outgoing = &mut *outgoing;
        if outgoing.events == 0 {
            outgoing.open_at = outgoing.bytes.len();
            outgoing.bytes.extend_from_slice(&[0, 0, 0, 0, etf::VERSION, etf::LIST, 0, 0, 0, 0]);
        }
        outgoing.events += 1;
        let mut writer = Writer(&mut outgoing.bytes);
        writer.tuple(2).integer(stream);
        write(&mut writer);
        if outgoing.bytes.len() - outgoing.open_at > PACKET_LIMIT {
            outgoing.close_packet();
        }
        outgoing.wake_writer();
    }

    fn packet(&self, write: impl FnOnce(&mut Writer<'_>)) {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.close_packet();
        let start = outgoing.bytes.len();
        outgoing.bytes.extend_from_slice(&[0, 0, 0, 0, etf::VERSION]);
        write(&mut Writer(&mut outgoing.bytes));
        let length = (outgoing.bytes.len() - start - 4) as u32;
        outgoing.bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
        count(|metrics| metrics.port_packets_sent.add(1));
        outgoing.wake_writer();
    }

    /// Takes all packets so far, in exchange for an empty buffer. The writer says [`Port::written`] of what it took.
    pub fn take(&self, buffer: &mut Vec<u8>) {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.close_packet();
        buffer.clear();
        std::mem::swap(buffer, &mut outgoing.bytes);
        outgoing.in_flight = buffer.len();
    }

    /// For the writer: ready when there is something to take.
    fn poll_something(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut outgoing = self.outgoing.borrow_mut();
        if outgoing.bytes.is_empty() {
            outgoing.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// For the writer: so many bytes of what it took have been written.
    fn written(&self, bytes: usize) {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.in_flight -= bytes;
        count(|metrics| metrics.port_bytes_sent.add(bytes as u64));
        if let Some(since) = outgoing.congested
            && outgoing.in_flight + outgoing.bytes.len() < CONGESTED / 2
        {
            outgoing.congested = None;
            count(|metrics| metrics.port_congested_us.add(since.elapsed().as_micros() as u64));
            outgoing.go_on();
        }
    }
}

impl Outgoing {
    fn close_packet(&mut self) {
        if self.events == 0 {
            return;
        }
        self.bytes.push(etf::NIL);
        let packet = &mut self.bytes[self.open_at..];
        let length = (packet.len() - 4) as u32;
        packet[..4].copy_from_slice(&length.to_be_bytes());
        packet[PACKET_HEAD - 4..PACKET_HEAD].copy_from_slice(&self.events.to_be_bytes());
        self.events = 0;
        count(|metrics| metrics.port_packets_sent.add(1));
    }

    fn is_congested(&self) -> bool {
        self.congested.is_some() || self.mute
    }

    /// Wakes those who wait to read from clients, unless there is another reason not to. In their order: the first may take
    /// all the room there is, and those who find none are then ahead of them.
    fn go_on(&mut self) {
        if !self.is_congested() {
            self.known.clear();
            self.waiting.drain(..).for_each(Waker::wake);
        }
    }

    fn wake_writer(&mut self) {
        if self.congested.is_none() && self.in_flight + self.bytes.len() > CONGESTED {
            self.congested = Some(Instant::now());
            count(|metrics| metrics.port_congested.add(1));
        }
        if let Some(waker) = self.writer.take() {
            waker.wake();
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
pub(crate) fn protocol_error(reason: crate::ws::Reason) -> &'static str {
    match reason {
        crate::ws::Reason::Badframe => "badframe",
        crate::ws::Reason::Badencoding => "badencoding",
        crate::ws::Reason::Badsize => "badsize",
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
    use std::net::IpAddr;
    use std::os::unix::ffi::OsStrExt;
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

pub(crate) use etf::Writer as TermWriter;

#[cfg(test)]
mod tests;
