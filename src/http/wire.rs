//! What hyper reads from and writes to: the client's socket, with Cowboy's checks in front.
//!
//! A request's head is given to hyper only when it is complete and [`HeadCheck`] has accepted it; until then its bytes
//! wait here. So refusals, limits and timeouts are ours, with Cowboy's answers, and hyper meets nothing that it would
//! answer itself. The body behind a head is counted, so that the next head is checked as well; behind a chunked
//! body only when it was not sent together with it (then hyper's own, laxer, check is the only one).
//!
//! While a request is being answered the next head is held back. What follows the head of a request that becomes a
//! WebSocket therefore stays here, untouched by HTTP, for [`Wire::into_rest`].

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use tokio::time::Instant;

use super::head::{BodyLength, HeadCheck, HeadLimits, Known, Verdict};
use super::proxy::{self, Header};
use crate::port::message::CHUNK;
use crate::streams::Streams;
use crate::transport::{Socket, scratch};

/// The socket of one HTTP connection; shared by hyper and the connection's task.
pub struct Wire {
    pub socket: Socket,
    limits: Rc<HeadLimits>,
    /// Received and not given to hyper. Bounded by the limits of a head, or by one read.
    unread: Vec<u8>,
    framing: Framing,
    /// Path and query of the last head, where hyper was not given them.
    target: Option<Box<[u8]>>,
    /// A request is being answered.
    busy: bool,
    /// Hyper has nothing in its buffers that it has not written.
    clean: bool,
    /// Bytes of a response that hyper was given since it last had written all.
    handed: usize,
    /// Waits until hyper has.
    writer: Option<Waker>,
    /// Bytes of ours to be written before more of hyper's: interim responses, which hyper does not know.
    injected: Vec<u8>,
    /// Since when the socket has taken nothing of what there is to write.
    blocked: Option<Instant>,
    refusal: Option<u16>,
    /// When bytes were last received.
    received: Instant,
    /// When bytes were last written.
    sent: Instant,
    /// When the head that we wait for could have begun.
    waiting_since: Instant,
    reader: Option<Waker>,
}

/// What the next bytes from the client are.
enum Framing {
    Head(HeadCheck),
    /// The first `left` bytes of `unread` are an accepted head.
    Accepted {
        left: usize,
        body: BodyLength,
    },
    Body(u64),
    /// A chunked body, and whatever comes with its end.
    Chunked,
}

impl Wire {
    pub fn new(socket: Socket, limits: Rc<HeadLimits>) -> Self {
        let now = Instant::now();
        Self {
            socket,
            limits,
            unread: Vec::new(),
            framing: Framing::Head(HeadCheck::default()),
            target: None,
            busy: false,
            clean: true,
            handed: 0,
            writer: None,
            injected: Vec::new(),
            blocked: None,
            refusal: None,
            received: now,
            sent: now,
            waiting_since: now,
            reader: None,
        }
    }

    /// Reads the header of the PROXY protocol with which the connection begins; `None` if it begins with something else.
    pub async fn proxy_header(&mut self) -> Option<Box<[u8]>> {
        loop {
            match proxy::header(&self.unread) {
                Header::Complete(length) => return Some(self.unread.drain(..length).collect()),
                Header::Invalid => return None,
                Header::Partial => {}
            }
            if !poll_fn(|cx| self.poll_fill(cx)).await.ok()? {
                return None;
            }
        }
    }

    /// The response has been given to hyper, or there will be none. Says whether the next request can be waited for:
    /// not behind a body of which more than `skip` bytes, or an unknown number, are still to come.
    pub fn end_exchange(&mut self, has_unread_body: bool, skip: u64) -> bool {
        self.busy = false;
        self.waiting_since = Instant::now();
        let goes_on = match self.framing {
            Framing::Chunked => !has_unread_body,
            Framing::Body(left) => left <= skip,
            _ => true,
        };
        if let (Framing::Chunked, true) = (&self.framing, goes_on) {
            self.framing = Framing::Head(HeadCheck::default());
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        goes_on
    }

    /// Path and query of the request that hyper has parsed, where it was not given them.
    pub fn take_target(&mut self) -> Option<Box<[u8]>> {
        self.target.take()
    }

    /// The status with which to refuse what the client sent instead of a request.
    pub fn refusal(&self) -> Option<u16> {
        self.refusal.filter(|_| !self.busy)
    }

    /// What is known of a request that was refused or is late.
    pub fn known(&self) -> Option<Known<'_>> {
        match &self.framing {
            Framing::Head(check) => check.known(&self.unread),
            _ => None,
        }
    }

    /// Whether bytes written now to the socket follow all that hyper was given to write.
    pub fn is_clean(&self) -> bool {
        self.clean
    }

    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Hyper is given so many bytes of a response.
    pub fn hand(&mut self, bytes: usize) {
        self.handed += bytes;
    }

