//! Takes clients in: listens, accepts, counts, and stops doing so when the VM orders it.
//!
//! Accepting pauses, and clients wait in the kernel's backlog, while `max_connections` HTTP connections or `max_sockets`
//! connections of any kind are open, while `max_accept_rate` came in the last second, while the VM reads nothing, and for a
//! moment when the process or the machine has no file descriptor left. A pause costs nothing, and nobody is lost by
//! it who has patience.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::addresses::{Addresses, Visit};
use crate::config::{Limits, ListenAddr, OrInfinity};
use crate::http;
use crate::rate::Rate;
use crate::server::{App, Server};
use crate::socket::{Endpoint, Listener};

/// How long accepting pauses when there is no file descriptor or memory left.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// How long this is not said again in the log.
const QUIET: Duration = Duration::from_secs(60);

/// File descriptors that `max_sockets` leaves free by default: for the event loop, the pipes, and files that handlers send.
const RESERVED_FILES: usize = 128;

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct ListenError {
    #[allow(missing_docs)]
    pub address: ListenAddr,
    #[allow(missing_docs)]
    pub error: io::Error,
}

/// Binds all addresses.
pub fn bind(limits: &Limits) -> Result<Vec<Listener>, ListenError> {
    let bind = |address: &ListenAddr| {
        Listener::bind(address, limits).map_err(|error| ListenError { address: address.clone(), error })
    };
    limits.listen.iter().map(bind).collect()
}

/// Where these listen.
pub fn endpoints(listeners: &[Listener]) -> io::Result<Vec<Endpoint>> {
    listeners.iter().map(Listener::endpoint).collect()
}

/// The name by which Erlang calls an error of bind and listen.
pub fn posix(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "eaddrinuse",
        io::ErrorKind::AddrNotAvailable => "eaddrnotavail",
        io::ErrorKind::PermissionDenied => "eacces",
        io::ErrorKind::NotFound => "enoent",
        _ => "einval",
    }
}

/// Whether clients are taken in, and how many there are.
pub struct Gate {
    suspended: Cell<bool>,
    /// An order of the VM is to be answered.
    ordered: Cell<bool>,
    changed: Notify,
    draining: Cell<bool>,
    drained: Notify,
    /// Connections that speak HTTP.
    pub connections: Rc<Counter>,
    /// Connections of any kind.
    pub sockets: Rc<Counter>,
    /// The same, for each client address.
    pub addresses: Rc<Addresses>,
    rate: Option<Rate>,
    /// When it was last said in the log that accepting fails.
    warned: Cell<Option<Instant>>,
}

impl Gate {
    #[allow(missing_docs)]
    pub fn new(limits: &Limits) -> Self {
        Self {
            suspended: Cell::new(false),
            ordered: Cell::new(false),
            changed: Notify::new(),
            draining: Cell::new(false),
            drained: Notify::new(),
            connections: Counter::new(limits.max_connections.0),
            sockets: Counter::new(limits.max_sockets.map_or_else(default_max_sockets, |OrInfinity(max)| max)),
            addresses: Addresses::new(limits.max_sockets_per_address.0),
            rate: limits.max_accept_rate.0.map(|rate| Rate::new(rate, Instant::now())),
            warned: Cell::new(None),
        }
    }

    /// How it is at first, before [`run`]: no order, so nothing to be answered.
    pub fn begin(&self, suspended: bool) {
        self.suspended.set(suspended);
    }

    /// Stops listening (`true`), or listens again.
    pub fn suspend(&self, suspended: bool) {
        self.suspended.set(suspended);
        self.draining.set(self.draining.get() && suspended);
        self.ordered.set(true);
        self.changed.notify_one();
    }

    /// Ready when there is an order to be answered.
    async fn ordered(&self) {
        while !self.ordered.get() {
            self.changed.notified().await;
        }
    }

    /// Lets no connection begin another request.
    pub fn drain(&self) {
        self.draining.set(true);
        self.drained.notify_waiters();
    }

    /// Ready when no connection may begin another request.
    pub async fn draining(&self) {
        while !self.draining.get() {
            self.drained.notified().await;
        }
    }

