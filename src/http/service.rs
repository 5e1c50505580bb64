//! One request of a connection, between hyper and the application: its head and body up, its response's head down, and
//! whatever becomes of it noticed at the end.
//!
//! Called by hyper, in the connection's task; a request's body has a task of its own while it is read.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use hyper::body::Incoming;
use hyper::header::CONNECTION;
use hyper::{Request, Response};

use super::body::{self, ResponseBody};
use super::connection::{Connection, Server};
use super::exchange::Exchange;
use super::ongoing::Ongoing;
use super::request::RequestHead;
use super::response;
use crate::port::message::{Headers, Status};
use crate::streams::Stream;
use crate::streams::application::ready;

/// hyper's service: one request up, its response's head down. The body follows, as hyper asks for it.
pub async fn answer(
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, response::Invalid> {
    ready(&*connection.server.streams.app).await;
    let (parts, body) = request.into_parts();
    let number = connection.requests.get() + 1;
    connection.requests.set(number);
    let server = Rc::clone(&connection.server);
    let target = connection.wire.borrow_mut().take_target();
    let head = RequestHead::new(parts, target, Rc::clone(&connection.info), number);
    let flow = server.options.initial_stream_flow_size.unwrap_or(u64::MAX);
    let exchange = Rc::new(Exchange::new(server.streams.next_id(), &head, flow, server.streams.queued.share()));
    let last = server.options.max_keepalive.is_some_and(|max| number >= max);
    if last || (head.is_http10() && !server.options.http10_keepalive) {
        connection.last.set(true);
    }
    let chunked_by_default = server.options.chunked;
    connection.current.replace(Some(Rc::clone(&exchange)));
    let id = exchange.id;
    let ongoing = Ongoing { connection, exchange: Rc::clone(&exchange) };
    server.streams.insert(id, Rc::clone(&exchange) as Rc<dyn Stream>);
    server.streams.app.request(id, &head);
    if head.has_body() {
        tokio::task::spawn_local(pump_body(server, exchange, body));
    }

    let (status, headers) = poll_fn(|cx| ongoing.poll_head(cx)).await;
    let (status, headers) = response::head(status, headers).or_else(|invalid| {
        tracing::error!(stream = ongoing.id, "a response's status or headers cannot be sent");
        ongoing.refuse_response();
        response::head(Status { code: 500, phrase: None }, Headers::new()).map_err(|_| invalid)
    })?;
    let chunked = ongoing.chunked.get().unwrap_or(chunked_by_default);
    let connection = Rc::clone(&ongoing.connection);
    let response = body::response(status, headers, ongoing, chunked);
    if response.headers().get_all(CONNECTION).iter().any(|value| value == "close") {
        connection.last.set(true);
    }
    Ok(response)
}

/// Sends a request's body to the VM as far as the handler wants it; when the response is complete, skips the rest up to a
/// limit, behind which hyper closes the connection.
async fn pump_body(server: Rc<Server>, exchange: Rc<Exchange>, mut body: Incoming) {
    use hyper::body::Body;
    let mut skipped = 0;
    loop {
        poll_fn(|cx| exchange.poll_flow(cx)).await;
        ready(&*server.streams.app).await;
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
                    if server.options.max_skip_body_length.is_some_and(|max| skipped > max) {
                        return;
                    }
                    continue;
                }
                exchange.spend_flow(data.len() as u64);
                let fin = body.is_end_stream();
                let mut pieces = data.chunks(crate::port::message::CHUNK).peekable();
                while let Some(piece) = pieces.next() {
                    server.streams.app.data(exchange.id, fin && pieces.peek().is_none(), piece);
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
                    server.streams.app.data(exchange.id, true, b"");
                }
                return;
            }
        }
    }
}
