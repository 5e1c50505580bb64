//! One request of an HTTP/2 connection, or the WebSocket that it becomes: its body up, its response down, and whatever becomes of it
//! noticed at the end. A task for each, which is woken by the client, by the VM's commands and by room to send.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use hyper::header::CONTENT_LENGTH;
use hyper::{Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::fields::{interim, strip};
use super::reset;
use crate::http::exchange::{End, Exchange, Next};
use crate::http::files::Part;
use crate::http::response::header_map;
use crate::http::{NEVER, Server};
use crate::metrics::{Limit, reached};
use crate::port::message::{self, Body, CHUNK};
use crate::streams::application::ready;
use crate::transport::Channel;
use crate::transport::line::{Sender, Stream};
use crate::transport::stall::Stall;
use crate::websocket;

/// How an exchange ends.
enum Outcome {
    /// The response is complete, or the client has all that it may have.
    Done,
    /// It is a WebSocket from here on, which writes by this.
    Upgrade(Sender),
    /// The client has reset the stream.
    Reset(Reason),
    /// The connection has ended before.
    Lost,
    /// The client takes nothing.
    Late,
    /// The VM gives it up.
    Aborted,
    /// The rest of the response cannot be sent.
    Broken(&'static str),
    /// It is answered with this status instead.
    Refused(u16),
}

/// An exchange that goes on. Its end, whatever the reason, is noticed here.
struct Ongoing {
    connection: Rc<Connection>,
    exchange: Rc<Exchange>,
    /// Why it ends before its time.
    reason: RefCell<Option<message::Reason>>,
}

/// Serves a stream to its end.
pub async fn run(
    connection: Rc<Connection>,
    exchange: Rc<Exchange>,
    mut respond: SendResponse<Bytes>,
    mut body: RecvStream,
) {
    let server = Rc::clone(&connection.server);
    let ongoing = Ongoing { connection, exchange, reason: RefCell::default() };
    let exchange = &ongoing.exchange;
    let outcome = {
        let mut upload = pin!(upload(&server, exchange, &mut body));
        let mut answer = pin!(answer(&ongoing, &mut respond));
        let mut uploaded = false;
        poll_fn(|cx| {
            exchange.watch(cx);
            if exchange.is_last() && !ongoing.connection.last.replace(true) {
                ongoing.connection.wake();
            }
            if exchange.is_given_up() {
                return Poll::Ready(Outcome::Late);
            }
            if let Some(status) = exchange.refusal() {
                return Poll::Ready(Outcome::Refused(status));
            }
            uploaded = uploaded || upload.as_mut().poll(cx).is_ready();
            match answer.as_mut().poll(cx) {
                Poll::Pending if exchange.is_aborted() => Poll::Ready(Outcome::Aborted),
                answer => answer.map(|result| result.unwrap_or_else(|outcome| outcome)),
            }
        })
        .await
    };
    let reason = match outcome {
        Outcome::Done => return,
        Outcome::Upgrade(sender) => {
            if let Some(mut session) = exchange.take_upgrade() {
                let channel = Channel::Stream(Box::new(Stream::new(sender, body)));
                session.receive(Vec::new(), server.options.max_fragments);
                let client = (ongoing.connection.info.client, exchange.path.as_deref().unwrap_or_default());
                websocket::start(&server.streams, channel, client, exchange.id, *session, None);
            }
            return;
        }
        Outcome::Reset(code) => reset::reason(&mut body, code),
        Outcome::Lost => ongoing.connection.end.borrow().clone(),
        Outcome::Late => {
            respond.send_reset(Reason::CANCEL);
            message::Reason::Socket("timeout")
        }
        Outcome::Aborted => {
            tokio::task::yield_now().await; // With a reset h2 drops what it has not written yet.
            respond.send_reset(Reason::INTERNAL_ERROR);
            return;
        }
        Outcome::Broken(cause) => {
            tracing::error!(cause, "the rest of a response cannot be sent");
            respond.send_reset(Reason::INTERNAL_ERROR);
            message::Reason::Socket("closed")
        }
        Outcome::Refused(status) => {
            refuse(&mut respond, status);
            message::Reason::Socket("closed")
        }
    };
    ongoing.reason.replace(Some(reason));
}

/// Answers with a status alone.
pub fn refuse(respond: &mut SendResponse<Bytes>, status: u16) {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_LENGTH, 0.into());
    let _ = respond.send_response(response, true); // Fails only where the stream is over.
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        let reason = || self.reason.take().unwrap_or(message::Reason::Socket("closed"));
        self.exchange.finish(&self.connection.server.streams, reason);
        if !self.exchange.is_upgraded() {
            self.connection.over.borrow_mut().push_back(self.exchange.id);
        }
    }
}

