//! A client's connection: TCP or a Unix socket, as it is or with TLS on it. One type for all.
//!
//! Runs in the event loop's thread; nothing here blocks.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::plain::{Endpoint, Plain, Queue};
use super::poller::{Poller, Readiness};
use super::{scratch, tls, within};

/// The event loop's buffer is one for [`Socket::poll_read`].
const _: () = assert!(scratch::SIZE >= tls::LEAST_BUFFER);

/// One client's connection.
pub enum Socket {
    Plain(Plain),
    Tls(Box<tls::Stream>),
}

macro_rules! either {
    ($self:expr, $socket:ident => $call:expr) => {
        match $self {
            Socket::Plain($socket) => $call,
            Socket::Tls($socket) => $call,
        }
    };
}

impl Socket {
    /// From here on `poller` watches it, under this number, and no task is woken for it. Where that fails nothing has changed.
    pub fn polled_by(&mut self, poller: &Poller, number: u64) -> io::Result<()> {
        either!(self, s => s.polled_by(poller, number))
    }

    /// From here on the event loop watches it for the task that holds it.
    pub fn on_its_own(&mut self, poller: &Poller) -> io::Result<()> {
        either!(self, s => s.on_its_own(poller))
    }

    /// Whether a [`Poller`] watches it.
    pub fn is_polled(&self) -> bool {
        matches!(self.plain(), Plain::Polled(_))
    }

    /// The poller that watches it has told this.
    pub fn note(&self, news: Readiness) {
        if let Plain::Polled(polled) = self.plain() {
            polled.note(news);
        }
    }

    /// Reads what is there; 0 bytes are the client's end. A read that does not fill the buffer has taken all there was:
    /// the next one waits for the kernel to say so, and costs no system call. The buffer has [`tls::LEAST_BUFFER`] bytes
    /// at least, and its content behind what was read is lost.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        either!(self, s => s.poll_read(cx, buf))
    }

    /// Whether the kernel has bytes, or the client's end, for a read. The event loop may not know it yet: when it has
    /// stood still, it learns of some sockets and of the time before it learns of all. It may also never know: a read stops
    /// at urgent data, and nobody says that there is more. So a client is kept for this once, not again and again. A
    /// system call: for the moment before a client is given up for its silence.
    pub fn has_news(&self) -> bool {
        self.plain().has_news()
    }

    /// Whether it has news that the event loop has still to tell of: it may have come in time.
    pub fn is_untold(&self, cx: &mut Context<'_>) -> bool {
        self.poll_read_ready(cx).is_pending() && self.has_news()
    }

    /// Whether one that a [`Poller`] watches has something to read, as far as is known. It wakes nobody: who does not read it all asks.
    pub fn is_readable(&self) -> bool {
        matches!(self.plain(), Plain::Polled(polled) if polled.is_readable())
    }

    /// Ready when the event loop knows of something to read.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.plain().poll_read_ready(cx)
    }

    /// Ready when a write would take something.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.plain().poll_write_ready(cx)
    }

    /// Writes what the socket takes, or fails with `WouldBlock`. With TLS 0 bytes are a success too: some of what had been
    /// taken before has gone. What has been taken and has not gone is [`Socket::pending`].
    pub fn try_write(&mut self, buf: &[u8]) -> io::Result<usize> {
        either!(self, s => s.try_write(buf))
    }

    /// The same of one piece or several, in the cheaper system call of the two.
    pub fn try_write_slices(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match bufs {
            [buf] => self.try_write(buf),
            bufs => self.try_write_vectored(bufs),
        }
    }

    /// As [`Socket::try_write`], of several pieces in one system call.
    pub fn try_write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, s => s.try_write_vectored(bufs))
    }

    /// Bytes that were taken and that the kernel has not: of TLS, a chunk and its records at most.
    pub fn pending(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(s) => s.pending(),
        }
    }

    /// Bytes that the kernel has and the client's side has not acknowledged; of a Unix socket what they occupy. `None` where
    /// the kernel does not say. A system call.
    pub fn unsent(&self) -> Option<u64> {
        self.plain().unsent()
    }

    /// As [`Plain::queue`].
    pub fn queue(&self) -> Option<Queue> {
        self.plain().queue()
    }

    /// Has the kernel give up a client that acknowledges nothing for so long (TCP_USER_TIMEOUT), for one that does not answer: its
    /// close frame and FIN would otherwise be sent again for minutes, by a socket that nobody holds any more. Not for
    /// others: a client that is slow to read acknowledges nothing either, and has its `send_timeout`.
    pub fn give_up_after(&self, timeout: Duration) {
        self.plain().give_up_after(timeout);
    }

    /// Has the kernel take some of what is pending, or fails with `WouldBlock`.
    pub fn try_flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(s) => s.try_flush(),
        }
    }

    /// Ready when nothing is pending and the client has been told that no more will come (close_notify, FIN).
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(s) => Poll::Ready(s.shutdown_write()),
            Self::Tls(s) => s.poll_shutdown(cx),
        }
    }

    /// Says that no more will come, and reads on for a while, so that the client gets what was sent instead of a reset.
    /// `None` waits until the client has closed its side.
    pub async fn linger(mut self, timeout: Option<Duration>) {
        let mut told = false;
        let drained = std::future::poll_fn(|cx| self.poll_linger(&mut told, cx));
        within(timeout, drained).await;
    }

    /// A step of that; `told` is false at first.
    pub fn poll_linger(&mut self, told: &mut bool, cx: &mut Context<'_>) -> Poll<()> {
        if !*told {
            match self.poll_shutdown(cx) {
                Poll::Ready(Ok(())) => *told = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        while let Ok(1..) = ready!(scratch::with(|buffer| self.poll_discard(cx, buffer))) {}
        Poll::Ready(())
    }

    /// Reads what nobody wants to know, so that it is not decrypted either.
    fn poll_discard(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(s) => s.poll_read(cx, buf),
            Self::Tls(s) => s.poll_discard(cx, buf),
        }
    }

    /// The client's own certificate, in DER.
    pub fn certificate(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(s) => s.certificate(),
        }
    }

    /// The protocol that ALPN has chosen.
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(s) => s.alpn(),
        }
    }

    /// The client's end and ours.
    pub fn endpoints(&self) -> io::Result<(Endpoint, Endpoint)> {
        self.plain().endpoints()
    }

    /// With TLS, its version and the cipher suite, by the names of their RFCs.
    pub fn cipher(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(s) => s.cipher(),
        }
    }

    /// Whether what is sent is encrypted.
    pub fn is_secure(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    fn plain(&self) -> &Plain {
        match self {
            Self::Plain(s) => s,
            Self::Tls(s) => s.plain(),
        }
    }
}
