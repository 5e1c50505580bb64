//! The servers under test: starts one in an operating system process of its own, knows its process ids, ends it.
//!
//! A VM runs `bench_server` (bench/server), which both servers share; it ends with its standard input, so it cannot
//! outlive us. `Side::Engine` is the sidecar alone, without a VM.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::process::{cpu_time, descendants, is_alive, machine_cpu_time, memory};

/// How long a server may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Cowboy, in a VM.
    Cowboy,
    /// Outrider: a VM and its sidecars.
    Outrider,
    /// The sidecar alone: `outrider echo`.
    Engine,
}

impl Side {
    /// Its name, as the command line and the results write it.
    pub fn name(self) -> &'static str {
        match self {
            Side::Cowboy => "cowboy",
            Side::Outrider => "outrider",
            Side::Engine => "engine",
        }
    }
}

/// What it takes to start servers.
#[derive(Clone)]
pub struct Launcher {
    /// Where the compiled `bench_server` and `bench_handler` are.
    pub ebin: PathBuf,
    /// `ERL_LIBS` of the VMs: Cowboy's applications and Outrider's.
    pub erl_libs: String,
    /// Flags for both VMs.
    pub erl_flags: Vec<String>,
    /// The sidecar's executable, for `Side::Engine`.
    pub sidecar: PathBuf,
}

impl Launcher {
    /// Compiles the handler and the server's start into `ebin`.
    pub fn compile(&self, sources: &Path) -> Result<()> {
        std::fs::create_dir_all(&self.ebin)?;
        let status = Command::new("erlc")
            .arg("+debug_info")
            .arg("-o")
            .arg(&self.ebin)
            .args(["bench_handler.erl", "bench_server.erl"].map(|file| sources.join(file)))
            .env("ERL_LIBS", &self.erl_libs)
            .status()
            .context("starting erlc")?;
        if !status.success() {
            bail!("erlc failed: is Cowboy in one of {}?", self.erl_libs);
        }
        Ok(())
    }

    /// Starts a server and waits until it listens.
    pub fn start(&self, side: Side) -> Result<Server> {
        let server = match side {
            Side::Cowboy | Side::Outrider => self.start_vm(side),
            Side::Engine => self.start_engine(),
        };
        server.with_context(|| format!("starting {}", side.name()))
    }

    fn start_vm(&self, side: Side) -> Result<Server> {
        let mut child = Command::new("erl")
            .args(["-noshell", "-pa"])
            .arg(&self.ebin)
            .args(&self.erl_flags)
            .args(["-s", "bench_server", "-extra", side.name()])
            .env("ERL_LIBS", &self.erl_libs)
            .env("ERL_CRASH_DUMP_SECONDS", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting erl")?;
        let lines = lines_of(child.stdout.take().expect("a pipe was asked for"), false);
        let mut server = Server { side, child, lines, port: 0, vm: None, sidecars: Vec::new(), facts: Vec::new() };
        let ready = server.wait_for_line("ready ")?;
        server.facts = ready.split_whitespace().filter_map(|word| word.split_once('=')).map(owned).collect();
        server.port = server.fact("port")?.parse()?;
        let vm = server.fact("pid")?.parse()?;
        server.vm = Some(vm);
        if side == Side::Outrider {
            server.sidecars = descendants(vm, "outrider")?;
            if server.sidecars.is_empty() {
                bail!("the VM {vm} has no child process `outrider`");
            }
        }
        Ok(server)
    }

    fn start_engine(&self) -> Result<Server> {
        let mut child = Command::new(&self.sidecar)
            .args(["echo", "--listen", "127.0.0.1:0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .ends_with_us()
            .spawn()
            .with_context(|| format!("starting {}", self.sidecar.display()))?;
        let sidecars = vec![child.id()];
        let lines = lines_of(child.stderr.take().expect("a pipe was asked for"), true);
        let mut server = Server { side: Side::Engine, child, lines, port: 0, vm: None, sidecars, facts: Vec::new() };
        let address = server.wait_for_line("listening on ")?;
        server.port = address.trim().rsplit(':').next().unwrap_or_default().parse().context("its port")?;
        Ok(server)
    }
}

trait EndsWithUs {
    /// Has the kernel end the child when this process is gone, however that happens.
    fn ends_with_us(&mut self) -> &mut Self;
}

impl EndsWithUs for Command {
    fn ends_with_us(&mut self) -> &mut Self {
        // SAFETY: prctl is a plain system call, safe between fork and exec.
        unsafe {
            self.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            })
        }
    }
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// The lines that a child writes, read by a thread of their own: so that a child which prints nothing cannot hold us up,
/// and one that prints much is not stopped by a full pipe. Only the first lines are kept.
fn lines_of(pipe: impl Read + Send + 'static, to_stderr: bool) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(100);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if to_stderr && !line.contains("listening on ") {
                eprintln!("{line}");
            }
            // A full channel means that nobody waits for lines any more.
            let _ = sender.try_send(line);
        }
    });
    receiver
}

/// A server that runs. Dropping it ends it.
pub struct Server {
    side: Side,
    child: Child,
    lines: mpsc::Receiver<String>,
    port: u16,
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
    /// CPU time of the load generator so far.
    pub generator_cpu: Duration,
    /// CPU time of everything on the machine so far.
    pub machine_cpu: Duration,
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
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
            generator_cpu: cpu_time(std::process::id())?,
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
