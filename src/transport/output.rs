//! What is written to a client's socket by a task that waits for it, and since when the client has taken nothing.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::socket::Socket;
use super::stall::Stall;

/// The writing side of one connection.
pub struct Output {
    /// The client does not take all that there is to write.
    stall: Option<Box<Stall>>,
    /// When bytes were last written.
    written: Instant,
}

impl Default for Output {
    fn default() -> Self {
        Self { stall: None, written: Instant::now() }
    }
}

impl Output {
    /// Ready when some bytes have been written, or it failed.
    pub fn poll_write(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            if socket.poll_write_ready(cx)?.is_pending() {
                self.stall.get_or_insert_with(|| Box::new(Stall::begin(socket.unsent())));
                return Poll::Pending;
            }
            match socket.try_write_slices(bufs) {
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                result => {
                    self.stall = None;
                    self.written = Instant::now();
                    if !matches!(result, Ok(0)) || bufs.iter().all(|buf| buf.is_empty()) {
                        return Poll::Ready(result);
                    }
                }
            }
        }
    }

    /// Ready when the kernel has all that was written.
    pub fn poll_flush(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while socket.pending() > 0 {
            if socket.poll_write_ready(cx)?.is_pending() {
                self.stall.get_or_insert_with(|| Box::new(Stall::begin(socket.unsent())));
                return Poll::Pending;
            }
            match socket.try_flush() {
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                result => {
                    result?;
                    self.stall = None;
                    self.written = Instant::now();
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Since when the client has taken nothing of what there is to write.
    pub fn blocked_since(&self) -> Option<Instant> {
        self.stall.as_ref().map(|stall| stall.since())
    }

    /// When to ask whether the client has taken nothing for so long.
    pub fn deadline(&self, timeout: Option<Duration>) -> Option<Instant> {
        self.stall.as_ref().zip(timeout).map(|(stall, timeout)| stall.deadline(timeout))
    }

    /// Whether the client has taken nothing for so long.
    pub fn is_silent(&mut self, socket: &Socket, timeout: Option<Duration>, now: Instant) -> bool {
        let stall = self.stall.as_mut().zip(timeout);
        stall.is_some_and(|(stall, timeout)| stall.is_over(socket.unsent(), timeout, now))
    }

    /// When bytes were last written.
    pub fn last_written(&self) -> Instant {
        self.written
    }
}
