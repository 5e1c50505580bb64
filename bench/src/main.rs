//! Cowboy and Outrider side by side: starts both with the same handler, drives them in turn with the same load, and writes
//! what it found as JSON, a table and plots. docs/performance.md describes the method.
//!
//! One thread, one epoll. The servers are children of this process, and are the only processes that it ends.

mod cli;
mod cores;
mod crowd;
mod frame;
mod goal;
mod handshake;
mod launcher;
mod load;
mod measure;
mod meter;
mod out;
mod plot;
mod probe;
mod process;
mod report;
mod response;
mod result;
mod row;
mod server;
mod svg;
mod text;
mod wire;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::cli::{Cli, Options, What};
use crate::handshake::Endpoint;
use crate::launcher::Launcher;
use crate::load::Load;
use crate::meter::{Sample, Timing};
use crate::process::Machine;
use crate::result::{RowResult, Run};
use crate::row::Row;
use crate::server::Side;

/// What is to be run.
struct Plan {
    name: String,
    /// Whether its rows become part of an earlier run of that name.
    continues: bool,
    rows: Vec<Row>,
    rounds: usize,
    timing: Timing,
    /// No measuring begins later than this after the first.
    time_limit: Duration,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let options = &cli.options;
    let open_files = process::raise_open_files()?;
    if let What::Hold { port, first, count } = cli.what {
        let endpoint = Endpoint { address: (Ipv4Addr::LOCALHOST, port).into(), tls: None };
        return load::hold(&endpoint, first, count);
    }
    let idle = options.idle.unwrap_or(if matches!(cli.what, What::Quick | What::Noise) { 2_000 } else { 10_000 });
    let table = row::table(idle);
    let main_rows = || table.iter().filter(|row| row.main).cloned();
    let plan = |name: &str, rows, rounds, seconds, minutes: u64| Plan {
        name: name.to_owned(),
        continues: false,
        rows,
        rounds: options.rounds.unwrap_or(rounds),
        timing: row::timing(options.seconds.unwrap_or(seconds)),
        time_limit: Duration::from_secs(60 * minutes),
    };
    let mut plan = match &cli.what {
        What::Full => plan("full", table.clone(), 5, 3.0, 90),
        What::Quick => plan("quick", main_rows().collect(), 2, 1.0, 5),
        What::Growth => plan("growth", row::growth(most_connections(open_files)), 3, 3.0, 30),
        What::Noise => {
            let rows = main_rows().filter(|row| row.sides.len() == 2 && row.sides[0].0 == Side::Cowboy);
            plan("noise", rows.map(|row| row.between([Side::Cowboy; 2])).collect(), 5, 2.0, 30)
        }
        What::Row { names, to } => {
            let all = [table.clone(), row::apart()].concat();
            let part = plan(to.as_deref().unwrap_or("rows"), named(&all, names)?, 3, 2.0, 30);
            Plan { continues: to.is_some(), ..part }
        }
        What::List => {
            let line = |row: &Row| format!("{} {:22} {}\n", if row.main { '*' } else { ' ' }, row.name, row.title);
            return Ok(out::print(&table.iter().chain(&row::apart()).map(line).collect::<String>())?);
        }
        What::Report { name } => return report(name, options),
        What::Hold { .. } => unreachable!("it has returned"),
    };
    if let Some(sides) = &options.sides {
        let sides: [Side; 2] = sides[..].try_into().context("--sides takes two, with a comma between them")?;
        if let Some(row) = plan.rows.iter().find(|row| row.sides.len() != 2) {
            bail!("--sides is for rows of two; {} compares {}", row.name, row.sides.len());
        }
        plan.rows = plan.rows.into_iter().map(|row| row.between(sides)).collect();
    }
    let result = measure(&plan, options, Machine::here(open_files)?)?;
    report(&plan.name, options)?;
    let failures = result.rows.iter().filter(|row| row.failure.is_some()).count();
    if failures > 0 {
        bail!("{failures} of {} rows failed", result.rows.len());
    }
    Ok(())
}

/// Each connection is one open file of the server and one of ours; some are left for everything else. Erlang's own
/// default limit of ports is 65,536.
fn most_connections(open_files: u64) -> usize {
    (open_files.saturating_sub(500) as usize).min(60_000)
}

fn named(table: &[Row], names: &[String]) -> Result<Vec<Row>> {
    if let Some(name) = names.iter().find(|name| *name != "main" && !table.iter().any(|row| row.name == **name)) {
        bail!("no row is called {name}; see `list`");
    }
    let is_named = |row: &&Row| names.iter().any(|name| *name == row.name || name == "main" && row.main);
    Ok(table.iter().filter(is_named).cloned().collect())
}