    /// Waits until the rate allows one more.
    async fn has_time(&self) {
        while let Some(rate) = &self.rate {
            let wait = rate.wait(Instant::now());
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Says that accepting fails, unless it has been said a short while ago.
    fn warn(&self, error: &io::Error) {
        let now = Instant::now();
        if self.warned.get().is_none_or(|last| now - last >= QUIET) {
            self.warned.set(Some(now));
            warn!(%error, "cannot accept clients for now");
        }
    }
}

/// What the limit of file descriptors leaves room for.
fn default_max_sockets() -> Option<usize> {
    let files = usize::try_from(rustix::process::getrlimit(rustix::process::Resource::Nofile).current?).ok()?;
    Some(files.saturating_sub(RESERVED_FILES).max(files / 2))
}

/// Counts something up to a limit.
pub struct Counter {
    count: Cell<usize>,
    max: Cell<usize>,
    freed: Notify,
}

impl Counter {
    fn new(max: Option<usize>) -> Rc<Self> {
        let max = Cell::new(max.unwrap_or(usize::MAX));
        Rc::new(Self { count: Cell::new(0), max, freed: Notify::new() })
    }

    /// Changes the limit; what is above it stays.
    pub fn set_max(&self, max: Option<usize>) {
        self.max.set(max.unwrap_or(usize::MAX));
        self.freed.notify_waiters();
    }

    /// Waits until the count is below the limit.
    async fn has_room(&self) {
        while self.count.get() >= self.max.get() {
            self.freed.notified().await;
        }
    }

    /// Waits until the count is zero.
    pub async fn emptied(&self) {
        while self.count.get() > 0 {
            self.freed.notified().await;
        }
    }

    /// Counts one more, whatever the limit.
    pub fn take(self: &Rc<Self>) -> Permit {
        self.count.set(self.count.get() + 1);
        Permit { counter: Rc::clone(self), visit: None }
    }
}

/// Counts until it is dropped.
pub struct Permit {
    counter: Rc<Counter>,
    /// What it counts for its client's address.
    pub visit: Option<Box<Visit>>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.counter.count.set(self.counter.count.get() - 1);
        self.counter.freed.notify_waiters();
    }
}

/// Accepts clients for ever, except while suspended: then there are no listeners. Says where it listens after each order,
/// even if nothing has changed. Dropping this future closes the listeners.
pub async fn run(server: Rc<Server>, mut listeners: Option<Vec<Listener>>) {
    loop {
        match (server.gate.suspended.get(), listeners.take()) {
            (false, Some(open)) => {
                let open = accept(&server, open).await;
                if !server.gate.suspended.get() {
                    tell_listening(&server, &endpoints(&open).unwrap_or_default());
                }
                listeners = Some(open);
            }
            (false, None) => match bind(&server.limits) {
                Ok(open) => {
                    tell_listening(&server, &endpoints(&open).unwrap_or_default());
                    listeners = Some(open);
                }
                Err(ListenError { address, error }) => {
                    server.gate.ordered.set(false);
                    if let App::Vm(port) = &server.app {
                        port.relisten_error(&address.to_string(), posix(&error));
                    }
                    server.gate.suspended.set(true);
                }
            },
            (true, Some(open)) => {
                drop(open);
                tell_listening(&server, &[]);
            }
            (true, None) => {
                server.gate.ordered().await;
                if server.gate.suspended.get() {
                    tell_listening(&server, &[]);
                }
            }
        }
    }
}

fn tell_listening(server: &Server, endpoints: &[Endpoint]) {
    server.gate.ordered.set(false);
    if let App::Vm(port) = &server.app {
        port.listening(endpoints);
    }
}

/// Accepts until the gate changes, then gives the listeners back.
async fn accept(server: &Rc<Server>, listeners: Vec<Listener>) -> Vec<Listener> {
    let listeners: Vec<_> = listeners.into_iter().map(Rc::new).collect();
    let mut accepting = JoinSet::new(); // Its tasks end with it.
    for listener in &listeners {
        accepting.spawn_local(accept_on(Rc::clone(server), Rc::clone(listener)));
    }
    server.gate.ordered().await;
    accepting.shutdown().await;
    listeners.into_iter().filter_map(|listener| Rc::try_unwrap(listener).ok()).collect()
}

async fn accept_on(server: Rc<Server>, listener: Rc<Listener>) {
    loop {
        server.gate.has_time().await;
        server.gate.connections.has_room().await;
        server.gate.sockets.has_room().await;
        server.app.ready().await;
        match listener.accept().await {
            Ok(socket) => {
                if let Some(rate) = &server.gate.rate {
                    rate.take(Instant::now());
                }
                let permits =
                    http::Permits { connection: server.gate.connections.take(), socket: server.gate.sockets.take() };
                tokio::task::spawn_local(http::serve(Rc::clone(&server), socket, permits));
            }
            Err(error) if is_exhaustion(&error) => {
                server.gate.warn(&error);
                tokio::time::sleep(EXHAUSTED).await;
            }
            Err(error) => debug!(%error, "a client left before it was accepted"),
        }
    }
}

/// Whether accepting fails for want of file descriptors or memory, and not because of one client.
fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhaustion = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    exhaustion.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
