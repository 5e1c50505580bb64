//! A client's connection that many streams share: HTTP/2, whose frames are h2's.
//!
//! ```text
//!  stream.rs   one end for each stream ◄─► h2 ◄─► Line (its handle in http2/io.rs) ◄─► the client's socket
//!                                                          ├ frames.rs: what a client may ask for, and how often
//!                                                          └ handed.rs: what h2 has of each stream
//! ```
//!
//! A [`Line`] knows what the streams have given to h2 and the client's socket has not taken: no more than [`MOST_HANDED`], and a
//! piece, whatever the client's windows allow.

pub mod frames;
mod handed;
mod stream;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::Reason;
use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::output::Output;
use super::plain::{Endpoint, Queue};
use super::socket::Socket;
use super::{scratch, within};
use crate::metrics::{Limit, reached};
use frames::{Limits, Watch};
use handed::Handed;
pub use handed::MOST_HANDED;
pub use stream::{Sender, Stream};

/// One client's connection, shared by h2, the connection's task and its streams.
pub struct Line {
    socket: RefCell<Socket>,
    secure: bool,
    state: RefCell<State>,
    /// What h2 has of the streams.
    handed: RefCell<Handed>,
    /// Why its streams fail, where h2 does not know.
    failure: Cell<Option<io::ErrorKind>>,
    /// The last stream that h2 has shown.
    shown: Cell<u32>,
    /// Later ones that have been answered: the one answer that h2 gives by itself is 431.
    unshown: RefCell<Vec<u32>>,
}

struct State {
    /// Received and not given to h2: what one read brought at most.
    unread: Vec<u8>,
    /// Of which so many bytes have been given to it.
    given: usize,
    /// Streams that the client has cancelled in what h2 has been given, or has yet to come to.
    cancelled: Vec<u32>,
    output: Output,
    watch: Watch,
    /// The client has done too much of something.
    violation: bool,
    /// When bytes were last received.
    received: Instant,
}

impl State {
    /// The client has done too much of something: the first time it is counted.
    fn violated(&mut self, limit: Limit) {
        if !std::mem::replace(&mut self.violation, true) {
            reached(limit);
        }
    }
}

impl Line {
    /// A connection of which so much has been received, the preface at its front.
    pub fn new(socket: Socket, received: Vec<u8>, limits: &Limits) -> Self {
        let now = Instant::now();
        let mut watch = Watch::new(limits, now);
        let mut cancelled = Vec::new();
        let watched = watch.received(&received, now, |stream| cancelled.push(stream));
        let output = Output::default();
        let mut state = State { unread: received, given: 0, cancelled, output, watch, violation: false, received: now };
        if let Err(limit) = watched {
            state.violated(limit);
        }
        Self {
            secure: socket.is_secure(),
            socket: RefCell::new(socket),
            state: RefCell::new(state),
            handed: RefCell::default(),
            failure: Cell::new(None),
            shown: Cell::new(0),
            unshown: RefCell::default(),
        }
    }

    /// h2 reads. No byte, but ready, is the client's end. Behind what is a violation nothing is read.
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.state.borrow_mut();
        if state.violation {
            return Poll::Pending; // The connection's task, which polls us, looks at it next.
        }
        if state.given == state.unread.len() {
            state.unread.clear();
            state.given = 0;
            // h2 asks for more when it has come to the end of what it was given: from here on it takes nothing of them.
            std::mem::take(&mut state.cancelled).into_iter().for_each(|stream| self.discard(stream));
            return scratch::with(|buffer| {
                // Records of TLS need all of the buffer to be decrypted in.
                let most = if self.secure { buffer.len() } else { buf.remaining().min(buffer.len()) };
                let n = ready!(self.socket.borrow_mut().poll_read(cx, &mut buffer[..most]))?;
                let direct = n.min(buf.remaining());
                let now = Instant::now();
                let State { watch, unread, cancelled, .. } = state;
                let watched = watch.received(&buffer[..n], now, |stream| cancelled.push(stream));
                if n > 0 {
                    state.received = now;
                }
                if let Err(limit) = watched {
                    state.violated(limit);
                    return Poll::Pending;
                }
                buf.put_slice(&buffer[..direct]);
                unread.extend_from_slice(&buffer[direct..n]);
                Poll::Ready(Ok(()))
            });
        }
        let n = buf.remaining().min(state.unread.len() - state.given);
        buf.put_slice(&state.unread[state.given..state.given + n]);
        state.given += n;
        if state.given == state.unread.len() {
            state.unread = Vec::new(); // The client may be idle from here on.
            state.given = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// h2 writes.
    pub fn poll_write(&self, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let state = &mut *self.state.borrow_mut();
        let written = ready!(state.output.poll_write(&mut self.socket.borrow_mut(), cx, bufs))?;
        let handed = &mut *self.handed.borrow_mut();
        let now = Instant::now();
        let mut left = written;
        for buf in bufs {
            let bytes = &buf[..left.min(buf.len())];
            left -= bytes.len();
            let watched = state.watch.sent(bytes, now, |frame| {
                handed.sent(frame);
                if frame.kind == frames::RST_STREAM && frame.code == u32::from(Reason::REFUSED_STREAM) {
                    reached(Limit::MaxConcurrentStreams);
                }
                if frame.kind == frames::HEADERS && frame.stream > self.shown.get() {
                    self.unshown.borrow_mut().push(frame.stream);
                }
            });
            if let Err(limit) = watched {
                state.violated(limit);
            }
        }
        Poll::Ready(Ok(written))
    }

    /// Ready when the kernel has all that h2 has written.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state.borrow_mut().output.poll_flush(&mut self.socket.borrow_mut(), cx)
    }

