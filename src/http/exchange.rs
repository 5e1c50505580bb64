//! One HTTP request with its response, between the VM's commands and what writes them: hyper, or a stream of HTTP/2.
//!
//! The port's reader puts commands in; hyper's service and response body, or the stream's task, take them out, all in one thread. Its
//! task (of HTTP/1.1 the connection's) is woken by each command.

mod commands;
mod intake;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::{HeaderMap, StatusCode, Version};
use tokio::time::Instant;

use super::request::RequestHead;
use super::response::{self, Invalid, ResponseStatus};
use crate::metrics::count;
use crate::port::message::{Body, Headers, OVERHEAD, Reason, Status, StreamId};
use crate::streams::Streams;
use crate::streams::application::Head;
use crate::streams::queued::Share;
use crate::websocket::Session;
use intake::Intake;

/// The header in which a WebSocket's extensions are offered and accepted (RFC 6455, 11.3.2).
const EXTENSIONS: &str = "sec-websocket-extensions";

/// One exchange. Shared by the table of streams, the connection, and hyper's response body.
pub struct Exchange {
    pub id: StreamId,
    /// The client wants it to become a WebSocket.
    wants_websocket: bool,
    /// The request's `sec-websocket-extensions`, for the upgrade.
    extensions: Option<Box<[u8]>>,
    /// The path, where the client asks for a WebSocket.
    pub path: Option<Box<[u8]>>,
    /// 1.0 has no interim responses; what becomes a WebSocket in 2 is the stream, not the connection.
    version: Version,
    /// The request's method is HEAD: the response has no body.
    is_head: bool,
    state: RefCell<State>,
    /// The request's body, as far as it has come.
    pub intake: Intake,
    /// The handler's own `idle_timeout`, if it has set one; the inner `None` is infinity.
    pub idle_timeout: Cell<Option<Option<Duration>>>,
    /// The handler's own `chunked`, if it has set one.
    pub chunked: Cell<Option<bool>>,
    /// The bytes in `State::body`, for the sum of all clients.
    share: Share,
    /// Since when the client has taken nothing of the response.
    pub blocked: Cell<Option<Instant>>,
    given_up: Cell<bool>,
    task: Cell<Option<Waker>>,
}

#[derive(Default)]
struct State {
    head: Option<(Status, Headers)>,
    /// The response's body as it comes: pieces, then its end.
    body: VecDeque<Body>,
    end: Option<End>,
    /// The response came as one command: its length is known.
    is_whole: bool,
    informs: VecDeque<(Status, Headers)>,
    /// The WebSocket that this becomes as soon as its socket is free.
    upgrade: Option<Box<Session>>,
    /// The response's head has been given to hyper.
    begun: bool,
    /// It says that there is no body (RFC 9110, 6.4.1).
    is_bodiless: bool,
    /// All of the response has been given to hyper.
    complete: bool,
    upgraded: bool,
    aborted: bool,
    /// The connection is to begin no other request.
    last: bool,
    /// The status with which to end the connection, if no response has begun: what hyper cannot tell the client.
    refusal: Option<u16>,
    /// What pieces of the body have given back of the window, and the VM has not been told.
    credit: usize,
}

/// How a response's body ends.
#[derive(Debug)]
pub enum End {
    Plain,
    Trailers(Headers),
}

/// The next thing of a response's body.
#[derive(Debug)]
pub enum Next {
    /// A piece, and what it gives back of the window.
    Piece(Body, usize),
    End(End),
}

impl Exchange {
    /// The exchange that begins with `head`; `flow` bytes of its body may be sent before the handler asks.
    pub fn new(id: StreamId, head: &RequestHead, flow: u64, share: Share) -> Self {
        Self {
            id,
            extensions: head.header(EXTENSIONS),
            path: head.wants_upgrade().then(|| head.path().into()),
            version: head.version(),
            wants_websocket: head.wants_websocket(),
            is_head: head.method() == hyper::Method::HEAD,
            state: RefCell::default(),
            intake: Intake::new(head, flow),
            idle_timeout: Cell::new(None),
            chunked: Cell::new(None),
            share,
            blocked: Cell::default(),
            given_up: Cell::default(),
            task: Cell::default(),
        }
    }

