//! Moves the port's bytes: one task writes what [`Port`] has collected, one reads the VM's packets.
//!
//! stdin is read whatever the clients do, so that a handler in the VM never waits for another's client; only while much is
//! still to be sent to many, the commands behind it wait (`src/streams/due.rs`). Both
//! pipes are enlarged, which saves wake-ups on either side.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::Port;
use crate::metrics::count;

/// What we ask the kernel to hold in each pipe (Linux allows 1 MiB without privileges).
const PIPE_SIZE: usize = 1 << 20;

/// The most that one read takes; all of its packets are carried out before clients are written to.
const GULP: usize = 1 << 18;

/// A large buffer goes with the first small packet so long after it was last needed; the pong to the VM's ping is one. What a busy
/// turn needs the next ones need too, and memory that is new costs a page fault for each 4 KiB.
const REST: Duration = Duration::from_secs(1);

/// A larger packet is not of our protocol: payloads cross in pieces of 64 KiB, and the VM sends no head longer than this.
const MAX_PACKET: usize = 16 << 20;

/// Opens stdin and stdout as pipes. Fails when they are something else: then nobody speaks the protocol there.
pub fn open() -> io::Result<(pipe::Receiver, pipe::Sender)> {
    let duplicate = |fd: BorrowedFd<'_>| {
        let _ = rustix::pipe::fcntl_setpipe_size(fd, PIPE_SIZE); // Less is slower, no worse.
        fd.try_clone_to_owned()
    };
    let receiver = pipe::Receiver::from_owned_fd(duplicate(io::stdin().as_fd())?)?;
    let sender = pipe::Sender::from_owned_fd(duplicate(io::stdout().as_fd())?)?;
    Ok((receiver, sender))
}

/// Writes packets for as long as the VM reads them. Returns when the pipe fails: the VM is gone.
pub async fn write(port: Rc<Port>, pipe: pipe::Sender) -> io::Error {
    let mut buffer = Vec::new();
    let mut needed = Instant::now();
    loop {
        std::future::poll_fn(|cx| port.poll_something(cx)).await;
        port.take(&mut buffer);
        let mut rest = buffer.as_slice();
        while !rest.is_empty() {
            match pipe.try_write(rest) {
                Ok(n) => {
                    rest = &rest[n..];
                    port.written(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(e) = pipe.writable().await {
                        return e;
                    }
                    port.heard();
                }
                Err(e) => return e,
            }
        }
        give_back(&mut buffer, &mut needed, REST);
    }
}

/// Frees a large buffer of which little was used, where it was last `needed` more than `time` ago.
fn give_back(buffer: &mut Vec<u8>, needed: &mut Instant, time: Duration) {
    if buffer.capacity() <= 4 * GULP {
        return;
    }
    if buffer.len() >= buffer.capacity() / 8 {
        *needed = Instant::now();
    } else if needed.elapsed() > time {
        *buffer = Vec::new();
    }
}

/// The VM's packets.
pub struct Packets {
    pipe: pipe::Receiver,
    /// Bytes read; those before `done` have been given out.
    buffer: Vec<u8>,
    done: usize,
}

impl Packets {
    pub fn new(pipe: pipe::Receiver) -> Self {
        Self { pipe, buffer: Vec::with_capacity(GULP), done: 0 }
    }

    /// Reads once, so that [`Packets::pop`] may have packets. `false` is the end of the VM.
    pub async fn read(&mut self) -> io::Result<bool> {
        self.make_room();
        let n = self.pipe.read_buf(&mut self.buffer).await?;
        Ok(has_read(n))
    }

    /// The same, but does not wait: `None` where nothing has come.
    pub fn try_read(&mut self) -> io::Result<Option<bool>> {
        self.make_room();
        match self.pipe.try_read_buf(&mut self.buffer) {
            Ok(n) => Ok(Some(has_read(n))),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn make_room(&mut self) {
        self.buffer.drain(..self.done);
        self.done = 0;
        // However long the next packet says it is, room is made for what comes.
        let wanted = self.next_length().map_or(GULP, |length| (4 + length).clamp(GULP, self.buffer.len() + GULP));
        if self.buffer.capacity() > 4 * GULP && self.buffer.len() < GULP {
            self.buffer.shrink_to(GULP);
        }
        self.buffer.reserve(wanted.saturating_sub(self.buffer.len()).max(4096));
    }

    /// The next whole packet that has been read; an error for one that no packet of ours can be.
    pub fn pop(&mut self) -> Result<Option<&[u8]>, usize> {
        let Some(length) = self.next_length() else { return Ok(None) };
        if length > MAX_PACKET {
            return Err(length);
        }
        let start = self.done + 4;
        if self.buffer.len() < start + length {
            return Ok(None);
        }
        self.done = start + length;
        count(|metrics| metrics.port_packets_received.add(1));
        Ok(Some(&self.buffer[start..self.done]))
    }

    fn next_length(&self) -> Option<usize> {
        let head = self.buffer.get(self.done..)?.first_chunk()?;
        Some(u32::from_be_bytes(*head) as usize)
    }
}

/// `false` is the end.
fn has_read(bytes: usize) -> bool {
    count(|metrics| metrics.port_bytes_received.add(bytes as u64));
    bytes > 0
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// What comes of a packet that says it has `length` bytes, if so many of them follow.
    async fn pop(length: usize, sent: usize) -> Result<usize, usize> {
        let (receiver, mut sender) = io::pipe().expect("a pipe");
        let writer = std::thread::spawn(move || {
            let _ = sender.write_all(&u32::to_be_bytes(length as u32)); // Who is refused reads no more.
            let _ = sender.write_all(&vec![7; sent]);
        });
        let mut packets = Packets::new(pipe::Receiver::from_owned_fd(receiver.into()).expect("a pipe"));
        let result = loop {
            match packets.pop() {
                Ok(Some(packet)) => break Ok(packet.len()),
                Ok(None) => assert!(packets.read().await.expect("reads"), "the packet is not there"),
                Err(length) => break Err(length),
            }
        };
        drop(packets);
        writer.join().expect("has written");
        result
    }

    #[tokio::test]
    async fn a_packet_has_16_mib_at_most() {
        for length in [0, 1, GULP - 4, GULP, MAX_PACKET - 1, MAX_PACKET] {
            assert_eq!(pop(length, length).await, Ok(length));
        }
        assert_eq!(pop(MAX_PACKET + 1, MAX_PACKET + 1).await, Err(MAX_PACKET + 1));
    }

    #[tokio::test]
    async fn a_packet_that_is_too_long_is_refused_before_it_has_come() {
        for length in [MAX_PACKET + 1, u32::MAX as usize] {
            assert_eq!(pop(length, 0).await, Err(length));
        }
    }

    #[test]
    fn a_large_buffer_goes_when_it_was_not_needed_for_a_time() {
        let after = |capacity: usize, length: usize, idle: Duration| {
            let mut buffer = Vec::with_capacity(capacity);
            buffer.resize(length, 0);
            let mut needed = Instant::now() - idle;
            give_back(&mut buffer, &mut needed, Duration::from_secs(60));
            (buffer.capacity() > 0, needed.elapsed() < Duration::from_secs(30))
        };
        let (long, short) = (Duration::from_secs(61), Duration::from_secs(59));
        let large = 8 * GULP;
        assert_eq!(after(4 * GULP, 1, long), (true, false), "it is not large");
        assert_eq!(after(large, large / 8 - 1, short), (true, false));
        assert_eq!(after(large, large / 8 - 1, long), (false, false));
        assert_eq!(after(large, large / 8, long), (true, true), "it is needed");
    }
}
