//! What was to be reached, and what was.

use super::{Line, ratio};
use crate::goal::{Bound, Goal};
use crate::result::{Figure, RowResult, Run};
use crate::row::Row;

/// The goals of all rows, with two columns for each run: what is to be reached there, and what was.
pub fn table(runs: &[Run], lines: &[Line], rows: &[Row]) -> Option<String> {
    let mut found = Vec::new();
    for line in lines {
        let row = rows.iter().find(|row| row.name == line.name && row.names() == line.sides);
        let goals = row.map_or(&[][..], |row| &row.goals);
        for side in row.map_or(0, |row| row.judged)..line.sides.len() {
            found.extend(goals.iter().map(|goal| goal_line(runs, line, side, goal)));
        }
    }
    let heads: String = runs.iter().map(|run| format!(" goal | {} |", run.stand())).collect();
    super::table("Goals", &format!("| row | measure |{heads}\n|---|---|{}", "--:|---|".repeat(runs.len())), found)
}

fn goal_line(runs: &[Run], line: &Line, side: usize, goal: &Goal) -> String {
    let title = match line.sides.len() {
        2 => line.title.to_owned(),
        _ => format!("{}: {}", line.title, line.sides[side]),
    };
    let cells = runs.iter().zip(&line.of).map(|(run, result)| {
        let bound = if run.newest { goal.newest } else { Some(goal.bound) };
        cell(*result, side, goal, bound)
    });
    format!("| {title} | {} |{}", goal.measure.title(), cells.collect::<String>())
}

fn cell(result: Option<&RowResult>, side: usize, goal: &Goal, bound: Option<Bound>) -> String {
    let ratio_found = result.and_then(|result| result.ratio(side, goal.measure));
    let (wanted, figure, is_reached): (_, _, fn(f64, f64) -> bool) = match bound {
        Some(Bound::AtLeast(least)) => {
            (Some((format!("≥ {least:.2}×"), least)), ratio_found, |found, least| found >= least)
        }
        Some(Bound::AtMost(most)) => {
            (Some((format!("≤ {most:.2}×"), most)), ratio_found, |found, most| found <= most)
        }
        Some(Bound::Below(value)) => {
            let figure = result.and_then(|result| result.figure(side, goal.measure));
            (Some((format!("< {value:.0}"), value)), figure, |found, value| found < value)
        }
        None => (None, ratio_found, |_, _| true),
    };
    let found = match (figure, bound) {
        (None, _) => "not measured".to_owned(),
        (Some(Figure { median, low, high }), Some(Bound::Below(_))) => format!("{median:.0} ({low:.0}–{high:.0})"),
        (Some(figure), _) => ratio(figure),
    };
    match (wanted, figure) {
        (Some((wanted, limit)), Some(figure)) => {
            let verdict = if is_reached(figure.median, limit) { "reached" } else { "**missed**" };
            format!(" {wanted} | {found}, {verdict} |")
        }
        (wanted, _) => format!(" {} | {found} |", wanted.map_or("–".to_owned(), |(wanted, _)| wanted)),
    }
}
