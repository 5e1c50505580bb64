//! A client's socket as the kernel has it: TCP or Unix, one type for either.
//!
//! Runs in the event loop's thread; nothing here blocks.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::poller::{Kind, Polled, Poller};
use crate::metrics::count;

/// One client's socket, without TLS. Boxed where it has tokio's handles: WebSockets, which are the many, have none.
#[derive(Debug)]
pub enum Plain {
    Tcp(Box<TcpStream>),
    Unix(Box<UnixStream>),
    /// One of either kind that a [`Poller`] watches: it wakes nobody, whoever waits for the poller knows its number.
    Polled(Polled),
}

/// One end of a connection, as it appears in Cowboy's `peer` and `sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `{Ip, Port}`
    Ip(SocketAddr),
    /// `{local, Path}`; a client's path is empty.
    Local(PathBuf),
}

impl Endpoint {
    /// The IP address of one that has it.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(addr) => Some(addr.ip()),
            Self::Local(_) => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Local(path) if path.as_os_str().is_empty() => f.write_str("a Unix socket"),
            Self::Local(path) => path.display().fmt(f),
        }
    }
}

/// How far the kernel has come with the bytes that it was given for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// The client's side has acknowledged so many of all.
    pub acknowledged: u64,
    /// And so many behind them not.
    pub unsent: u64,
}

macro_rules! either {
    ($self:expr, $socket:ident => $call:expr, $polled:ident => $else:expr) => {
        match $self {
            Plain::Tcp($socket) => $call,
            Plain::Unix($socket) => $call,
            Plain::Polled($polled) => $else,
        }
    };
    ($self:expr, $socket:ident => $call:expr) => {
        either!($self, $socket => $call, $socket => $call)
    };
}

/// What is ready, where it is known that it is.
fn known(is_ready: bool) -> Poll<io::Result<()>> {
    if is_ready { Poll::Ready(Ok(())) } else { Poll::Pending }
}

