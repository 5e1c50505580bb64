//! Who answers requests and messages: the VM's handlers, or an application in this process that takes their place.
//!
//! It is told what happens on each stream, in order, and answers by commands ([`super::Streams::command`]).

use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::metrics::Side;
use crate::port::message::{Reason, SIDECAR, StreamId, Traffic};
use crate::port::{Port, TermWriter};
use crate::ws::Event;

/// The head of a request.
pub trait Head {
    /// All values of a header, by its name in lower case, joined with commas.
    fn header(&self, name: &str) -> Option<Box<[u8]>>;

    /// Appends `Head` (docs/port-protocol.md, "request").
    fn encode(&self, w: &mut TermWriter<'_>);
}

/// Whose frame it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The client's.
    In,
    /// Ours.
    Out,
}

/// A frame as it is on the wire.
#[derive(Debug)]
pub struct Seen<'a> {
    pub direction: Direction,
    /// When its header passed, in microseconds since 1970.
    pub time: u64,
    pub header: &'a [u8],
    /// Bytes of its payload.
    pub length: u64,
    /// The beginning of it, if somebody has asked for that.
    pub content: &'a [u8],
}

/// What there is to say to whoever answers. No call may carry out a command before it returns.
pub trait Application {
    /// The first event of a stream; `before` is one of the same connection that is over, of which this has not been said before, or 0.
    fn request(&self, stream: StreamId, head: &dyn Head, before: StreamId);

    /// The connection of this stream has ended, and is not `before` of another's: whoever served it has nothing more to do.
    fn gone(&self, _before: StreamId) {}

    /// What a lazy handler begins with: the first event of its process.
    fn lazy(&self, _stream: StreamId, _bytes: &[u8]) {}

    /// A piece of a request's body.
    fn data(&self, stream: StreamId, fin: bool, bytes: &[u8]);

    /// What a WebSocket's client has sent; never a close, which is the end. A ping has been answered.
    fn event(&self, stream: StreamId, event: Event<'_>);

    /// So many bytes have reached the client's socket.
    fn credit(&self, stream: StreamId, bytes: usize);

    /// A stream is not subscribed to a topic, because of the limit of this name.
    fn not_subscribed(&self, stream: StreamId, topic: &[u8], limit: &'static str);

    /// So many frames for many were not sent to this client, which has not taken what was sent before.
    fn dropped(&self, stream: StreamId, frames: u64);

    /// What a WebSocket's client has sent and was sent, at its end where that is wanted: which side has come to it first, and with
    /// which code.
    fn stats(&self, _stream: StreamId, _traffic: &Traffic, _ended: (Side, u16)) {}

    /// The last event of a stream.
    fn closed(&self, stream: StreamId, reason: &Reason);

    /// So many requests were refused since the last call, and the last of them with this status; `known` appends the map of
    /// what is known of it.
    fn refused(&self, _count: u64, _status: u16, _known: &dyn Fn(&mut TermWriter<'_>)) {}

    /// A frame of a client that is traced.
    fn seen(&self, _trace: u64, _seen: &Seen<'_>) {}

    /// A trace is over, for this reason; so many frames were not told.
    fn traced(&self, _trace: u64, _reason: &'static str, _missed: u64) {}

    /// Whether so much waits for the application that no client should be read; if so the task is woken later.
    fn poll_congested(&self, cx: &mut Context<'_>) -> bool;

    /// The same, without being woken.
    fn is_congested(&self) -> bool;
}

/// Waits until clients may be read.
pub async fn ready(app: &dyn Application) {
    poll_fn(|cx| if app.poll_congested(cx) { Poll::Pending } else { Poll::Ready(()) }).await;
}

/// The VM: what there is to say becomes events of the port.
impl Application for Port {
    fn request(&self, stream: StreamId, head: &dyn Head, before: StreamId) {
        self.event(stream, |w| {
            w.tuple(3).atom("request");
            head.encode(w);
            w.integer(before);
        });
    }

    fn gone(&self, before: StreamId) {
        self.event(before, |w| {
            w.atom("gone");
        });
    }

    fn lazy(&self, stream: StreamId, bytes: &[u8]) {
        self.event(stream, |w| {
            w.tuple(2).atom("lazy").binary(bytes);
        });
    }

    fn data(&self, stream: StreamId, fin: bool, bytes: &[u8]) {
        self.data(stream, fin, bytes);
    }

    fn event(&self, stream: StreamId, event: Event<'_>) {
        match event {
            Event::Part(_, bytes) => self.part(stream, bytes),
            Event::Message(kind, bytes) => self.message(stream, kind, bytes),
            Event::Ping(payload) => self.ping(stream, payload),
            Event::Pong(payload) => self.pong(stream, payload),
            Event::Close(_) => {}
        }
    }

    fn credit(&self, stream: StreamId, bytes: usize) {
        self.credit(stream, bytes);
    }

    fn not_subscribed(&self, stream: StreamId, topic: &[u8], limit: &'static str) {
        self.event(stream, |w| {
            w.tuple(3).atom("not_subscribed").binary(topic).atom(limit);
        });
    }

    fn dropped(&self, stream: StreamId, frames: u64) {
        self.event(stream, |w| {
            w.tuple(2).atom("dropped").integer(frames);
        });
    }

    fn stats(&self, stream: StreamId, traffic: &Traffic, ended: (Side, u16)) {
        self.stats(stream, traffic, ended);
    }

    fn closed(&self, stream: StreamId, reason: &Reason) {
        self.closed(stream, reason);
    }

    fn refused(&self, count: u64, status: u16, known: &dyn Fn(&mut TermWriter<'_>)) {
        self.event(SIDECAR, |w| {
            w.tuple(4).atom("refused").integer(count).integer(u64::from(status));
            known(w);
        });
    }

    fn seen(&self, trace: u64, seen: &Seen<'_>) {
        self.event(SIDECAR, |w| {
            let direction = match seen.direction {
                Direction::In => "in",
                Direction::Out => "out",
            };
            w.tuple(7).atom("seen").integer(trace).atom(direction).integer(seen.time);
            w.binary(seen.header).integer(seen.length).binary(seen.content);
        });
    }

    fn traced(&self, trace: u64, reason: &'static str, missed: u64) {
        self.event(SIDECAR, |w| {
            w.tuple(4).atom("traced").integer(trace).atom(reason).integer(missed);
        });
    }

    fn poll_congested(&self, cx: &mut Context<'_>) -> bool {
        self.poll_congested(cx)
    }

    fn is_congested(&self) -> bool {
        self.is_congested()
    }
}
