//! The results as Markdown: the goals first, then one table per kind of figure. A report is of one run or of two: with the
//! oldest Cowboy and, in columns beside it, with the newest.

mod goals;
mod pairs;
mod short;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::measure::Measure;
use crate::meter::{Latency, Sample};
use crate::result::{Figure, RowResult, Run};
use crate::row::Row;

pub use short::in_short;

/// Nanoseconds from which two cores share no cache of the third level, on the machines that were seen.
const FAR: f64 = 200.0;

/// A sample in one line, for whoever watches the run.
pub fn one_line(sample: &Sample) -> String {
    let mut line = format!("{:5} connections", sample.connections);
    if let Some(rate) = sample.rate {
        write!(line, "  {rate:9.0}/s").expect("writing to a string");
    }
    if let Some(Latency { p50, p99, p999 }) = sample.latency {
        write!(line, "  p50 {p50:.0} p99 {p99:.0} p99.9 {p999:.0} µs").expect("writing to a string");
    }
    if let Some(Latency { p50, p99, .. }) = sample.last {
        write!(line, "  last p50 {p50:.0} p99 {p99:.0} µs").expect("writing to a string");
    }
    if let Some(waiting) = sample.waiting {
        write!(line, "  waiting B: VM {:.0} sidecar {:.0}", waiting.vm, waiting.sidecar).expect("writing to a string");
    }
    if let Some(cpu) = sample.cpu {
        write!(line, "  CPU µs: VM {:.1} sidecar {:.1} generator {:.1}", cpu.vm, cpu.sidecar, cpu.generator)
            .expect("writing to a string");
    }
    if let Some(others) = sample.others {
        write!(line, " others {others:.2} cores").expect("writing to a string");
    }
    if let Some(trip) = sample.core_trip {
        write!(line, "; cores apart {trip:.0} ns").expect("writing to a string");
    }
    if let Some(memory) = sample.memory {
        write!(line, "  memory B: VM {:.0} sidecar {:.0}", memory.vm, memory.sidecar).expect("writing to a string");
    }
    if let Some(memory) = sample.memory_at_once {
        write!(line, "; before the rest {:.0}", memory.total()).expect("writing to a string");
    }
    if let Some(memory) = sample.kernel_memory {
        write!(line, "; kernel, both ends {memory:.0}").expect("writing to a string");
    }
    line
}

/// The whole report of the runs: the goals, then the figures of each pair of servers that they compare.
pub fn markdown(runs: &[Run], rows: &[Row]) -> String {
    let mut parts: Vec<Option<String>> = runs.iter().map(|run| Some(provenance(run))).collect();
    if !runs.iter().any(|run| run.newest) {
        parts.push(Some(
            "**The newest Erlang and Cowboy were not measured**: `bench/run … --newest` does it.\n".to_owned(),
        ));
    }
    let lines = lines(runs, rows);
    parts.push(goals::table(runs, &lines, rows));
    let mut compared: Vec<&[String]> = Vec::new();
    for line in &lines {
        if !compared.contains(&line.sides) {
            compared.push(line.sides);
        }
    }
    for sides in compared {
        let lines: Vec<&Line> = lines.iter().filter(|line| line.sides == sides).collect();
        if sides.len() == 2 {
            parts.extend(pairs::tables(runs, sides, &lines));
        } else {
            parts.extend(
                (0..runs.len()).map(|run| columns(&runs[run], sides, lines.iter().filter_map(|line| line.of[run]))),
            );
        }
    }
    parts.extend(runs.iter().map(failures));
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// A row, and what each run found.
struct Line<'a> {
    name: &'a str,
    title: &'a str,
    sides: &'a [String],
    of: Vec<Option<&'a RowResult>>,
}

/// What any of the runs has, in the order of the table.
fn lines<'a>(runs: &'a [Run], rows: &[Row]) -> Vec<Line<'a>> {
    let mut lines: Vec<Line> = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        for row in &run.rows {
            let known = lines.iter().position(|line| line.name == row.name && line.sides == row.sides);
            let place = known.unwrap_or_else(|| {
                lines.push(Line { name: &row.name, title: &row.title, sides: &row.sides, of: vec![None; runs.len()] });
                lines.len() - 1
            });
            lines[place].of[number] = Some(row);
        }
    }
    lines.sort_by_key(|line| rows.iter().position(|row| row.name == line.name).unwrap_or(usize::MAX));
    lines
}

