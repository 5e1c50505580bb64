//! One client's HTTP/1.1 connection: requests up to the application, responses down, until it closes or becomes a
//! WebSocket.
//!
//! hyper parses, frames and keeps alive; `wire.rs` decides what reaches it; this task holds both, watches the clock, and
//! takes the socket away from hyper when the application orders the upgrade. One task per connection, in the event
//! loop's thread.
//!
//! ```text
//! wire.rs ► head, chunks.rs (accept or refuse) ► hyper ► service.rs ► request.rs ► port ─► VM
//! socket ◄ hyper ◄ response.rs ◄ service.rs ◄ exchange.rs ◄ commands ◄─ port ◄─── VM
//! ```

mod chunks;
pub mod exchange;
pub mod head;
mod hyper_io;
mod proxy;
pub mod request;
mod response;
mod service;
mod wire;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::server::conn::http1;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::debug;

use crate::acceptor::Permit;
use crate::addresses::Full;
use crate::port::message::{Headers, Status, StreamId};
use crate::server::Server;
use crate::socket::Socket;
use crate::websocket::{self, Session};
use exchange::Exchange;
use hyper_io::HyperIo;
use request::ConnectionInfo;
use wire::Wire;

/// What hyper may hold of a response that the client does not take, and of a head that it parses: more than any head
/// that `head.rs` accepts with the default limits.
const HYPER_BUFFER: usize = 512 * 1024;

/// The same with higher limits; a head above it is refused.
const HYPER_BUFFER_MAX: usize = 64 * 1024 * 1024;

/// How long a PROXY header may take (Cowboy's constant).
const PROXY_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(1000);

/// How long the event loop may take, when it has stood still, to hear of all sockets.
const GRACE: std::time::Duration = std::time::Duration::from_secs(1);

/// A timer that is not set: a year.
const NEVER: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);

/// One connection, as its requests share it.
pub struct Connection {
    server: Rc<Server>,
    wire: Rc<RefCell<Wire>>,
    info: Rc<ConnectionInfo>,
    /// Requests so far.
    requests: Cell<u64>,
    current: RefCell<Option<Rc<Exchange>>>,
    /// The exchange that goes on, or has just ended, is the last.
    last: Cell<bool>,
    /// A deadline that has passed, and what it was put off to.
    put_off: Cell<Option<(Instant, Instant)>>,
}

/// How HTTP ends on a connection.
enum Outcome {
    /// hyper has done: the last response is written, or the client has gone, or the socket failed.
    Done,
    Refused(u16),
    /// A timeout; with a status if the client is told.
    Late(Option<u16>),
    Aborted,
    Upgrade(StreamId, Box<Session>),
}

/// What a connection counts towards, until they are dropped.
pub struct Permits {
    /// `max_connections`: as long as it speaks HTTP.
    pub connection: Permit,
    /// `max_sockets`: to its end.
    pub socket: Permit,
}

