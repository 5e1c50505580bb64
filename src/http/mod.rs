//! One client's HTTP/1.1 connection: requests up to the application, responses down, until it closes or becomes a
//! WebSocket.
//!
//! hyper parses, frames and keeps alive; `wire.rs` decides what reaches it; this task holds both, watches the clock, and
//! takes the socket away from hyper when the application orders the upgrade. One task per connection, in the event
//! loop's thread.
//!
//! ```text
//! wire.rs ► head/, chunks.rs (accept or refuse) ► hyper ► service.rs ► request.rs ► streams/application.rs ► port ─► VM
//! socket ◄ hyper ◄ body.rs, response.rs ◄ service.rs ◄ exchange.rs ◄ streams/ ◄ port ◄─── VM
//! ```

mod body;
mod chunks;
mod connection;
pub mod exchange;
pub mod files;
pub mod head;
mod hyper_io;
mod ongoing;
pub mod put_off;
pub mod refused;
pub mod request;
pub mod response;
mod service;
mod wire;

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::server::conn::http1;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::{debug, error};

use crate::gate::Permit;
use crate::metrics::{Limit, reached};
use crate::streams::Stream;
use crate::transport::{Channel, Socket};
use crate::websocket::{self, Session};
use connection::Connection;
pub use connection::{Options, Server};
use exchange::Exchange;
pub use files::THREADS as FILE_THREADS;
use head::Refusal;
use hyper_io::HyperIo;
use put_off::PutOff;
use request::ConnectionInfo;
use wire::Wire;

/// What hyper may hold of a response that the client does not take, and of a head that it parses: more than any head
/// that `head` accepts with the default limits. With higher ones it may hold as much as such a head has.
const HYPER_BUFFER: usize = 512 * 1024;

/// A timer that is not set: a year.
pub const NEVER: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);

/// How HTTP ends on a connection.
enum Outcome {
    /// hyper has done: the last response is written, or the client has gone, or the socket failed.
    Done,
    Refused(u16),
    /// A timeout; with a status if the client is told.
    Late(Option<u16>),
    Aborted,
    Upgrade(Rc<Exchange>, Box<Session>),
    /// It goes on in HTTP/2.
    Http2,
}

/// What a connection counts towards, until they are dropped.
pub struct Permits {
    /// `max_connections`: as long as it speaks HTTP.
    pub connection: Permit,
    /// `max_sockets`: to its end.
    pub socket: Permit,
}

/// A client that goes on in HTTP/2, what has come of it, and what it counts towards.
pub struct Preface {
    pub socket: Socket,
    pub received: Vec<u8>,
    pub permits: Permits,
}

/// Serves a client until it leaves, or, where it may, speaks HTTP/2. `received` has come of it already.
pub async fn serve(
    server: Rc<Server>,
    info: Rc<ConnectionInfo>,
    socket: Socket,
    received: Vec<u8>,
    permits: Permits,
    http2: bool,
) -> Option<Preface> {
    let connection = Rc::new(Connection {
        wire: Rc::new(RefCell::new(Wire::new(socket, received, Rc::clone(&server.options.head), http2))),
        info,
        requests: Cell::new(0),
        current: RefCell::new(None),
        is_for_the_vm: Cell::new(false),
        before: Cell::new(0),
        last: Cell::new(false),
        put_off: PutOff::default(),
        server,
    });
    let service = {
        let connection = Rc::clone(&connection);
        hyper::service::service_fn(move |request| Box::pin(service::answer(Rc::clone(&connection), request)))
    };
    let mut http = http1::Builder::new()
        .auto_date_header(false)
        .half_close(false)
        .header_read_timeout(None)
        .max_headers(connection.server.options.head.max_headers())
        .max_buf_size(HYPER_BUFFER.max(connection.server.options.head.max_head_length() + 1))
        .serve_connection(HyperIo::new(Rc::clone(&connection.wire), Rc::clone(&connection.server.streams)), service);

    let mut timer = pin!(sleep_until(Instant::now() + NEVER));
    let drained = Rc::clone(&connection.server);
    let mut draining = pin!(drained.gate.draining());
    let mut told_last = false;
    let mut has_ended = false;
    let outcome = poll_fn(|cx| {
        if !told_last && (connection.is_last() || draining.as_mut().poll(cx).is_ready()) {
            connection.last.set(true);
            told_last = true;
            Pin::new(&mut http).graceful_shutdown(); // It tells the client, if it still can.
        }
        if !has_ended && let Poll::Ready(result) = http.poll_without_shutdown(cx) {
            // A response that ends the connection does so when the VM has said its end, too.
            has_ended = result.is_ok() && connection.is_for_the_vm.get() && !connection.wire.borrow().is_at_end();
            match result {
                // Of the response, behind its head: the only fault that is not the client's or the network's.
                Err(error) if error.is_user() => {
                    error!(cause = ?error.source(), "the rest of a response cannot be sent");
                }
                Err(error) => debug!(%error, "connection failed"),
                Ok(()) => {}
            }
            if !has_ended {
                return Poll::Ready(Outcome::Done);
            }
        }
        let is_over = connection.poll_rest(cx).is_ready();
        if has_ended && (is_over || connection.wire.borrow_mut().poll_end(cx).is_ready()) {
            return Poll::Ready(Outcome::Done);
        }
        connection.poll_outcome(cx, timer.as_mut())
    })
    .await;

    drop(http); // With all that holds the connection or its wire. Also ends an exchange that goes on: the client has gone.
    connection.end_rest();
    let Ok(Connection { server, wire, info, before, .. }) = Rc::try_unwrap(connection) else { return None };
    let Ok(mut wire) = Rc::try_unwrap(wire).map(RefCell::into_inner) else { return None };
    let options = &server.streams.options;
    if let Outcome::Refused(status) | Outcome::Late(Some(status)) = outcome {
        wire.inject(&head::refusal(status));
        let written = poll_fn(|cx| wire.poll_inject(cx)); // The client may still have to take the response before it.
        let _ = tokio::time::timeout(options.send_timeout.unwrap_or(NEVER), written).await;
    }
    if let (1.., false) = (before.get(), matches!(outcome, Outcome::Upgrade(..))) {
        server.streams.app.gone(before.get());
    }
    let (socket, rest) = wire.into_rest();
    match outcome {
        Outcome::Upgrade(exchange, mut session) => {
            drop(permits.connection);
            session.receive(rest, server.options.max_fragments);
            let client = (info.client, exchange.path.as_deref().unwrap_or_default());
            let channel = Channel::Socket(socket);
            websocket::start(&server.streams, channel, client, exchange.id, *session, Some(permits.socket));
        }
        Outcome::Done | Outcome::Refused(_) | Outcome::Late(Some(_)) => socket.linger(options.linger_timeout).await,
        Outcome::Late(None) | Outcome::Aborted => {}
        Outcome::Http2 => return Some(Preface { socket, received: rest, permits }),
    }
    None
}

