//! One table per kind of figure, for rows that compare the same two; each run has its columns.

use super::{Line, ratio, table};
use crate::measure::Measure;
use crate::meter::{Latency, Memory, Sample};
use crate::result::{RowResult, Run};

/// A table: what its columns are called, and what a row has there. `first` and `second` stand for the servers' names.
struct Kind {
    title: &'static str,
    heads: &'static [&'static str],
    cells: fn(&RowResult) -> Option<Vec<String>>,
}

const KINDS: [Kind; 4] = [
    Kind { title: "Throughput", heads: &["first /s", "second /s", "ratio"], cells: throughput },
    Kind {
        title: "CPU per message, µs",
        heads: &["first", "second (VM + sidecar)", "VM ratio", "total ratio", "generator"],
        cells: cpu,
    },
    Kind {
        title: "Latency, µs",
        heads: &["first p50 / p99 / p99.9", "second p50 / p99 / p99.9", "p50 ratio"],
        cells: latency,
    },
    Kind {
        title: "Memory per connection, bytes",
        heads: &["first", "second (VM + sidecar)", "ratio", "second before the rest"],
        cells: memory,
    },
];

/// The tables of these rows, which all compare `sides`.
pub fn tables(runs: &[Run], sides: &[String], lines: &[&Line]) -> Vec<Option<String>> {
    KINDS.iter().map(|kind| kind.table(runs, sides, lines)).collect()
}

impl Kind {
    fn table(&self, runs: &[Run], sides: &[String], lines: &[&Line]) -> Option<String> {
        let heads: Vec<String> = runs.iter().flat_map(|run| self.heads_of(run, sides, runs.len() > 1)).collect();
        let head = format!("| row | {} |\n|---|{}", heads.join(" | "), "--:|".repeat(heads.len()));
        let line = |line: &&Line| {
            let cells: Vec<_> = line.of.iter().map(|row| row.and_then(self.cells)).collect();
            cells.iter().any(Option::is_some).then(|| {
                let none = || vec!["–".to_owned(); self.heads.len()];
                let cells: Vec<_> = cells.into_iter().flat_map(|cells| cells.unwrap_or_else(none)).collect();
                format!("| {} | {} |", line.title, cells.join(" | "))
            })
        };
        let title = format!("{}: {} and {}", self.title, sides[0], sides[1]);
        table(&title, &head, lines.iter().filter_map(line).collect())
    }

    /// What this run's columns are called. Where there are several, the first of them says which run it is.
    fn heads_of(&self, run: &Run, sides: &[String], is_one_of_many: bool) -> Vec<String> {
        let mut heads: Vec<_> =
            self.heads.iter().map(|head| head.replace("first", &sides[0]).replace("second", &sides[1])).collect();
        if is_one_of_many {
            heads[0] = format!("{}: {}", run.stand(), heads[0]);
        }
        heads
    }
}

fn throughput(row: &RowResult) -> Option<Vec<String>> {
    let [first, second] = [row.figure(0, Measure::Rate)?, row.figure(1, Measure::Rate)?];
    let figure = row.ratio(1, Measure::Rate)?;
    Some(vec![format!("{:.0}", first.median), format!("{:.0}", second.median), ratio(figure)])
}

fn cpu(row: &RowResult) -> Option<Vec<String>> {
    let vm = row.figure(1, Measure::VmCpu)?;
    let total = [row.figure(0, Measure::TotalCpu)?, row.figure(1, Measure::TotalCpu)?];
    let generator = row.over_rounds(|round| round[1].cpu.map(|cpu| cpu.generator))?;
    let maybe = |measure| row.ratio(1, measure).map_or("–".to_owned(), ratio);
    Some(vec![
        format!("{:.1}", total[0].median),
        format!("{:.1} + {:.1}", vm.median, (total[1].median - vm.median).max(0.0)),
        maybe(Measure::VmCpu),
        maybe(Measure::TotalCpu),
        format!("{:.1}", generator.median),
    ])
}

fn latency(row: &RowResult) -> Option<Vec<String>> {
    let quantiles = |side: usize| {
        let one = |of: fn(Latency) -> f64| row.over_rounds(|round| round[side].latency.map(of));
        let all = [one(|l| l.p50)?, one(|l| l.p99)?, one(|l| l.p999)?];
        Some(all.map(|figure| format!("{:.0}", figure.median)).join(" / "))
    };
    Some(vec![quantiles(0)?, quantiles(1)?, ratio(row.ratio(1, Measure::P50)?)])
}

fn memory(row: &RowResult) -> Option<Vec<String>> {
    let median = |of: fn(&Sample) -> Option<Memory>, side: usize, part: fn(Memory) -> f64| {
        row.over_rounds(|round| of(&round[side]).map(part)).map(|figure| figure.median)
    };
    let [first, second] = [0, 1].map(|side| median(|sample| sample.memory, side, Memory::total));
    let vm = median(|sample| sample.memory, 1, |memory| memory.vm)?;
    let sidecar = median(|sample| sample.memory, 1, |memory| memory.sidecar)?;
    Some(vec![
        format!("{:.0}", first?),
        format!("{:.0} ({vm:.0} + {sidecar:.0})", second?),
        ratio(row.ratio(1, Measure::Memory)?),
        format!("{:.0}", median(|sample| sample.memory_at_once, 1, Memory::total)?),
    ])
}
