//! One WebSocket: the client's socket on one side, the application on the other, the protocol (`ws/`) between them.
//!
//! Two callers in one thread: whoever gives it its turns, in which it reads, keeps time, and writes what could not be written at
//! once; and the port's reader, which carries out the VM's commands and has their frames written when it is their turn. Turns come
//! of the streams' driver, one task for all WebSockets that have a socket, or, for a stream of HTTP/2, of a task of its own.
//! An idle WebSocket holds no buffer. Its state is in `session.rs`.
//!
//! Nothing is unbounded: above the window of events that the application has not used up, or of frames that the client
//! has not taken, the socket is not read (docs/port-protocol.md, "Credit").

mod aside;
mod deadlines;
mod incoming;
mod keepalive;
mod outgoing;
mod oversize;
mod session;
mod stream;
mod trace;
mod traffic;

pub use session::Session;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::gate::Permit;
use crate::metrics::{Side, count};
use crate::port::message::{Reason, StreamId};
use crate::port::protocol_error;
use crate::streams::alarms::Alarm;
use crate::streams::application::Direction;
use crate::streams::client::{Client, Peer};
use crate::streams::moment::Moment;
use crate::streams::status::End;
use crate::streams::{Stream, Streams};
use crate::transport::Channel;
use crate::transport::stall::Stall;
use outgoing::Outgoing;
use session::{NO_CLOSE, NO_CODE, Phase};

/// Reads in one turn: then others have theirs.
const MOST_READS: usize = 32;

/// One WebSocket, shared by the table of streams, the lists of those to be flushed, and its task, if it has one.
pub struct Websocket {
    id: StreamId,
    streams: Rc<Streams>,
    socket: RefCell<Channel>,
    state: RefCell<Session>,
    /// Of a stream of HTTP/2.
    task: Cell<Option<Box<Waker>>>,
    /// What it has asked of the driver and not got: a turn, and one when clients may be read.
    asked: Cell<Asked>,
    /// In which lists of those to be flushed it is, by their turn.
    dirty: Cell<[bool; 2]>,
    /// What this client has in the sum of what waits for all of them.
    share: Cell<usize>,
    /// Where its backlog is counted.
    backlog: Cell<u8>,
    /// Wakes it for its deadlines.
    alarm: Alarm,
    client: Client,
    /// Counts the socket to its end; a stream of HTTP/2 is counted with its connection.
    permit: Option<Permit>,
}

/// See `Websocket::asked`.
#[derive(Clone, Copy, Default)]
struct Asked {
    turn: bool,
    read: bool,
}

/// Runs the WebSocket from here on: what HTTP needed is freed. `path` is what the client has asked for.
pub fn start(
    streams: &Rc<Streams>,
    mut socket: Channel,
    (peer, path): (Peer, &[u8]),
    id: StreamId,
    mut session: Session,
    permit: Option<Permit>,
) {
    if permit.is_none() {
        session.counts_as_stream();
    }
    // A socket that cannot be watched together with the others is watched by itself.
    let is_driven = socket.polled_by(&streams.driver.poller, id).is_ok();
    let client = Client { peer, path: streams.paths.get(path), since: Moment::now() };
    let websocket = Rc::new(Websocket {
        id,
        streams: Rc::clone(streams),
        socket: RefCell::new(socket),
        state: RefCell::new(session),
        task: Cell::default(),
        asked: Cell::default(),
        dirty: Cell::default(),
        share: Cell::default(),
        backlog: Cell::default(),
        alarm: Alarm::default(),
        client,
        permit,
    });
    streams.insert(id, Rc::clone(&websocket) as Rc<dyn Stream>);
    {
        let mut state = websocket.state.borrow_mut();
        if state.phase != Phase::Open {
            websocket.note(&state, state.stopped()); // Its handler has ended it already.
        }
        websocket.tell_stats(&mut state);
    }
    count(|metrics| metrics.handshakes.add(1));
    if is_driven {
        websocket.wake();
    } else {
        tokio::task::spawn_local(run(websocket));
    }
}

