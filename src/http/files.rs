//! Reads the files that handlers send (`sendfile`), in threads, since a disk can be slow and a mount dead.
//!
//! Regular files only: a FIFO without a writer, or a terminal, would hold its thread for good. A read that takes too long is
//! given up. Its thread cannot be, as long as the kernel holds it; others take its place, up to a limit.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::gate::rate::Seldom;
use crate::metrics::{Limit, reached};
use crate::port::message::CHUNK;

/// Threads, the event loop's runtime being told: [`AT_A_TIME`], and those whose reads have been given up.
pub const THREADS: usize = 256;

/// Reads that are waited for at a time. Further ones wait for their turn.
const AT_A_TIME: usize = 64;

/// How long a read may take.
const TIMEOUT: Duration = Duration::from_secs(30);

static TURNS: Semaphore = Semaphore::const_new(AT_A_TIME);

thread_local! {
    static SLOW: Seldom = Seldom::default();
}

/// A part of a file, from the next block on.
pub struct Part {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Part {
    /// Opens the file, which must be a regular one.
    pub async fn open(path: PathBuf, offset: u64, length: u64) -> io::Result<Self> {
        let open = move || {
            // A FIFO, which nobody may write, is opened at once, and seen for what it is.
            let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
            match file.metadata()?.is_file() {
                true => Ok(file),
                false => Err(io::Error::other("not a regular file")),
            }
        };
        Ok(Self { file: Arc::new(in_time(TIMEOUT, &TURNS, open).await?), offset, left: length })
    }

    /// Whether all of it has been read.
    pub fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Reads the next block. A file that ends before is an error: the client was promised more.
    pub async fn read(&mut self) -> io::Result<Bytes> {
        let size = CHUNK.min(usize::try_from(self.left).unwrap_or(CHUNK));
        let (file, offset) = (Arc::clone(&self.file), self.offset);
        let read = move || {
            let mut block = vec![0; size];
            file.read_exact_at(&mut block, offset)?;
            Ok(block)
        };
        let block = in_time(TIMEOUT, &TURNS, read).await?;
        self.offset += size as u64;
        self.left -= size as u64;
        Ok(block.into())
    }
}

/// Does something in a thread when it is its turn, and gives up after `timeout`.
async fn in_time<T: Send + 'static>(
    timeout: Duration,
    turns: &Semaphore,
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let _turn = turns.acquire().await.map_err(io::Error::other)?;
    match tokio::time::timeout(timeout, Job(tokio::task::spawn_blocking(job))).await {
        Ok(done) => done.map_err(io::Error::other)?,
        Err(_) => {
            reached(Limit::FileTimeout);
            if SLOW.with(|slow| slow.is_due(Instant::now())) {
                tracing::warn!("a file has not been read within {} s", timeout.as_secs());
            }
            Err(io::ErrorKind::TimedOut.into())
        }
    }
}

/// A job of a thread. One that has not begun when nobody waits any more never does.
struct Job<T>(JoinHandle<T>);

impl<T> Future for Job<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::count;

    /// As on a dead mount, where the kernel does not say when it will be over.
    #[tokio::test]
    async fn reads_that_hang_are_given_up_and_do_not_keep_the_others_waiting() {
        let turns = Semaphore::new(2);
        let (end, over) = std::sync::mpsc::channel::<()>();
        let over = Arc::new(std::sync::Mutex::new(over));
        let hang = || {
            let over = Arc::clone(&over);
            in_time(Duration::from_millis(50), &turns, move || {
                let _ = over.lock().map(|over| over.recv());
                Ok(())
            })
        };
        let (a, b, c) = tokio::join!(hang(), hang(), hang());
        for given_up in [a, b, c] {
            assert_eq!(given_up.expect_err("hangs").kind(), io::ErrorKind::TimedOut);
        }
        assert_eq!(count(|metrics| metrics.limits.get(Limit::FileTimeout as usize)), 3);
        assert_eq!(in_time(TIMEOUT, &turns, || Ok(7)).await.expect("is read"), 7);
        drop(end);
    }
}
