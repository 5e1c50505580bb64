//! Connections that do nothing: what they cost in memory.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{DRAIN, Payload, script};
use crate::crowd::Crowd;
use crate::handshake::Target;
use crate::meter::{Memory, Sample};
use crate::probe;
use crate::server::Server;

/// How many connections speak at a time, where they do before they fall silent.
const SPEAKING: usize = 100;

/// How long connections that spoke are then left alone: a server may keep for a while what the next message would need.
const REST: Duration = Duration::from_secs(25);

/// How long others are: a server may tidy up when nobody has come for some seconds.
pub const SILENCE: Duration = Duration::from_secs(12);

/// Opens `connections`, has each echo `messages` messages of 1 KiB, and compares the memory with that before.
pub fn run(server: &Server, path: &str, connections: usize, messages: usize, deflate: bool) -> Result<Sample> {
    let target = Target::websocket(server.endpoint(), path, deflate);
    probe::echo(server.endpoint(), path, deflate)?;
    let before = settled_memory(server)?;
    let payload = if deflate { Payload::Deflated } else { Payload::Plain };
    let mut crowd = Crowd::open(&target, connections, script(1024, payload, 1))?;
    for first in (0..connections).step_by(SPEAKING) {
        for _ in 0..messages {
            ask_some(&mut crowd, first..connections.min(first + SPEAKING))?;
        }
    }
    let at_once = server.memory()?;
    std::thread::sleep(if messages > 0 { REST } else { SILENCE });
    let after = settled_memory(server)?;
    // One that was closed meanwhile would be seen here.
    crowd.turn(|_, _, _| bail!("a silent connection got a message"))?;
    let per_connection = |now: u64, before: u64| (now as f64 - before as f64) / connections as f64;
    let memory =
        |(vm, sidecar)| Memory { vm: per_connection(vm, before.0), sidecar: per_connection(sidecar, before.1) };
    Ok(Sample {
        connections,
        messages: (connections * messages) as u64,
        memory: Some(memory(after)),
        memory_at_once: Some(memory(at_once)),
        ..Sample::default()
    })
}

/// Sends one message on each of these connections and waits for the answers.
fn ask_some(crowd: &mut Crowd, some: std::ops::Range<usize>) -> Result<()> {
    let expect = crowd.expect();
    let mut missing = some.len();
    for number in some {
        crowd.send(number, 1)?;
    }
    let deadline = Instant::now() + DRAIN;
    while missing > 0 {
        missing -= crowd.turn(|_, message, _| message.check(&expect).map(|()| 0))? as usize;
        if Instant::now() > deadline {
            bail!("{missing} messages had no answer in {DRAIN:?}");
        }
    }
    Ok(())
}

/// Memory once it has stopped changing: two readings half a second apart within half a percent, or the last of 20.
pub fn settled_memory(server: &Server) -> Result<(u64, u64)> {
    let mut last = server.memory()?;
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(500));
        let now = server.memory()?;
        let is_near = |a: u64, b: u64| a.abs_diff(b) <= b / 200;
        if is_near(now.0, last.0) && is_near(now.1, last.1) {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}
