//! Counts the bytes that wait for clients to take them, of all clients together. In the event loop's thread.
//!
//! Each client keeps what it has in the sum, or has a [`Share`] do it. Who is to go when the sum exceeds the limit is decided
//! in `streams/mod.rs`.

use std::cell::Cell;
use std::rc::Rc;

/// The sum, and its limit.
pub struct Queued {
    bytes: Cell<usize>,
    max: usize,
}

/// What waits for one client. Gives it back when dropped.
pub struct Share {
    queued: Rc<Queued>,
    bytes: Cell<usize>,
}

impl Queued {
    /// `None` is no limit.
    pub fn new(max: Option<usize>) -> Rc<Self> {
        Rc::new(Self { bytes: Cell::new(0), max: max.unwrap_or(usize::MAX) })
    }

    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    pub fn is_exceeded(&self) -> bool {
        self.bytes.get() > self.max
    }

    /// So much waits for the client now that has had `before` in the sum.
    pub fn set(&self, before: &Cell<usize>, bytes: usize) {
        let before = before.replace(bytes);
        if before != bytes {
            self.bytes.set(self.bytes.get() - before + bytes);
        }
    }

    /// A client for which nothing waits.
    pub fn share(self: &Rc<Self>) -> Share {
        Share { queued: Rc::clone(self), bytes: Cell::new(0) }
    }
}

impl Share {
    /// So much waits for this client now.
    pub fn set(&self, bytes: usize) {
        self.queued.set(&self.bytes, bytes);
    }

    /// So much more waits for it.
    pub fn add(&self, bytes: usize) {
        self.set(self.bytes.get() + bytes);
    }

    /// So much of it waits no longer.
    pub fn remove(&self, bytes: usize) {
        self.set(self.bytes.get().saturating_sub(bytes));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_exceeded_by_one_byte_more_and_what_has_gone_counts_no_longer() {
        let queued = Queued::new(Some(10));
        let (one, other) = (queued.share(), queued.share());
        one.set(6);
        other.add(4);
        assert!(!queued.is_exceeded());
        other.add(1);
        assert!(queued.is_exceeded());
        other.remove(1);
        assert!(!queued.is_exceeded());
        other.set(5);
        drop(one);
        assert_eq!(queued.bytes.get(), 5);
    }
}
