//! Counts connections up to a limit. In the event loop's thread; no I/O.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

use super::addresses::Visit;
use crate::metrics::{Limit, reached};

/// Counts something up to a limit.
pub struct Counter {
    count: Cell<usize>,
    max: Cell<usize>,
    limit: Limit,
    freed: Notify,
}

impl Counter {
    /// `None` is no limit; else it is known by this name.
    pub fn new(max: Option<usize>, limit: Limit) -> Rc<Self> {
        let max = Cell::new(max.unwrap_or(usize::MAX));
        Rc::new(Self { count: Cell::new(0), max, limit, freed: Notify::new() })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.get()
    }

    /// Changes the limit; what is above it stays.
    pub fn set_max(&self, max: Option<usize>) {
        self.max.set(max.unwrap_or(usize::MAX));
        self.freed.notify_waiters();
    }

    /// Waits until the count is below the limit.
    pub async fn has_room(&self) {
        if self.count.get() >= self.max.get() {
            reached(self.limit);
        }
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

    /// Counts one more, whether there is room or not.
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
