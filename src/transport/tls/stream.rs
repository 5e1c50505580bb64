//! TLS on a client's socket: the methods of a plain one, encrypted.
//!
//! A write is encrypted into a buffer of the event loop, a chunk at a time, and handed to the kernel at once. What that does
//! not take is kept until it does, and no more is encrypted meanwhile: so no more than a chunk is kept for a client.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use super::session::{self, Session};
use crate::metrics::TlsVersion;
use crate::transport::plain::Plain;
use crate::transport::poller::Poller;
use crate::transport::scratch;

/// Plaintext that is encrypted at a time.
const CHUNK: usize = 4 * session::RECORD;

/// The event loop's buffers for what is about to be sent.
struct Buffers {
    gathered: Box<[u8]>,
    sealed: Box<[u8]>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> =
        RefCell::new(Buffers { gathered: vec![0; CHUNK].into(), sealed: vec![0; session::sealed(CHUNK)].into() });
}

/// A client's connection with TLS.
pub struct Stream {
    socket: Plain,
    session: Session,
    /// Encrypted; those before `sent` have gone.
    out: Vec<u8>,
    sent: usize,
    end: End,
}

/// How far we are in saying that no more will be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// The close_notify is in `out`, or has gone.
    Notified,
    /// The FIN has gone.
    Shut,
}

impl Stream {
    /// One whose handshake is to come; see [`Stream::poll_handshake`].
    pub(super) fn new(socket: Plain, session: Session) -> Self {
        Self { socket, session, out: Vec::new(), sent: 0, end: End::Open }
    }

    /// The socket below.
    pub fn plain(&self) -> &Plain {
        &self.socket
    }

    /// As [`crate::transport::Socket::polled_by`].
    pub fn polled_by(&mut self, poller: &Poller, number: u64) -> io::Result<()> {
        self.socket.polled_by(poller, number)
    }

    /// As [`crate::transport::Socket::on_its_own`].
    pub fn on_its_own(&mut self, poller: &Poller) -> io::Result<()> {
        self.socket.on_its_own(poller)
    }

