//! What all clients of this process share: addresses, limits, the table of streams, and the application behind them.
//!
//! Everything runs in one thread, in one event loop; [`Server`] is shared by reference count, without locks.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::acceptor::Gate;
use crate::alarms::Alarms;
use crate::config::Limits;
use crate::echo::Echo;
use crate::http::exchange::Exchange;
use crate::http::head::HeadLimits;
use crate::port::Port;
use crate::port::message::{Command, SIDECAR, StreamId};
use crate::queued::Queued;
use crate::websocket::Websocket;

/// How often idle compression contexts are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// How long clients may take their close frames when the server ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// Who answers requests and messages.
pub enum App {
    /// The Erlang VM's handlers.
    Vm(Rc<Port>),
    /// Nobody: messages are echoed.
    Echo(Echo),
}

impl App {
    /// Whether so much waits for the application that no client should be read; if so the task is woken later.
    pub fn poll_congested(&self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::Vm(port) => port.poll_congested(cx),
            Self::Echo(_) => false,
        }
    }

    /// The same, without being woken.
    pub fn is_congested(&self) -> bool {
        match self {
            Self::Vm(port) => port.is_congested(),
            Self::Echo(_) => false,
        }
    }

    /// Waits while that is so.
    pub async fn ready(&self) {
        std::future::poll_fn(|cx| if self.poll_congested(cx) { Poll::Pending } else { Poll::Ready(()) }).await;
    }
}

/// A stream that commands can be sent to.
pub enum Stream {
    #[allow(missing_docs)]
    Http(Rc<Exchange>),
    #[allow(missing_docs)]
    Websocket(Rc<Websocket>),
}

/// The state of the event loop.
pub struct Server {
    #[allow(missing_docs)]
    pub app: App,
    #[allow(missing_docs)]
    pub limits: Limits,
    /// Whether clients are taken in.
    pub gate: Gate,
    #[allow(missing_docs)]
    pub head_limits: Rc<HeadLimits>,
    /// Bytes of payload on their way, for each stream and direction (docs/port-protocol.md, "Credit").
    pub window: usize,
    /// Bytes that wait for clients to take them.
    pub queued: Rc<Queued>,
    /// When WebSockets want to be woken.
    pub alarms: Alarms,
    streams: RefCell<FxHashMap<StreamId, Stream>>,
    last_id: Cell<StreamId>,
    /// WebSockets with frames of the VM's commands that no write has been tried for, in the order of their first one.
    dirty: RefCell<VecDeque<Rc<Websocket>>>,
    /// Waits for the table to become empty.
    farewell: Cell<Option<Waker>>,
}

impl Server {
    #[allow(missing_docs)]
    pub fn new(app: App, limits: Limits, window: usize) -> Rc<Self> {
        Rc::new(Self {
            app,
            gate: Gate::new(&limits),
            queued: Queued::new(limits.max_queued.0),
            alarms: Alarms::new(Instant::now()),
            head_limits: Rc::new(limits.head()),
            limits,
            window,
            streams: RefCell::default(),
            last_id: Cell::new(0),
            dirty: RefCell::default(),
            farewell: Cell::default(),
        })
    }

    /// A number for a new stream.
    pub fn next_id(&self) -> StreamId {
        self.last_id.set(self.last_id.get() + 1);
        self.last_id.get()
    }

    /// From here on commands for this number go to `stream`.
    pub fn insert(&self, id: StreamId, stream: Stream) {
        self.streams.borrow_mut().insert(id, stream);
    }

    /// From here on commands for this number are ignored.
    pub fn remove(&self, id: StreamId) {
        self.streams.borrow_mut().remove(&id);
        if self.streams.borrow().is_empty()
            && let Some(waker) = self.farewell.take()
        {
            waker.wake();
        }
    }

    /// Carries out a command of the VM.
    pub fn command(&self, id: StreamId, command: Command<'_>) {
        match self.streams.borrow().get(&id) {
            Some(Stream::Websocket(websocket)) => websocket.command(command),
            Some(Stream::Http(exchange)) => exchange.command(command),
            None if id == SIDECAR => self.own_command(command),
            None => {} // It crossed the stream's end.
        }
    }

