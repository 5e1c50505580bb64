//! Many sockets with one registration at the event loop, so that a client that is idle costs the kernel's part of that alone.
//!
//! A socket of tokio's has a registration of its own, of 256 bytes, and a task that waits for it. Here the sockets are in a set
//! of the kernel's (epoll, kqueue), of which the event loop knows only the set. Whoever waits for that is told which of them have
//! news, and each [`Polled`] socket remembers what it was told until the kernel says otherwise.
//!
//! Runs in the event loop's thread; nothing here blocks.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Registry, Token};
use tokio::io::Interest as LoopInterest;
use tokio::io::unix::AsyncFd;

/// News that are taken from the kernel at a time.
const AT_ONCE: usize = 128;

/// The set.
pub struct Poller {
    registry: Registry,
    inner: RefCell<Inner>,
}

struct Inner {
    set: AsyncFd<mio::Poll>,
    events: Events,
}

/// What the kernel says of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    readable: bool,
    writable: bool,
    /// The client's side has ended, or the socket has failed: a read says which, again and again.
    ended: bool,
}

impl From<&Event> for Readiness {
    fn from(event: &Event) -> Self {
        let ended = event.is_read_closed() || event.is_error();
        Self {
            readable: event.is_readable() || ended,
            writable: event.is_writable() || event.is_write_closed() || event.is_error(),
            ended,
        }
    }
}

impl Poller {
    /// An empty set. To be called within the event loop.
    #[expect(unsafe_code, reason = "no safe call says that the set keeps its descriptor")]
    pub fn new() -> io::Result<Self> {
        let set = mio::Poll::new()?;
        let registry = set.registry().try_clone()?;
        // SAFETY: the set owns its descriptor, closes it when it is dropped and not before, and gives always the same.
        let set = unsafe { AsyncFd::register_with_interest(set, LoopInterest::READABLE)? };
        Ok(Self { registry, inner: RefCell::new(Inner { set, events: Events::with_capacity(AT_ONCE) }) })
    }

    /// From here on news of this socket are told by this number. The first are what it is now.
    pub fn add(&self, socket: &impl AsFd, number: u64) -> io::Result<()> {
        let token = Token(usize::try_from(number).map_err(io::Error::other)?);
        let fd = socket.as_fd().as_raw_fd();
        self.registry.register(&mut SourceFd(&fd), token, Interest::READABLE | Interest::WRITABLE)
    }

    /// From here on no more; a socket that is closed need not be removed.
    pub fn remove(&self, socket: &impl AsFd) -> io::Result<()> {
        self.registry.deregister(&mut SourceFd(&socket.as_fd().as_raw_fd()))
    }

    /// Appends news to `found`, by the sockets' numbers; ready when there were some. They may be of a socket that has gone.
    pub fn poll(&self, cx: &mut Context<'_>, found: &mut Vec<(u64, Readiness)>) -> Poll<io::Result<()>> {
        let mut inner = self.inner.borrow_mut();
        let Inner { set, events } = &mut *inner;
        loop {
            let mut guard = ready!(set.poll_read_ready_mut(cx))?;
            match guard.get_inner_mut().poll(events, Some(Duration::ZERO)) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            let before = found.len();
            found.extend(events.iter().map(|event| (event.token().0 as u64, event.into())));
            if found.len() - before < AT_ONCE {
                guard.clear_ready();
            }
            if found.len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// A socket in a set.
#[derive(Debug)]
pub struct Polled {
    pub(super) kind: Kind,
    ready: Cell<Readiness>,
}

#[derive(Debug)]
pub enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

macro_rules! either {
    ($self:expr, $socket:ident => $call:expr) => {
        match &$self.kind {
            Kind::Tcp($socket) => {
                let mut $socket = $socket;
                $call
            }
            Kind::Unix($socket) => {
                let mut $socket = $socket;
                $call
            }
        }
    };
}

impl Polled {
    /// One that has been added, and does not block.
    pub fn new(kind: Kind) -> Self {
        Self { kind, ready: Cell::default() }
    }

    /// The set has told this of it.
    pub fn note(&self, news: Readiness) {
        let ready = self.ready.get();
        self.ready.set(Readiness {
            readable: ready.readable || news.readable,
            writable: ready.writable || news.writable,
            ended: ready.ended || news.ended,
        });
    }

    /// Whether a read has something, as far as is known.
    pub fn is_readable(&self) -> bool {
        self.ready.get().readable
    }

    /// Whether a write has room, as far as is known.
    pub fn is_writable(&self) -> bool {
        self.ready.get().writable
    }

    /// Reads what is there. A read that does not fill the buffer has taken all of it: the kernel will say when there is more.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut ready = self.ready.get();
        if !ready.readable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        loop {
            let result = either!(self, s => s.read(buf));
            match &result {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready.readable = false,
                Ok(n) if *n < buf.len() => ready.readable = ready.ended,
                _ => {}
            }
            self.ready.set(ready);
            return result;
        }
    }

    /// Writes what the kernel takes.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.write(|| either!(self, s => s.write(buf)))
    }

    /// The same of several pieces.
    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write(|| either!(self, s => s.write_vectored(bufs)))
    }