fn measure(plan: &Plan, options: &Options, machine: Machine) -> Result<Run> {
    let launcher = launcher(options)?;
    let mut run = Run {
        name: plan.name.clone(),
        newest: options.newest,
        began: now(),
        ended: now(),
        machine,
        versions: tool_versions(),
        erl_flags: launcher.erl_flags.clone(),
        seconds: (plan.timing.warm_up.as_secs_f64(), plan.timing.measure.as_secs_f64()),
        rows: Vec::new(),
    };
    std::fs::create_dir_all(&options.out)?;
    let earlier = Run::path(&options.out, &run.name, run.newest);
    if plan.continues && earlier.exists() {
        run.continue_from(Run::load(&earlier)?)?;
    }
    let began = Instant::now();
    for row in &plan.rows {
        eprintln!("{} — {}", row.name, row.title);
        let mut result = RowResult {
            name: row.name.clone(),
            title: row.title.clone(),
            sides: row.names(),
            rounds: Vec::new(),
            failure: None,
        };
        for _ in 0..plan.rounds {
            if began.elapsed() > plan.time_limit {
                result.failure = Some(format!("not measured: the run took longer than {:?}", plan.time_limit));
                break;
            }
            match one_round(&launcher, row, plan.timing, &mut run) {
                Ok(round) => result.rounds.push(round),
                Err(error) => {
                    eprintln!("  FAILED: {error:#}");
                    result.failure = Some(format!("{error:#}"));
                    break;
                }
            }
        }
        run.put(result);
        run.ended = now();
        // After each row, so that a run which is interrupted leaves what it has.
        run.save(&options.out)?;
    }
    Ok(run)
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

fn one_round(launcher: &Launcher, row: &Row, timing: Timing, run: &mut Run) -> Result<Vec<Sample>> {
    let one = |(side, load): &(Side, Load)| -> Result<Sample> {
        let (side, load) = (*side, *load);
        let server = launcher.start(side, row.tls, &load.needs()?)?;
        server.versions().into_iter().for_each(|(name, fact)| run.add_version(name, fact));
        let before = cores::round_trip();
        let sample = load.run(&server, timing).with_context(|| format!("{} at {}", row.name, side.name()))?;
        server.stop()?;
        // The farther of two looks: the cores may have come apart meanwhile.
        let core_trip = before.into_iter().chain(cores::round_trip()).reduce(f64::max);
        let sample = Sample { core_trip, ..sample };
        eprintln!("  {:20} {}", side.name().to_owned() + load.remark(), report::one_line(&sample));
        Ok(sample)
    };
    row.sides.iter().map(one).collect()
}

fn launcher(options: &Options) -> Result<Launcher> {
    let base = std::env::var("REBAR_BASE_DIR").unwrap_or_else(|_| "_build".to_owned());
    let mut erl_libs = vec![format!("{base}/default/lib"), "_build/erl_libs".to_owned()];
    erl_libs.extend(std::env::var("ERL_LIBS"));
    let launcher = Launcher {
        ebin: Path::new(&base).join("bench"),
        erl_libs: erl_libs.join(":"),
        erl_flags: options.erl_flags.split_whitespace().map(str::to_owned).collect(),
        sidecar: options.sidecar.clone(),
    };
    launcher.compile(Path::new("bench/server"))?;
    Ok(launcher)
}

/// Versions of what built the sidecar and of what is measured; `unknown` where a tool does not tell.
fn tool_versions() -> Vec<(String, String)> {
    let say = |name: &str, command: &[&str]| {
        let output = Command::new(command[0]).args(&command[1..]).output().ok().filter(|out| out.status.success());
        let text = output.map_or("unknown".to_owned(), |out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
        (name.to_owned(), text.trim_start_matches("rustc ").to_owned())
    };
    // Where `bench/run` runs this, there may be no repository.
    let commit = std::env::var("BENCH_COMMIT").unwrap_or_else(|_| "unknown".to_owned());
    vec![("commit".to_owned(), commit), say("rustc", &["rustc", "--version"])]
}

/// Writes the tables and plots of the runs of that name, one or two.
fn report(name: &str, options: &Options) -> Result<()> {
    let paths = [false, true].map(|newest| Run::path(&options.out, name, newest));
    let runs: Vec<Run> =
        paths.iter().filter(|path| path.exists()).map(|path| Run::load(path)).collect::<Result<_>>()?;
    if runs.is_empty() {
        bail!("there is no {}", paths[0].display());
    }
    let rows = [row::table(0), row::apart()].concat();
    let tables = report::markdown(&runs, &rows);
    std::fs::write(options.out.join(format!("{name}.md")), &tables)?;
    for (picture, text) in plot::all(&runs) {
        std::fs::write(options.out.join(format!("{name}-{picture}.svg")), text)?;
    }
    for file in &options.into {
        report::put_into(file, name, &tables, &report::in_short(&runs, &rows))?;
    }
    Ok(out::print(&(tables + "\n"))?)
}
