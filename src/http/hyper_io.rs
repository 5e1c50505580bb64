//! The handle by which hyper reads and writes: its traits, over the [`Wire`] that it shares with the connection's task.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::wire::Wire;
use crate::streams::Streams;

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
        self.wire.borrow_mut().poll_hypers_write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Called when hyper has written all that it had.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.wire.borrow_mut();
        ready!(wire.poll_sent(cx))?;
        wire.has_flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // The connection's task closes, and lingers.
    }
}