impl Plain {
    /// Reads what is there; 0 bytes are the client's end. A read that does not fill the buffer has taken all there was:
    /// the next one waits for the kernel to say so, and costs no system call.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut filled = ReadBuf::new(buf);
        let result = either!(
            self,
            s => Pin::new(s).poll_read(cx, &mut filled).map_ok(|()| filled.filled().len()),
            s => match s.try_read(filled.initialize_unfilled()) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                result => Poll::Ready(result),
            }
        );
        result.map_ok(|n| {
            count(|metrics| metrics.socket_bytes_received.add(n as u64));
            n
        })
    }

    /// Whether the kernel has bytes, or the client's end, for a read. The event loop may not know it yet: when it has
    /// stood still, it learns of some sockets and of the time before it learns of all. It may also never know: a read stops
    /// at urgent data, and nobody says that there is more. So a client is kept for this once, not again and again. A
    /// system call: for the moment before a client is given up for its silence.
    pub fn has_news(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        !matches!(SockRef::from(self).peek(&mut byte), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }

    /// Ready when the event loop knows of something to read.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, s => s.poll_read_ready(cx), s => known(s.is_readable()))
    }

    /// Ready when a write would take something.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, s => s.poll_write_ready(cx), s => known(s.is_writable()))
    }

    /// Writes what the kernel takes, or fails with `WouldBlock`.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        either!(self, s => s.try_write(buf)).inspect(sent)
    }

    /// As [`Plain::try_write`], of several pieces in one system call.
    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, s => s.try_write_vectored(bufs)).inspect(sent)
    }

    /// Bytes that have been written and that the client's side has not acknowledged; of a Unix socket what they occupy. `None`
    /// where the kernel does not say. A system call.
    #[expect(unsafe_code, reason = "no safe crate has this request")]
    pub fn unsent(&self) -> Option<u64> {
        use rustix::ioctl::{Getter, Opcode, ioctl};
        // SAFETY: this request writes one `int` to the address that it is given, and does nothing else (tcp(7), unix(7):
        // SIOCOUTQ, which is TIOCOUTQ).
        let unsent = unsafe { ioctl(self, Getter::<{ libc::TIOCOUTQ as Opcode }, libc::c_int>::new()) };
        unsent.ok()?.try_into().ok()
    }

    /// How far the kernel has come. `None` where it does not say. System calls.
    pub fn queue(&self) -> Option<Queue> {
        // In this order: what is acknowledged between the two calls is missing in the sum, never too much in it.
        let acknowledged = self.acknowledged()?;
        Some(Queue { acknowledged, unsent: self.unsent()? })
    }

    /// Bytes that the client's side has acknowledged so far. `None` where the kernel does not say: only Linux does, of TCP. A system
    /// call.
    #[cfg_attr(target_os = "linux", expect(unsafe_code, reason = "no safe crate has this option"))]
    fn acknowledged(&self) -> Option<u64> {
        #[cfg(target_os = "linux")]
        {
            use std::os::fd::AsRawFd;
            /// Where `tcpi_bytes_acked` ends in the kernel's structure (linux/tcp.h), of which it writes as much as it is asked for.
            const END: usize = 128;
            let mut info = [0; END];
            let mut length = END as libc::socklen_t;
            // SAFETY: the call writes `length` bytes at most to `info`, which has as many, and to `length`; both live until it returns.
            let failed = unsafe {
                let (info, length) = (info.as_mut_ptr().cast(), &raw mut length);
                libc::getsockopt(self.as_fd().as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info, length) != 0
            };
            (!failed && length as usize == END)
                .then(|| info.last_chunk().map(|bytes| u64::from_ne_bytes(*bytes)))
                .flatten()
        }
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// Has the kernel give up a client that acknowledges nothing for so long (TCP_USER_TIMEOUT), where it can.
    pub fn give_up_after(&self, timeout: Duration) {
        #[cfg(target_os = "linux")]
        if let Self::Tcp(_) | Self::Polled(_) = self {
            let _ = SockRef::from(self).set_tcp_user_timeout(Some(timeout)); // Without it that takes the kernel longer.
        }
        #[cfg(not(target_os = "linux"))]
        let _ = timeout;
    }

    /// Tells the client that no more bytes will come (FIN).
    pub fn shutdown_write(&self) -> io::Result<()> {
        SockRef::from(self).shutdown(std::net::Shutdown::Write)
    }

    /// The client's end and ours.
    pub fn endpoints(&self) -> io::Result<(Endpoint, Endpoint)> {
        fn endpoint(addr: &socket2::SockAddr) -> Endpoint {
            match addr.as_socket() {
                Some(addr) => Endpoint::Ip(addr),
                None => Endpoint::Local(addr.as_pathname().unwrap_or(Path::new("")).to_owned()),
            }
        }
        let socket = SockRef::from(self);
        Ok((endpoint(&socket.peer_addr()?), endpoint(&socket.local_addr()?)))
    }

    /// From here on `poller` watches it, under this number, and no task is woken for it. Where that fails nothing has changed.
    pub fn polled_by(&mut self, poller: &Poller, number: u64) -> io::Result<()> {
        let polled = Polled::new(self.handle()?);
        poller.add(&polled, number)?;
        *self = Self::Polled(polled);
        Ok(())
    }

    /// From here on the event loop watches it for the task that holds it.
    pub fn on_its_own(&mut self, poller: &Poller) -> io::Result<()> {
        poller.remove(self)?;
        *self = match self.handle()? {
            Kind::Tcp(s) => Self::Tcp(Box::new(TcpStream::from_std(s)?)),
            Kind::Unix(s) => Self::Unix(Box::new(UnixStream::from_std(s)?)),
        };
        Ok(())
    }

    /// Another handle of it, of which nobody knows.
    fn handle(&self) -> io::Result<Kind> {
        let fd = self.as_fd().try_clone_to_owned()?;
        Ok(match self {
            Self::Tcp(_) | Self::Polled(Polled { kind: Kind::Tcp(_), .. }) => Kind::Tcp(fd.into()),
            Self::Unix(_) | Self::Polled(Polled { kind: Kind::Unix(_), .. }) => Kind::Unix(fd.into()),
        })
    }
}

impl AsRef<Self> for Plain {
    fn as_ref(&self) -> &Self {
        self
    }
}

fn sent(bytes: &usize) {
    count(|metrics| metrics.socket_bytes_sent.add(*bytes as u64));
}

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(self, s => s.as_fd())
    }
}
