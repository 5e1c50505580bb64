//! One request of a connection, between hyper and the application: its head and body up, its response's head down, and
//! whatever becomes of it noticed at the end.
//!
//! Called by hyper, in the connection's task; a request's body has a task of its own while it is read.

use std::future::poll_fn;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::header::CONNECTION;
use hyper::{Request, Response};

use super::Connection;
use super::exchange::Exchange;
use super::request::RequestHead;
use super::response::{self, ResponseBody};
use crate::port::message::{Headers, Reason, Status};
use crate::server::{App, Server, Stream};

/// hyper's service: one request up, its response's head down. The body follows, as hyper asks for it.
pub async fn answer(
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, response::Invalid> {
    connection.server.app.ready().await;
    let (parts, body) = request.into_parts();
    let number = connection.requests.get() + 1;
    connection.requests.set(number);
    let server = Rc::clone(&connection.server);
    let head = RequestHead::new(parts, Rc::clone(&connection.info), number);
    let flow = server.limits.initial_stream_flow_size.0.unwrap_or(u64::MAX);
    let exchange = Rc::new(Exchange::new(server.next_id(), &head, flow, server.queued.share()));
    let last = server.limits.max_keepalive.0.is_some_and(|max| number >= max);
    if last || (head.is_http10() && !server.limits.http10_keepalive) {
        connection.last.set(true);
    }
    connection.current.replace(Some(Rc::clone(&exchange)));
    let ongoing = Ongoing { connection, exchange };
    match &server.app {
        App::Vm(port) => {
            server.insert(ongoing.id, Stream::Http(Rc::clone(&ongoing.exchange)));
            port.request(ongoing.id, &head);
            if head.has_body() {
                let pump = pump_body(Rc::clone(&server), Rc::clone(&ongoing.exchange), body);
                tokio::task::spawn_local(pump);
            }
        }
        App::Echo(echo) => echo.answer(&head, &ongoing.exchange),
    }

    let (status, headers) = poll_fn(|cx| ongoing.poll_head(cx)).await;
    let (status, headers) = response::head(status, headers).or_else(|invalid| {
        tracing::error!(stream = ongoing.id, "a response's status or headers cannot be sent");
        ongoing.refuse_response();
        response::head(Status { code: 500, phrase: None }, Headers::new()).map_err(|_| invalid)
    })?;
    if headers.get(CONNECTION).is_some_and(|value| value == "close") {
        ongoing.connection.last.set(true);
    }
    Ok(response::response(status, headers, ongoing))
}

/// Sends a request's body to the VM as far as the handler wants it; when the response is complete, skips the rest up to a
/// limit, behind which hyper closes the connection.
async fn pump_body(server: Rc<Server>, exchange: Rc<Exchange>, mut body: Incoming) {
    use hyper::body::Body;
    let App::Vm(port) = &server.app else { return };
    let mut skipped = 0;
    loop {
        poll_fn(|cx| exchange.poll_flow(cx)).await;
        server.app.ready().await;
        let frame = poll_fn(|cx| match exchange.poll_abandoned(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => Pin::new(&mut body).poll_frame(cx).map(Some),
        });
        let Some(frame) = frame.await else { return };
        match frame {
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else {
                    exchange.fail_body(); // Trailers: Cowboy knows none in requests.
                    return;
                };
                if exchange.is_over() {
                    skipped += data.len() as u64;
                    if server.limits.max_skip_body_length.0.is_some_and(|max| skipped > max) {
                        return;
                    }
                    continue;
                }
                exchange.spend_flow(data.len() as u64);
                let fin = body.is_end_stream();
                let mut pieces = data.chunks(crate::port::message::CHUNK).peekable();
                while let Some(piece) = pieces.next() {
                    port.data(exchange.id, fin && pieces.peek().is_none(), piece);
                }
                if fin {
                    exchange.body_has_ended();
                    return;
                }
            }
            Some(Err(_)) => {
                exchange.fail_body();
                return;
            }
            None => {
                exchange.body_has_ended();
                if !exchange.is_over() {
                    port.data(exchange.id, true, b"");
                }
                return;
            }
        }
    }
}

/// An exchange that hyper has not done with. Its end, whatever the reason, is noticed here.
pub struct Ongoing {
    connection: Rc<Connection>,
    exchange: Rc<Exchange>,
}

impl Ongoing {
    /// Ready when hyper holds so little of the response that it may have more.
    pub fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        self.connection.wire.borrow_mut().poll_room(cx)
    }

    /// Hyper is given so many bytes of the response.
    pub fn hand(&self, bytes: usize) {
        self.connection.wire.borrow_mut().hand(bytes);
    }

    /// A piece of the response has left: gives the VM its part of the window back.
    pub fn taken(&self, cost: usize) {
        self.hand(cost);
        let server = &self.connection.server;
        if let (App::Vm(port), Some(credit)) = (&server.app, self.exchange.credit(cost, server.window / 2)) {
            port.credit(self.id, credit);
        }
    }
}

impl Deref for Ongoing {
    type Target = Exchange;

    fn deref(&self) -> &Exchange {
        &self.exchange
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        let Self { connection, exchange } = self;
        connection.current.replace(None);
        let skip = connection.server.limits.max_skip_body_length.0.unwrap_or(u64::MAX);
        if !connection.wire.borrow_mut().end_exchange(exchange.has_unread_body(), skip) {
            connection.last.set(true);
        }
        if connection.last.get() {
            exchange.abandon_body();
        }
        if exchange.is_upgraded() {
            return; // The stream goes on as a WebSocket.
        }
        let complete = exchange.end();
        connection.server.remove(exchange.id);
        if let (App::Vm(port), false) = (&connection.server.app, complete) {
            let reason = if exchange.is_given_up() { "timeout" } else { "closed" };
            port.closed(exchange.id, &Reason::Socket(reason));
        }
    }
}