/// Sends a request's body to the VM as far as the handler wants it. What it does not want stays within the client's window.
async fn upload(server: &Server, exchange: &Exchange, body: &mut RecvStream) {
    let app = &*server.streams.app;
    loop {
        poll_fn(|cx| exchange.poll_flow(cx)).await;
        if exchange.is_upgrade() {
            return;
        }
        ready(app).await;
        let mut data = match poll_fn(|cx| body.poll_data(cx)).await {
            Some(Ok(data)) => data,
            Some(Err(_)) => return, // The answer's part notices it.
            None => {
                if exchange.has_body() && !exchange.is_over() {
                    exchange.body_has_ended();
                    app.data(exchange.id, true, b"");
                }
                return;
            }
        };
        while !data.is_empty() {
            let flow = poll_fn(|cx| exchange.poll_flow(cx)).await;
            ready(app).await;
            if exchange.is_over() {
                return;
            }
            let piece = data.split_to(data.len().min(CHUNK).min(usize::try_from(flow).unwrap_or(usize::MAX)));
            exchange.intake.spend(piece.len() as u64);
            let fin = data.is_empty() && body.is_end_stream();
            app.data(exchange.id, fin, &piece);
            let _ = body.flow_control().release_capacity(piece.len()); // Fails only where the stream is over.
            if fin {
                exchange.body_has_ended();
                return;
            }
        }
    }
}

/// Sends the VM's response.
async fn answer(ongoing: &Ongoing, respond: &mut SendResponse<Bytes>) -> Result<Outcome, Outcome> {
    let exchange = &*ongoing.exchange;
    let (status, headers) = poll_fn(|cx| {
        while let Some((status, headers)) = exchange.take_inform() {
            let _ = respond.send_informational(interim(&status, headers)); // Fails only where the stream is over.
        }
        match exchange.poll_head(cx) {
            Poll::Ready(head) => Poll::Ready(Ok(head)),
            Poll::Pending => respond.poll_reset(cx).map(|reset| Err(ongoing.over(reset))),
        }
    })
    .await?;
    let (status, mut headers) = exchange.sendable(status, headers).map_err(|_| Outcome::Aborted)?;
    strip(&mut headers);
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut response = Response::new(());
    *response.status_mut() = status.code;
    *response.headers_mut() = headers;
    let begin = |end| respond.send_response(response, end).map_err(|_| Outcome::Lost);
    if exchange.is_upgrade() {
        let sender = Sender::new(begin(false)?, Rc::clone(&ongoing.connection.line));
        return Ok(Outcome::Upgrade(sender));
    }
    let whole = exchange.take_whole_body(length);
    if exchange.is_bodiless() || whole.as_ref().is_some_and(Bytes::is_empty) {
        begin(true)?;
        if whole.is_none() {
            ongoing.end().await?; // The VM may have it still to say.
        }
        return Ok(Outcome::Done);
    }
    let sender = Sender::new(begin(false)?, Rc::clone(&ongoing.connection.line));
    let mut download = Download { ongoing, sender };
    match whole {
        Some(bytes) => download.send(bytes, true).await?,
        None => download.send_pieces().await?,
    }
    Ok(Outcome::Done)
}

impl Ongoing {
    /// The next piece of the response's body, unless the stream ends before.
    async fn next_piece(&self, sender: &mut Sender) -> Result<Next, Outcome> {
        poll_fn(|cx| match self.exchange.poll_body(cx) {
            Poll::Ready(next) => Poll::Ready(Ok(next)),
            Poll::Pending => sender.poll_reset(cx).map(|reset| Err(self.over(reset))),
        })
        .await
    }

    /// The end of a response of which the client has all, unless the connection ends before.
    async fn end(&self) -> Result<(), Outcome> {
        let mut gone = pin!(self.connection.gone());
        poll_fn(|cx| match self.exchange.poll_rest(cx, &self.connection.server.streams) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => gone.as_mut().poll(cx).map(|()| Err(Outcome::Lost)),
        })
        .await
    }

    /// What has ended the stream. h2 says for our own end of an idle connection what it says for a reset.
    fn over(&self, reset: Result<Reason, h2::Error>) -> Outcome {
        match reset {
            Ok(Reason::NO_ERROR) if self.connection.closed.get() == Some(Reason::NO_ERROR) => Outcome::Lost,
            Ok(reason) => Outcome::Reset(reason),
            Err(_) => Outcome::Lost,
        }
    }

    /// A piece of the response has left: gives the VM its part of the window back.
    fn taken(&self, cost: usize) {
        self.exchange.taken(cost, &self.connection.server.streams);
    }
}

