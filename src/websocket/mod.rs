//! One WebSocket: the client's socket on one side, the application on the other, the protocol (`ws/`) between them.
//!
//! Two callers in one thread: the stream's own task, which reads, keeps time, and writes what could not be written at
//! once; and the port's reader, which carries out the VM's commands and has their frames written when it is their turn.
//! An idle WebSocket holds no buffer. Its state is in `session.rs`.
//!
//! Nothing is unbounded: above the window of events that the application has not used up, or of frames that the client
//! has not taken, the socket is not read (docs/port-protocol.md, "Credit").

mod keepalive;
mod outgoing;
mod oversize;
mod session;
mod trace;
mod traffic;

pub use session::Session;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::gate::Permit;
use crate::metrics::{Limit, Opcode, Side, count, reached};
use crate::port::message::{Command, OVERHEAD, Reason, State, StreamId, TraceOptions, Traffic};
use crate::port::protocol_error;
use crate::streams::alarms::Alarm;
use crate::streams::application::Direction;
use crate::streams::broadcast::Broadcast;
use crate::streams::client::{Client, Peer};
use crate::streams::status::{End, Status};
use crate::streams::{Delivered, Stream, Streams};
use crate::transport::stall::Stall;
use crate::transport::{Channel, scratch};
use crate::ws::{Error, Event};
use keepalive::Due;
use outgoing::Outgoing;
use session::{Misplaced, NO_CLOSE, NO_CODE, Phase};
use trace::{Tap, Trace};
use traffic::{received, sent};

/// A shorter idle timeout would be over again before anything else had its turn.
const LEAST_TIMEOUT: Duration = Duration::from_millis(1);

/// The close code of a client that has not answered a ping (RFC 6455, 7.4.1): as far as we know it has gone away. Clients take 1000
/// for an order not to come back.
const NO_ANSWER: u16 = 1001;

/// One WebSocket, shared by its task, the table of streams, and the list of those to be flushed.
pub struct Websocket {
    id: StreamId,
    streams: Rc<Streams>,
    socket: RefCell<Channel>,
    state: RefCell<Session>,
    task: Cell<Option<Waker>>,
    /// In the list of those to be flushed.
    dirty: Cell<bool>,
    /// What this client has in the sum of what waits for all of them.
    share: Cell<usize>,
    /// Where its backlog is counted.
    backlog: Cell<u8>,
    /// Wakes the task for its deadlines.
    alarm: Alarm,
    client: Client,
    /// Counts the socket to its end; a stream of HTTP/2 is counted with its connection.
    permit: Option<Permit>,
}

/// Runs the WebSocket from here on, in a task of its own: what HTTP needed is freed. `path` is what the client has asked for.
pub fn start(
    streams: &Rc<Streams>,
    socket: Channel,
    (peer, path): (Peer, &[u8]),
    id: StreamId,
    mut session: Session,
    permit: Option<Permit>,
) {
    if permit.is_none() {
        session.counts_as_stream();
    }
    let client = Client { peer, path: streams.paths.get(path), since: Instant::now() };
    let websocket = Rc::new(Websocket {
        id,
        streams: Rc::clone(streams),
        socket: RefCell::new(socket),
        state: RefCell::new(session),
        task: Cell::default(),
        dirty: Cell::new(false),
        share: Cell::default(),
        backlog: Cell::default(),
        alarm: Alarm::default(),
        client,
        permit,
    });
    streams.insert(id, Rc::clone(&websocket) as Rc<dyn Stream>);
    websocket.tell_stats(&mut websocket.state.borrow_mut()); // It may be over already.
    count(|metrics| metrics.handshakes.add(1));
    tokio::task::spawn_local(run(websocket));
}

/// The stream's task. It is held for every idle client: up to 24 bytes it fits, with tokio's part, in one block of 128.
#[expect(clippy::manual_async_fn, reason = "an `async fn` holds its argument twice, and does not fit")]
fn run(websocket: Rc<Websocket>) -> impl Future<Output = ()> {
    async move {
        let phase = poll_fn(|cx| websocket.poll(cx)).await;
        end(websocket, phase);
    }
}

/// The task has ended. Where a close frame was the last, the client has time to take it, in a task of its own.
fn end(websocket: Rc<Websocket>, phase: Phase) {
    let streams = Rc::clone(&websocket.streams);
    websocket.end_trace(&mut websocket.state.borrow_mut(), "closed");
    streams.remove(websocket.id);
    streams.alarms.clear(&websocket.alarm, websocket.id);
    streams.queued.set(&websocket.share, 0);
    count(|metrics| metrics.backlog(&websocket.backlog, 0));
    if let (Phase::Ending, Ok(Websocket { socket, permit, .. })) = (phase, Rc::try_unwrap(websocket)) {
        tokio::task::spawn_local(async move {
            socket.into_inner().linger(streams.options.linger_timeout).await;
            drop(permit);
        });
    }
}