impl Connection {
    /// Whether it begins no other request: by the client's word, a limit, or the VM's order.
    fn is_last(&self) -> bool {
        self.last.get() || self.current.borrow().as_ref().is_some_and(|exchange| exchange.is_last())
    }

    /// Looks at everything but hyper that can end HTTP here.
    fn poll_outcome(&self, cx: &mut Context<'_>, timer: Pin<&mut Sleep>) -> Poll<Outcome> {
        let current = self.current.borrow().clone();
        if let Some(exchange) = current {
            exchange.watch(cx);
            exchange.blocked.set(self.wire.borrow().blocked_since());
            if exchange.is_given_up() {
                return Poll::Ready(Outcome::Late(None));
            }
            if exchange.is_aborted() {
                return Poll::Ready(Outcome::Aborted);
            }
            if let Some(status) = exchange.refusal() {
                return Poll::Ready(Outcome::Refused(status));
            }
            let mut wire = self.wire.borrow_mut();
            if wire.is_clean() {
                while let Some((status, headers)) = exchange.take_inform() {
                    wire.inject(&response::head_bytes(&status, &headers));
                }
                if wire.poll_inject(cx).is_ready()
                    && let Some(session) = exchange.take_upgrade()
                {
                    return Poll::Ready(Outcome::Upgrade(Rc::clone(&exchange), session));
                }
            }
        }
        let wire = self.wire.borrow();
        if let Some(refusal) = wire.refusal() {
            self.refused(refusal, &wire);
            return Poll::Ready(Outcome::Refused(refusal.status));
        }
        if wire.has_preface() {
            return Poll::Ready(Outcome::Http2);
        }
        drop(wire);
        self.poll_timer(cx, timer)
    }

    fn poll_timer(&self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<Outcome> {
        loop {
            let due = self.deadline();
            let deadline = self.put_off.until(due);
            // A deadline moves with every byte; the timer is only set anew when it rings, or would ring too late.
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if deadline <= now {
                let mut wire = self.wire.borrow_mut();
                let send_timeout = self.server.streams.options.send_timeout;
                if wire.send_deadline(send_timeout).is_some_and(|deadline| deadline <= now) {
                    if !wire.is_silent(send_timeout, now) {
                        continue;
                    }
                    reached(Limit::SendTimeout);
                    if let Some(exchange) = &*self.current.borrow() {
                        exchange.give_up();
                    }
                    return Poll::Ready(Outcome::Late(None));
                }
                if wire.blocked_since().is_none() && self.server.streams.app.poll_congested(cx) {
                    wire.excuse(); // We are the ones who do not read.
                    continue;
                }
                if self.put_off.once(due, || wire.socket.is_untold(cx)) {
                    continue;
                }
                let told = !wire.is_busy() && wire.has_request_line();
                if told {
                    self.refused(Refusal::new(408).by(Limit::RequestTimeout), &wire);
                } else if wire.is_busy() {
                    reached(Limit::IdleTimeout);
                } else if self.requests.get() == 0 {
                    reached(Limit::RequestTimeout);
                }
                return Poll::Ready(Outcome::Late(told.then_some(408)));
            }
            timer.as_mut().reset(deadline);
        }
    }

    /// What came instead of a request is about to be answered so.
    fn refused(&self, refusal: Refusal, wire: &Wire) {
        let Server { refusals, streams, .. } = &*self.server;
        refusals.add(&*streams.app, refusal, &self.info, self.requests.get() + 1, || wire.known());
    }

    /// When this connection has waited too long, as things stand.
    fn deadline(&self) -> Instant {
        let options = &self.server.options;
        let wire = self.wire.borrow();
        let (since, timeout) = match wire.is_idle() {
            false => {
                let own = self.current.borrow().as_ref().and_then(|exchange| exchange.idle_timeout.get());
                let received = wire.last_received();
                let since = if options.reset_idle_timeout_on_send { received.max(wire.last_sent()) } else { received };
                (since, own.unwrap_or(options.idle_timeout))
            }
            true => (wire.waiting_since(), options.request_timeout),
        };
        let deadline = since + timeout.unwrap_or(NEVER);
        let send_timeout = self.server.streams.options.send_timeout;
        wire.send_deadline(send_timeout).map_or(deadline, |send| deadline.min(send))
    }
}