    /// Makes the next command wake this task.
    pub fn watch(&self, cx: &Context<'_>) {
        self.task.set(Some(cx.waker().clone()));
    }

    /// Takes and drops what the VM has still to say of a response of which the client has all. Ready at its end.
    pub fn poll_rest(&self, cx: &Context<'_>, streams: &Streams) -> Poll<()> {
        while let Next::Piece(_, cost) = ready!(self.poll_body(cx)) {
            self.taken(cost, streams);
        }
        Poll::Ready(())
    }

    /// The response's head, once it is there and the interim responses before it have been written.
    pub fn poll_head(&self, cx: &Context<'_>) -> Poll<(Status, Headers)> {
        let state = &mut *self.state.borrow_mut();
        match state.head.take_if(|_| state.informs.is_empty() && state.refusal.is_none()) {
            Some(head) => {
                state.begun = true;
                if self.wants_websocket {
                    count(|metrics| metrics.handshake_failed(head.0.code));
                }
                Poll::Ready(head)
            }
            None => {
                self.watch(cx);
                Poll::Pending
            }
        }
    }

    /// The next piece of the response's body.
    pub fn poll_body(&self, cx: &Context<'_>) -> Poll<Next> {
        let mut state = self.state.borrow_mut();
        if let Some(piece) = state.body.pop_front() {
            let size = size(&piece);
            self.share.remove(size);
            return Poll::Ready(Next::Piece(piece, OVERHEAD + size));
        }
        match state.end.take() {
            Some(end) => {
                state.complete = true;
                Poll::Ready(Next::End(end))
            }
            None => {
                self.watch(cx);
                Poll::Pending
            }
        }
    }

    /// The whole body, if the response came in one piece that is in memory and as long as its header says. A response to
    /// HEAD has the length of what it leaves out.
    pub fn take_whole_body(&self, length: Option<u64>) -> Option<Bytes> {
        let mut state = self.state.borrow_mut();
        let State { body, end: end @ Some(End::Plain), is_whole: true, complete, .. } = &mut *state else {
            return None;
        };
        match body.make_contiguous() {
            [Body::Bytes(bytes)] if self.is_head || length.is_none_or(|length| length == bytes.len() as u64) => {
                let bytes = std::mem::take(bytes);
                body.clear();
                *end = None;
                *complete = true;
                self.share.remove(bytes.len());
                Some(bytes)
            }
            _ => None,
        }
    }

    /// The next interim response to be written. The final one may follow when there is none.
    pub fn take_inform(&self) -> Option<(Status, Headers)> {
        let mut state = self.state.borrow_mut();
        let inform = state.informs.pop_front();
        if inform.is_some()
            && state.informs.is_empty()
            && let Some(task) = self.task.take()
        {
            task.wake();
        }
        inform
    }

    /// The order to become a WebSocket, when nothing of the request is left that could be taken for frames. In HTTP/2 its head
    /// is taken before.
    pub fn take_upgrade(&self) -> Option<Box<Session>> {
        let mut state = self.state.borrow_mut();
        let is_free = self.intake.has_ended() || self.version == Version::HTTP_2;
        let upgrade = state.upgrade.take_if(|_| is_free);
        state.upgraded |= upgrade.is_some();
        upgrade
    }

    pub fn is_upgraded(&self) -> bool {
        self.state.borrow().upgraded
    }

    /// The request's body broke the rules of HTTP.
    pub fn fail_body(&self) {
        self.state.borrow_mut().refusal = Some(400);
        self.wake();
    }

