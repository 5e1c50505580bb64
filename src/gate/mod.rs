//! Who may come in: how many connections there are, of each kind and address, how fast new ones may come, and whether the VM
//! wants any. In the event loop's thread; no I/O.
//!
//! A [`Permit`] counts a connection until it is dropped. [`Counter`] counts all, [`Addresses`] those of each client address,
//! [`rate`] how often.

mod addresses;
mod counter;
pub mod rate;

use std::cell::Cell;
use std::io;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::Notify;
use tracing::warn;

use crate::metrics::{Limit, count, reached};
use crate::transport::Endpoint;
pub use addresses::{Addresses, Full, Visit};
pub use counter::{Counter, Permit};
use rate::{Rate, Seldom};

/// File descriptors that `max_sockets` leaves free by default: for the event loop, the pipes, and files that handlers send.
const RESERVED_FILES: usize = 128;

/// How many may come in; `None` is no limit.
#[derive(Clone, Debug)]
pub struct Options {
    /// HTTP connections at a time (a WebSocket is not counted).
    pub max_connections: Option<usize>,
    /// Connections of any kind at a time; the outer `None` is what the limit of file descriptors leaves room for.
    pub max_sockets: Option<Option<usize>>,
    /// Connections of any kind at a time of one client address (IPv6: one /64).
    pub max_sockets_per_address: Option<usize>,
    /// New connections per second, and as many at once.
    pub max_accept_rate: Option<NonZeroU32>,
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
    /// Says that accepting fails.
    exhausted: Seldom,
    /// Says that a client came without a PROXY header.
    unproxied: Seldom,
}

impl Gate {
    /// Open, with nobody inside.
    pub fn new(options: &Options) -> Self {
        Self {
            suspended: Cell::new(false),
            ordered: Cell::new(false),
            changed: Notify::new(),
            draining: Cell::new(false),
            drained: Notify::new(),
            connections: Counter::new(options.max_connections, Limit::MaxConnections),
            sockets: Counter::new(options.max_sockets.unwrap_or_else(default_max_sockets), Limit::MaxSockets),
            addresses: Addresses::new(options.max_sockets_per_address),
            rate: options.max_accept_rate.map(|rate| Rate::new(rate, Instant::now())),
            exhausted: Seldom::default(),
            unproxied: Seldom::default(),
        }
    }

    /// How it is at first, or where it cannot listen: no order, so nothing to be answered.
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

    /// Whether nobody is to be taken in.
    pub fn is_suspended(&self) -> bool {
        self.suspended.get()
    }

    /// An order has been carried out, or cannot be: it is about to be answered.
    pub fn has_obeyed(&self) {
        self.ordered.set(false);
    }

    /// Ready when there is an order to be answered.
    pub async fn ordered(&self) {
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

    /// Waits until one more may be taken in, as far as this process is concerned.
    pub async fn has_room(&self) {
        self.has_time().await;
        self.connections.has_room().await;
        self.sockets.has_room().await;
    }

    /// Counts one that has come: as a connection that speaks HTTP, and as one of any kind.
    pub fn admit(&self) -> (Permit, Permit) {
        if let Some(rate) = &self.rate {
            rate.take(Instant::now());
        }
        count(|metrics| metrics.accepted.add(1));
        (self.connections.take(), self.sockets.take())
    }

    /// Waits until the rate allows one more.
    async fn has_time(&self) {
        let mut waits = false;
        while let Some(rate) = &self.rate {
            let wait = rate.wait(Instant::now());
            if wait.is_zero() {
                return;
            }
            if !std::mem::replace(&mut waits, true) {
                reached(Limit::MaxAcceptRate);
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Says that accepting fails, unless it has been said a short while ago.
    pub fn warn_exhausted(&self, error: &io::Error) {
        reached(Limit::FileDescriptors);
        if self.exhausted.is_due(Instant::now()) {
            warn!(%error, "cannot accept clients for now");
        }
    }

    /// The same of a connection that does not begin with a PROXY header: its peer is no proxy, or one that is set up
    /// otherwise.
    pub fn warn_unproxied(&self, peer: &Endpoint) {
        if self.unproxied.is_due(Instant::now()) {
            warn!("a connection from {peer} is closed: it does not begin with a PROXY header");
        }
    }
}

/// What the limit of file descriptors leaves room for.
fn default_max_sockets() -> Option<usize> {
    let files = usize::try_from(rustix::process::getrlimit(rustix::process::Resource::Nofile).current?).ok()?;
    Some(files.saturating_sub(RESERVED_FILES).max(files / 2))
}
