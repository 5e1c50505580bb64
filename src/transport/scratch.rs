//! The one read buffer of the event loop.
//!
//! Every client's socket is read into it, so that an idle connection has no buffer of its own. Its content is used up, or
//! copied, before the next socket is read.

use std::cell::RefCell;

/// Bytes that one read takes at most: a chunk of the port protocol and a frame's header fit.
pub const SIZE: usize = 128 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SIZE].into());
}

/// Lends the buffer. It must not be lent twice at a time.
pub fn with<T>(f: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|buffer| f(buffer))
}
