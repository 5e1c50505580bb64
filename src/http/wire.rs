//! What hyper reads from and writes to (by the handle in `hyper_io.rs`): the client's socket, with Cowboy's checks in front.
//!
//! A request's head is given to hyper only when it is complete and [`HeadCheck`] has accepted it; until then its bytes
//! wait here. So refusals, limits and timeouts are ours, with Cowboy's answers, and hyper meets nothing that it would
//! answer itself. The body behind a head is counted, or followed chunk by chunk, and hyper gets no byte from beyond its end:
//! the next head is checked as well.
//!
//! While a request is being answered, and its response written, the next head is held back. What follows a request that
//! becomes a WebSocket therefore stays here, untouched by HTTP, for [`Wire::into_rest`].

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::chunks::{ChunkedBody, Malformed};
use super::head::{BodyLength, HeadCheck, HeadLimits, Known, Refusal, Verdict};
use crate::port::message::CHUNK;
use crate::transport::line::frames::PREFACE;
use crate::transport::output::Output;
use crate::transport::{Socket, scratch};

/// What hyper writes by itself when a body is first asked for. It never leaves: the application says 100 when it wants to.
const HYPERS_CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

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
    /// Hyper has begun to write its response.
    begun: bool,
    /// Hyper has nothing in its buffers that it has not written.
    clean: bool,
    /// Bytes of a response that hyper was given since it last had written all.
    handed: usize,
    /// Waits until hyper has.
    writer: Option<Waker>,
    /// Bytes of ours to be written before more of hyper's: interim responses, which hyper does not know.
    injected: Vec<u8>,
    output: Output,
    refusal: Option<Refusal>,
    /// The preface of HTTP/2 may come in the place of the first head.
    http2: bool,
    /// It has come.
    preface: bool,
    /// When bytes were last received.
    received: Instant,
    /// When the head that we wait for could have begun.
    waiting_since: Instant,
    reader: Option<Waker>,
    /// The client has ended its side.
    is_at_end: bool,
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
    Chunked(ChunkedBody),
}

impl Wire {
    pub fn new(socket: Socket, unread: Vec<u8>, limits: Rc<HeadLimits>, http2: bool) -> Self {
        let now = Instant::now();
        Self {
            socket,
            limits,
            unread,
            framing: Framing::Head(HeadCheck::default()),
            target: None,
            busy: false,
            begun: false,
            clean: true,
            handed: 0,
            writer: None,
            injected: Vec::new(),
            output: Output::default(),
            refusal: None,
            http2,
            preface: false,
            received: now,
            waiting_since: now,
            reader: None,
            is_at_end: false,
        }
    }

    /// The response has been given to hyper, or there will be none. Says whether the next request can be waited for:
    /// not behind a body of which more than `skip` bytes, or an unknown number, are still to come.
    pub fn end_exchange(&mut self, skip: u64) -> bool {
        self.busy = false;
        self.wait();
        match self.framing {
            Framing::Chunked(_) => false,
            Framing::Body(left) => left <= skip,
            _ => true,
        }
    }

    /// One of the things that the next head has to wait for is over.
    fn wait(&mut self) {
        if self.busy {
            return;
        }
        self.waiting_since = Instant::now();
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Path and query of the request that hyper has parsed, where it was not given them.
    pub fn take_target(&mut self) -> Option<Box<[u8]>> {
        self.target.take()
    }

    /// How to refuse what the client sent instead of a request.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal.filter(|_| !self.busy)
    }

