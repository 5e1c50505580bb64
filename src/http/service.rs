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
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Request, Response};

use super::Connection;
use super::exchange::Exchange;
use super::request::RequestHead;
use super::response::{self, ResponseBody};
use crate::port::message::{CHUNK, Headers, Reason, Status};
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
            if head.has_body() {
                // Before the port's writer is woken: what has come of the body leaves in the packet of the head.
                tokio::task::spawn_local(pump_body(Rc::clone(&server), Rc::clone(&ongoing.exchange), body));
            }
            port.request(ongoing.id, &head);
        }
        App::Echo(echo) => echo.answer(&head, &ongoing.exchange),
    }

    let (status, headers) = poll_fn(|cx| ongoing.poll_head(cx)).await;
    let (status, mut headers) = response::head(status, headers).or_else(|invalid| {
        tracing::error!(stream = ongoing.id, "a response's status or headers cannot be sent");
        ongoing.refuse_response();
        response::head(Status { code: 500, phrase: None }, Headers::new()).map_err(|_| invalid)
    })?;
    if ongoing.expects_continue() {
        headers.insert(CONNECTION, HeaderValue::from_static("close")); // RFC 9110, 10.1.1.
    }
    if headers.get(CONNECTION).is_some_and(|value| value == "close") {
        ongoing.connection.last.set(true);
    }
    Ok(response::response(status, headers, ongoing))
}

/// Sends a request's body to the VM as far as the handler wants it; the rest is skipped.
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
        let mut data = match frame.await {
            None => return,
            Some(Some(Ok(frame))) => frame.into_data().unwrap_or_default(), // `chunks.rs` leaves no trailers.
            Some(Some(Err(_))) => {
                exchange.fail_body();
                return;
            }
            Some(None) => {
                exchange.body_has_ended();
                if !exchange.is_over() && !exchange.is_upgrade() {
                    port.data(exchange.id, true, b"");
                }
                return;
            }
        };
        exchange.body_has_begun();
        while !data.is_empty() {
            let flow = poll_fn(|cx| exchange.poll_flow(cx)).await;
            server.app.ready().await;
            if exchange.is_over() {
                break; // Its length has been looked at.
            }
            if exchange.is_upgrade() {
                skipped += data.len() as u64;
                if server.limits.max_skip_body_length.0.is_some_and(|max| skipped > max) {
                    exchange.fail_body();
                    return;
                }
                break;
            }
            let piece = data.split_to(data.len().min(CHUNK).min(usize::try_from(flow).unwrap_or(usize::MAX)));
            exchange.spend_flow(piece.len() as u64);
            let fin = data.is_empty() && body.is_end_stream();
            port.data(exchange.id, fin, &piece);
            if fin {
                exchange.body_has_ended();
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
        if !connection.wire.borrow_mut().end_exchange(skip) {
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
            port.closed(exchange.id, &Reason::Socket("closed"));
        }
    }
}