    /// h2 has shown this stream, as it does in their order.
    pub fn show(&self, stream: u32) {
        self.shown.set(stream);
    }

    /// The streams that h2 has answered with 431 since the last call: their header fields have too many bytes. One is not among them
    /// where the client has not taken that answer before h2 shows the next one.
    pub fn take_oversize(&self) -> Vec<u32> {
        self.unshown.take()
    }

    /// Whether the client has done too much of something, so that its connection is to be closed (`ENHANCE_YOUR_CALM`).
    pub fn is_violated(&self) -> bool {
        self.state.borrow().violation
    }

    /// Whether the client has sent its settings, and taken ours.
    pub fn settled(&self) -> (bool, bool) {
        let state = self.state.borrow();
        (state.watch.settings, state.watch.acknowledged)
    }

    /// When bytes last came from the client, and went to it.
    pub fn last_bytes(&self) -> (Instant, Instant) {
        let state = self.state.borrow();
        (state.received, state.output.last_written())
    }

    /// The client is not late: nobody has read what it sent.
    pub fn excuse(&self) {
        self.state.borrow_mut().received = Instant::now();
    }

    /// As [`Socket::is_untold`].
    pub fn is_untold(&self, cx: &mut Context<'_>) -> bool {
        self.socket.borrow().is_untold(cx)
    }

    /// Since when the client has taken nothing of what there is to write.
    pub fn blocked_since(&self) -> Option<Instant> {
        self.state.borrow().output.blocked_since()
    }

    /// When to ask whether the client has taken nothing for so long.
    pub fn send_deadline(&self, timeout: Option<Duration>) -> Option<Instant> {
        self.state.borrow().output.deadline(timeout)
    }

    /// Whether the client has taken nothing for so long.
    pub fn is_silent(&self, timeout: Option<Duration>, now: Instant) -> bool {
        self.state.borrow_mut().output.is_silent(&self.socket.borrow(), timeout, now)
    }

    /// The connection is about to be given up, and its streams with it.
    pub fn fail(&self, kind: io::ErrorKind) {
        self.failure.set(Some(kind));
    }

    /// Bytes that wait for the client: in h2, and in TLS.
    pub fn waiting(&self) -> usize {
        self.handed.borrow().sum() + self.socket.borrow().pending()
    }

    /// As [`Socket::linger`], when h2 has gone.
    pub async fn linger(&self, timeout: Option<Duration>) {
        let mut told = false;
        let drained = poll_fn(|cx| self.socket.borrow_mut().poll_linger(&mut told, cx));
        within(timeout, drained).await;
    }

    fn has_room(&self) -> bool {
        self.handed.borrow().has_room()
    }

    /// Nothing more of this stream will be sent.
    fn discard(&self, stream: u32) {
        self.handed.borrow_mut().forget(stream);
    }

    fn has_news(&self) -> bool {
        self.socket.borrow().has_news()
    }

    /// As [`Socket::endpoints`].
    fn endpoints(&self) -> io::Result<(Endpoint, Endpoint)> {
        self.socket.borrow().endpoints()
    }

    /// As [`super::Channel::queue`].
    fn queue(&self) -> Option<Queue> {
        self.socket.borrow().queue()
    }

    /// What the client has not taken where [`Handed::poll_room`] is what a stream waits for.
    fn unsent(&self) -> Option<u64> {
        if self.has_room() { Some(0) } else { self.socket.borrow().unsent() }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    use super::super::plain::Plain;
    use super::frames::{PREFACE, Rate};
    use super::*;

    const PLENTY: Rate = Rate { count: u32::MAX, period: None };
    const LIMITS: Limits = Limits { received: PLENTY, cancelled: PLENTY, reset: PLENTY, header_block: 100 };

    /// What a client sends; the latter of stream 1.
    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const RESET: [u8; 13] = [0, 0, 4, frames::RST_STREAM, 0, 0, 0, 0, 1, 0, 0, 0, 8];

    /// h2 reads, and takes at most so many bytes. Says how many, or that there are none.
    async fn read(line: &Line, most: usize) -> Option<usize> {
        let mut buffer = vec![0; most];
        let mut buffer = ReadBuf::new(&mut buffer);
        poll_fn(|cx| match line.poll_read(cx, &mut buffer) {
            Poll::Ready(result) => Poll::Ready(result.map(|()| Some(buffer.filled().len()))),
            Poll::Pending => Poll::Ready(Ok(None)),
        })
        .await
        .expect("is read")
    }

    /// It learns of the reset by the bytes that it has read, when it comes to them; until then it takes more.
    #[tokio::test]
    async fn what_a_stream_hands_over_before_h2_knows_of_its_reset_is_not_counted_for_ever() {
        let (mut client, ours) = UnixStream::pair().expect("a pair");
        let line = Line::new(Socket::Plain(Plain::Unix(Box::new(ours))), PREFACE.to_vec(), &LIMITS);
        assert_eq!(read(&line, 100).await, Some(PREFACE.len()));
        line.handed.borrow_mut().add(1, 1000);
        client.write_all(&[&PING[..], &RESET].concat()).await.expect("is written");
        while read(&line, 20).await != Some(20) {
            tokio::task::yield_now().await;
        }
        line.handed.borrow_mut().add(1, 10);
        assert_eq!(read(&line, 20).await, Some(10));
        line.handed.borrow_mut().add(1, 1);
        assert_eq!(line.waiting(), 1011, "h2 has them");
        assert_eq!(read(&line, 20).await, None);
        assert_eq!(line.waiting(), 0, "h2 has come to the reset");
    }
}
