//! What carries a WebSocket: a connection of its own, or a stream of one that speaks HTTP/2. One type for either.
//!
//! Runs in the event loop's thread; nothing here blocks.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use super::plain::{Endpoint, Queue};
use super::poller::{Poller, Readiness};
use super::socket::Socket;
use super::{line, scratch, within};

/// One client's bytes.
pub enum Channel {
    Socket(Socket),
    Stream(Box<line::Stream>),
}

macro_rules! either {
    ($self:expr, $channel:ident => $call:expr) => {
        match $self {
            Channel::Socket($channel) => $call,
            Channel::Stream($channel) => $call,
        }
    };
}

impl Channel {
    /// As [`Socket::polled_by`]; never for a stream, which its connection wakes.
    pub fn polled_by(&mut self, poller: &Poller, number: u64) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket.polled_by(poller, number),
            Self::Stream(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// As [`Socket::on_its_own`].
    pub fn on_its_own(&mut self, poller: &Poller) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket.on_its_own(poller),
            Self::Stream(_) => Ok(()),
        }
    }

    /// Whether a [`Poller`] watches it.
    pub fn is_polled(&self) -> bool {
        matches!(self, Self::Socket(socket) if socket.is_polled())
    }

    /// As [`Socket::note`].
    pub fn note(&self, news: Readiness) {
        if let Self::Socket(socket) = self {
            socket.note(news);
        }
    }

    /// As [`Socket::poll_read`].
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        either!(self, c => c.poll_read(cx, buf))
    }

    /// As [`Socket::is_readable`].
    pub fn is_readable(&self) -> bool {
        matches!(self, Self::Socket(socket) if socket.is_readable())
    }

    /// While the client is not read: takes what has come to where it costs less, if it lies elsewhere. Ready when the client
    /// is known to have gone.
    pub fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        match self {
            Self::Socket(_) => Poll::Pending,
            Self::Stream(stream) => stream.poll_hold(cx),
        }
    }

    /// As [`Socket::has_news`]; of a stream, whether its connection has.
    pub fn has_news(&self) -> bool {
        either!(self, c => c.has_news())
    }

    /// Ready when a write would take something.
    pub fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, c => c.poll_write_ready(cx))
    }

    /// As [`Socket::try_write_slices`].
    pub fn try_write_slices(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, c => c.try_write_slices(bufs))
    }

    /// As [`Socket::pending`].
    pub fn pending(&self) -> usize {
        match self {
            Self::Socket(socket) => socket.pending(),
            Self::Stream(_) => 0, // It counts for its connection.
        }
    }

    /// As [`Socket::endpoints`].
    pub fn endpoints(&self) -> io::Result<(Endpoint, Endpoint)> {
        either!(self, c => c.endpoints())
    }

    /// As [`Socket::unsent`].
    pub fn unsent(&self) -> Option<u64> {
        either!(self, c => c.unsent())
    }

    /// How far the kernel has come with what it was given, by way of any stream of the connection. `None` where it does not say.
    pub fn queue(&self) -> Option<Queue> {
        match self {
            Self::Socket(socket) => socket.queue(),
            Self::Stream(stream) => stream.queue(),
        }
    }

    /// As [`Socket::give_up_after`]; a stream's connection may have others, which answer.
    pub fn give_up_after(&self, timeout: Duration) {
        if let Self::Socket(socket) = self {
            socket.give_up_after(timeout);
        }
    }

    /// As [`Socket::cipher`]; of a stream it is not known here.
    pub fn cipher(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Socket(socket) => socket.cipher(),
            Self::Stream(_) => None,
        }
    }

    /// As [`Socket::try_flush`].
    pub fn try_flush(&mut self) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket.try_flush(),
            Self::Stream(_) => Ok(()),
        }
    }

    /// Tells the client at once that no more will come, as far as it takes that; the rest is [`Channel::linger`]'s.
    pub fn shut_down(&mut self) {
        let _ = match self {
            Self::Socket(socket) => socket.poll_shutdown(&mut Context::from_waker(Waker::noop())).is_ready(),
            Self::Stream(stream) => stream.shutdown_write().is_ok(),
        };
    }

    /// As [`Socket::linger`].
    pub async fn linger(self, timeout: Option<Duration>) {
        let mut stream = match self {
            Self::Socket(socket) => return socket.linger(timeout).await,
            Self::Stream(stream) => stream,
        };
        let drained = poll_fn(|cx| {
            if stream.shutdown_write().is_ok() {
                while let Ok(1..) = ready!(scratch::with(|buffer| stream.poll_read(cx, buffer))) {}
            }
            Poll::Ready(())
        });
        within(timeout, drained).await;
    }
}
