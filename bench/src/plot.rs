//! The plots of a run. Bars compare the two servers row by row; curves follow growth. Cowboy is always grey.

use crate::measure::Measure;
use crate::result::{Figure, RowResult, Run};
use crate::svg::{Anchor, Drawing, Ink};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 66.0;
const BAR: f64 = 14.0;

/// Every plot that the runs have figures for, with its name. Growth is that of the first run.
pub fn all(runs: &[Run]) -> Vec<(&'static str, String)> {
    let comparisons: Vec<_> = runs.iter().map(Run::comparisons).collect();
    let plots = if runs[0].name == "growth" {
        let rows: Vec<_> = comparisons[0].iter().collect();
        vec![
            ("cpu", growth(&rows, "CPU per message and the number of connections (echo, 64 B), µs", cpu, 1.0)),
            ("memory", growth(&rows, "Memory per connection and their number (idle), KB", memory, 1000.0)),
        ]
    } else {
        let stands: Vec<_> = runs.iter().map(Run::stand).collect();
        let lines = lines(&comparisons);
        vec![
            ("throughput", ratios(&stands, &lines)),
            (
                "cpu",
                pairs(&stands, &lines, "CPU per message: Cowboy above, Outrider below", cpu, |micros| {
                    format!("{micros:.1} µs")
                }),
            ),
            (
                "memory",
                pairs(&stands, &lines, "Memory per connection: Cowboy above, Outrider below", memory, |b| {
                    format!("{:.1} KB", b / 1000.0)
                }),
            ),
        ]
    };
    plots.into_iter().filter_map(|(name, plot)| plot.map(|plot| (name, plot))).collect()
}

/// Cowboy's two parts, and Outrider's.
type Both = [[f64; 2]; 2];

/// A comparison's title, and what each run found.
type Line<'a> = (&'a str, Vec<Option<&'a RowResult>>);

fn lines(comparisons: &[Vec<RowResult>]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line> = Vec::new();
    for row in comparisons.iter().flatten() {
        if !lines.iter().any(|(title, _)| *title == row.title) {
            let of = comparisons.iter().map(|rows| rows.iter().find(|other| other.title == row.title));
            lines.push((&row.title, of.collect()));
        }
    }
    lines
}

/// Medians over the rounds of one side: of the VM, and of the sidecars.
type Parts = fn(&RowResult, usize) -> Option<[f64; 2]>;

fn cpu(row: &RowResult, side: usize) -> Option<[f64; 2]> {
    let vm = row.over_rounds(|round| round[side].cpu.map(|cpu| cpu.vm))?;
    let sidecar = row.over_rounds(|round| round[side].cpu.map(|cpu| cpu.sidecar))?;
    Some([vm.median, sidecar.median])
}

fn memory(row: &RowResult, side: usize) -> Option<[f64; 2]> {
    let vm = row.over_rounds(|round| round[side].memory.map(|memory| memory.vm))?;
    let sidecar = row.over_rounds(|round| round[side].memory.map(|memory| memory.sidecar))?;
    Some([vm.median, sidecar.median])
}

