//! More connections that do nothing than one process may have files for: what they cost in memory, the kernel's too.
//!
//! They are held by children of this process, each with as many as it may open, which end with their standard input. The server
//! is Outrider with sidecars enough, or Cowboy with as many connections as one process may have.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;

use anyhow::{Context, Result, bail};

use super::idle::{SILENCE, settled_memory};
use super::{Payload, script};
use crate::crowd::Crowd;
use crate::handshake::{Endpoint, Target};
use crate::launcher::EndsWithUs;
use crate::meter::{Memory, Sample};
use crate::out;
use crate::probe;
use crate::process::{available_memory, kernel_memory};
use crate::server::{Server, Side};

/// Open files that a process needs besides its connections.
const OTHER_FILES: u64 = 500;
/// With fewer connections in each, the processes would be more than the machine's cores can open connections with.
const LEAST_PER_PROCESS: u64 = 5_000;
/// Memory that a connection may take in all, both of its ends, where it takes most.
const MOST_BYTES: u64 = 30_000;
/// Probes for each process of the server: all have served one before memory is read the first time.
const PROBES: usize = 20;

/// How many processes it takes to have so many connections, if each may open so many files.
pub fn processes(connections: usize, open_files: u64) -> usize {
    connections.div_ceil(open_files.saturating_sub(OTHER_FILES).max(1) as usize)
}

/// How many connections a server has that is one process.
fn most_of_one(connections: usize, open_files: u64) -> usize {
    connections.min(open_files.saturating_sub(OTHER_FILES) as usize)
}

/// Opens `connections` in children of this process and compares the memory with that before.
pub fn run(server: &Server, connections: usize, open_files: u64) -> Result<Sample> {
    check(open_files, connections)?;
    let count = processes(connections, open_files);
    for _ in 0..PROBES * count {
        probe::echo(server.endpoint(), "/idle", false)?;
    }
    let before = settled_memory(server)?;
    let kernel_before = kernel_memory()?;
    let share = |child: usize| connections * child / count;
    let mut holders = Vec::with_capacity(count);
    for child in 0..count {
        holders.push(Holder::start(server.endpoint(), share(child), share(child + 1) - share(child))?);
    }
    holders.iter_mut().try_for_each(Holder::wait)?;
    let at_once = server.memory()?;
    sleep(SILENCE);
    let after = settled_memory(server)?;
    let kernel_after = kernel_memory()?;
    holders.into_iter().try_for_each(Holder::end)?;
    let each = |now: u64, before: u64| (now as f64 - before as f64) / connections as f64;
    let memory = |(vm, sidecar)| Memory { vm: each(vm, before.0), sidecar: each(sidecar, before.1) };
    Ok(Sample {
        connections,
        memory: Some(memory(after)),
        memory_at_once: Some(memory(at_once)),
        kernel_memory: Some(each(kernel_after, kernel_before)),
        ..Sample::default()
    })
}

/// Says what is missing on this machine.
fn check(open_files: u64, connections: usize) -> Result<()> {
    if open_files < OTHER_FILES + LEAST_PER_PROCESS {
        let needed = OTHER_FILES + LEAST_PER_PROCESS;
        bail!("a process may open {open_files} files here (`ulimit -Hn`), and this row needs {needed} at least");
    }
    let (needed, available) = (MOST_BYTES * connections as u64, available_memory()?);
    if available < needed {
        bail!("{connections} connections need {} MB of memory, and {} MB are free", needed >> 20, available >> 20);
    }
    Ok(())
}

/// Says where a server gets fewer connections than it should.
pub fn remark(side: Side, connections: usize, open_files: u64) -> usize {
    let most = if side == Side::Cowboy { most_of_one(connections, open_files) } else { connections };
    if most < connections {
        eprintln!(
            "  {} gets {most} instead of {connections} connections: it has them all in one process, which may open {open_files} \
             files here (`ulimit -Hn`)",
            side.name()
        );
    }
    most
}

/// A child that holds connections.
struct Holder(Child);

impl Holder {
    fn start(endpoint: &Endpoint, first: usize, count: usize) -> Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .args(["hold".to_owned(), endpoint.address.port().to_string(), first.to_string(), count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .ends_with_us()
            .spawn()
            .context("starting a process that holds connections")?;
        Ok(Self(child))
    }

    /// Waits until all are open.
    fn wait(&mut self) -> Result<()> {
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().expect("a pipe was asked for")).read_line(&mut line)?;
        if line.trim() != OPEN {
            bail!("a process that holds connections has failed");
        }
        Ok(())
    }

    /// Ends it. It is an error if the server has closed one, or has said something.
    fn end(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        match self.0.wait()?.success() {
            true => Ok(()),
            false => bail!("a process that holds connections has failed"),
        }
    }
}

/// One that has not ended by itself when something else fails.
impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const OPEN: &str = "open";

/// What such a child does: opens its connections, says so, and holds them until its standard input ends.
pub fn hold(endpoint: &Endpoint, first: usize, count: usize) -> Result<()> {
    let target = Target::websocket(endpoint, "/idle", false).beginning_with(first);
    let mut crowd = Crowd::open(&target, count, script(64, Payload::Plain, 1))?;
    out::print(&format!("{OPEN}\n"))?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    // One that was closed meanwhile would be seen here.
    crowd.turn(|_, _, _| bail!("a silent connection got a message"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_processes_as_the_limit_of_files_asks_for() {
        for (connections, expected) in [(1, 1), (19_500, 1), (19_501, 2), (39_000, 2), (100_000, 6)] {
            assert_eq!(processes(connections, 20_000), expected, "{connections}");
        }
        assert_eq!(processes(100_000, 1 << 20), 1);
    }

    #[test]
    fn too_few_files_are_said_so() {
        let refused = check(OTHER_FILES + LEAST_PER_PROCESS - 1, 1).expect_err("is refused").to_string();
        assert!(refused.contains("5499 files") && refused.contains("needs 5500"), "{refused}");
        check(OTHER_FILES + LEAST_PER_PROCESS, 1).expect("is enough");
        assert!(check(1 << 20, usize::MAX >> 20).is_err());
    }
}