    fn own_command(&self, command: Command<'_>) {
        match command {
            Command::Ping(payload) => {
                if let App::Vm(port) = &self.app {
                    port.pong(SIDECAR, payload);
                }
            }
            Command::Suspend => self.gate.suspend(true),
            Command::Resume => self.gate.suspend(false),
            Command::Drain => self.gate.drain(),
            Command::MaxConnections(max) => {
                self.gate.connections.set_max(max.map(|max| usize::try_from(max).unwrap_or(usize::MAX)));
            }
            _ => tracing::error!("a command that is not for the sidecar itself"),
        }
    }

    /// Has this WebSocket flushed when it is its turn.
    pub fn flush_later(&self, websocket: Rc<Websocket>) {
        self.dirty.borrow_mut().push_back(websocket);
    }

    /// Writes the frames of the VM's commands to at most `most` WebSockets. Says whether others have to wait for the next
    /// call.
    pub fn flush(&self, most: usize) -> bool {
        for _ in 0..most {
            let Some(websocket) = self.dirty.borrow_mut().pop_front() else { break };
            websocket.flush();
        }
        self.shed();
        !self.dirty.borrow().is_empty()
    }

    /// Where more waits for the clients than may: closes those that have taken nothing for longest, until it is less.
    pub fn shed(&self) {
        if !self.queued.is_exceeded() {
            return;
        }
        let blocked = |stream: &Stream| match stream {
            Stream::Websocket(websocket) => Some((websocket.blocked_since()?, Stream::Websocket(Rc::clone(websocket)))),
            Stream::Http(exchange) => Some((exchange.blocked.get()?, Stream::Http(Rc::clone(exchange)))),
        };
        let mut blocked: Vec<_> = self.streams.borrow().values().filter_map(blocked).collect();
        blocked.sort_unstable_by_key(|(since, _)| *since);
        for (_, stream) in blocked {
            if !self.queued.is_exceeded() {
                return;
            }
            match stream {
                Stream::Websocket(websocket) => websocket.give_up(),
                Stream::Http(exchange) => exchange.give_up(),
            }
        }
    }

    /// Sends all clients away: WebSockets with 1001, HTTP connections with the rest of an answer that the VM has finished.
    /// Waits, for a bounded time, until they have it.
    pub async fn go_away(&self) {
        self.flush(usize::MAX); // What the VM has said before.
        self.gate.drain();
        self.unanswered().iter().for_each(|exchange| exchange.command(Command::Abort));
        self.websockets().iter().for_each(|websocket| websocket.go_away());
        let gone = async {
            self.gate.connections.emptied().await;
            self.websockets().iter().for_each(|websocket| websocket.go_away()); // Those that have come of HTTP since.
            std::future::poll_fn(|cx| {
                if self.websockets().is_empty() {
                    return Poll::Ready(());
                }
                self.farewell.set(Some(cx.waker().clone()));
                Poll::Pending
            })
            .await;
        };
        let _ = tokio::time::timeout(FAREWELL, gone).await;
    }

    fn unanswered(&self) -> Vec<Rc<Exchange>> {
        let exchange = |stream: &Stream| match stream {
            Stream::Http(exchange) if !exchange.is_answered() => Some(Rc::clone(exchange)),
            _ => None,
        };
        self.streams.borrow().values().filter_map(exchange).collect()
    }

    fn websockets(&self) -> Vec<Rc<Websocket>> {
        let websocket = |stream: &Stream| match stream {
            Stream::Websocket(websocket) => Some(Rc::clone(websocket)),
            Stream::Http(_) => None,
        };
        self.streams.borrow().values().filter_map(websocket).collect()
    }
}

/// Wakes WebSockets at their time for ever: one timer for all of them.
pub async fn keep_time(server: Rc<Server>) {
    loop {
        while let Some(id) = server.alarms.pop(Instant::now()) {
            if let Some(Stream::Websocket(websocket)) = server.streams.borrow().get(&id) {
                websocket.ring();
            }
        }
        server.alarms.wait().await;
    }
}

/// Looks after idle WebSockets for ever.
pub async fn keep_house(server: Rc<Server>) {
    let mut clock = tokio::time::interval(HOUSEKEEPING);
    loop {
        let now = clock.tick().await;
        server.websockets().iter().for_each(|websocket| websocket.rest(now));
    }
}
