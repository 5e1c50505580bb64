//! One request of a connection, between hyper and the application: its head and body up, its response's head down, and
//! whatever becomes of it noticed at the end.
//!
//! Called by hyper, in the connection's task; a request's body has a task of its own while it is read.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Request, Response};

use super::body::{self, ResponseBody};
use super::connection::{Connection, Server};
use super::exchange::Exchange;
use super::ongoing::Ongoing;
use super::request::RequestHead;
use super::response;
use crate::metrics::{Limit, count, reached};
use crate::port::message::CHUNK;
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
    if head.has_body() {
        // Before the port's writer is woken: what has come of the body leaves in the packet of the head.
        tokio::task::spawn_local(pump_body(Rc::clone(&server), exchange, body));
    }
    count(|metrics| metrics.requests.add(1));
    server.streams.app.request(id, &head, ongoing.connection.before.take());

    let (status, headers) = poll_fn(|cx| ongoing.poll_head(cx)).await;
    let (status, mut headers) = ongoing.sendable(status, headers)?;
    if ongoing.intake.expects_continue() {
        headers.insert(CONNECTION, HeaderValue::from_static("close")); // RFC 9110, 10.1.1.
    }
    let chunked = ongoing.chunked.get().unwrap_or(chunked_by_default);
    let connection = Rc::clone(&ongoing.connection);
    let response = body::response(status, headers, ongoing, chunked);
    if response.headers().get_all(CONNECTION).iter().any(|value| value == "close") {
        connection.last.set(true);
    }
    Ok(response)
}

/// Sends a request's body to the VM as far as the handler wants it; the rest is skipped.
async fn pump_body(server: Rc<Server>, exchange: Rc<Exchange>, mut body: Incoming) {
    use hyper::body::Body;
    let mut skipped = 0;
    loop {
        poll_fn(|cx| exchange.poll_flow(cx)).await;
        ready(&*server.streams.app).await;
        let frame = poll_fn(|cx| match exchange.intake.poll_abandoned(cx) {
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
                    server.streams.app.data(exchange.id, true, b"");
                }
                return;
            }
        };
        exchange.intake.begin();
        while !data.is_empty() {
            let flow = poll_fn(|cx| exchange.poll_flow(cx)).await;
            ready(&*server.streams.app).await;
            if exchange.is_over() {
                break; // Its length has been looked at.
            }
            if exchange.is_upgrade() {
                skipped += data.len() as u64;
                if server.options.max_skip_body_length.is_some_and(|max| skipped > max) {
                    reached(Limit::MaxSkipBodyLength);
                    exchange.fail_body();
                    return;
                }
                break;
            }
            let piece = data.split_to(data.len().min(CHUNK).min(usize::try_from(flow).unwrap_or(usize::MAX)));
            exchange.intake.spend(piece.len() as u64);
            let fin = data.is_empty() && body.is_end_stream();
            server.streams.app.data(exchange.id, fin, &piece);
            if fin {
                exchange.body_has_ended();
                return;
            }
        }
    }
}
