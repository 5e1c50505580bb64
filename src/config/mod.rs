//! What the command line says: flags in, the typed options of each part out.
//!
//! `outrider serve` is how the VM starts a sidecar, `outrider echo` runs the same engine without a VM. Both share
//! [`Limits`]. Times are milliseconds on the command line and [`Duration`](std::time::Duration)s in the options; `infinity`
//! is `None`. The defaults are Cowboy's and Ranch's.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::rights::User;
use crate::{rights, version};

mod http2;
mod limits;
mod value;

pub use limits::Limits;
pub use value::{LogLevel, OrInfinity, Timeout};

/// HTTP and WebSocket I/O for an Erlang VM, in a process beside it.
#[derive(Debug, Parser)]
#[command(name = "outrider", version = version::text(), propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The ways in which the engine runs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Relay between clients and the Erlang VM that opened this process as a port (stdin and stdout).
    Serve(Serve),
    /// Echo every WebSocket message, without a VM: to test and measure the engine by itself.
    Echo(Echo),
}

/// Flags of `outrider serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// The listener's name: for people who read `ps` and logs.
    #[arg(long, default_value = "")]
    pub name: String,
    #[command(flatten)]
    pub limits: Limits,
    /// Bytes of payload on their way, for each stream and direction, before the sender waits for credit.
    #[arg(long, default_value_t = 262_144, value_name = "BYTES")]
    pub window: usize,
    /// Listen only when the VM orders it.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub suspended: bool,
    /// How long the VM may be silent before clients are no longer read, in ms or infinity.
    #[arg(long, default_value = "10000", value_name = "MS")]
    pub watchdog: Timeout,
    /// How long the VM may be silent before clients are sent away and this process ends, in ms or infinity.
    #[arg(long, default_value = "300000", value_name = "MS")]
    pub vm_timeout: Timeout,
    /// Encrypt connections; nobody is accepted before the VM has sent the certificates.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub tls: bool,
    /// The least level of what is logged through the VM.
    #[arg(long, default_value = "info")]
    pub log_level: LogLevel,
    #[command(flatten)]
    pub rights: Rights,
}

/// What the process may do and use, beyond what the VM's user may.
#[derive(Args, Clone, Debug)]
pub struct Rights {
    /// Memory of its own in bytes, or infinity; the process ends when it needs more.
    #[arg(long, default_value = "infinity", value_name = "BYTES")]
    pub memory_limit: OrInfinity<u64>,
    /// Who to become when the addresses are bound: a name in /etc/passwd, or UID:GID.
    #[arg(long, value_name = "USER")]
    pub user: Option<User>,
}

impl Rights {
    /// The options of the part that gives rights up.
    pub fn options(&self) -> rights::Options {
        rights::Options { memory_limit: self.memory_limit.0, user: self.user }
    }
}

/// Flags of `outrider echo`.
#[derive(Debug, Args)]
pub struct Echo {
    #[command(flatten)]
    pub limits: Limits,
    /// Negotiate permessage-deflate and x-webkit-deflate-frame.
    #[arg(long)]
    pub compress: bool,
    /// Encrypt connections, with the certificate in this file (PEM).
    #[arg(long, requires = "keyfile", value_name = "PATH")]
    pub certfile: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, requires = "certfile", value_name = "PATH")]
    pub keyfile: Option<PathBuf>,
    /// The largest frame and message taken from a client, in bytes, or infinity.
    #[arg(long, default_value = "1000000", value_name = "BYTES")]
    pub max_frame_size: OrInfinity<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
