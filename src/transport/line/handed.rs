//! What the streams of a connection have given to h2 and the client's socket has not taken, and who waits until it is less.

use std::task::{Context, Poll, Waker};

use rustc_hash::FxHashMap;

use super::frames::{DATA, END_STREAM, Frame, RST_STREAM};

/// Bytes that the streams may have given to h2 before they wait until the socket has taken some.
pub const MOST_HANDED: usize = 256 * 1024;

/// Bytes that h2 has.
#[derive(Default)]
pub struct Handed {
    sum: usize,
    /// Of each stream.
    of_streams: FxHashMap<u32, usize>,
    /// The streams that wait until h2 has less.
    waiting: FxHashMap<u32, Waker>,
}

impl Handed {
    pub fn sum(&self) -> usize {
        self.sum
    }

    pub fn has_room(&self) -> bool {
        self.sum < MOST_HANDED
    }

    /// Ready when this stream may give h2 more.
    pub fn poll_room(&mut self, stream: u32, cx: &Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        self.waiting.entry(stream).or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
        Poll::Pending
    }

    /// This stream does not wait any more.
    pub fn leave(&mut self, stream: u32) {
        self.waiting.remove(&stream);
    }

    /// A stream has given h2 so many bytes.
    pub fn add(&mut self, stream: u32, bytes: usize) {
        *self.of_streams.entry(stream).or_default() += bytes;
        self.sum += bytes;
    }

    /// The socket has taken this frame.
    pub fn sent(&mut self, frame: Frame) {
        if frame.kind == DATA
            && let Some(handed) = self.of_streams.get_mut(&frame.stream)
        {
            let sent = frame.length.min(*handed);
            *handed -= sent;
            self.remove(sent);
        }
        // The flag means the same in HEADERS, and is not there in other frames of a stream.
        if frame.kind == RST_STREAM || (frame.kind <= 1 && frame.flags & END_STREAM != 0) {
            self.forget(frame.stream);
        }
    }

    /// Nothing more of this stream will be sent.
    pub fn forget(&mut self, stream: u32) {
        let handed = self.of_streams.remove(&stream).unwrap_or(0);
        self.remove(handed);
    }

    fn remove(&mut self, bytes: usize) {
        self.sum -= bytes;
        if self.has_room() {
            self.waiting.drain().for_each(|(_, waker)| waker.wake());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Stream 1 has given all that may be given; 3 and 5 wait.
    fn full(woken: &Arc<Woken>) -> Handed {
        let waker = Waker::from(Arc::clone(woken));
        let mut handed = Handed::default();
        handed.add(1, MOST_HANDED - 1);
        assert!(handed.poll_room(3, &Context::from_waker(&waker)).is_ready());
        handed.add(1, 1);
        for stream in [3, 5, 3] {
            assert!(handed.poll_room(stream, &Context::from_waker(&waker)).is_pending());
        }
        handed
    }

    #[test]
    fn those_that_wait_are_woken_once_by_a_byte_that_is_sent() {
        let woken = Arc::default();
        let mut handed = full(&woken);
        handed.sent(Frame { kind: DATA, flags: 0, stream: 1, length: 1, code: 0 });
        assert_eq!((woken.0.load(Ordering::Relaxed), handed.sum()), (2, MOST_HANDED - 1));
        handed.sent(Frame { kind: DATA, flags: 0, stream: 1, length: 1, code: 0 });
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
    }

    /// Where the client has reset it: h2 may then have nothing to write.
    #[test]
    fn those_that_wait_are_woken_when_another_stream_is_forgotten() {
        let woken = Arc::default();
        let mut handed = full(&woken);
        handed.leave(5);
        handed.forget(1);
        assert_eq!((woken.0.load(Ordering::Relaxed), handed.sum()), (1, 0));
    }
}