/// A response's body on its way.
struct Download<'a> {
    ongoing: &'a Ongoing,
    sender: Sender,
}

impl Download<'_> {
    async fn send_pieces(&mut self) -> Result<(), Outcome> {
        loop {
            match self.ongoing.next_piece(&mut self.sender).await? {
                Next::Piece(Body::Bytes(bytes), cost) => {
                    let last = self.ongoing.exchange.is_last_piece();
                    if !bytes.is_empty() || last {
                        self.send(bytes, last).await?;
                    }
                    self.ongoing.taken(cost);
                }
                Next::Piece(Body::File { path, offset, length }, cost) => {
                    self.ongoing.taken(cost);
                    if length > 0 {
                        self.send_file(path, offset, length).await?;
                    }
                }
                Next::End(End::Plain) => return self.send(Bytes::new(), true).await,
                Next::End(End::Trailers(headers)) => {
                    let mut trailers = header_map(headers).map_err(|_| Outcome::Broken("an invalid trailer"))?;
                    strip(&mut trailers);
                    return self.sender.send_trailers(trailers).map_err(|_| Outcome::Lost);
                }
            }
        }
    }

    async fn send_file(&mut self, path: std::path::PathBuf, offset: u64, length: u64) -> Result<(), Outcome> {
        let broken = |_| Outcome::Broken("a file");
        let mut part = Part::open(path, offset, length).await.map_err(broken)?;
        while !part.is_over() {
            let block = part.read().await.map_err(broken)?;
            self.send(block, false).await?;
        }
        Ok(())
    }

    /// Sends all of these bytes, as the windows allow. Nothing more may follow what was sent with `end`.
    async fn send(&mut self, mut bytes: Bytes, end: bool) -> Result<(), Outcome> {
        while !bytes.is_empty() {
            let room = self.room(bytes.len()).await?;
            let piece = bytes.split_to(room);
            let last = end && bytes.is_empty();
            self.sender.send(piece, last).map_err(|_| Outcome::Lost)?;
            if last {
                return Ok(());
            }
        }
        if end && !self.sender.has_ended() {
            self.sender.send(Bytes::new(), true).map_err(|_| Outcome::Lost)
        } else {
            Ok(())
        }
    }

    /// Waits until some of `wanted` bytes may be sent, as long as the client takes anything.
    async fn room(&mut self, wanted: usize) -> Result<usize, Outcome> {
        let mut stall: Option<Stall> = None;
        let blocked = &self.ongoing.exchange.blocked;
        let timeout = self.ongoing.connection.server.streams.options.send_timeout;
        loop {
            let sender = &mut self.sender;
            let poll = |cx: &mut Context<'_>| sender.poll_room(cx, wanted);
            let deadline = stall.as_ref().zip(timeout).map(|(stall, timeout)| stall.deadline(timeout));
            let room = match (&stall, deadline) {
                (None, _) => {
                    let mut poll = poll;
                    poll_fn(|cx| Poll::Ready(poll(cx))).await
                }
                (_, deadline) => {
                    let deadline = deadline.unwrap_or_else(|| Instant::now() + NEVER);
                    timeout_at(deadline, poll_fn(poll)).await.map_or(Poll::Pending, Poll::Ready)
                }
            };
            match (room, &mut stall) {
                (Poll::Ready(room), _) => {
                    blocked.set(None);
                    return match room {
                        Ok(room) => Ok(room),
                        Err(_) => Err(self.reset().await),
                    };
                }
                (Poll::Pending, None) => {
                    let begun = Stall::begin(self.sender.unsent());
                    blocked.set(Some(begun.since()));
                    stall = Some(begun);
                }
                (Poll::Pending, Some(stall)) => {
                    let unsent = self.sender.unsent();
                    if timeout.is_some_and(|timeout| stall.is_over(unsent, timeout, Instant::now())) {
                        reached(Limit::SendTimeout);
                        return Err(Outcome::Late);
                    }
                    blocked.set(Some(stall.since()));
                }
            }
        }
    }

    /// Why there is no room any more.
    async fn reset(&mut self) -> Outcome {
        poll_fn(|cx| match self.sender.poll_reset(cx) {
            Poll::Ready(reset) => Poll::Ready(self.ongoing.over(reset)),
            Poll::Pending => Poll::Ready(Outcome::Lost),
        })
        .await
    }
}
