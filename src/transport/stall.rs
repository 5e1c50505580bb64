//! How long a client has taken nothing of what is written to it. In the event loop's thread.
//!
//! The kernel says that a socket can be written to when a good part of its send buffer is free: a slow reader of a large
//! buffer looks silent for minutes. How much of the buffer is left, only the kernel knows, so it is asked some times within a
//! `send_timeout`. Silence is then known as exactly as that: it lasts for the timeout at least, and for a quarter more at most.

use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::During;

/// How often the kernel is asked within the timeout.
const LOOKS: u32 = 4;

/// A client that does not take all that there is for it.
pub struct Stall {
    /// Since when it has taken nothing, as far as is known.
    since: Instant,
    /// When the kernel was asked, and what it had then: bytes that the client has not acknowledged.
    looked: Instant,
    unsent: Option<u64>,
    _blocked: During,
}

impl Stall {
    /// The socket takes no more at this moment, where `unsent` is what it says of itself ([`super::Socket::unsent`]).
    pub fn begin(unsent: Option<u64>) -> Self {
        let now = Instant::now();
        Self { since: now, looked: now, unsent, _blocked: During::new(|metrics| &metrics.clients_blocked) }
    }

    /// Since when the client has taken nothing.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// When to ask next.
    pub fn deadline(&self, timeout: Duration) -> Instant {
        (self.since + timeout).min(self.looked + timeout / LOOKS)
    }

    /// The socket has been asked. Says whether the client has taken nothing for `timeout`.
    pub fn is_over(&mut self, unsent: Option<u64>, timeout: Duration, now: Instant) -> bool {
        if unsent.zip(self.unsent).is_some_and(|(left, before)| left < before) {
            self.since = now;
        }
        (self.looked, self.unsent) = (now, unsent);
        self.since + timeout <= now
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::super::plain::Plain;
    use super::super::socket::Socket;
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(8);

    /// A client for which 50,000 bytes lie in the kernel, which frees those of a write when all of them have been read.
    fn client() -> (Socket, UnixStream) {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        for _ in 0..50 {
            ours.write_all(&[0; 1000]).expect("fits");
        }
        ours.set_nonblocking(true).expect("sets it");
        (Socket::Plain(Plain::Unix(Box::new(tokio::net::UnixStream::from_std(ours).expect("a socket")))), theirs)
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up_after_the_timeout() {
        let (socket, _client) = client();
        let mut stall = Stall::begin(socket.unsent());
        let start = stall.since();
        let mut looks = Vec::new();
        loop {
            let now = stall.deadline(TIMEOUT);
            looks.push((now - start).as_secs());
            if stall.is_over(socket.unsent(), TIMEOUT, now) {
                break;
            }
        }
        assert_eq!(looks, [2, 4, 6, 8]);
        assert_eq!(stall.since(), start);
    }

    #[tokio::test]
    async fn a_client_that_takes_little_now_and_then_is_kept() {
        let (socket, mut client) = client();
        let mut stall = Stall::begin(socket.unsent());
        let start = stall.since();
        for look in 1..40 {
            let now = stall.deadline(TIMEOUT);
            assert_eq!((now - start).as_secs(), 2 * look);
            if look % 4 == 0 {
                client.read_exact(&mut [0; 2000]).expect("reads");
            }
            assert!(!stall.is_over(socket.unsent(), TIMEOUT, now), "{look}");
        }
        // From its last byte on, which came between two looks.
        let last = stall.since();
        while !stall.is_over(socket.unsent(), TIMEOUT, stall.deadline(TIMEOUT)) {}
        assert_eq!(stall.looked - last, TIMEOUT);
    }
}
