//! What a run found, as it is written to a file, and the figures drawn from it: medians, ratios, spreads.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::meter::Sample;
use crate::process::Machine;
use crate::row::Measure;

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// `full`, `quick`, …
    pub name: String,
    /// When it began, UTC.
    pub began: String,
    /// Where it ran.
    pub machine: Machine,
    /// Of what it measured, by name.
    pub versions: Vec<(String, String)>,
    /// Flags of both VMs, besides those that both need to start.
    pub erl_flags: Vec<String>,
    /// Seconds of warm-up and of measuring, of each sample.
    pub seconds: (f64, f64),
    /// The rows.
    pub rows: Vec<RowResult>,
}

/// What a row found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RowResult {
    /// The row's name.
    pub name: String,
    /// For people.
    pub title: String,
    /// Those that were compared, two or more; ratios are to the first.
    pub sides: Vec<String>,
    /// A sample of each per round, in the order in which they were taken.
    pub rounds: Vec<Vec<Sample>>,
    /// Why the row has fewer rounds than were asked for, or none.
    pub failure: Option<String>,
}

/// A figure over several rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// The median.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

impl RowResult {
    /// A measure of one side, by its place.
    pub fn figure(&self, side: usize, measure: Measure) -> Option<Figure> {
        self.over_rounds(|round| measure.of(&round[side]))
    }

    /// A measure's ratio, of a side to the first, taken round by round.
    pub fn ratio(&self, side: usize, measure: Measure) -> Option<Figure> {
        self.over_rounds(|round| {
            let [first, other] = [measure.of(&round[0])?, measure.of(&round[side])?];
            (first > 0.0).then_some(other / first)
        })
    }

    /// Any value of a round, over the rounds that have it.
    pub fn over_rounds(&self, value: impl Fn(&[Sample]) -> Option<f64>) -> Option<Figure> {
        let mut values: Vec<f64> = self.rounds.iter().filter_map(|round| value(round)).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() {
            0 => return None,
            odd if odd % 2 == 1 => values[middle],
            _ => (values[middle - 1] + values[middle]) / 2.0,
        };
        Some(Figure { median, low: values[0], high: values[values.len() - 1] })
    }
}

impl Run {
    /// Reads a run that was written.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no result", path.display()))
    }

    /// Writes it to a file.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// The comparisons of Cowboy and Outrider, two at a time: what a row has beside them, such as Outrider's own means, is
    /// one more.
    pub fn comparisons(&self) -> Vec<RowResult> {
        let pair = |row: &RowResult, side: usize| {
            let name = &row.sides[side];
            let is_both = row.sides[0].starts_with("cowboy") && name.split(", ").next() == Some("outrider");
            is_both.then(|| RowResult {
                title: match row.sides.len() {
                    2 => row.title.clone(),
                    _ => format!("{}, {}", row.title, name.trim_start_matches("outrider, ")),
                },
                sides: vec![row.sides[0].clone(), name.clone()],
                rounds: row.rounds.iter().map(|round| vec![round[0].clone(), round[side].clone()]).collect(),
                ..row.clone()
            })
        };
        self.rows.iter().flat_map(|row| (1..row.sides.len()).filter_map(|side| pair(row, side))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(rates: &[(f64, f64)]) -> RowResult {
        let sample = |rate| Sample { rate: Some(rate), ..Sample::default() };
        let rounds = rates.iter().map(|(first, second)| vec![sample(*first), sample(*second)]).collect();
        let sides = vec!["cowboy".to_owned(), "outrider".to_owned()];
        RowResult { name: "r".into(), title: "R".into(), sides, rounds, failure: None }
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        let ratio = row(&[(1.0, 2.0), (10.0, 10.0), (2.0, 6.0)]).ratio(1, Measure::Rate);
        assert_eq!(ratio, Some(Figure { median: 2.0, low: 1.0, high: 3.0 }));
    }

    #[test]
    fn a_measure_that_no_round_has_is_no_figure() {
        assert_eq!(row(&[(1.0, 2.0)]).ratio(1, Measure::Memory), None);
        assert_eq!(row(&[]).ratio(1, Measure::Rate), None);
    }
}
