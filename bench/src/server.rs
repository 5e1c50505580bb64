//! A server under test: its process ids, what it used so far, and its end.

use std::net::Ipv4Addr;
use std::process::Child;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::handshake::Endpoint;
use crate::process::{children_cpu_time, cpu_time, descendants, is_alive, machine_cpu_time, memory};
use crate::wire::client_config;

/// How long a server may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Cowboy, in a VM.
    Cowboy,
    /// Outrider: a VM and its sidecar.
    Outrider,
    /// The same with two sidecars.
    Outrider2,
    /// The sidecar alone: `outrider echo`.
    Engine,
}

impl Side {
    /// Its name, as the command line and the results write it.
    pub fn name(self) -> &'static str {
        match self {
            Side::Cowboy => "cowboy",
            Side::Outrider => "outrider",
            Side::Outrider2 => "outrider2",
            Side::Engine => "engine",
        }
    }
}

/// What a server gets besides what all get.
#[derive(Default)]
pub struct Needs {
    /// How many sidecars Outrider has, where the side does not say it.
    pub sidecars: Option<usize>,
    /// Flags for the VM.
    pub erl_flags: Vec<String>,
}

/// A server that runs. Dropping it ends it.
pub struct Server {
    side: Side,
    child: Child,
    lines: mpsc::Receiver<String>,
    endpoint: Endpoint,
    vm: Option<u32>,
    sidecars: Vec<u32>,
    facts: Vec<(String, String)>,
}

/// CPU time of a server's processes and of the load generator up to one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time of the VM so far.
    pub vm_cpu: Duration,
    /// CPU time of its sidecars so far.
    pub sidecar_cpu: Duration,
    /// CPU time of the load generator so far, and of others that it has run.
    pub generator_cpu: Duration,
    /// CPU time of everything on the machine so far.
    pub machine_cpu: Duration,
}

impl Server {
    /// Takes a child that was just started, and the lines that it writes; waits until it listens.
    pub fn when_ready(side: Side, tls: bool, child: Child, lines: mpsc::Receiver<String>) -> Result<Self> {
        // From here on the child ends with this value, also if it never becomes ready.
        let endpoint = Endpoint { address: (Ipv4Addr::LOCALHOST, 0).into(), tls: tls.then(client_config).transpose()? };
        let mut server = Self { side, child, lines, endpoint, vm: None, sidecars: Vec::new(), facts: Vec::new() };
        if side == Side::Engine {
            let address = server.wait_for_line("listening on ")?;
            let port = address.trim().rsplit(':').next().unwrap_or_default().parse().context("its port")?;
            server.endpoint.address.set_port(port);
            server.sidecars = vec![server.child.id()];
            return Ok(server);
        }
        let ready = server.wait_for_line("ready ")?;
        let words = ready.split_whitespace().filter_map(|word| word.split_once('='));
        server.facts = words.map(|(key, fact)| (key.to_owned(), fact.to_owned())).collect();
        let port = server.fact("port")?.parse().context("its port")?;
        server.endpoint.address.set_port(port);
        let vm = server.fact("pid")?.parse().context("its process id")?;
        server.vm = Some(vm);
        if side != Side::Cowboy {
            server.sidecars = descendants(vm, "outrider")?;
            if server.sidecars.is_empty() {
                bail!("the VM {vm} has no child process `outrider`");
            }
        }
        Ok(server)
    }

    /// Which one it is.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Where it listens, and whether it speaks TLS.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Versions of what runs in its VM, by name.
    pub fn versions(&self) -> Vec<(String, String)> {
        let name = |key: &str| if key == "server" { self.side.name().to_owned() } else { key.to_owned() };
        let is_version = |key: &str| !matches!(key, "port" | "pid");
        self.facts.iter().filter(|(key, _)| is_version(key)).map(|(key, fact)| (name(key), fact.clone())).collect()
    }

    /// What it said of itself.
    fn fact(&self, key: &str) -> Result<&str> {
        let found = self.facts.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str()).with_context(|| format!("the server did not tell its {key}"))
    }

    /// CPU time used so far.
    pub fn usage(&self) -> Result<Usage> {
        let mut usage = Usage {
            generator_cpu: cpu_time(std::process::id())? + children_cpu_time()?,
            machine_cpu: machine_cpu_time()?,
            ..Usage::default()
        };
        if let Some(vm) = self.vm {
            usage.vm_cpu = cpu_time(vm)?;
        }
        for sidecar in &self.sidecars {
            usage.sidecar_cpu += cpu_time(*sidecar)?;
        }
        Ok(usage)
    }

    /// Bytes of memory, of the VM and of its sidecars.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let vm = self.vm.map_or(Ok(0), memory)?;
        let sidecars: Result<u64> = self.sidecars.iter().map(|pid| memory(*pid)).sum();
        Ok((vm, sidecars?))
    }

    /// Ends it. It is an error if a process of it had ended before, or does not end with it.
    pub fn stop(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended by itself: {status}", self.side.name());
        }
        let sidecars = std::mem::take(&mut self.sidecars);
        if self.side == Side::Outrider {
            let now = descendants(self.child.id(), "outrider")?;
            if now != sidecars {
                bail!("the sidecars were restarted: they were {sidecars:?} and are {now:?}");
            }
        }
        drop(self);
        // They say good-bye to their clients before they go.
        let deadline = Instant::now() + PATIENCE;
        while let Some(pid) = sidecars.iter().find(|pid| is_alive(**pid)) {
            if Instant::now() > deadline {
                bail!("the sidecar {pid} outlives its VM");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits for a line that holds `mark`, and returns what follows it.
    fn wait_for_line(&mut self, mark: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(mpsc::RecvTimeoutError::Timeout) => bail!("no line `{mark}…` in {PATIENCE:?}"),
                Err(mpsc::RecvTimeoutError::Disconnected) => bail!("it ended before it was ready"),
            };
            if let Some((_, rest)) = line.split_once(mark) {
                return Ok(rest.to_owned());
            }
            eprintln!("{}: {line}", self.side.name());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let grace = if self.side == Side::Engine { Duration::ZERO } else { PATIENCE };
        let deadline = Instant::now() + grace;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                // Neither can fail in a way that leaves something to do: the child is ours and has not been waited for.
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
