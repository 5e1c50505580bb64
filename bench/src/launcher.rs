//! Starts the servers under test, each in an operating system process of its own.
//!
//! A VM runs `bench_server` (bench/server), which both servers share; it ends with its standard input, so it cannot
//! outlive us. The engine is the sidecar alone, without a VM.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use anyhow::{Context, Result, bail};

use crate::server::{Needs, Server, Side};

/// The certificate of a server with TLS, of P-256, and its key.
const CERTIFICATE: &str = "test/vectors/tls/server.crt";
const KEY: &str = "test/vectors/tls/server.key";

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

    /// Starts a server, with TLS or without, and waits until it listens.
    pub fn start(&self, side: Side, tls: bool, needs: &Needs) -> Result<Server> {
        let server = match side {
            Side::Cowboy | Side::Outrider | Side::Outrider2 => self.start_vm(side, tls, needs),
            Side::Engine => self.start_engine(tls),
        };
        server.with_context(|| format!("starting {}", side.name()))
    }

    fn start_vm(&self, side: Side, tls: bool, needs: &Needs) -> Result<Server> {
        let sidecars = needs.sidecars.filter(|_| side == Side::Outrider).map(|count| count.to_string());
        let mut child = Command::new("erl")
            .args(["-noshell", "-pa"])
            .arg(&self.ebin)
            .args(&needs.erl_flags)
            .args(&self.erl_flags)
            .args(["-s", "bench_server", "-extra", &(side.name().to_owned() + &sidecars.unwrap_or_default())])
            .args(tls.then_some([CERTIFICATE, KEY]).into_iter().flatten())
            .env("ERL_LIBS", &self.erl_libs)
            .env("ERL_CRASH_DUMP_SECONDS", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting erl")?;
        let lines = lines_of(child.stdout.take().expect("a pipe was asked for"), false);
        Server::when_ready(side, tls, child, lines)
    }

    fn start_engine(&self, tls: bool) -> Result<Server> {
        let mut child = Command::new(&self.sidecar)
            .args(["echo", "--listen", "127.0.0.1:0"])
            .args(tls.then_some(["--certfile", CERTIFICATE, "--keyfile", KEY]).into_iter().flatten())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .ends_with_us()
            .spawn()
            .with_context(|| format!("starting {}", self.sidecar.display()))?;
        let lines = lines_of(child.stderr.take().expect("a pipe was asked for"), true);
        Server::when_ready(Side::Engine, tls, child, lines)
    }
}

pub trait EndsWithUs {
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