    /// The status to end with, unless a response has begun.
    pub fn refusal(&self) -> Option<u16> {
        let state = self.state.borrow();
        state.refusal.filter(|_| !state.begun)
    }

    /// The head of the VM's response; a bare 500 where it cannot be sent: nothing of it, nor of what follows.
    pub fn sendable(&self, status: Status, headers: Headers) -> Result<(ResponseStatus, HeaderMap), Invalid> {
        let head = response::head(status, headers).or_else(|_| {
            tracing::error!(stream = self.id, "a response's status or headers cannot be sent");
            let mut state = self.state.borrow_mut();
            state.body = VecDeque::from([Body::Bytes(Bytes::new())]);
            state.end = Some(End::Plain);
            response::head(Status { code: 500, phrase: None }, Headers::new())
        })?;
        let has_none = matches!(head.0.code, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        self.state.borrow_mut().is_bodiless = self.is_head || has_none;
        Ok(head)
    }

    /// Nobody has anything more to do with the exchange: unless it goes on as a WebSocket, it leaves the table. Where it has not
    /// come to the end that the VM ordered, the VM is told why.
    pub fn finish(&self, streams: &Streams, reason: impl FnOnce() -> Reason) {
        if self.is_upgraded() {
            return;
        }
        let mut state = self.state.borrow_mut();
        let complete = state.complete || state.aborted;
        state.complete = true;
        drop(state);
        self.intake.wake();
        streams.remove(self.id);
        if !complete {
            streams.app.closed(self.id, &reason());
        }
    }

    /// Whether no more of the response's body comes than what is there.
    pub fn is_last_piece(&self) -> bool {
        let state = self.state.borrow();
        state.body.is_empty() && matches!(state.end, Some(End::Plain))
    }

    /// Whether the request has a body, of which not all has come.
    pub fn has_body(&self) -> bool {
        !self.intake.has_ended()
    }

    /// Whether the response has no body, by the request or by its status, once its head has been taken.
    pub fn is_bodiless(&self) -> bool {
        self.state.borrow().is_bodiless
    }

    /// Notes that the response has all the bytes that its `content-length` promises.
    pub fn mark_sent(&self) {
        self.state.borrow_mut().complete = true;
    }

    /// Whether the response is complete, so that nobody wants more of the request's body.
    pub fn is_over(&self) -> bool {
        self.state.borrow().complete
    }

    /// Whether this becomes a WebSocket: nobody wants more of the request's body, but its end is waited for.
    pub fn is_upgrade(&self) -> bool {
        let state = self.state.borrow();
        state.upgraded || state.upgrade.is_some()
    }

    /// A piece of the response has left: gives the VM its part of the window back, when that is worth a message.
    pub fn taken(&self, cost: usize, streams: &Streams) {
        let mut state = self.state.borrow_mut();
        state.credit += cost;
        if state.credit >= streams.options.window / 2 {
            streams.app.credit(self.id, std::mem::take(&mut state.credit));
        }
    }

    pub fn is_given_up(&self) -> bool {
        self.given_up.get()
    }

    pub fn is_aborted(&self) -> bool {
        self.state.borrow().aborted
    }

    pub fn is_last(&self) -> bool {
        self.state.borrow().last
    }

    /// How much of the request's body may be sent to the VM; ready when it is not nothing, or the body is to be skipped.
    pub fn poll_flow(&self, cx: &Context<'_>) -> Poll<u64> {
        self.intake.poll_flow(cx, self.is_over() || self.is_upgrade())
    }

    /// The last of the request's body has come.
    pub fn body_has_ended(&self) {
        self.intake.end();
        if self.is_upgrade() {
            self.wake();
        }
    }

    /// Whoever waits for commands has something to do.
    fn wake(&self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

/// The bytes of a piece that are in memory.
fn size(piece: &Body) -> usize {
    if let Body::Bytes(bytes) = piece { bytes.len() } else { 0 }
}
