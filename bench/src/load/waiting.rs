//! A large message for many who do not read: what it costs in memory while it waits.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::idle::settled_memory;
use super::room::{By, join};
use super::{DRAIN, Payload, script};
use crate::frame::{TEXT, frame};
use crate::meter::{Memory, Sample};
use crate::probe;
use crate::server::Server;
use crate::text;

/// What the speaker's process needs no more, a server may give back after a while. Shorter than any patience with clients.
const REST: Duration = Duration::from_secs(3);

/// Has one more client say `size` bytes to `connections`, and then lets all of them read.
pub fn run(server: &Server, connections: usize, size: usize, by: By) -> Result<Sample> {
    let script = script(size, Payload::Plain, 1);
    let expect = script.expect;
    let (path, message) = (by.path(1), frame(TEXT, &text::plain(size), false));
    let (mut crowd, _) = join(&by.target(server.endpoint(), 1, false).taking_little(), connections, script)?;
    let mut speaker = probe::open(server.endpoint(), &path)?;
    let before = settled_memory(server)?;
    speaker.write_all(&message)?;
    std::thread::sleep(REST);
    let after = settled_memory(server)?;
    let mut heard = 0;
    let deadline = Instant::now() + DRAIN;
    while heard < connections {
        heard += crowd.turn(|_, message, _| message.check(&expect).map(|()| 0))? as usize;
        if Instant::now() > deadline {
            bail!("{heard} of {connections} have it after {DRAIN:?}");
        }
    }
    let growth = |now: u64, before: u64| now as f64 - before as f64;
    let waiting = Memory { vm: growth(after.0, before.0), sidecar: growth(after.1, before.1) };
    Ok(Sample { connections, messages: connections as u64, waiting: Some(waiting), ..Sample::default() })
}
