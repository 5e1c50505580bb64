//! The table from number to stream, and what all streams share: the application behind them, when they want to be woken
//! ([`alarms`]), whose turn it is ([`driver`]), what waits for their clients ([`queued`]), and who is to be written to.
//!
//! What a stream is ([`Stream`]) lies above: a request ([`crate::http`]) or a WebSocket ([`crate::websocket`]). Everything runs in one
//! thread, in one event loop; [`Streams`] is shared by reference count, without locks.

pub mod alarms;
pub mod application;
pub mod broadcast;
pub mod client;
pub mod driver;
mod due;
mod many;
pub mod moment;
pub mod queued;
pub mod status;
mod stream;
pub mod survey;
pub mod topics;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::metrics::{Limit, reached};
use crate::port::message::{Command, Member, Pid, StreamId, TraceOptions, Traffic, Who};
use alarms::Alarms;
use application::Application;
use client::Paths;
use driver::Driver;
use due::Due;
use queued::Queued;
use status::{Recent, Status};
pub use stream::{Delivered, Stream, Turn};
use topics::Topics;

/// How often idle compression contexts are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// WebSockets that are traced at a time.
const MOST_TRACES: usize = 16;

/// What is sent to many goes to so many times fewer streams in a turn of the loop than may be written to for their own commands.
const SHARED_PART: usize = 16;

/// What holds for all streams; `None` is infinity.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of payload on their way, for each stream and direction (docs/port-protocol.md, "Credit").
    pub window: usize,
    /// Bytes that wait for all clients together to take them.
    pub max_queued: Option<usize>,
    /// How long a client may take nothing of what is written to it.
    pub send_timeout: Option<Duration>,
    /// How long to read on and discard after the last byte was sent.
    pub linger_timeout: Option<Duration>,
    /// How many subscriptions there may be.
    pub topics: topics::Limits,
}

/// The streams of this process.
pub struct Streams {
    pub options: Options,
    pub app: Rc<dyn Application>,
    /// Bytes that wait for clients to take them.
    pub queued: Rc<Queued>,
    /// When streams want to be woken.
    pub alarms: Alarms,
    /// Gives turns to those that have no task of their own.
    pub driver: Driver,
    /// What WebSockets' clients have asked for.
    pub paths: Paths,
    /// WebSockets that have ended.
    pub recent: Recent,
    /// How many are traced.
    pub traces: Cell<usize>,
    table: RefCell<FxHashMap<StreamId, Entry>>,
    /// The WebSockets of the VM's processes.
    of_process: RefCell<FxHashMap<Pid, StreamId>>,
    topics: RefCell<Topics>,
    /// What is sent to many and has not been given to them.
    due: RefCell<Due>,
    last_id: Cell<StreamId>,
    /// Streams with something that no write has been tried for: of commands of their own, and of what is sent to many; each in the
    /// order of their first one.
    dirty: [RefCell<VecDeque<Rc<dyn Stream>>>; 2],
    /// Waits for the table to become empty.
    farewell: Cell<Option<Waker>>,
}

/// A stream in the table.
struct Entry {
    stream: Rc<dyn Stream>,
    /// The process of a WebSocket, or [`Pid::NONE`].
    pid: Pid,
}

impl Streams {
    /// An empty table. To be called within the event loop.
    pub fn new(app: Rc<dyn Application>, options: Options) -> io::Result<Rc<Self>> {
        Ok(Rc::new(Self {
            app,
            queued: Queued::new(options.max_queued),
            alarms: Alarms::new(Instant::now()),
            driver: Driver::new()?,
            paths: Paths::default(),
            recent: Recent::default(),
            traces: Cell::new(0),
            topics: RefCell::new(Topics::new(options.topics)),
            due: RefCell::default(),
            options,
            table: RefCell::default(),
            of_process: RefCell::default(),
            last_id: Cell::new(0),
            dirty: Default::default(),
            farewell: Cell::default(),
        }))
    }

    /// A number for a new stream.
    pub fn next_id(&self) -> StreamId {
        self.last_id.set(self.last_id.get() + 1);
        self.last_id.get()
    }

    /// From here on commands for this number go to `stream`.
    pub fn insert(&self, id: StreamId, stream: Rc<dyn Stream>) {
        let mut table = self.table.borrow_mut();
        let pid = table.get(&id).map_or(Pid::NONE, |before| before.pid);
        table.insert(id, Entry { stream, pid });
    }