/// The task of one that has its own.
async fn run(websocket: Rc<Websocket>) {
    let phase = poll_fn(|cx| {
        let known = websocket.task.take().filter(|task| task.will_wake(cx.waker()));
        websocket.task.set(Some(known.unwrap_or_else(|| Box::new(cx.waker().clone()))));
        websocket.poll(cx)
    })
    .await;
    end(websocket, phase);
}

/// It is over. Where a close frame was the last, the client has time to take it, in a task of its own.
fn end(websocket: Rc<Websocket>, phase: Phase) {
    let streams = Rc::clone(&websocket.streams);
    websocket.end_trace(&mut websocket.state.borrow_mut(), "closed");
    streams.remove(websocket.id);
    streams.alarms.clear(&websocket.alarm, websocket.id);
    streams.queued.set(&websocket.share, 0);
    count(|metrics| metrics.backlog(&websocket.backlog, 0));
    if let (Phase::Ending, Ok(Websocket { socket, permit, .. })) = (phase, Rc::try_unwrap(websocket)) {
        let mut socket = socket.into_inner();
        socket.shut_down(); // Now: the process may end with its last stream.
        if socket.on_its_own(&streams.driver.poller).is_ok() {
            tokio::task::spawn_local(async move {
                socket.linger(streams.options.linger_timeout).await;
                drop(permit);
            });
        }
    }
}

impl Websocket {
    fn wake(&self) {
        if !self.is_driven() {
            if let Some(task) = self.task.take() {
                task.wake_by_ref();
                self.task.set(Some(task));
            }
        } else if !self.asked.get().turn {
            self.asked.set(Asked { turn: true, ..self.asked.get() });
            self.streams.driver.wake(self.id);
        }
    }

    /// Whether the driver gives it its turns.
    fn is_driven(&self) -> bool {
        self.socket.borrow().is_polled()
    }

    /// Whether so much waits for the application that the client should not be read; if so there is a turn later.
    fn poll_congested(&self, cx: &mut Context<'_>) -> bool {
        if !self.is_driven() {
            return self.streams.app.poll_congested(cx);
        }
        let is_congested = self.streams.app.is_congested();
        if is_congested && !self.asked.get().read {
            self.asked.set(Asked { read: true, ..self.asked.get() });
            self.streams.driver.hold(self.id);
        }
        is_congested
    }

    /// Its turn: read, write, look at the clock, until there is nothing to do. Ready at the end.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Phase> {
        for _ in 0..MOST_READS {
            self.streams.shed();
            let mut state = self.state.borrow_mut();
            self.write(&mut state);
            if state.phase == Phase::Gone || (state.phase == Phase::Ending && self.writable(&state) == 0) {
                // In a list of those to be flushed it is still held; the last flush wakes us.
                return if self.dirty.get() != [false; 2] { Poll::Pending } else { Poll::Ready(state.phase) };
            }
            let mut again = false;
            if self.writable(&state) > 0 {
                again |= self.socket.borrow_mut().poll_write_ready(cx).is_ready();
            }
            state.waits_for_client = state.reading(self.streams.options.window);
            if state.waits_for_client && !self.poll_congested(cx) {
                again |= self.read(&mut state, cx);
            } else {
                let held = self.socket.borrow_mut().poll_hold(cx); // Given back: `lost` looks at the socket.
                if let Poll::Ready(error) = held {
                    self.lost(&mut state, &error);
                    again = true;
                }
            }
            if !again && self.poll_deadline(&mut state).is_pending() {
                return Poll::Pending;
            }
        }
        self.wake();
        Poll::Pending
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
        state.finish_if_lazy();
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
            && !state.is_lazy()
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
        assert!(size_of::<Websocket>() <= 456, "{}", size_of::<Websocket>());
    }
}