impl Stream for Websocket {
    fn command(&self, command: Command<'_>) -> bool {
        let mut state = self.state.borrow_mut();
        let was_open = state.phase == Phase::Open;
        if let Err(Misplaced) = state.command(command) {
            tracing::error!(stream = self.id, "a command that is not allowed here");
            self.lost(&mut state, &io::ErrorKind::Other.into());
        } else if was_open && state.phase != Phase::Open {
            self.note(&state, End::Stop(state.closed_with));
        }
        self.tell_stats(&mut state);
        !self.dirty.replace(true)
    }

    fn deliver(&self, broadcast: &Broadcast<'_>) -> Delivered {
        match self.state.borrow_mut().deliver(broadcast) {
            Delivered::Queued if self.dirty.replace(true) => Delivered::Nothing,
            delivered => delivered,
        }
    }

    /// Writes what there is, and has the task look at what the commands have changed.
    fn flush(&self) {
        self.dirty.set(false);
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
        drop(state);
        self.wake();
        true
    }

    fn trace(&self, number: u64, options: &TraceOptions) -> Result<(), &'static str> {
        let mut state = self.state.borrow_mut();
        match (state.phase, &state.trace) {
            (Phase::Ending | Phase::Gone, _) => return Err("not_found"),
            (_, Some(_)) => return Err("traced"),
            _ => {}
        }
        let (left, head) = state.decoder.place();
        let (incoming, outgoing) = (Tap::new(left, head), Tap::new(state.to_boundary(), &[]));
        let mut trace = Trace::new(number, options, incoming, outgoing);
        trace.pass(Direction::In, &state.unread, &*self.streams.app);
        state.trace = Some(trace);
        Ok(())
    }

    fn untrace(&self, number: u64) {
        let mut state = self.state.borrow_mut();
        if state.trace.as_ref().is_some_and(|trace| trace.number == number) {
            self.end_trace(&mut state, "stopped");
        }
    }

    /// The task looks at its deadlines.
    fn ring(&self) {
        self.alarm.has_rung();
        self.wake();
    }

    /// Gives back what compression keeps between messages.
    fn rest(&self, now: Instant) {
        let mut state = self.state.borrow_mut();
        state.encoder.rest(now.into());
    }
}

