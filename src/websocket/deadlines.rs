//! The times of a WebSocket: its idle timeout, its pings, and how long its client may take nothing.

use std::io;
use std::ops::ControlFlow;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::Websocket;
use super::keepalive::Due;
use super::session::{Phase, Session};
use crate::metrics::{Limit, reached};
use crate::port::message::Reason;

/// A shorter idle timeout would be over again before anything else had its turn.
const LEAST_TIMEOUT: Duration = Duration::from_millis(1);

/// The close code of a client that has not answered a ping (RFC 6455, 7.4.1): as far as we know it has gone away. Clients take 1000
/// for an order not to come back.
const NO_ANSWER: u16 = 1001;

impl Websocket {
    /// Ready when a deadline has passed and something was done about it.
    pub(super) fn poll_deadline(&self, state: &mut Session) -> Poll<()> {
        state.rearm = false;
        loop {
            let idle = match (state.phase, state.idle_timeout) {
                (Phase::Open, Some(timeout)) => {
                    Some(state.received.instant() + Duration::from_millis(timeout.into()).max(LEAST_TIMEOUT))
                }
                _ => None,
            };
            let mut send = state.stall.as_mut().zip(self.streams.options.send_timeout);
            let look = send.as_ref().map(|(stall, timeout)| stall.deadline(*timeout));
            let ping = match (state.phase, &state.keepalive) {
                (Phase::Open, Some(keepalive)) => Some(keepalive.deadline(state.received.instant())),
                _ => None,
            };
            let Some(deadline) = idle.into_iter().chain(look).chain(ping).min() else { return Poll::Pending };
            // A deadline moves with every byte; the alarm is set anew only when it has rung, or would ring too late.
            if self.streams.alarms.rings_by(&self.alarm, deadline) {
                return Poll::Pending;
            }
            let now = Instant::now();
            if let Some((stall, timeout)) = send.take_if(|_| look.is_some_and(|deadline| deadline <= now)) {
                if stall.is_over(self.socket.borrow().unsent(), timeout, now) {
                    reached(Limit::SendTimeout);
                    self.lost(state, &io::ErrorKind::TimedOut.into());
                    return Poll::Ready(());
                }
                continue;
            }
            if idle.is_some_and(|deadline| deadline <= now) {
                // We may be the ones who do not read, or have not yet.
                let unread = !state.reading(self.streams.options.window) || self.streams.app.is_congested();
                if state.active && (unread || (!state.spared && self.socket.borrow().has_news())) {
                    state.spared = !unread;
                    state.received = now.into();
                    continue;
                }
                reached(Limit::IdleTimeout);
                self.end(state, Reason::Timeout, Some(1000));
                return Poll::Ready(());
            }
            if ping.is_some_and(|deadline| deadline <= now) {
                match self.keep_alive(state, now) {
                    ControlFlow::Continue(()) => continue,
                    ControlFlow::Break(()) => return Poll::Ready(()),
                }
            }
            self.streams.alarms.set(&self.alarm, self.id, deadline);
            return Poll::Pending;
        }
    }

    /// Pings the client, or ends one that has not answered. Breaks where there is something to be written, or it has ended.
    fn keep_alive(&self, state: &mut Session, now: Instant) -> ControlFlow<()> {
        let Some(keepalive) = &mut state.keepalive else { return ControlFlow::Continue(()) };
        let timeout = keepalive.timeout();
        match keepalive.due(state.received.instant(), now) {
            Due::Ping if self.writable(state) == 0 => {
                state.ping(self.socket.borrow().queue(), now);
                if state.out.is_empty() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            }
            Due::Silent if !self.is_excused(state) => {
                reached(Limit::PongTimeout);
                self.socket.borrow().give_up_after(timeout);
                self.end(state, Reason::Timeout, Some(NO_ANSWER));
                ControlFlow::Break(())
            }
            Due::Silent => {
                state.keepalive.iter_mut().for_each(|keepalive| keepalive.excuse(now));
                ControlFlow::Continue(())
            }
            Due::Nothing | Due::Ping => ControlFlow::Continue(()),
        }
    }

    /// Whether it is ours that nothing of the client was received since its last ping.
    pub(super) fn is_excused(&self, state: &mut Session) -> bool {
        if state.reading(self.streams.options.window) && !self.streams.app.is_congested() {
            // The event loop may be about to say that there is something.
            let socket = self.socket.borrow();
            let is_spared = !state.spared && socket.has_news();
            state.spared = is_spared;
            return is_spared
                || state.keepalive.as_mut().is_some_and(|keepalive| keepalive.has_taken(|| socket.queue()));
        }
        // It is not read. Its system says whether it has got the ping; where much waits for it, that is `send_timeout`'s to judge.
        state.stall.is_some() || self.socket.borrow().unsent().is_none_or(|unsent| unsent == 0)
    }
}