    /// Ready when hyper may be given more of a response. Its own buffer would take more than a stream's window.
    pub fn poll_room(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.handed < CHUNK {
            return Poll::Ready(());
        }
        self.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Hyper has written all that it had.
    fn has_flushed(&mut self) {
        self.clean = true;
        self.handed = 0;
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    /// Writes bytes that hyper knows nothing of, before what hyper writes next. Only where [`Wire::is_clean`].
    pub fn inject(&mut self, bytes: &[u8]) {
        self.injected.extend_from_slice(bytes);
    }

    /// Ready when everything injected has been written, or the socket has failed, as hyper will notice too.
    pub fn poll_inject(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.injected.is_empty() {
            let injected = std::mem::take(&mut self.injected);
            let written = self.poll_write(cx, &[io::IoSlice::new(&injected)]);
            self.injected = injected;
            match ready!(written) {
                Ok(n) => drop(self.injected.drain(..n)),
                Err(_) => self.injected.clear(),
            }
        }
        Poll::Ready(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            if self.socket.poll_write_ready(cx)?.is_pending() {
                self.blocked.get_or_insert_with(Instant::now);
                return Poll::Pending;
            }
            match self.socket.try_write_vectored(bufs) {
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                result => {
                    self.blocked = None;
                    self.sent = Instant::now();
                    return Poll::Ready(result);
                }
            }
        }
    }

    /// Since when the client has taken nothing of what there is to write.
    pub fn blocked_since(&self) -> Option<Instant> {
        self.blocked
    }

    /// When bytes last came from the client.
    pub fn last_received(&self) -> Instant {
        self.received
    }

    /// When bytes last went to the client.
    pub fn last_sent(&self) -> Instant {
        self.sent
    }

    /// The client is not late: nobody has read what it sent.
    pub fn excuse(&mut self) {
        self.received = Instant::now();
        self.waiting_since = self.received;
    }

    /// When the wait for the next request began.
    pub fn waiting_since(&self) -> Instant {
        self.waiting_since
    }

    /// Whether a request line has come whose head is not complete.
    pub fn has_request_line(&self) -> bool {
        matches!(&self.framing, Framing::Head(check) if check.request_line_complete())
    }

    /// The socket and the bytes behind the last request, for the protocol that follows HTTP. `hyper_rest` is what hyper
    /// had read and not used: of a counted body it is a rest that nobody wants.
    pub fn into_rest(self, hyper_rest: &[u8]) -> (Socket, Vec<u8>) {
        match self.framing {
            Framing::Chunked => (self.socket, [hyper_rest, &self.unread].concat()),
            _ => (self.socket, self.unread),
        }
    }

    /// Reads once from the socket into `unread`. `Ok(false)` is the client's end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let n = ready!(scratch::with(|buffer| {
            let read = self.socket.poll_read(cx, buffer);
            if let Poll::Ready(Ok(n)) = read {
                self.unread.extend_from_slice(&buffer[..n]);
            }
            read
        }))?;
        if n > 0 {
            self.received = Instant::now();
        }
        Poll::Ready(Ok(n > 0))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, mut buf: hyper::rt::ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        loop {
            let deliverable = match &mut self.framing {
                Framing::Head(check) => {
                    if !self.unread.is_empty() {
                        if self.busy {
                            self.reader = Some(cx.waker().clone());
                            return Poll::Pending;
                        }
                        match check.check(&self.unread, &self.limits) {
                            Verdict::Complete { body, .. } => {
                                let (target, left) = check.hide_target(&mut self.unread);
                                self.target = target;
                                self.framing = Framing::Accepted { left, body };
                                continue;
                            }
                            Verdict::Refused { status } => {
                                self.refusal = Some(status);
                                return Poll::Pending; // The connection's task, which polls us, looks at `refusal` next.
                            }
                            Verdict::Partial => {}
                        }
                    }
                    if !ready!(self.poll_fill(cx))? {
                        return Poll::Ready(Ok(()));
                    }
                    continue;
                }
                Framing::Accepted { left, .. } => *left,
                Framing::Body(left) => usize::try_from(*left).unwrap_or(usize::MAX).min(self.unread.len()),
                Framing::Chunked => self.unread.len(),
            };
            if deliverable == 0 {
                if !ready!(self.poll_fill(cx))? {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let n = deliverable.min(buf.remaining());
            buf.put_slice(&self.unread[..n]);
            self.delivered(n);
            return Poll::Ready(Ok(()));
        }
    }

    fn delivered(&mut self, n: usize) {
        self.unread.drain(..n);
        let next_head = || Framing::Head(HeadCheck::default());
        match &mut self.framing {
            Framing::Accepted { left, body } => {
                *left -= n;
                if *left == 0 {
                    self.busy = true; // Now, not when hyper passes it on: it may read once more before.
                    self.framing = match body {
                        BodyLength::Exactly(0) => next_head(),
                        BodyLength::Exactly(length) => Framing::Body(*length),
                        BodyLength::Chunked => Framing::Chunked,
                    };
                }
            }
            Framing::Body(left) => {
                *left -= n as u64;
                if *left == 0 {
                    self.framing = next_head();
                }
            }
            Framing::Head(_) | Framing::Chunked => {}
        }
    }
}

/// The handle that hyper owns.
pub struct HyperIo {
    wire: Rc<RefCell<Wire>>,
    streams: Rc<Streams>,
}

impl HyperIo {
    pub fn new(wire: Rc<RefCell<Wire>>, streams: Rc<Streams>) -> Self {
        Self { wire, streams }
    }
}

impl hyper::rt::Read for HyperIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.streams.app.poll_congested(cx) {
            return Poll::Pending;
        }
        self.wire.borrow_mut().poll_read(cx, buf)
    }
}

impl hyper::rt::Write for HyperIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.wire.borrow_mut();
        wire.clean = false;
        ready!(wire.poll_inject(cx));
        wire.poll_write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Called when hyper has written all that it had.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.borrow_mut().has_flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // The connection's task closes, and lingers.
    }
}