    /// The client's own certificate, in DER.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.session.certificate()
    }

    pub fn version(&self) -> Option<TlsVersion> {
        self.session.version()
    }

    /// The version, and the cipher suite.
    pub fn cipher(&self) -> Option<(&'static str, &'static str)> {
        self.session.cipher()
    }

    /// The protocol that ALPN has chosen.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.session.alpn()
    }

    /// As [`crate::transport::Socket::poll_read`]. A connection that ends without close_notify has ended, too: what it carries says
    /// itself where it is complete. A client may send records that bring nothing, without end: behind a buffer full of them others
    /// have their turn.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.session.has_ended() {
                return Poll::Ready(Ok(0));
            }
            let start = self.session.lay(buf).ok_or(io::ErrorKind::InvalidData)?;
            let n = ready!(self.socket.poll_read(cx, &mut buf[start..]))?;
            if n == 0 {
                return Poll::Ready(Ok(0));
            }
            let plain = self.receive(buf, start + n).map_err(io::Error::other)?;
            if plain > 0 {
                return Poll::Ready(Ok(plain));
            }
            if start + n == buf.len() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Reads what nobody wants to know, after [`Stream::poll_shutdown`] has begun: as it is. To rustls an error in it would be a second
    /// reason to send an alert, and it takes that for a mistake of ours.
    pub fn poll_discard(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.socket.poll_read(cx, buf)
    }

    /// Uses up what was received, and sends what is due in answer.
    fn receive(&mut self, buf: &mut [u8], end: usize) -> Result<usize, rustls::Error> {
        let result = self.session.receive(buf, end, &mut self.out);
        // What does not go now goes before the next write, or at the end; a failure shows there.
        let _ = self.try_flush();
        result
    }

    /// Goes on with the handshake: uses up what is kept, or reads once. Ready when it has done so. Plaintext that came with its
    /// end is appended to `early`.
    pub(super) fn poll_handshake(
        &mut self,
        cx: &mut Context<'_>,
        read: bool,
        early: &mut Vec<u8>,
    ) -> Poll<Result<(), Failed>> {
        scratch::with(|buf| {
            let mut end = self.session.lay(buf).ok_or(io::Error::from(io::ErrorKind::InvalidData))?;
            if read {
                match ready!(self.socket.poll_read(cx, &mut buf[end..]))? {
                    0 => return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())),
                    n => end += n,
                }
            }
            let plain = self.receive(buf, end)?;
            early.extend_from_slice(&buf[..plain]);
            Poll::Ready(Ok(()))
        })
    }

    /// The handshake is not over.
    pub(super) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// As [`crate::transport::Socket::try_write`].
    pub fn try_write(&mut self, data: &[u8]) -> io::Result<usize> {
        BUFFERS.with_borrow_mut(|buffers| self.write(&data[..data.len().min(CHUNK)], &mut buffers.sealed))
    }

    /// As [`crate::transport::Socket::try_write_vectored`]: small pieces share a record.
    pub fn try_write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut full = bufs.iter().filter(|buf| !buf.is_empty());
        let Some(first) = full.next() else { return Ok(0) };
        if first.len() >= session::RECORD || full.next().is_none() {
            return self.try_write(first);
        }
        BUFFERS.with_borrow_mut(|Buffers { gathered, sealed }| {
            let mut filled = 0;
            for buf in bufs {
                let n = buf.len().min(CHUNK - filled);
                gathered[filled..filled + n].copy_from_slice(&buf[..n]);
                filled += n;
            }
            self.write(&gathered[..filled], sealed)
        })
    }

    fn write(&mut self, data: &[u8], sealed: &mut [u8]) -> io::Result<usize> {
        if self.pending() > 0 {
            self.try_flush()?;
            if self.pending() > 0 {
                return Ok(0);
            }
        }
        let n = self.session.send(data, sealed).map_err(io::Error::other)?;
        self.hand_over(&sealed[..n])?;
        Ok(data.len())
    }

    /// Has the kernel take what it takes, and keeps the rest. Nothing is pending before.
    fn hand_over(&mut self, sealed: &[u8]) -> io::Result<()> {
        let gone = match self.socket.try_write(sealed) {
            Ok(n) => n,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            Err(e) => return Err(e),
        };
        self.out = sealed[gone..].to_vec();
        self.sent = 0;
        Ok(())
    }

    /// As [`crate::transport::Socket::pending`].
    pub fn pending(&self) -> usize {
        self.out.len() - self.sent
    }

    /// As [`crate::transport::Socket::try_flush`].
    pub fn try_flush(&mut self) -> io::Result<()> {
        if self.pending() == 0 {
            return Ok(());
        }
        self.sent += self.socket.try_write(&self.out[self.sent..])?;
        if self.pending() == 0 {
            self.out = Vec::new();
            self.sent = 0;
        }
        Ok(())
    }

    /// As [`crate::transport::Socket::poll_shutdown`].
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.end == End::Open {
            self.notify();
        }
        ready!(self.poll_flush(cx))?;
        if self.end == End::Notified {
            self.end = End::Shut;
            self.socket.shutdown_write()?;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when nothing is pending.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.pending() > 0 {
            ready!(self.socket.poll_write_ready(cx))?;
            match self.try_flush() {
                Err(e) if !matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    return Poll::Ready(Err(e));
                }
                _ => {}
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Appends a close_notify to what is pending; where the session has failed its alert says the same.
    fn notify(&mut self) {
        self.end = End::Notified;
        let mut alert = [0; session::sealed(0)];
        if let Ok(n) = self.session.end(&mut alert) {
            self.out.extend_from_slice(&alert[..n]);
        }
    }
}

impl AsRef<Plain> for Stream {
    fn as_ref(&self) -> &Plain {
        &self.socket
    }
}

impl Drop for Stream {
    /// A client whose connection is cut is told that it was cut here, if that can be done at once.
    fn drop(&mut self) {
        if self.end == End::Open && self.pending() == 0 && !self.is_handshaking() {
            self.notify();
            let _ = self.try_flush();
        }
    }
}

/// Why a handshake has failed.
#[derive(Debug)]
pub(super) enum Failed {
    Socket(io::Error),
    Tls(rustls::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

impl From<rustls::Error> for Failed {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}
