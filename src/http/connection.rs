//! What the connections of this process share, and what the requests of one connection do.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::exchange::Exchange;
use super::head::HeadLimits;
use super::put_off::PutOff;
use super::refused::Refusals;
use super::request::ConnectionInfo;
use super::wire::Wire;
use crate::gate::Gate;
use crate::port::message::{Reason, StreamId};
use crate::streams::Streams;

/// How HTTP is spoken, by Cowboy's names; `None` is infinity.
#[derive(Clone, Debug)]
pub struct Options {
    pub head: Rc<HeadLimits>,
    /// From the accept, or the end of the last request, to the end of a request's head.
    pub request_timeout: Option<Duration>,
    /// How long a client may send nothing while a request is being answered.
    pub idle_timeout: Option<Duration>,
    /// Bytes sent put `idle_timeout` off too, not only bytes received.
    pub reset_idle_timeout_on_send: bool,
    /// Requests on one connection.
    pub max_keepalive: Option<u64>,
    /// Bytes of an unread request body to skip for the sake of keep-alive.
    pub max_skip_body_length: Option<u64>,
    /// Bytes of a request's body to pass on before the handler asks for them.
    pub initial_stream_flow_size: Option<u64>,
    /// Keep HTTP/1.0 connections open when the client asks for it.
    pub http10_keepalive: bool,
    /// Send a response of unknown length in chunks; if not, its body ends with the connection.
    pub chunked: bool,
    /// Frames of one message of a WebSocket that a request has become.
    pub max_fragments: Option<u32>,
}

/// What all connections share.
pub struct Server {
    pub streams: Rc<Streams>,
    pub gate: Rc<Gate>,
    pub options: Options,
    pub refusals: Refusals,
}

impl Server {
    /// One for this process.
    pub fn new(streams: Rc<Streams>, gate: Rc<Gate>, options: Options) -> Rc<Self> {
        Rc::new(Self { streams, gate, options, refusals: Refusals::default() })
    }
}

/// One connection, as its requests share it.
pub struct Connection {
    pub(super) server: Rc<Server>,
    pub(super) wire: Rc<RefCell<Wire>>,
    pub(super) info: Rc<ConnectionInfo>,
    /// Requests so far.
    pub(super) requests: Cell<u64>,
    pub(super) current: RefCell<Option<Rc<Exchange>>>,
    /// The client has all of the current exchange's response, which has no body, and the VM has not said its end.
    pub(super) is_for_the_vm: Cell<bool>,
    /// The last exchange that has ended, until the application has been told of the next.
    pub(super) before: Cell<StreamId>,
    /// The exchange that goes on, or has just ended, is the last.
    pub(super) last: Cell<bool>,
    pub(super) put_off: PutOff,
}

impl Connection {
    /// Takes what the VM has still to say of a response without a body. Ready when there is nothing left to say.
    pub(super) fn poll_rest(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_for_the_vm.get() {
            let current = self.current.borrow().clone();
            let Some(exchange) = current else { return Poll::Ready(()) };
            ready!(exchange.poll_rest(cx, &self.server.streams));
            self.end(&exchange);
        }
        Poll::Ready(())
    }

    /// The client has gone while the VM has not said that end.
    pub(super) fn end_rest(&self) {
        let current = self.current.borrow().clone();
        if let Some(exchange) = current.filter(|_| self.is_for_the_vm.get()) {
            self.end(&exchange);
        }
    }

    /// The current exchange is over: the next one may begin.
    pub(super) fn end(&self, exchange: &Exchange) {
        self.is_for_the_vm.set(false);
        self.current.replace(None);
        self.before.set(exchange.id);
        let skip = self.server.options.max_skip_body_length.unwrap_or(u64::MAX);
        if !self.wire.borrow_mut().end_exchange(skip) {
            self.last.set(true);
        }
        if self.last.get() {
            exchange.intake.abandon();
        }
        exchange
            .finish(&self.server.streams, || Reason::Socket(if exchange.is_given_up() { "timeout" } else { "closed" }));
    }
}
