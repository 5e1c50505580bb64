//! One task for all WebSockets that have a socket: each has its turn when its socket has news, or when it was woken.
//!
//! A task for each would be held for every idle client: 128 bytes of tokio's, and as many of padding. Here one waits for all of their
//! sockets ([`Poller`]) and knows them by their number, as the VM does. Those who may not read because of what waits for the VM are
//! remembered, and have their turns in the order in which they have found that.
//!
//! Each stream is in a list once at most; one that has ended is left in it until its turn, which it then has not.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, Waker};

use super::application::Application;
use crate::port::message::StreamId;
use crate::transport::poller::{Poller, Readiness};

/// Turns before other tasks have theirs.
const AT_ONCE: usize = 128;

/// Why a stream has a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its socket has news.
    News(Readiness),
    /// It was woken.
    Woken,
    /// Clients may be read again.
    Released,
}

/// Who is to have a turn.
pub struct Driver {
    /// Watches their sockets.
    pub poller: Poller,
    woken: RefCell<VecDeque<StreamId>>,
    /// Those that wait until they may read, longest first.
    held: RefCell<Vec<StreamId>>,
    /// Those that may read, and have not had their turn.
    released: RefCell<VecDeque<StreamId>>,
    /// What the poller has told; empty between two turns.
    news: RefCell<Vec<(StreamId, Readiness)>>,
    task: Cell<Option<Waker>>,
}

impl Driver {
    /// To be called within the event loop.
    pub fn new() -> io::Result<Self> {
        let poller = Poller::new()?;
        let (woken, held, released, news, task) = Default::default();
        Ok(Self { poller, woken, held, released, news, task })
    }

    /// Gives a stream a turn. It is the stream's to ask once until it has come.
    pub fn wake(&self, stream: StreamId) {
        self.woken.borrow_mut().push_back(stream);
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// Gives a stream a turn when clients may be read again. It is the stream's to ask once until it has come.
    pub fn hold(&self, stream: StreamId) {
        self.held.borrow_mut().push(stream);
    }

    /// Has `turn` called for those who are to have one. Ready when the kernel fails.
    pub fn poll(
        &self,
        app: &dyn Application,
        mut turn: impl FnMut(StreamId, Cause),
        cx: &mut Context<'_>,
    ) -> Poll<io::Error> {
        self.task.set(Some(cx.waker().clone()));
        for (list, cause) in [(&self.released, Cause::Released), (&self.woken, Cause::Woken)] {
            let most = list.borrow().len().min(AT_ONCE);
            for _ in 0..most {
                let first = list.borrow_mut().pop_front();
                first.into_iter().for_each(|stream| turn(stream, cause));
            }
        }
        let mut news = self.news.borrow_mut();
        let mut turns = 0;
        while turns < AT_ONCE {
            match self.poller.poll(cx, &mut news) {
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Ready(Ok(())) => {}
                Poll::Pending => break,
            }
            turns += news.len();
            news.drain(..).for_each(|(stream, news)| turn(stream, Cause::News(news)));
        }
        if !self.held.borrow().is_empty() && !app.poll_congested(cx) {
            self.released.borrow_mut().extend(self.held.borrow_mut().drain(..));
        }
        if turns >= AT_ONCE || [&self.released, &self.woken].iter().any(|list| !list.borrow().is_empty()) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::port::Port;

    /// Who had a turn in one poll, and why.
    async fn turns(driver: &Driver, port: &Port) -> Vec<(StreamId, Cause)> {
        let mut had = Vec::new();
        poll_fn(|cx| {
            assert!(driver.poll(port, |stream, cause| had.push((stream, cause)), cx).is_pending());
            Poll::Ready(())
        })
        .await;
        had
    }

    #[tokio::test]
    async fn those_that_are_woken_have_their_turns_in_order_and_not_too_many_at_once() {
        let (driver, port) = (Driver::new().expect("a set"), Port::default());
        let all = 1..=AT_ONCE as StreamId + 1;
        all.clone().for_each(|stream| driver.wake(stream));
        let first = turns(&driver, &port).await;
        assert_eq!(first.len(), AT_ONCE);
        let had = [first, turns(&driver, &port).await].concat();
        assert!(had.into_iter().eq(all.map(|stream| (stream, Cause::Woken))));
        assert_eq!(turns(&driver, &port).await, []);
    }

    #[tokio::test]
    async fn those_that_are_held_have_their_turns_when_the_port_is_free() {
        let (driver, port) = (Driver::new().expect("a set"), Port::default());
        port.mute();
        [3, 1, 2].into_iter().for_each(|stream| driver.hold(stream));
        assert_eq!(turns(&driver, &port).await, []);
        port.heard();
        let mut had = turns(&driver, &port).await;
        had.extend(turns(&driver, &port).await);
        assert_eq!(had, [3, 1, 2].map(|stream| (stream, Cause::Released)));
    }
}
