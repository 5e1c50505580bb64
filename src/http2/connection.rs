//! What the streams of one connection share, and how long it waits for its client.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use h2::Reason;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use super::options::Options;
use crate::http::put_off::PutOff;
use crate::http::request::ConnectionInfo;
use crate::http::{NEVER, Server};
use crate::metrics::{Limit, reached};
use crate::port::message::{self, StreamId};
use crate::transport::line::Line;

/// One connection, shared by its task and its streams.
pub struct Connection {
    pub server: Rc<Server>,
    pub options: Rc<Options>,
    pub info: Rc<ConnectionInfo>,
    pub line: Rc<Line>,
    /// Since when its client could have sent its settings, and taken ours.
    pub began: Cell<Instant>,
    /// Streams that have ended, as many as go on at a time, until the application has been told of one more that begins.
    pub over: RefCell<VecDeque<StreamId>>,
    /// It is to begin no other request.
    pub last: Cell<bool>,
    /// How its streams end if it ends before them.
    pub end: RefCell<message::Reason>,
    pub put_off: PutOff,
    /// What the client has been told as we closed it.
    pub closed: Cell<Option<Reason>>,
    pub task: Cell<Option<Waker>>,
    /// h2 has gone; and who waits for that.
    pub is_gone: Cell<bool>,
    pub gone: Notify,
}

impl Connection {
    /// h2 has gone: it has told the streams that it knows.
    pub fn leave(&self) {
        self.is_gone.set(true);
        self.gone.notify_waiters();
    }

    /// Waits until h2 has gone: for a stream that it has done with, and tells nothing more.
    pub async fn gone(&self) {
        while !self.is_gone.get() {
            self.gone.notified().await;
        }
    }

    /// The task looks at what has changed.
    pub fn wake(&self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// Ready when the connection has waited too long: with the reason that the client is told, or none if it takes nothing.
    pub fn poll_timer(&self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<Option<Reason>> {
        loop {
            let (due, reason) = self.deadline();
            let deadline = self.put_off.until(due);
            // A deadline moves with every byte; the timer is only set anew when it rings, or would ring too late.
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if deadline > now {
                timer.as_mut().reset(deadline);
                continue;
            }
            let send_timeout = self.server.streams.options.send_timeout;
            if self.line.send_deadline(send_timeout).is_some_and(|deadline| deadline <= now) {
                if !self.line.is_silent(send_timeout, now) {
                    continue;
                }
                reached(Limit::SendTimeout);
                self.end.replace(message::Reason::Socket("timeout"));
                self.line.fail(std::io::ErrorKind::TimedOut);
                return Poll::Ready(None);
            }
            if self.line.blocked_since().is_none() && self.server.streams.app.poll_congested(cx) {
                self.line.excuse(); // We are the ones who do not read.
                self.began.set(now);
                continue;
            }
            if self.put_off.once(due, || self.line.is_untold(cx)) {
                continue;
            }
            reached(match reason {
                Reason::PROTOCOL_ERROR => Limit::PrefaceTimeout,
                Reason::SETTINGS_TIMEOUT => Limit::SettingsTimeout,
                _ => Limit::IdleTimeout,
            });
            if reason == Reason::NO_ERROR {
                self.end.replace(message::Reason::Timeout);
            }
            return Poll::Ready(Some(reason));
        }
    }

    /// When this connection has waited too long, as things stand, and what for.
    fn deadline(&self) -> (Instant, Reason) {
        let Options { preface_timeout, settings_timeout, .. } = *self.options;
        let options = &self.server.options;
        let (received, sent) = self.line.last_bytes();
        let since = if options.reset_idle_timeout_on_send { received.max(sent) } else { received };
        let (has_settings, is_settled) = self.line.settled();
        let greeting = |timeout| self.began.get() + if has_settings { NEVER } else { timeout };
        let settling = |timeout| self.began.get() + if is_settled { NEVER } else { timeout };
        let never = Instant::now() + NEVER;
        [
            (options.idle_timeout.map_or(never, |timeout| since + timeout), Reason::NO_ERROR),
            (preface_timeout.map_or(never, greeting), Reason::PROTOCOL_ERROR),
            (settings_timeout.map_or(never, settling), Reason::SETTINGS_TIMEOUT),
            (self.line.send_deadline(self.server.streams.options.send_timeout).unwrap_or(never), Reason::NO_ERROR),
        ]
        .into_iter()
        .min_by_key(|(deadline, _)| *deadline)
        .unwrap_or((never, Reason::NO_ERROR))
    }
}