    fn write(&self, write: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
        if !self.is_writable() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = write();
        if result.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock) {
            self.ready.set(Readiness { writable: false, ..self.ready.get() });
        }
        result
    }
}

impl AsFd for Polled {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Tcp(s) => s.as_fd(),
            Kind::Unix(s) => s.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// A socket in the set, and its other end, which blocks.
    fn pair(poller: &Poller, number: u64) -> (Polled, UnixStream) {
        let (socket, peer) = UnixStream::pair().expect("a pair of sockets");
        socket.set_nonblocking(true).expect("does not block");
        let polled = Polled::new(Kind::Unix(socket));
        poller.add(&polled, number).expect("is added");
        (polled, peer)
    }

    /// Whose news there are, which are told to them.
    async fn news(poller: &Poller, sockets: &[&Polled]) -> Vec<u64> {
        let mut found = Vec::new();
        poll_fn(|cx| poller.poll(cx, &mut found)).await.expect("is told");
        found.iter().for_each(|(number, news)| sockets[*number as usize].note(*news));
        found.into_iter().map(|(number, _)| number).collect()
    }

    #[tokio::test]
    async fn a_socket_is_what_the_set_has_told_of_it_until_a_call_finds_otherwise() {
        let poller = Poller::new().expect("a set");
        let (one, mut peer) = pair(&poller, 0);
        let (two, other) = pair(&poller, 1);
        let sockets = [&one, &two];
        while !(one.is_writable() && two.is_writable()) {
            news(&poller, &sockets).await;
        }
        let mut buffer = [0; 8];
        assert!(!one.is_readable());
        assert_eq!(one.try_read(&mut buffer).expect_err("has nothing").kind(), io::ErrorKind::WouldBlock);
        peer.write_all(b"12345678901").expect("is written");
        assert_eq!(news(&poller, &sockets).await, [0]);
        assert_eq!(one.try_read(&mut buffer).expect("is read"), 8);
        assert!(one.is_readable(), "there may be more");
        assert_eq!(one.try_read(&mut buffer).expect("is read"), 3);
        assert!(!one.is_readable(), "all of it was taken");
        while one.try_write(&[0; 4096]).is_ok() {}
        assert!(!one.is_writable() && two.is_writable());
        drop(other);
        assert_eq!(news(&poller, &sockets).await, [1]);
        for _ in 0..2 {
            assert_eq!(two.try_read(&mut buffer).expect("says so"), 0, "the end is told again and again");
        }
    }

    #[tokio::test]
    async fn whoever_is_removed_has_no_news() {
        let poller = Poller::new().expect("a set");
        let ((one, mut first), (two, mut second)) = (pair(&poller, 0), pair(&poller, 1));
        while !(one.is_writable() && two.is_writable()) {
            news(&poller, &[&one, &two]).await;
        }
        poller.remove(&one).expect("is removed");
        for peer in [&mut first, &mut second] {
            peer.write_all(b"1").expect("is written");
        }
        assert_eq!(news(&poller, &[&one, &two]).await, [1]);
    }
}