impl Websocket {
    fn describe(&self, state: &Session) -> Status {
        Status {
            stream: self.id,
            client: self.client.clone(),
            state: match state.phase {
                Phase::Open if state.stall.is_some() => State::Blocked,
                Phase::Open => State::Open,
                _ => State::Closing,
            },
            received: state.received,
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

    fn end_trace(&self, state: &mut Session, reason: &'static str) {
        if let Some(trace) = state.trace.take() {
            self.streams.app.traced(trace.number, reason, trace.missed);
            self.streams.traces.set(self.streams.traces.get() - 1);
        }
    }

    /// It is over when it has told enough.
    fn look_at_trace(&self, state: &mut Session) {
        if let Some(reason) = state.trace.as_ref().and_then(|trace| trace.is_over()) {
            self.end_trace(state, reason);
        }
    }

    /// It has ended, for this reason: for whoever asks later.
    fn note(&self, state: &Session, end: End) {
        self.streams.recent.add(self.describe(state), end);
    }

    fn wake(&self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// The task's turn: read, write, look at the clock, until there is nothing to do. Ready at the end.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Phase> {
        loop {
            self.streams.shed();
            let mut state = self.state.borrow_mut();
            self.task.set(Some(cx.waker().clone()));
            self.write(&mut state);
            if state.phase == Phase::Gone || (state.phase == Phase::Ending && self.writable(&state) == 0) {
                // In the list of those to be flushed it is still held; the flush wakes us.
                return if self.dirty.get() { Poll::Pending } else { Poll::Ready(state.phase) };
            }
            let mut again = false;
            if self.writable(&state) > 0 {
                again |= self.socket.borrow_mut().poll_write_ready(cx).is_ready();
            }
            state.waits_for_client = state.reading(self.streams.options.window);
            if state.waits_for_client && !self.streams.app.poll_congested(cx) {
                again |= self.read(&mut state, cx);
            } else if let Poll::Ready(error) = self.socket.borrow_mut().poll_hold(cx) {
                self.lost(&mut state, &error);
                again = true;
            }
            if !again && self.poll_deadline(&mut state).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Decodes what was left, or reads once. Says whether something has changed.
    fn read(&self, state: &mut Session, cx: &mut Context<'_>) -> bool {
        if std::mem::take(&mut state.paused) {
            let mut unread = std::mem::take(&mut state.unread);
            let used = self.decode(state, &mut unread);
            unread.drain(..used);
            // An empty one goes: the client may be idle from here on.
            state.unread = if unread.is_empty() { Vec::new() } else { unread };
            return true;
        }
        let result = scratch::with(|buffer| {
            let read = self.socket.borrow_mut().poll_read(cx, buffer);
            if let Poll::Ready(Ok(n)) = read {
                if let Some(trace) = &mut state.trace {
                    trace.pass(Direction::In, &buffer[..n], &*self.streams.app);
                    self.look_at_trace(state);
                }
                let used = self.decode(state, &mut buffer[..n]);
                state.unread.extend_from_slice(&buffer[used..n]);
            }
            read
        });
        match result {
            Poll::Pending => return false,
            Poll::Ready(Ok(0)) => self.lost(state, &io::ErrorKind::ConnectionReset.into()),
            Poll::Ready(Ok(_)) => {
                state.received = Instant::now();
                state.spared = false;
            }
            Poll::Ready(Err(e)) => self.lost(state, &e),
        }
        true
    }

    /// Decodes, tells the application, and says how much of `input` was used: all, unless the window is full.
    fn decode(&self, state: &mut Session, input: &mut [u8]) -> usize {
        let Session { decoder, encoder, out, unused, pong, phase, paused, keepalive, traffic, ended, .. } = state;
        let window = self.streams.options.window;
        let result = decoder.decode(input, &mut |event| {
            match event {
                Event::Ping(payload) if encoder.is_within_frame() => *pong = Some(payload.into()),
                Event::Ping(payload) => {
                    sent(traffic, Opcode::Pong, payload.len() as u64);
                    encoder.pong(payload, out.own(0));
                }
                // The handler has not asked for it.
                Event::Pong(payload) => {
                    if let Some(took) = keepalive.as_mut().and_then(|k| k.answers(payload, Instant::now())) {
                        count(|metrics| took.iter().for_each(|took| metrics.round_trips.add(*took)));
                        received(traffic, &event);
                        return ControlFlow::Continue(());
                    }
                }
                _ => {}
            }
            received(traffic, &event);
            let cost = OVERHEAD + payload(&event).len();
            *unused += cost;
            count(|metrics| metrics.credit_received_bytes.add(cost as u64));
            match event {
                Event::Close(close) => {
                    let code = close.map(|(code, _)| code);
                    phase.leave(Phase::Closing(code), ended, (Side::Client, code.unwrap_or(NO_CODE)));
                    let close = close.map(|(code, text)| (code, text.into()));
                    self.streams.app.closed(self.id, &Reason::Remote(close));
                }
                event => self.streams.app.event(self.id, event),
            }
            *paused = *unused >= window || out.waiting() >= window;
            if *paused || *phase != Phase::Open { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match result {
            Ok(used) => {
                if let Phase::Closing(code) = state.phase {
                    self.note(state, End::Remote(code));
                }
                used
            }
            Err(error) => {
                tracing::debug!(stream = self.id, %error, "the client broke the protocol");
                match error {
                    Error::LongFrame { .. } | Error::LongMessage { .. } => reached(Limit::MaxFrameSize),
                    Error::ManyFragments(_) => reached(Limit::MaxFragments),
                    _ => {}
                }
                oversize::warn(&self.socket.borrow(), &error);
                self.end(state, Reason::Protocol(error.reason()), Some(error.close_code()));
                input.len()
            }
        }
    }

    /// The client's side has ended: tells the application, whose `finish` sends the close frame.
    fn end(&self, state: &mut Session, reason: Reason, code: Option<u16>) {
        self.streams.app.closed(self.id, &reason);
        self.note(
            state,
            match reason {
                Reason::Protocol(reason) => End::Error(protocol_error(reason)),
                _ => End::Timeout,
            },
        );
        state.leave(Phase::Closing(code), Side::Server, code.unwrap_or(NO_CODE));
    }

    /// Both sides are done with it: tells what there was, once, where that is wanted.
    fn tell_stats(&self, state: &mut Session) {
        if state.tells_stats && matches!(state.phase, Phase::Ending | Phase::Gone) {
            state.tells_stats = false;
            self.streams.app.stats(self.id, &state.traffic, state.ended.by);
        }
    }

    /// The socket has failed.
    fn lost(&self, state: &mut Session, error: &io::Error) {
        if state.phase == Phase::Open {
            self.streams.app.closed(self.id, &Reason::Socket(posix(error)));
            self.note(state, End::Error(posix(error)));
        }
        // Errors without a number of the system's are ours.
        let side = if error.raw_os_error().is_none() && error.kind() != io::ErrorKind::ConnectionReset {
            Side::Server
        } else {
            Side::Client
        };
        state.leave(Phase::Gone, side, NO_CLOSE);
        self.tell_stats(state);
        state.out = Outgoing::default(); // At once: shared frames count until nobody holds them.
        self.streams.queued.set(&self.share, 0);
    }

    /// Writes as much as the socket takes now.
    fn write(&self, state: &mut Session) {
        while self.writable(state) > 0 {
            let result = match state.out.writable() {
                0 => self.socket.borrow_mut().try_flush().map(|()| 0),
                _ if state.trace.is_some() => self.write_traced(state),
                _ => state.out.write(|slices| self.socket.borrow_mut().try_write_slices(slices)),
            };
            match result {
                Ok(n) => {
                    state.stall = None;
                    if n > 0 {
                        state.has_written(n);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    state.stall.get_or_insert_with(|| Box::new(Stall::begin(self.socket.borrow().unsent())));
                    break;
                }
                Err(e) => {
                    self.lost(state, &e);
                    return;
                }
            }
        }
        let pending = self.socket.borrow().pending();
        self.streams.queued.set(&self.share, state.out.own_waiting() + pending);
        count(|metrics| metrics.backlog(&self.backlog, state.waiting() + pending));
        if let Phase::Open | Phase::Closing(_) = state.phase
            && let Some(credit) = state.take_credit(self.streams.options.window)
        {
            self.streams.app.credit(self.id, credit);
        }
        if state.phase == Phase::Open
            && let Some(frames) = state.take_dropped(self.streams.options.window)
        {
            self.streams.app.dropped(self.id, frames.into());
        }
    }

    /// The same of one write, for a client that is traced.
    fn write_traced(&self, state: &mut Session) -> io::Result<usize> {
        let Session { out, trace, .. } = state;
        let written = out.write(|slices| {
            let written = self.socket.borrow_mut().try_write_slices(slices)?;
            let mut left = written;
            for slice in slices {
                let bytes = &slice[..left.min(slice.len())];
                left -= bytes.len();
                trace.iter_mut().for_each(|trace| trace.pass(Direction::Out, bytes, &*self.streams.app));
            }
            Ok(written)
        });
        self.look_at_trace(state);
        written
    }

    /// Bytes that the client could take now: frames, and what TLS has made of them.
    fn writable(&self, state: &Session) -> usize {
        state.out.writable() + self.socket.borrow().pending()
    }

    /// Ready when a deadline has passed and something was done about it.
    fn poll_deadline(&self, state: &mut Session) -> Poll<()> {
        state.rearm = false;
        loop {
            let idle = match (state.phase, state.idle_timeout) {
                (Phase::Open, Some(timeout)) => Some(state.received + timeout.max(LEAST_TIMEOUT)),
                _ => None,
            };
            let mut send = state.stall.as_mut().zip(self.streams.options.send_timeout);
            let look = send.as_ref().map(|(stall, timeout)| stall.deadline(*timeout));
            let ping = match (state.phase, &state.keepalive) {
                (Phase::Open, Some(keepalive)) => Some(keepalive.deadline(state.received)),
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
                    state.received = now;
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
        match keepalive.due(state.received, now) {
            Due::Ping if self.writable(state) == 0 => {
                state.ping(now);
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
    fn is_excused(&self, state: &mut Session) -> bool {
        if state.reading(self.streams.options.window) && !self.streams.app.is_congested() {
            // The event loop may be about to say that there is something.
            let is_excused = !state.spared && self.socket.borrow().has_news();
            state.spared = is_excused;
            return is_excused;
        }
        // It is not read. Its system says whether it has got the ping; where much waits for it, that is `send_timeout`'s to judge.
        state.stall.is_some() || self.socket.borrow().unsent().is_none_or(|unsent| unsent == 0)
    }
}

fn payload<'a>(event: &Event<'a>) -> &'a [u8] {
    match *event {
        Event::Part(_, bytes) | Event::Message(_, bytes) | Event::Ping(bytes) | Event::Pong(bytes) => bytes,
        Event::Close(_) => &[],
    }
}

/// The reason in `{error, Reason}`, as `gen_tcp` would give it.
fn posix(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::TimedOut if error.raw_os_error().is_none() => "timeout",
        io::ErrorKind::TimedOut => "etimedout",
        io::ErrorKind::HostUnreachable => "ehostunreach",
        io::ErrorKind::NetworkUnreachable => "enetunreach",
        io::ErrorKind::NetworkDown => "enetdown",
        _ => "closed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_websocket_is_small() {
        fn size<F: Future>(_: fn(Rc<Websocket>) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size_of::<Websocket>() <= 528, "{}", size_of::<Websocket>());
        assert!(size(run) <= 24, "{}", size(run));
    }
}
