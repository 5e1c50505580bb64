//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::server::Side;

/// Measures Cowboy and Outrider side by side.
#[derive(Parser)]
#[command(name = "bench/run", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
    /// How.
    #[command(flatten)]
    pub options: Options,
}

/// What to do.
#[derive(Subcommand)]
pub enum What {
    /// Every row of the table but `idle-100k`: 5 rounds of 3 s each: an hour or so.
    Full,
    /// The main rows, 2 rounds of 1 s, 2,000 idle connections: some minutes, and rough.
    Quick,
    /// The same load on more and more connections, up to the limit of open files.
    Growth,
    /// Cowboy against itself: the difference that means nothing.
    Noise,
    /// Only these rows.
    Row {
        /// As `list` names them; `main` is all that it marks with a star.
        #[arg(required = true)]
        names: Vec<String>,
        /// The run that they become part of, as in `--to full`: its rows of these names are replaced, its others stay. Without
        /// it they are a run of their own, `rows`.
        #[arg(long, value_name = "RUN")]
        to: Option<String>,
    },
    /// Tells the rows' names.
    List,
    /// What a row starts to hold connections for it.
    #[command(hide = true)]
    Hold {
        /// The server's port.
        port: u16,
        /// Which connection is the first, of all that are held.
        first: usize,
        /// How many there are.
        count: usize,
    },
    /// Makes the tables and the plots of a run again.
    Report {
        /// Its name, as in bench/results/NAME.json.
        name: String,
    },
}

/// How to do it; what is not given depends on what is done.
#[derive(Args)]
pub struct Options {
    /// Rounds per row.
    #[arg(long, global = true)]
    pub rounds: Option<usize>,
    /// Seconds of each measuring; the warm-up takes 0.3 of it.
    #[arg(long, global = true)]
    pub seconds: Option<f64>,
    /// Connections of the idle rows.
    #[arg(long, global = true)]
    pub idle: Option<usize>,
    /// Compare these two in every row, as in `--sides cowboy,cowboy`.
    #[arg(long, global = true, value_delimiter = ',')]
    pub sides: Option<Vec<Side>>,
    /// Flags for both VMs, as in `--erl-flags '+sbwt none'`.
    #[arg(long, global = true, default_value = "", allow_hyphen_values = true)]
    pub erl_flags: String,
    /// The sidecar's executable, for the rows of the engine alone.
    #[arg(long, global = true, default_value = "priv/bin/outrider")]
    pub sidecar: PathBuf,
    /// Where results go.
    #[arg(long, global = true, default_value = "bench/results")]
    pub out: PathBuf,
    /// A text file whose part between `<!-- bench: NAME -->` and `<!-- /bench -->` becomes the tables, and that which begins with
    /// `<!-- bench: NAME, in short -->` a short one.
    #[arg(long, global = true)]
    pub into: Vec<PathBuf>,
    /// With the newest Erlang and Cowboy: `bench/run` starts this in the root that scripts/newest.sh makes. The result is
    /// NAME-newest.json; reports have it beside that of the same name without `newest`.
    #[arg(long, global = true, conflicts_with = "into")]
    pub newest: bool,
}
