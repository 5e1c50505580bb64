//! The time that a client has for the beginning of its connection.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::plain::Plain;

/// A time that begins once more where it is ours that it has passed: the client's bytes are there and have not been read, or it
/// waits for us. An event loop that has stood still learns that the time has passed before it learns of all that has come.
pub struct TimeLimit {
    /// `None` where the client may take as long as it likes.
    timer: Option<(Duration, Pin<Box<Sleep>>)>,
    spared: bool,
}

impl TimeLimit {
    /// It begins now.
    pub fn new(timeout: Option<Duration>) -> Self {
        Self { timer: timeout.map(|timeout| (timeout, Box::pin(sleep(timeout)))), spared: false }
    }

    /// Waits for what the client has to do. `None` if it is too late.
    pub async fn client<S: AsRef<Plain>, T>(
        &mut self,
        socket: &mut S,
        mut poll: impl FnMut(&mut S, &mut Context<'_>) -> Poll<T>,
    ) -> Option<T> {
        poll_fn(|cx| match poll(socket, cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => self.poll_over(cx, || socket.as_ref().has_news()).map(|()| None),
        })
        .await
    }

    /// Waits for what we have to do.
    pub async fn ours<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => self.poll_over(cx, || true).map(|()| None),
        })
        .await
    }

    fn poll_over(&mut self, cx: &mut Context<'_>, is_ours: impl FnOnce() -> bool) -> Poll<()> {
        let Some((timeout, timer)) = &mut self.timer else { return Poll::Pending };
        ready!(timer.as_mut().poll(cx));
        if self.spared || !is_ours() {
            return Poll::Ready(());
        }
        self.spared = true;
        timer.as_mut().reset(Instant::now() + *timeout);
        timer.as_mut().poll(cx)
    }
}
