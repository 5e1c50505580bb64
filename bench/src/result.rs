//! What a run found, as it is written to a file, and the figures drawn from it: medians, ratios, spreads.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::measure::Measure;
use crate::meter::Sample;
use crate::process::Machine;

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// `full`, `quick`, …
    pub name: String,
    /// Whether with the newest Erlang and Cowboy, beside a run with those of this machine.
    pub newest: bool,
    /// When it began, UTC.
    pub began: String,
    /// When the last of its rows was there, UTC.
    pub ended: String,
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

    /// Writes it into a folder.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        let path = Self::path(folder, &self.name, self.newest);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// Where a run of this name is.
    pub fn path(folder: &Path, name: &str, newest: bool) -> PathBuf {
        folder.join(format!("{name}{}.json", if newest { "-newest" } else { "" }))
    }

    /// Takes the rows of an earlier run of the same name, which was measured in the same way.
    pub fn continue_from(&mut self, earlier: Run) -> Result<()> {
        if (&earlier.machine, &earlier.erl_flags, earlier.seconds) != (&self.machine, &self.erl_flags, self.seconds) {
            bail!("{} was measured on another machine, with other flags or other seconds: remove it first", self.name);
        }
        self.began = earlier.began;
        self.rows = earlier.rows;
        let new = std::mem::replace(&mut self.versions, earlier.versions);
        new.into_iter().for_each(|(name, version)| self.add_version(name, version));
        Ok(())
    }

    /// Adds what was measured; a run in parts may have several of one name.
    pub fn add_version(&mut self, name: String, version: String) {
        if !self.versions.iter().any(|known| *known == (name.clone(), version.clone())) {
            self.versions.push((name, version));
        }
    }

    /// Puts a row into the place of that of the same name, or to the others.
    pub fn put(&mut self, row: RowResult) {
        match self.rows.iter_mut().find(|known| known.name == row.name) {
            Some(known) => *known = row,
            None => self.rows.push(row),
        }
    }

    /// What Cowboy it has, and what Erlang, as far as it has told.
    pub fn stand(&self) -> String {
        let version = |name: &str| self.versions.iter().find(|(known, _)| known == name).map(|(_, version)| version);
        let cowboy = version("cowboy").map(|version| format!("Cowboy {}", short(version)));
        let otp = version("otp").map(|version| format!("OTP {version}"));
        cowboy.into_iter().chain(otp).collect::<Vec<_>>().join(", ")
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

/// The first two numbers of a version.
fn short(version: &str) -> &str {
    version.match_indices('.').nth(1).map_or(version, |(at, _)| &version[..at])
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

    fn run(seconds: f64, rates: &[(f64, f64)]) -> Run {
        let machine = Machine {
            processor: "a".into(),
            cores: 2,
            memory: 1,
            kernel: "b".into(),
            system: "c".into(),
            open_files: 3,
        };
        let versions = vec![("cowboy".into(), "2.12.0".into()), ("otp".into(), "25".into())];
        Run {
            name: "full".into(),
            newest: false,
            began: "then".into(),
            ended: "then".into(),
            machine,
            versions,
            erl_flags: Vec::new(),
            seconds: (1.0, seconds),
            rows: vec![row(rates)],
        }
    }

    #[test]
    fn a_row_that_is_measured_again_takes_its_place_in_the_earlier_run() {
        let mut part = run(2.0, &[]);
        part.continue_from(run(2.0, &[(1.0, 2.0)])).unwrap();
        part.put(RowResult { name: "s".into(), ..row(&[]) });
        part.put(row(&[(1.0, 5.0)]));
        let names: Vec<_> = part.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["r", "s"]);
        assert_eq!(part.rows[0].ratio(1, Measure::Rate).map(|figure| figure.median), Some(5.0));
    }

    #[test]
    fn a_run_is_not_continued_with_other_seconds() {
        let mut part = run(1.0, &[]);
        assert!(part.continue_from(run(2.0, &[])).is_err());
    }

    #[test]
    fn a_run_says_what_it_stands_beside() {
        assert_eq!(run(1.0, &[]).stand(), "Cowboy 2.12, OTP 25");
    }

    #[test]
    fn a_measure_that_no_round_has_is_no_figure() {
        assert_eq!(row(&[(1.0, 2.0)]).ratio(1, Measure::Memory), None);
        assert_eq!(row(&[]).ratio(1, Measure::Rate), None);
    }
}
