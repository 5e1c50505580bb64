//! The results as Markdown: the goals first, then one table per kind of figure.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::meter::{Latency, Memory, Sample};
use crate::result::{Figure, RowResult, Run};
use crate::row::{Bound, Goal, Measure, Row};

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
    if let Some(memory) = sample.memory {
        write!(line, "  memory B: VM {:.0} sidecar {:.0}", memory.vm, memory.sidecar).expect("writing to a string");
    }
    if let Some(memory) = sample.memory_at_once {
        write!(line, "; before the rest {:.0}", memory.total()).expect("writing to a string");
    }
    line
}

/// The whole report: the goals, then the figures of each pair of servers that the run compares.
pub fn markdown(run: &Run, rows: &[Row]) -> String {
    let mut parts = vec![Some(provenance(run)), goals(run, rows)];
    let mut compared: Vec<&Vec<String>> = Vec::new();
    for row in &run.rows {
        if !compared.contains(&&row.sides) {
            compared.push(&row.sides);
        }
    }
    for sides in compared {
        let rows = run.rows.iter().filter(|row| row.sides == *sides).collect();
        if let [first, second] = &sides[..] {
            let pair = Pair { sides: [first, second], rows };
            parts.extend([throughput(&pair), cpu(&pair), latency(&pair), memory(&pair)]);
        } else {
            parts.push(columns(sides, &rows));
        }
    }
    parts.push(failures(run));
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// Rows that compare the same two.
struct Pair<'a> {
    sides: [&'a str; 2],
    rows: Vec<&'a RowResult>,
}

/// Puts the table between the marks of a text that has them.
pub fn put_into(file: &Path, name: &str, table: &str) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let (before, rest) = text
        .split_once(&format!("<!-- bench: {name} -->\n"))
        .with_context(|| format!("{} has no mark `<!-- bench: {name} -->`", file.display()))?;
    let (_, after) = rest.split_once("<!-- /bench -->").context("the mark `<!-- /bench -->` is missing")?;
    let new = format!("{before}<!-- bench: {name} -->\n\n{table}\n<!-- /bench -->{after}");
    fs::write(file, new).with_context(|| format!("writing {}", file.display()))
}

fn provenance(run: &Run) -> String {
    let machine = &run.machine;
    let versions: Vec<_> = run.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let rounds = run.rows.iter().map(|row| row.rounds.len()).max().unwrap_or(0);
    let others = run.rows.iter().flat_map(|row| row.rounds.iter().flatten()).filter_map(|sample| sample.others);
    format!(
        "{}; {}, {} cores, {:.0} GiB; {}, Linux {}; {}. Up to {rounds} rounds of {} s each. \
         Whatever else ran used up to {:.2} cores meanwhile.\n",
        run.began,
        machine.processor,
        machine.cores,
        machine.memory as f64 / 1024f64.powi(3),
        machine.system,
        machine.kernel,
        versions.join(", "),
        run.seconds.1,
        others.fold(0.0, f64::max),
    )
}

fn goals(run: &Run, rows: &[Row]) -> Option<String> {
    let mut lines = Vec::new();
    for result in &run.rows {
        let row = rows.iter().find(|row| row.name == result.name && row.names() == result.sides);
        let goals = row.map_or(&[][..], |row| &row.goals);
        let judged = row.map_or(0, |row| row.judged)..result.sides.len();
        lines.extend(judged.flat_map(|side| goals.iter().map(move |goal| goal_line(result, side, goal))));
    }
    table("Goals", "| row | measure | goal | median | rounds | |\n|---|---|--:|--:|--:|---|", lines)
}

fn goal_line(result: &RowResult, side: usize, goal: &Goal) -> String {
    let (figure, wanted) = match goal.bound {
        Bound::AtLeast(ratio) => (result.ratio(side, goal.measure), format!("≥ {ratio:.2}×")),
        Bound::AtMost(ratio) => (result.ratio(side, goal.measure), format!("≤ {ratio:.2}×")),
        Bound::Below(value) => (result.figure(side, goal.measure), format!("< {value:.0}")),
    };
    let title = match result.sides.len() {
        2 => result.title.clone(),
        _ => format!("{}: {}", result.title, result.sides[side]),
    };
    let Some(Figure { median, low, high }) = figure else {
        return format!("| {title} | {} | {wanted} | – | – | not measured |", goal.measure.title());
    };
    let (is_reached, found) = match goal.bound {
        Bound::AtLeast(ratio) => (median >= ratio, format!("{median:.2}× | {low:.2}–{high:.2}")),
        Bound::AtMost(ratio) => (median <= ratio, format!("{median:.2}× | {low:.2}–{high:.2}")),
        Bound::Below(value) => (median < value, format!("{median:.0} | {low:.0}–{high:.0}")),
    };
    let verdict = if is_reached { "reached" } else { "**missed**" };
    format!("| {title} | {} | {wanted} | {found} | {verdict} |", goal.measure.title())
}