    /// From here on commands for this number are ignored.
    pub fn remove(&self, id: StreamId) {
        let removed = self.table.borrow_mut().remove(&id);
        if let Some(Entry { pid, .. }) = removed.as_ref().filter(|entry| entry.pid != Pid::NONE) {
            self.of_process.borrow_mut().remove(pid);
        }
        self.topics.borrow_mut().forget(id);
        self.due.borrow_mut().take(id);
        self.paths.left(self.table.borrow().len());
        drop(removed); // The last that holds it may be the table, and its end may look at the table.
        if self.table.borrow().is_empty()
            && let Some(waker) = self.farewell.take()
        {
            waker.wake();
        }
    }

    /// Carries out a command of the application.
    pub fn command(&self, id: StreamId, command: Command<'_>) {
        match command {
            Command::Subscribe(Member::Itself, topic) => self.subscribe(id, topic),
            Command::Unsubscribe(Member::Itself, topic) => self.unsubscribe(id, topic),
            Command::Publish(publish) => self.publish(&publish, Some(id)),
            Command::Pid(pid) => self.belongs_to(id, Some(pid)),
            command => {
                if let Command::Websocket(_, options) = &command {
                    self.belongs_to(id, options.pid);
                }
                if let Some(Entry { stream, .. }) = self.table.borrow().get(&id) {
                    // Else it crossed the stream's end.
                    self.give_due(id, stream);
                    if stream.command(command) {
                        self.dirty[Turn::Own as usize].borrow_mut().push_back(Rc::clone(stream));
                    }
                }
            }
        }
    }

    /// This WebSocket is meant when frames go to that process.
    fn belongs_to(&self, id: StreamId, pid: Option<Pid>) {
        if let (Some(entry), Some(pid)) = (self.table.borrow_mut().get_mut(&id), pid) {
            entry.pid = pid;
            self.of_process.borrow_mut().insert(pid, id);
        }
    }

    /// The WebSocket of a process.
    pub fn of_process(&self, pid: Pid) -> Option<StreamId> {
        self.of_process.borrow().get(&pid).copied()
    }

    /// The stream that is meant.
    pub fn find(&self, who: Who) -> Option<StreamId> {
        match who {
            Who::Stream(id) => Some(id),
            Who::Process(pid) => self.of_process(pid),
        }
    }

    /// All streams.
    pub fn numbers(&self) -> Vec<StreamId> {
        self.table.borrow().keys().copied().collect()
    }

    /// What there is to say of one, if it is a WebSocket.
    pub fn status(&self, id: StreamId) -> Option<Status> {
        self.stream(id)?.status()
    }

    /// Ends WebSockets by order of somebody outside. Says how many were open.
    pub fn kick(&self, ids: &[StreamId], code: u16, text: &[u8]) -> usize {
        ids.iter().filter_map(|id| self.stream(*id)).filter(|stream| stream.kick(code, text)).count()
    }

    /// Has the handler of a lazy WebSocket begin. Says whether it is one that is open, lazy or not.
    pub fn wake(&self, id: StreamId) -> bool {
        let Some(lazy) = self.stream(id).and_then(|stream| stream.take_lazy()) else { return false };
        if !lazy.is_empty() {
            self.app.lazy(id, &lazy);
        }
        true
    }