/// One bar per row and run: how many times Cowboy's throughput, with the spread over the rounds. A row of a fixed pace, such as
/// push, has nothing to show here but 1.
fn ratios(stands: &[String], lines: &[Line]) -> Option<String> {
    let figures: Vec<(&str, Vec<Option<Figure>>)> = lines
        .iter()
        .map(|(title, of)| (*title, of.iter().map(|row| row.and_then(|row| row.ratio(1, Measure::Rate))).collect()))
        .filter(|(_, of): &(_, Vec<Option<Figure>>)| of.iter().any(Option::is_some))
        .collect();
    let most = figures.iter().flat_map(|(_, of)| of.iter().flatten()).map(|figure| figure.high).fold(1.5, f64::max);
    let step = 6.0 + BAR * stands.len() as f64;
    let bottom = TOP + step * figures.len() as f64;
    let mut drawing = Drawing::new(WIDTH, bottom + 30.0, "Throughput, as a multiple of Cowboy's");
    let inks = [Ink::Outrider, Ink::Newest];
    let note = "median of the rounds; the thin line goes from the lowest to the highest";
    let entries: Vec<_> = inks.into_iter().zip(stands.iter().map(|stand| format!("beside {stand}"))).collect();
    let end = legend(&mut drawing, &entries);
    drawing.note(Anchor::Start, end, 50.0, note);
    let x = |ratio: f64| LEFT + (WIDTH - LEFT - RIGHT) * ratio / most;
    for (number, (title, of)) in figures.iter().enumerate() {
        let y = TOP + step * number as f64;
        drawing.text(Anchor::End, LEFT - 12.0, y + step / 2.0 + 2.0, title);
        for (run, figure) in of.iter().enumerate() {
            let Some(Figure { median, low, high }) = figure else { continue };
            let y = y + BAR * run as f64;
            drawing.bar(inks[run], LEFT, y, x(*median) - LEFT, BAR - 2.0);
            drawing.line(Ink::Spread, (x(*low), y + BAR / 2.0 - 1.0), (x(*high), y + BAR / 2.0 - 1.0));
            drawing.note(Anchor::Start, x(*high) + 8.0, y + BAR - 4.0, &format!("{median:.2}×"));
        }
    }
    drawing.line(Ink::Spread, (x(1.0), TOP - 2.0), (x(1.0), bottom + 2.0));
    drawing.note(Anchor::Middle, x(1.0), bottom + 16.0, "Cowboy");
    (!figures.is_empty()).then(|| drawing.finish())
}

/// Two bars per row and run: Cowboy's, and Outrider's in its two parts. The longest of a row's Cowboys is a whole; the figures
/// stand beside the bars.
fn pairs(stands: &[String], lines: &[Line], title: &str, parts: Parts, unit: fn(f64) -> String) -> Option<String> {
    let of_run = |row: &RowResult| Some([parts(row, 0)?, parts(row, 1)?]).filter(|[cowboy, _]| sum(*cowboy) > 0.0);
    let figures: Vec<(&str, Vec<Option<Both>>)> = lines
        .iter()
        .map(|(title, of)| (*title, of.iter().map(|row| row.and_then(of_run)).collect::<Vec<_>>()))
        .filter(|(_, of)| of.iter().any(Option::is_some))
        .collect();
    let whole = |of: &[Option<Both>]| of.iter().flatten().map(|[cowboy, _]| sum(*cowboy)).fold(0.0, f64::max);
    let share =
        |of: &[Option<Both>]| of.iter().flatten().map(|[_, outrider]| sum(*outrider)).fold(0.0, f64::max) / whole(of);
    let most = figures.iter().map(|(_, of)| share(of)).fold(1.0, f64::max);
    let step = 8.0 + 2.0 * BAR * stands.len() as f64;
    let bottom = TOP + step * figures.len() as f64;
    let mut drawing = Drawing::new(WIDTH, bottom + 12.0, title);
    let entries = [(Ink::Cowboy, "Cowboy"), (Ink::Outrider, "Outrider: VM"), (Ink::Sidecar, "sidecar")];
    let end = legend(&mut drawing, &entries.map(|(ink, text)| (ink, text.to_owned())));
    drawing.note(Anchor::Start, end, 50.0, &stands.join("; below it "));
    for (number, (title, of)) in figures.iter().enumerate() {
        let y = TOP + step * number as f64;
        let length = |value: f64| (WIDTH - LEFT - RIGHT) * value / whole(of) / most;
        drawing.text(Anchor::End, LEFT - 12.0, y + step / 2.0 + 1.0, title);
        for (run, found) in of.iter().enumerate() {
            let Some([cowboy, outrider]) = found else { continue };
            let y = y + 2.0 * BAR * run as f64;
            drawing.bar(Ink::Cowboy, LEFT, y, length(sum(*cowboy)), BAR - 1.0);
            drawing.note(Anchor::Start, LEFT + length(sum(*cowboy)) + 8.0, y + BAR - 3.0, &unit(sum(*cowboy)));
            drawing.bar(Ink::Outrider, LEFT, y + BAR, length(outrider[0]), BAR - 2.0);
            drawing.bar(Ink::Sidecar, LEFT + length(outrider[0]), y + BAR, length(outrider[1]), BAR - 2.0);
            let share = format!("{} ({:.2}×)", unit(sum(*outrider)), sum(*outrider) / sum(*cowboy));
            drawing.note(Anchor::Start, LEFT + length(sum(*outrider)) + 8.0, y + 2.0 * BAR - 3.0, &share);
        }
    }
    (!figures.is_empty()).then(|| drawing.finish())
}

