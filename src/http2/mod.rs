//! One client's HTTP/2 connection: a stream for each request, which ends with its answer or becomes a WebSocket (RFC 8441).
//!
//! h2 has the frames and the windows; `transport/line` decides what it gets to read, and holds what it writes; this task drives
//! it, begins the streams, and watches the clock. Each stream has a task of its own. All in the event loop's thread.
//!
//! ```text
//! line ► h2 ► mod.rs ► head.rs (accept or refuse) ► stream.rs ► streams/application.rs ► port ─► VM
//! line ◄ h2 ◄ stream.rs ◄ http/exchange.rs ◄ streams/ ◄ port ◄─── VM
//! ```

mod connection;
mod fields;
mod head;
mod io;
mod options;
mod reset;
mod stream;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::{Connection as H2Connection, SendResponse};
use h2::{Reason, RecvStream};
use hyper::Request;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::debug;

use crate::http::exchange::Exchange;
use crate::http::head::Refusal;
use crate::http::put_off::{GRACE, PutOff};
use crate::http::request::{ConnectionInfo, Http2, RequestHead};
use crate::http::{NEVER, Permits, Server};
use crate::metrics::{Limit, count, reached};
use crate::port::message;
use crate::streams::Stream;
use crate::transport::Socket;
use crate::transport::line::Line;
use connection::Connection;
use head::Verdict;
use io::H2Io;
pub use options::Options;

/// Of a request whose header fields have too many bytes uncompressed, which h2 answers by itself.
const OVERSIZE: Refusal = Refusal::new(431).by(Limit::MaxFragmentedHeaderBlockSize);

/// Serves a client until it leaves. `received` has come of it already.
pub async fn serve(
    server: Rc<Server>,
    options: Rc<Options>,
    info: Rc<ConnectionInfo>,
    socket: Socket,
    received: Vec<u8>,
    permits: Permits,
) {
    let builder = options.builder();
    let connection = Rc::new(Connection {
        line: Rc::new(Line::new(socket, received, &options.limits)),
        options,
        info,
        began: Cell::new(Instant::now()),
        over: RefCell::default(),
        last: Cell::new(false),
        end: RefCell::new(message::Reason::Socket("closed")),
        put_off: PutOff::default(),
        closed: Cell::default(),
        task: Cell::default(),
        is_gone: Cell::default(),
        gone: Notify::default(),
        server,
    });
    let io = H2Io::new(Rc::clone(&connection.line), Rc::clone(&connection.server.streams));
    let mut timer = pin!(sleep_until(connection.began.get() + NEVER));
    let mut greeting = pin!(builder.handshake(io));
    let greeted = poll_fn(|cx| match greeting.as_mut().poll(cx) {
        Poll::Ready(h2) => Poll::Ready(h2.map_err(|error| log(&error)).ok()),
        Poll::Pending if connection.line.is_violated() => Poll::Ready(None),
        Poll::Pending => connection.poll_timer(cx, timer.as_mut()).map(|_| None),
    });
    if let Some(h2) = greeted.await {
        connection.run(h2, timer.as_mut()).await;
        connection.leave();
    }
    connection.over.take().into_iter().for_each(|before| connection.server.streams.app.gone(before));
    connection.line.linger(connection.server.streams.options.linger_timeout).await;
    drop(permits);
}