    /// Begins a trace of a WebSocket, of which there may be a few at a time. Says what is wrong.
    pub fn trace(&self, id: StreamId, number: u64, options: &TraceOptions) -> Result<(), &'static str> {
        if self.traces.get() >= MOST_TRACES {
            return Err("too_many");
        }
        self.stream(id).ok_or("not_found")?.trace(number, options)?;
        self.traces.set(self.traces.get() + 1);
        Ok(())
    }

    /// Ends one.
    pub fn untrace(&self, id: StreamId, number: u64) {
        if let Some(stream) = self.stream(id) {
            stream.untrace(number);
        }
    }

    fn stream(&self, id: StreamId) -> Option<Rc<dyn Stream>> {
        self.table.borrow().get(&id).map(|entry| Rc::clone(&entry.stream))
    }

    /// What a WebSocket's client has sent and was sent.
    pub fn traffic(&self, id: StreamId) -> Option<Traffic> {
        self.table.borrow().get(&id)?.stream.traffic()
    }

    /// Has at most `most` streams write what their commands have left, and fewer what is sent to many: an answer does not wait for
    /// thousands who are written to anyhow. Says whether others have to wait for the next call.
    pub fn flush(&self, most: usize) -> bool {
        for (turn, most) in [(Turn::Own, most), (Turn::Shared, most / SHARED_PART)] {
            for _ in 0..most {
                let Some(stream) = self.next(turn) else { break };
                stream.flush(turn);
            }
        }
        self.shed();
        self.dirty.iter().any(|dirty| !dirty.borrow().is_empty()) || !self.due.borrow().is_empty()
    }

    /// Whose turn it is to be written to.
    fn next(&self, turn: Turn) -> Option<Rc<dyn Stream>> {
        loop {
            if let Some(stream) = self.dirty[turn as usize].borrow_mut().pop_front() {
                return Some(stream);
            }
            if turn == Turn::Own {
                return None;
            }
            let (id, owed) = self.due.borrow_mut().next()?;
            if let Some(Entry { stream, .. }) = self.table.borrow().get(&id) {
                self.give_all(id, stream, &owed);
            }
        }
    }

    /// Where more waits for the clients than may: closes those that have taken nothing for longest, until it is less.
    pub fn shed(&self) {
        if !self.queued.is_exceeded() {
            return;
        }
        let blocked = |Entry { stream, .. }: &Entry| Some((stream.blocked_since()?, Rc::clone(stream)));
        let mut blocked: Vec<_> = self.table.borrow().values().filter_map(blocked).collect();
        blocked.sort_unstable_by_key(|(since, _)| *since);
        for (_, stream) in blocked {
            if !self.queued.is_exceeded() {
                return;
            }
            reached(Limit::MaxQueued);
            stream.give_up();
        }
    }

    /// Tells all streams that the process ends.
    pub fn go_away(&self) {
        self.each(|stream| stream.go_away());
    }

    /// Waits until there is no stream.
    pub async fn emptied(&self) {
        poll_fn(|cx| {
            if self.table.borrow().is_empty() {
                return Poll::Ready(());
            }
            self.farewell.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Calls `f` for each stream, which may change the table.
    fn each(&self, f: impl FnMut(&Rc<dyn Stream>)) {
        let streams: Vec<_> = self.table.borrow().values().map(|entry| Rc::clone(&entry.stream)).collect();
        streams.iter().for_each(f);
    }
}

/// Wakes streams at their time for ever: one timer for all of them.
pub async fn keep_time(streams: Rc<Streams>) {
    loop {
        while let Some(id) = streams.alarms.pop(Instant::now()) {
            if let Some(Entry { stream, .. }) = streams.table.borrow().get(&id) {
                stream.ring();
            }
        }
        streams.alarms.wait().await;
    }
}

/// Gives streams their turns for ever; the error is the kernel's.
pub async fn give_turns(streams: Rc<Streams>) -> io::Error {
    let turn = |id, cause| streams.stream(id).into_iter().for_each(|stream| stream.turn(cause));
    poll_fn(|cx| streams.driver.poll(&*streams.app, turn, cx)).await
}

/// Looks after idle streams for ever. Calls `at_rest` once when none has come or gone between two looks.
pub async fn keep_house(streams: Rc<Streams>, at_rest: impl Fn()) {
    let mut clock = tokio::time::interval(HOUSEKEEPING);
    let mut calm = Calm { known: (0, 0), is_known: true };
    loop {
        let now = clock.tick().await;
        streams.each(|stream| stream.rest(now));
        if calm.begins((streams.last_id.get(), streams.table.borrow().len())) {
            at_rest();
        }
    }
}

/// Whether streams come and go.
struct Calm {
    /// How many have come, and how many there are.
    known: (StreamId, usize),
    /// Nothing had changed at the last look.
    is_known: bool,
}

impl Calm {
    /// Whether nothing has changed since the last look, for the first time.
    fn begins(&mut self, now: (StreamId, usize)) -> bool {
        let is_calm = std::mem::replace(&mut self.known, now) == now;
        let was_calm = std::mem::replace(&mut self.is_known, is_calm);
        is_calm && !was_calm
    }
}

#[cfg(test)]
mod tests;
