//! The short table, for who wants to know in a minute.

use super::{lines, table};
use crate::measure::Measure;
use crate::result::{RowResult, Run};
use crate::row::Row;

/// The main rows of Cowboy and Outrider, with a column for each run: the medians of what tells most of each.
pub fn in_short(runs: &[Run], rows: &[Row]) -> String {
    let is_main = |name: &str| rows.iter().any(|row| row.main && row.name == name);
    let lines = lines(runs, rows);
    let both = lines.iter().filter(|line| line.sides == ["cowboy", "outrider"] && is_main(line.name));
    let cells = both.map(|line| {
        let cells: Vec<_> = line.of.iter().map(|row| row.map_or("–".to_owned(), cell)).collect();
        format!("| {} | {} |", line.title, cells.join(" | "))
    });
    let heads: Vec<_> = runs.iter().map(Run::stand).collect();
    let head = format!("| | {} |\n|---|{}", heads.join(" | "), "---|".repeat(heads.len()));
    table("Outrider as a multiple of Cowboy", &head, cells.collect()).unwrap_or_default()
}

fn cell(row: &RowResult) -> String {
    let say = |name: &str, measure| row.ratio(1, measure).map(|figure| format!("{name} {:.2}×", figure.median));
    // One client at a time shows how long it waits; more, how much goes through.
    let is_one = row.rounds.first().is_some_and(|round| round[1].connections == 1);
    let measures = match (say("memory", Measure::Memory), is_one) {
        (Some(memory), _) => vec![Some(memory)],
        (None, true) => vec![say("median latency", Measure::P50)],
        (None, false) => vec![say("throughput", Measure::Rate), say("CPU", Measure::TotalCpu)],
    };
    measures.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