/// Puts the tables between the marks of a text that has them, and the short one between its own.
pub fn put_into(file: &Path, name: &str, tables: &str, short: &str) -> Result<()> {
    let mut text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let mut found = false;
    for (mark, part) in
        [(format!("<!-- bench: {name} -->\n"), tables), (format!("<!-- bench: {name}, in short -->\n"), short)]
    {
        let Some((before, rest)) = text.split_once(&mark) else { continue };
        let (_, after) = rest.split_once("<!-- /bench -->").context("the mark `<!-- /bench -->` is missing")?;
        text = format!("{before}{mark}\n{part}\n<!-- /bench -->{after}");
        found = true;
    }
    if !found {
        bail!("{} has no mark `<!-- bench: {name} -->`", file.display());
    }
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

fn provenance(run: &Run) -> String {
    let machine = &run.machine;
    let versions: Vec<_> = run.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let rounds = run.rows.iter().map(|row| row.rounds.len()).max().unwrap_or(0);
    let others: Vec<f64> =
        run.rows.iter().flat_map(|row| row.rounds.iter().flatten()).filter_map(|sample| sample.others).collect();
    let trips: Vec<f64> =
        run.rows.iter().flat_map(|row| row.rounds.iter().flatten()).filter_map(|sample| sample.core_trip).collect();
    let apart = match trips.iter().copied().reduce(f64::min) {
        Some(least) => format!(
            " A cache line's round trip between two cores took {least:.0} to {:.0} ns, more than {FAR:.0} in {} of {} samples.",
            trips.iter().copied().fold(0.0, f64::max),
            trips.iter().filter(|trip| **trip > FAR).count(),
            trips.len(),
        ),
        None => String::new(),
    };
    let quiet = others.iter().filter(|others| **others < 0.1).count();
    format!(
        "{}: {} to {}; {}, {} cores, {:.0} GiB; {}, Linux {}; {}. Up to {rounds} rounds of {} s each. \
         Whatever else ran used up to {:.2} cores meanwhile, less than 0.1 in {quiet} of {} samples.{apart}\n",
        run.stand(),
        run.began,
        run.ended,
        machine.processor,
        machine.cores,
        machine.memory as f64 / 1024f64.powi(3),
        machine.system,
        machine.kernel,
        versions.join(", "),
        run.seconds.1,
        others.iter().copied().fold(0.0, f64::max),
        others.len(),
    )
}

/// Rows that compare more than two: each in a column, with its ratio to the first.
fn columns<'a>(run: &Run, sides: &[String], rows: impl Iterator<Item = &'a RowResult>) -> Option<String> {
    let measures =
        [Measure::Rate, Measure::VmCpu, Measure::TotalCpu, Measure::LastP50, Measure::LastP99, Measure::Waiting];
    let line = |row: &RowResult, measure: Measure| {
        let cell = |side: usize| {
            let found = row.figure(side, measure).map(|figure| measure.shown(figure.median))?;
            let ratio = row.ratio(side, measure).filter(|_| side > 0);
            Some(ratio.map_or(found.clone(), |Figure { median, low, high }| {
                format!("{found} ({median:.2}×, {low:.2}–{high:.2})")
            }))
        };
        let cells: Option<Vec<_>> = (0..sides.len()).map(cell).collect();
        cells.map(|cells| format!("| {} | {} | {} |", row.title, measure.title(), cells.join(" | ")))
    };
    let lines = rows.flat_map(|row| measures.into_iter().filter_map(|measure| line(row, measure))).collect();
    let head = format!("| row | measure | {} |\n|---|---{}|", sides.join(" | "), "|--:".repeat(sides.len()));
    table(&format!("One message for many: {}", run.stand()), &head, lines)
}

fn failures(run: &Run) -> Option<String> {
    let failed = run.rows.iter().filter_map(|row| row.failure.as_ref().map(|why| format!("| {} | {why} |", row.title)));
    table(&format!("Failed: {}", run.stand()), "| row | why |\n|---|---|", failed.collect())
}

fn table(title: &str, head: &str, lines: Vec<String>) -> Option<String> {
    (!lines.is_empty()).then(|| format!("**{title}**\n\n{head}\n{}\n", lines.join("\n")))
}

/// A ratio and its spread.
fn ratio(Figure { median, low, high }: Figure) -> String {
    format!("{median:.2}× ({low:.2}–{high:.2})")
}