impl Connection {
    /// Drives h2 until the connection ends. With h2 all streams end that go on.
    async fn run(self: &Rc<Self>, mut h2: H2Connection<H2Io, Bytes>, mut timer: Pin<&mut Sleep>) {
        let mut draining = pin!(self.server.gate.draining());
        let share = self.server.streams.queued.share();
        let mut told_last = false;
        poll_fn(|cx| {
            self.task.set(Some(cx.waker().clone()));
            if !told_last && (self.last.get() || draining.as_mut().poll(cx).is_ready()) {
                told_last = true;
                h2.graceful_shutdown();
            }
            loop {
                let accepted = h2.poll_accept(cx);
                self.line.take_oversize().into_iter().for_each(|number| self.refuse(OVERSIZE, number));
                let begun = match accepted {
                    Poll::Ready(Some(Ok((request, respond)))) => Some(self.begin(request, respond, cx)),
                    Poll::Ready(Some(Err(error))) => {
                        if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                            reached(Limit::EnhanceYourCalm); // What it bounds by itself.
                        }
                        log(&error);
                        return Poll::Ready(());
                    }
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => None,
                };
                let reason = match begun {
                    Some(None) => continue,
                    Some(reason) => reason,
                    None => {
                        share.set(self.line.waiting());
                        if self.closed.get().is_some() {
                            return timer.as_mut().poll(cx);
                        }
                        if self.line.is_violated() {
                            Some(Reason::ENHANCE_YOUR_CALM)
                        } else {
                            ready!(self.poll_timer(cx, timer.as_mut()))
                        }
                    }
                };
                let Some(reason) = reason else { return Poll::Ready(()) };
                if self.closed.get().is_none() {
                    self.closed.set(Some(reason));
                    debug!(%reason, "a connection is closed");
                    h2.abrupt_shutdown(reason);
                    // What is on its way has this long to be taken.
                    timer.as_mut().reset(Instant::now() + GRACE);
                }
            }
        })
        .await;
    }

    /// Begins a request's stream. A reason closes the connection.
    fn begin(
        self: &Rc<Self>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        cx: &mut Context<'_>,
    ) -> Option<Reason> {
        let number = respond.stream_id().as_u32();
        self.line.show(number);
        if respond.poll_reset(cx).is_ready() {
            return None; // The client has changed its mind.
        }
        let (mut parts, body) = request.into_parts();
        match head::judge(&parts, &self.options) {
            Verdict::Accepted => {}
            Verdict::Refused(status) => {
                self.refuse(Refusal::new(status), number);
                stream::refuse(&mut respond, status);
                return None;
            }
            Verdict::Reset(reason) => {
                respond.send_reset(reason);
                return None;
            }
            Verdict::LongAuthority => {
                reached(Limit::MaxAuthorityLength);
                respond.send_reset(Reason::PROTOCOL_ERROR);
                return None;
            }
            Verdict::ManyHeaders => {
                reached(Limit::MaxHeaders);
                return Some(Reason::ENHANCE_YOUR_CALM);
            }
        }
        let protocol = parts.extensions.remove::<Protocol>();
        let streams = &self.server.streams;
        // What an extended CONNECT brings belongs to the protocol: the handler asks for it, or it becomes a WebSocket.
        let flow = match protocol {
            Some(_) => 0,
            None => self.server.options.initial_stream_flow_size.unwrap_or(u64::MAX),
        };
        let protocol = protocol.map(|protocol| protocol.as_str().as_bytes().into());
        let stream = Http2 { has_body: !body.is_end_stream(), protocol };
        let head = RequestHead::of_stream(parts, Rc::clone(&self.info), number, stream);
        let id = streams.next_id();
        let exchange = Rc::new(Exchange::new(id, &head, flow, streams.queued.share()));
        streams.insert(id, Rc::clone(&exchange) as Rc<dyn Stream>);
        // Before the port's writer is woken: what has come of the body leaves in the packet of the head.
        tokio::task::spawn_local(stream::run(Rc::clone(self), exchange, respond, body));
        count(|metrics| metrics.requests.add(1));
        let before = self.over.borrow_mut().pop_front().unwrap_or_default();
        streams.app.request(id, &head, before);
        None
    }

    /// Counts a request that is refused, and tells of it.
    fn refuse(&self, refusal: Refusal, number: u32) {
        let Server { refusals, streams, .. } = &*self.server;
        refusals.add(&*streams.app, refusal, &self.info, number.into(), || None);
    }
}

/// Says why a connection has failed, without what the client has to say of it.
fn log(error: &h2::Error) {
    debug!(reason = ?error.reason(), io = ?error.get_io().map(std::io::Error::kind), "connection failed");
}