/// Curves over the number of connections, whose scale is logarithmic.
fn growth(rows: &[&RowResult], title: &str, parts: Parts, divisor: f64) -> Option<String> {
    let figures: Vec<(usize, f64, f64, f64)> = rows
        .iter()
        .filter_map(|row| {
            let [cowboy, outrider] = [parts(row, 0)?, parts(row, 1)?];
            let connections = row.rounds.first()?[1].connections;
            Some((connections, sum(cowboy) / divisor, sum(outrider) / divisor, outrider[0] / divisor))
        })
        .collect();
    let [(least, ..), .., (last, ..)] = figures[..] else { return None };
    let most = figures.iter().map(|(_, cowboy, outrider, _)| cowboy.max(*outrider)).fold(0.0, f64::max);
    let step = round_step(most / 4.0);
    let most = (most / step).ceil() * step;
    let (left, right, bottom) = (70.0, WIDTH - 60.0, 380.0);
    let span = (last as f64 / least as f64).log10();
    let x = |connections: usize| left + (right - left) * (connections as f64 / least as f64).log10() / span;
    let y = |value: f64| bottom - (bottom - TOP - 20.0) * value / most;
    let mut drawing = Drawing::new(WIDTH, bottom + 50.0, title);
    legend(
        &mut drawing,
        &[(Ink::Cowboy, "Cowboy"), (Ink::Sidecar, "Outrider: VM + sidecar"), (Ink::Outrider, "VM alone")]
            .map(|(ink, text)| (ink, text.to_owned())),
    );
    for tick in 0..=(most / step).round() as u32 {
        let value = step * f64::from(tick);
        drawing.line(Ink::Grid, (left, y(value)), (right, y(value)));
        drawing.note(Anchor::End, left - 8.0, y(value) + 4.0, &format!("{value}"));
    }
    for (connections, ..) in &figures {
        drawing.line(Ink::Grid, (x(*connections), y(0.0)), (x(*connections), y(most)));
        drawing.note(Anchor::Middle, x(*connections), bottom + 20.0, &connections.to_string());
    }
    drawing.note(Anchor::Middle, (left + right) / 2.0, bottom + 40.0, "connections");
    let curve = |value: fn(&(usize, f64, f64, f64)) -> f64| -> Vec<(f64, f64)> {
        figures.iter().map(|figure| (x(figure.0), y(value(figure)))).collect()
    };
    drawing.curve(Ink::Cowboy, &curve(|figure| figure.1));
    drawing.curve(Ink::Sidecar, &curve(|figure| figure.2));
    drawing.curve(Ink::Outrider, &curve(|figure| figure.3));
    Some(drawing.finish())
}

/// 1, 2 or 5 times a power of ten: the next that is not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|step| *step >= least).unwrap_or(10.0 * power)
}

/// Returns where it ends.
fn legend(drawing: &mut Drawing, entries: &[(Ink, String)]) -> f64 {
    let mut x = 20.0;
    for (ink, text) in entries {
        drawing.bar(*ink, x, 41.0, 10.0, 10.0);
        drawing.note(Anchor::Start, x + 15.0, 50.0, text);
        x += 40.0 + 6.0 * text.chars().count() as f64;
    }
    x
}

fn sum(parts: [f64; 2]) -> f64 {
    parts[0] + parts[1]
}