fn throughput(pair: &Pair) -> Option<String> {
    let lines = pair.rows.iter().filter_map(|row| {
        let [first, second] = [row.figure(0, Measure::Rate)?, row.figure(1, Measure::Rate)?];
        let figure = ratio(row.ratio(1, Measure::Rate));
        let (name, rounds) = (&row.title, per_round(row));
        Some(format!("| {name} | {:.0} | {:.0} | {rounds} | {figure} |", first.median, second.median))
    });
    let head = "| row | first /s | second /s | ratio per round | median | spread |\n|---|--:|--:|---|--:|--:|";
    pair.table("Throughput", head, lines.collect())
}

fn cpu(pair: &Pair) -> Option<String> {
    let lines = pair.rows.iter().filter_map(|row| {
        let vm = [row.figure(0, Measure::VmCpu)?, row.figure(1, Measure::VmCpu)?];
        let total = [row.figure(0, Measure::TotalCpu)?, row.figure(1, Measure::TotalCpu)?];
        let generator = row.over_rounds(|round| round[1].cpu.map(|cpu| cpu.generator))?;
        Some(format!(
            "| {} | {:.1} | {:.1} + {:.1} | {} | {} | {:.1} |",
            row.title,
            total[0].median,
            vm[1].median,
            (total[1].median - vm[1].median).max(0.0),
            ratio(row.ratio(1, Measure::VmCpu)),
            ratio(row.ratio(1, Measure::TotalCpu)),
            generator.median,
        ))
    });
    let head = "| row | first | second (VM + sidecar) | VM ratio | spread | total ratio | spread | generator |\n\
                |---|--:|--:|--:|--:|--:|--:|--:|";
    pair.table("CPU per message, µs", head, lines.collect())
}

fn latency(pair: &Pair) -> Option<String> {
    let lines = pair.rows.iter().filter_map(|row| {
        let quantiles = |side: usize| {
            let one = |of: fn(Latency) -> f64| row.over_rounds(|round| round[side].latency.map(of));
            let all = [one(|l| l.p50)?, one(|l| l.p99)?, one(|l| l.p999)?];
            Some(all.map(|figure| format!("{:.0}", figure.median)).join(" / "))
        };
        let figure = ratio(row.ratio(1, Measure::P50));
        Some(format!("| {} | {} | {} | {figure} |", row.title, quantiles(0)?, quantiles(1)?))
    });
    let head =
        "| row | first p50 / p99 / p99.9 | second p50 / p99 / p99.9 | p50 ratio | spread |\n|---|--:|--:|--:|--:|";
    pair.table("Latency, µs", head, lines.collect())
}

fn memory(pair: &Pair) -> Option<String> {
    let lines = pair.rows.iter().filter_map(|row| {
        let median = |of: fn(&Sample) -> Option<Memory>, side: usize, part: fn(Memory) -> f64| {
            row.over_rounds(|round| of(&round[side]).map(part)).map(|figure| figure.median)
        };
        let at_once = median(|sample| sample.memory_at_once, 1, Memory::total)?;
        Some(format!(
            "| {} | {} | {:.0} | {:.0} ({:.0} + {:.0}) | {} | {at_once:.0} |",
            row.title,
            row.rounds[0][1].connections,
            median(|sample| sample.memory, 0, Memory::total)?,
            median(|sample| sample.memory, 1, Memory::total)?,
            median(|sample| sample.memory, 1, |memory| memory.vm)?,
            median(|sample| sample.memory, 1, |memory| memory.sidecar)?,
            ratio(row.ratio(1, Measure::Memory)),
        ))
    });
    let head = "| row | connections | first | second (VM + sidecar) | ratio | spread | second before the rest |\n\
                |---|--:|--:|--:|--:|--:|--:|";
    pair.table("Memory per connection, bytes", head, lines.collect())
}

/// Rows that compare more than two: each in a column, with its ratio to the first.
fn columns(sides: &[String], rows: &[&RowResult]) -> Option<String> {
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
    let lines = rows.iter().flat_map(|row| measures.into_iter().filter_map(|measure| line(row, measure))).collect();
    let head = format!("| row | measure | {} |\n|---|---{}|", sides.join(" | "), "|--:".repeat(sides.len()));
    table("One message for many", &head, lines)
}

fn failures(run: &Run) -> Option<String> {
    let failed = run.rows.iter().filter_map(|row| row.failure.as_ref().map(|why| format!("| {} | {why} |", row.title)));
    table("Failed", "| row | why |\n|---|---|", failed.collect())
}

impl Pair<'_> {
    /// A table in whose head the words `first` and `second` become names.
    fn table(&self, title: &str, head: &str, lines: Vec<String>) -> Option<String> {
        let [first, second] = self.sides;
        let title = format!("{title}: {first} and {second}");
        table(&title, &head.replace("first", first).replace("second", second), lines)
    }
}

fn table(title: &str, head: &str, lines: Vec<String>) -> Option<String> {
    (!lines.is_empty()).then(|| format!("**{title}**\n\n{head}\n{}\n", lines.join("\n")))
}

fn ratio(figure: Option<Figure>) -> String {
    figure.map_or("– | –".to_owned(), |Figure { median, low, high }| format!("{median:.2}× | {low:.2}–{high:.2}"))
}

fn per_round(row: &RowResult) -> String {
    let ratios = row.rounds.iter().filter_map(|round| Some(round[1].rate? / round[0].rate?));
    ratios.map(|ratio| format!("{ratio:.2}")).collect::<Vec<_>>().join(" ")
}
