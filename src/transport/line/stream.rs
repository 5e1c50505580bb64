//! One stream of an HTTP/2 connection: bytes that come and go, within the windows of both sides.
//!
//! What a client sends is taken out of h2 even while nobody wants it: there each small frame costs more than its bytes, until
//! the connection is closed for it. It is kept here, and given back to the window when it is read: so no more than the window is.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream};

use super::Line;
use crate::transport::{Endpoint, Queue};

/// The sending half.
pub struct Sender {
    id: u32,
    send: SendStream<Bytes>,
    line: Rc<Line>,
    /// Nothing more can be sent: that was the last, or the stream is over.
    ended: bool,
}

impl Sender {
    pub fn new(send: SendStream<Bytes>, line: Rc<Line>) -> Self {
        Self { id: send.stream_id().as_u32(), send, line, ended: false }
    }

    /// How many of `wanted` bytes, which are not 0, may be sent now; ready when that is not nothing, or the stream is over.
    pub fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        let room = if self.line.handed.borrow_mut().poll_room(self.id, cx).is_pending() {
            let _ = ready!(self.send.poll_reset(cx)); // h2 wakes only who has asked it.
            Err(io::ErrorKind::ConnectionReset.into())
        } else {
            self.send.reserve_capacity(wanted);
            match self.send.capacity() {
                0 => match ready!(self.send.poll_capacity(cx)) {
                    Some(room) => room.map_err(io::Error::other),
                    None => Err(io::ErrorKind::ConnectionReset.into()),
                },
                room => Ok(room),
            }
        };
        if room.is_err() {
            self.ended = true;
            self.line.discard(self.id);
        }
        Poll::Ready(room.map(|room| room.min(wanted)))
    }

    /// The same without waiting: 0 if nothing may be sent.
    fn room(&mut self, wanted: usize) -> io::Result<usize> {
        if self.ended {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if !self.line.has_room() {
            return Ok(0);
        }
        self.send.reserve_capacity(wanted);
        Ok(self.send.capacity().min(wanted))
    }

    /// Sends bytes for which there is room; the last of all with `end`.
    pub fn send(&mut self, bytes: Bytes, end: bool) -> io::Result<()> {
        let length = bytes.len();
        self.send.send_data(bytes, end).map_err(io::Error::other)?;
        self.line.handed.borrow_mut().add(self.id, length);
        self.ended |= end;
        Ok(())
    }

    /// Whether nothing more can be sent.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Ends the stream with header fields.
    pub fn send_trailers(&mut self, trailers: hyper::HeaderMap) -> io::Result<()> {
        self.send.send_trailers(trailers).map_err(io::Error::other)?;
        self.ended = true;
        Ok(())
    }

    /// Ready when the client has reset the stream, or the connection is over.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<h2::Reason, h2::Error>> {
        self.send.poll_reset(cx)
    }

    /// As [`super::super::Socket::unsent`]. Where the client's own window is what keeps us waiting it has all that it may have.
    pub fn unsent(&self) -> Option<u64> {
        self.line.unsent()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.line.handed.borrow_mut().leave(self.id);
        if !self.ended {
            self.line.discard(self.id); // h2 resets it.
        }
    }
}

/// Both halves.
pub struct Stream {
    sender: Sender,
    recv: RecvStream,
    /// Taken out of h2 and not read; within the window.
    held: Vec<u8>,
}

impl Stream {
    pub fn new(sender: Sender, recv: RecvStream) -> Self {
        Self { sender, recv, held: Vec::new() }
    }

    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut n = self.held.len().min(buf.len());
        buf[..n].copy_from_slice(&self.held[..n]);
        if n == self.held.len() {
            self.held = Vec::new();
        } else {
            self.held.drain(..n);
        }
        while n < buf.len() {
            match self.recv.poll_data(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    let (now, later) = bytes.split_at(bytes.len().min(buf.len() - n));
                    buf[n..n + now.len()].copy_from_slice(now);
                    n += now.len();
                    self.held.extend_from_slice(later);
                }
                // Both come again when they are asked for again.
                _ if n > 0 => break,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(self.lost(&error))),
                Poll::Ready(None) => return Poll::Ready(Ok(0)),
                Poll::Pending => return Poll::Pending,
            }
        }
        let _ = self.recv.flow_control().release_capacity(n); // Fails only where the stream is over.
        Poll::Ready(Ok(n))
    }

    /// Takes what has come out of h2, for a later read. Ready when the stream is over by force.
    pub fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        while let Some(bytes) = ready!(self.recv.poll_data(cx)) {
            match bytes {
                Ok(bytes) => self.held.extend_from_slice(&bytes),
                Err(error) => return Poll::Ready(self.lost(&error)),
            }
        }
        Poll::Pending
    }

    pub fn has_news(&self) -> bool {
        self.sender.line.has_news()
    }

    pub fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sender.poll_room(cx, 1).map_ok(|_| ())
    }

    /// Sends what the windows have room for, or fails with `WouldBlock`. All of it becomes one piece, which is h2's to cut.
    pub fn try_write_slices(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let wanted = bufs.iter().map(|buf| buf.len()).sum();
        let room = self.sender.room(wanted)?;
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut bytes = BytesMut::with_capacity(room);
        for buf in bufs {
            bytes.extend_from_slice(&buf[..buf.len().min(room - bytes.len())]);
        }
        self.sender.send(bytes.freeze(), false)?;
        Ok(room)
    }

    /// Ends our side (END_STREAM).
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        if self.sender.ended { Ok(()) } else { self.sender.send(Bytes::new(), true) }
    }

    /// As [`super::super::Socket::endpoints`], of its connection.
    pub fn endpoints(&self) -> io::Result<(Endpoint, Endpoint)> {
        self.sender.line.endpoints()
    }

    pub fn unsent(&self) -> Option<u64> {
        self.sender.unsent()
    }

    /// As [`super::super::Channel::queue`], of its connection.
    pub fn queue(&self) -> Option<Queue> {
        self.sender.line.queue()
    }

    fn lost(&self, error: &h2::Error) -> io::Error {
        let kind = self.sender.line.failure.get().or(error.get_io().map(io::Error::kind));
        kind.unwrap_or(io::ErrorKind::ConnectionReset).into()
    }
}
