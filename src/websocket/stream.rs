//! What a WebSocket does when the VM or the process says so: its part of the table of streams.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use super::session::{Misplaced, Phase, Session};
use super::trace::{Tap, Trace};
use super::{Asked, Websocket, end};
use crate::port::message::{Command, Reason, State, TraceOptions, Traffic};
use crate::streams::broadcast::Broadcast;
use crate::streams::driver::Cause;
use crate::streams::status::{End, Status};
use crate::streams::{Delivered, Stream, Turn};

impl Stream for Websocket {
    fn command(&self, command: Command<'_>) -> bool {
        let mut state = self.state.borrow_mut();
        let was_open = state.phase == Phase::Open;
        if let Err(Misplaced) = state.command(command) {
            tracing::error!(stream = self.id, "a command that is not allowed here");
            self.lost(&mut state, &io::ErrorKind::Other.into());
        } else if was_open && state.phase != Phase::Open {
            self.note(&state, state.stopped());
        }
        self.tell_stats(&mut state);
        !self.set_dirty(Turn::Own, true)
    }

    fn deliver(&self, broadcast: &Broadcast) -> Delivered {
        let mut state = self.state.borrow_mut();
        if state.is_full(broadcast) && state.stall.is_none() {
            self.write(&mut state); // Nobody has asked the client yet.
        }
        match state.deliver(broadcast) {
            Delivered::Queued if self.dirty.get()[Turn::Own as usize] || self.set_dirty(Turn::Shared, true) => {
                Delivered::Nothing
            }
            delivered => delivered,
        }
    }

    /// Writes what there is, and has the task look at what the commands have changed.
    fn flush(&self, turn: Turn) {
        self.set_dirty(turn, false);
        let mut state = self.state.borrow_mut();
        self.write(&mut state);
        // While all is well the task waits for the client and has nothing to do with what was just written.
        let undisturbed = state.phase == Phase::Open
            && self.writable(&state) == 0
            && state.reading(self.streams.options.window) == state.waits_for_client
            && !state.rearm;
        if !undisturbed {
            drop(state);
            self.wake();
        }
    }

    fn traffic(&self) -> Option<Traffic> {
        Some(self.state.borrow().traffic())
    }

    fn blocked_since(&self) -> Option<Instant> {
        let state = self.state.borrow();
        state.stall.as_ref().filter(|_| state.phase != Phase::Gone).map(|stall| stall.since())
    }

    fn give_up(&self) {
        self.lost(&mut self.state.borrow_mut(), &io::ErrorKind::TimedOut.into());
        self.wake();
    }

    /// Closes with 1001.
    fn go_away(&self) {
        let mut state = self.state.borrow_mut();
        if matches!(state.phase, Phase::Open | Phase::Closing(_)) {
            if state.phase == Phase::Open {
                self.note(&state, End::Stop(Some(1001)));
            }
            state.close(Some((1001, b"")));
            drop(state);
            self.wake();
        }
    }

    fn status(&self) -> Option<Status> {
        Some(self.describe(&self.state.borrow()))
    }

    fn kick(&self, code: u16, text: &[u8]) -> bool {
        let mut state = self.state.borrow_mut();
        if state.phase != Phase::Open {
            return false;
        }
        self.streams.app.closed(self.id, &Reason::Kicked);
        self.note(&state, End::Stop(Some(code)));
        state.cut(code, text);
        self.tell_stats(&mut state);
        drop(state);
        self.wake();
        true
    }

    fn take_lazy(&self) -> Option<Vec<u8>> {
        let lazy = self.state.borrow_mut().take_lazy()?;
        if !lazy.is_empty() {
            self.wake(); // There may be something that was not told before.
        }
        Some(lazy)
    }

    fn trace(&self, number: u64, options: &TraceOptions) -> Result<(), &'static str> {
        let mut state = self.state.borrow_mut();
        match (state.phase, &state.trace) {
            (Phase::Ending | Phase::Gone, _) => return Err("not_found"),
            (_, Some(_)) => return Err("traced"),
            _ => {}
        }
        let (left, head) = state.decoder.place();
        let (mut incoming, outgoing) = (Tap::new(left, head), Tap::new(state.to_boundary(), &[]));
        incoming.follow(&state.unread); // It has passed.
        state.trace = Some(Trace::new(number, options, incoming, outgoing));
        Ok(())
    }

    fn untrace(&self, number: u64) {
        let mut state = self.state.borrow_mut();
        if state.trace.as_ref().is_some_and(|trace| trace.number == number) {
            self.end_trace(&mut state, "stopped");
        }
    }

    /// It looks at its deadlines.
    fn ring(&self) {
        self.alarm.has_rung();
        self.wake();
    }

    fn turn(self: Rc<Self>, cause: Cause) {
        match cause {
            Cause::News(news) => self.socket.borrow().note(news),
            Cause::Woken => self.asked.set(Asked { turn: false, ..self.asked.get() }),
            Cause::Released => self.asked.set(Asked { read: false, ..self.asked.get() }),
        }
        if let Poll::Ready(phase) = self.poll(&mut Context::from_waker(Waker::noop())) {
            end(self, phase);
        }
    }

    /// Gives back what compression keeps between messages.
    fn rest(&self, now: Instant) {
        let mut state = self.state.borrow_mut();
        state.encoder.rest(now.into());
    }
}

impl Websocket {
    /// In that list of those to be flushed from now on, or no longer. Says whether it was before.
    fn set_dirty(&self, turn: Turn, is_dirty: bool) -> bool {
        let mut dirty = self.dirty.get();
        let before = std::mem::replace(&mut dirty[turn as usize], is_dirty);
        self.dirty.set(dirty);
        before
    }

    pub(super) fn describe(&self, state: &Session) -> Status {
        Status {
            stream: self.id,
            client: self.client.clone(),
            state: match state.phase {
                Phase::Open if state.stall.is_some() => State::Blocked,
                Phase::Open if state.is_lazy() => State::Lazy,
                Phase::Open => State::Open,
                _ => State::Closing,
            },
            received: state.received.instant(),
            traffic: state.traffic,
            backlog: (state.waiting() + self.socket.borrow().pending()) as u64,
            blocked: state.stall.as_ref().map(|stall| stall.since()),
            credit_in: state.unused as u64,
            credit_out: (state.queued + state.credit) as u64,
            round_trip: state.keepalive.as_ref().and_then(|keepalive| keepalive.round_trip()),
            compress: state.encoder.is_compressing(),
            tls: self.socket.borrow().cipher(),
        }
    }

    pub(super) fn end_trace(&self, state: &mut Session, reason: &'static str) {
        if let Some(trace) = state.trace.take() {
            self.streams.app.traced(trace.number, reason, trace.missed);
            self.streams.traces.set(self.streams.traces.get() - 1);
        }
    }

    /// It is over when it has told enough.
    pub(super) fn look_at_trace(&self, state: &mut Session) {
        if let Some(reason) = state.trace.as_ref().and_then(|trace| trace.is_over()) {
            self.end_trace(state, reason);
        }
    }

    /// It has ended, for this reason: for whoever asks later.
    pub(super) fn note(&self, state: &Session, end: End) {
        self.streams.recent.add(self.describe(state), end);
    }
}