/// Serves a client until it leaves.
pub async fn serve(server: Rc<Server>, socket: Socket, mut permits: Permits) {
    let Ok((peer, sock)) = socket.endpoints() else { return };
    let mut wire = Wire::new(socket, Rc::clone(&server.head_limits));
    let mut proxy_header = None;
    if server.limits.proxy_header {
        proxy_header = tokio::time::timeout(PROXY_TIMEOUT, wire.proxy_header()).await.ok().flatten();
        if proxy_header.is_none() {
            return;
        }
    }
    // Behind a proxy all clients have the proxy's address: then the one that it names counts.
    let address = match &proxy_header {
        Some(header) => proxy::source(header),
        None => peer.ip(),
    };
    match server.gate.addresses.enter(address) {
        Ok(visit) => permits.socket.visit = visit,
        Err(Full) => {
            debug!("a client's address has as many connections as it may");
            return;
        }
    }
    let connection = Rc::new(Connection {
        wire: Rc::new(RefCell::new(wire)),
        info: Rc::new(ConnectionInfo { peer, sock, proxy_header }),
        requests: Cell::new(0),
        current: RefCell::new(None),
        last: Cell::new(false),
        put_off: Cell::new(None),
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
        .max_headers(connection.server.head_limits.max_headers())
        .max_buf_size(connection.server.head_limits.max_head_length().clamp(HYPER_BUFFER, HYPER_BUFFER_MAX))
        .serve_connection(HyperIo::new(Rc::clone(&connection.wire), Rc::clone(&connection.server)), service);

    let mut timer = pin!(sleep_until(Instant::now() + NEVER));
    let drained = Rc::clone(&connection.server);
    let mut draining = pin!(drained.gate.draining());
    let mut told_last = false;
    let outcome = poll_fn(|cx| {
        if !told_last && (connection.last.get() || draining.as_mut().poll(cx).is_ready()) {
            connection.last.set(true);
            told_last = true;
            Pin::new(&mut http).graceful_shutdown(); // It tells the client, if it still can.
        }
        if let Poll::Ready(result) = http.poll_without_shutdown(cx) {
            if let Err(error) = result {
                debug!(%error, "connection failed");
            }
            return Poll::Ready(Outcome::Done);
        }
        connection.poll_outcome(cx, timer.as_mut())
    })
    .await;

    drop(http); // Also ends an exchange that goes on: the client has gone.
    let Connection { server, wire, .. } = match Rc::try_unwrap(connection) {
        Ok(connection) => connection,
        Err(_) => return, // A request's body is still being skipped; its task ends with hyper's half.
    };
    let Ok(wire) = Rc::try_unwrap(wire).map(RefCell::into_inner) else { return };
    let (socket, rest) = wire.into_rest();
    match outcome {
        Outcome::Upgrade(stream, session) => {
            drop(permits.connection);
            websocket::start(server, socket, rest, stream, *session, permits.socket);
        }
        Outcome::Refused(status) | Outcome::Late(Some(status)) => {
            let _ = socket.try_write(&head::refusal(status)); // Fits every socket's buffer; nothing else is in it.
            linger(socket, &server).await;
        }
        Outcome::Done => linger(socket, &server).await,
        Outcome::Late(None) | Outcome::Aborted => {}
    }
}

impl Connection {
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
                    return Poll::Ready(Outcome::Upgrade(exchange.id, session));
                }
            }
        }
        if let Some(status) = self.wire.borrow().refusal() {
            return Poll::Ready(Outcome::Refused(status));
        }
        self.poll_timer(cx, timer)
    }

    fn poll_timer(&self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<Outcome> {
        loop {
            let due = self.deadline();
            let put_off = self.put_off.get().filter(|&(passed, _)| passed == due);
            let deadline = put_off.map_or(due, |(_, until)| until);
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
                if wire.blocked_since().is_none() && self.server.app.poll_congested(cx) {
                    wire.excuse(); // We are the ones who do not read.
                    continue;
                }
                let may_wait = !wire.is_busy() && put_off.is_none();
                if may_wait && wire.socket.poll_read_ready(cx).is_pending() && wire.socket.has_news() {
                    // It came in time, perhaps; the event loop is about to say so.
                    self.put_off.set(Some((due, now + GRACE)));
                    continue;
                }
                let told = !wire.is_busy() && wire.has_request_line();
                return Poll::Ready(Outcome::Late(told.then_some(408)));
            }
            timer.as_mut().reset(deadline);
        }
    }

    /// When this connection has waited too long, as things stand.
    fn deadline(&self) -> Instant {
        let limits = &self.server.limits;
        let wire = self.wire.borrow();
        let (since, timeout) = match wire.is_idle() {
            false => {
                let own = self.current.borrow().as_ref().and_then(|exchange| exchange.idle_timeout.get());
                let received = wire.last_received();
                let since = if limits.reset_idle_timeout_on_send { received.max(wire.last_sent()) } else { received };
                (since, own.unwrap_or(limits.idle_timeout.0))
            }
            true => (wire.waiting_since(), limits.request_timeout.0),
        };
        let deadline = since + timeout.unwrap_or(NEVER);
        match wire.blocked_since() {
            Some(since) => deadline.min(since + limits.send_timeout.0.unwrap_or(NEVER)),
            None => deadline,
        }
    }
}

/// The answer to an upgrade, ready to be written.
pub fn switching_protocols(headers: &Headers) -> Vec<u8> {
    response::head_bytes(&Status { code: 101, phrase: None }, headers)
}

/// Says that no more will come, and reads on for a while, so that the client gets what was sent instead of a reset.
pub async fn linger(mut socket: Socket, server: &Server) {
    if socket.shutdown_write().is_err() {
        return;
    }
    let drained = poll_fn(|cx| {
        while let Ok(1..) = ready!(crate::scratch::with(|buffer| socket.poll_read(cx, buffer))) {}
        Poll::Ready(())
    });
    let _ = tokio::time::timeout(server.limits.linger_timeout.0.unwrap_or(NEVER), drained).await;
}