    /// Whether the client goes on in HTTP/2.
    pub fn has_preface(&self) -> bool {
        self.preface
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

    /// Whether nothing is to be done but to wait for the next request: the last one has been read, and its response
    /// written.
    pub fn is_idle(&self) -> bool {
        !self.busy && self.clean && matches!(self.framing, Framing::Head(_))
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
    pub fn has_flushed(&mut self) {
        if !std::mem::replace(&mut self.clean, true) {
            self.wait();
        }
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

    /// Hyper writes.
    pub fn poll_hypers_write(&mut self, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if !self.begun && bufs.first().is_some_and(|first| first.starts_with(HYPERS_CONTINUE)) {
            return Poll::Ready(Ok(HYPERS_CONTINUE.len()));
        }
        self.begun = true;
        self.clean = false;
        ready!(self.poll_inject(cx));
        self.poll_write(cx, bufs)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.output.poll_write(&mut self.socket, cx, bufs)
    }

    /// Ready when the kernel has all that was written.
    pub fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.output.poll_flush(&mut self.socket, cx)
    }

    /// Since when the client has taken nothing of what there is to write.
    pub fn blocked_since(&self) -> Option<Instant> {
        self.output.blocked_since()
    }

    /// When to ask whether the client has taken nothing for so long.
    pub fn send_deadline(&self, timeout: Option<Duration>) -> Option<Instant> {
        self.output.deadline(timeout)
    }

    /// Whether the client has taken nothing for so long.
    pub fn is_silent(&mut self, timeout: Option<Duration>, now: Instant) -> bool {
        self.output.is_silent(&self.socket, timeout, now)
    }

    /// When bytes last came from the client.
    pub fn last_received(&self) -> Instant {
        self.received
    }

    /// When bytes last went to the client.
    pub fn last_sent(&self) -> Instant {
        self.output.last_written()
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

    /// The socket and the bytes behind the last request, for the protocol that follows HTTP.
    pub fn into_rest(self) -> (Socket, Vec<u8>) {
        (self.socket, self.unread)
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
        self.is_at_end = n == 0;
        Poll::Ready(Ok(n > 0))
    }

    /// Whether a read has found the client's end.
    pub fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// Ready when the client has ended its side; what it sends meanwhile is nobody's. For when hyper reads no more.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Ok(1..) = ready!(scratch::with(|buffer| self.socket.poll_read(cx, buffer))) {}
        Poll::Ready(())
    }

    /// Hyper reads: it gets bytes of the head, or of the body, that are to be read next. No byte, but ready, is the
    /// client's end.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, mut buf: hyper::rt::ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if !self.unread.is_empty() {
                if let Framing::Head(check) = &mut self.framing {
                    if self.busy || !self.clean {
                        self.reader = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                    let begun = self.unread.len().min(PREFACE.len());
                    if self.http2 && self.unread[..begun] == PREFACE[..begun] {
                        if begun == PREFACE.len() {
                            self.preface = true;
                            return Poll::Pending; // As of a refusal.
                        }
                        if !ready!(self.poll_fill(cx))? {
                            return Poll::Ready(Ok(()));
                        }
                        continue;
                    }
                    match check.check(&self.unread, &self.limits) {
                        Verdict::Complete { body, .. } => {
                            let (target, left) = check.hide_target(&mut self.unread);
                            self.target = target;
                            self.http2 = false;
                            self.framing = Framing::Accepted { left, body };
                        }
                        Verdict::Refused(refusal) => {
                            self.refusal = Some(refusal);
                            return Poll::Pending; // The connection's task, which polls us, looks at `refusal` next.
                        }
                        Verdict::Partial => {}
                    }
                }
                if self.give(&mut buf)? {
                    return Poll::Ready(Ok(()));
                }
            }
            if (self.unread.is_empty() || matches!(self.framing, Framing::Head(_))) && !ready!(self.poll_fill(cx))? {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Gives hyper what it may have of `unread`. Says whether that is anything.
    fn give(&mut self, buf: &mut hyper::rt::ReadBufCursor<'_>) -> io::Result<bool> {
        let room = buf.remaining();
        let most = room.min(self.unread.len());
        let mut whole = |most: usize| {
            buf.put_slice(&self.unread[..most]);
            most
        };
        let n = match &mut self.framing {
            Framing::Head(_) => 0,
            Framing::Accepted { left, .. } => {
                let n = whole(most.min(*left));
                *left -= n;
                n
            }
            Framing::Body(left) => {
                let n = whole(most.min(CHUNK).min(usize::try_from(*left).unwrap_or(usize::MAX)));
                *left -= n as u64;
                n
            }
            Framing::Chunked(body) => {
                let bytes = &self.unread[..most.min(CHUNK)];
                let taken = body.take(bytes, |piece| buf.put_slice(piece));
                taken.map_err(|Malformed| io::Error::from(io::ErrorKind::InvalidData))?
            }
        };
        self.unread.drain(..n);
        match self.framing {
            Framing::Accepted { left: 0, body } => {
                self.busy = true; // Now, not when hyper passes it on: it may read once more before.
                self.begun = false;
                self.framing = match body {
                    BodyLength::Exactly(0) => Framing::Head(HeadCheck::default()),
                    BodyLength::Exactly(length) => Framing::Body(length),
                    BodyLength::Chunked => Framing::Chunked(ChunkedBody::default()),
                };
            }
            Framing::Body(0) => self.end_body(),
            Framing::Chunked(body) if body.is_complete() => self.end_body(),
            _ => {}
        }
        Ok(n > 0 && buf.remaining() < room)
    }

    fn end_body(&mut self) {
        self.framing = Framing::Head(HeadCheck::default());
        self.wait();
    }
}
