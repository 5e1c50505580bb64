//! The rows of the benchmark: what each one loads, which two it compares, and what is to be reached.

use std::time::Duration;

use crate::load::{By, Load, Payload, Trouble};
use crate::meter::{Memory, Sample, Timing};
use crate::server::Side;

/// One comparison.
#[derive(Clone)]
pub struct Row {
    /// For the command line and the results.
    pub name: String,
    /// For people.
    pub title: String,
    /// What is done to each of the two; the same, but where a server is compared with itself.
    pub loads: [Load; 2],
    /// Which two: ratios are the second to the first.
    pub sides: [Side; 2],
    /// Whether both speak TLS.
    pub tls: bool,
    /// Whether `quick` runs it.
    pub quick: bool,
    /// What is to be reached.
    pub goals: Vec<Goal>,
}

/// What can be compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// Messages per second.
    Rate,
    /// CPU time per message of the VM, in microseconds.
    VmCpu,
    /// CPU time per message of the VM and its sidecars, in microseconds.
    TotalCpu,
    /// Median latency in microseconds.
    P50,
    /// Memory per connection of the VM and its sidecars, in bytes.
    Memory,
}

impl Row {
    /// The names of the two.
    pub fn names(&self) -> [String; 2] {
        [0, 1].map(|n| self.sides[n].name().to_owned() + self.loads[n].remark())
    }
}

impl Measure {
    /// Its value in a sample, if the sample has it.
    pub fn of(self, sample: &Sample) -> Option<f64> {
        match self {
            Measure::Rate => sample.rate,
            Measure::VmCpu => sample.cpu.map(|cpu| cpu.vm),
            Measure::TotalCpu => sample.cpu.map(|cpu| cpu.vm + cpu.sidecar),
            Measure::P50 => sample.latency.map(|latency| latency.p50),
            Measure::Memory => sample.memory.map(Memory::total),
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Measure::Rate => "throughput",
            Measure::VmCpu => "VM CPU per message",
            Measure::TotalCpu => "total CPU per message",
            Measure::P50 => "median latency",
            Measure::Memory => "memory per connection",
        }
    }
}

/// What a row is to reach.
#[derive(Clone, Copy)]
pub struct Goal {
    /// Of what.
    pub measure: Measure,
    /// How much.
    pub bound: Bound,
}

/// The limit of a goal.
#[derive(Clone, Copy)]
pub enum Bound {
    /// The ratio is not lower.
    AtLeast(f64),
    /// The ratio is not higher.
    AtMost(f64),
    /// The second side's own figure is lower.
    Below(f64),
}

const fn at_least(measure: Measure, ratio: f64) -> Goal {
    Goal { measure, bound: Bound::AtLeast(ratio) }
}

const fn at_most(measure: Measure, ratio: f64) -> Goal {
    Goal { measure, bound: Bound::AtMost(ratio) }
}

const ECHO_64: &[Goal] =
    &[at_least(Measure::Rate, 1.5), at_most(Measure::VmCpu, 0.30), at_most(Measure::TotalCpu, 0.70)];
const ECHO_1K: &[Goal] =
    &[at_least(Measure::Rate, 2.0), at_most(Measure::VmCpu, 0.20), at_most(Measure::TotalCpu, 0.40)];
const ECHO_16K: &[Goal] =
    &[at_least(Measure::Rate, 5.0), at_most(Measure::VmCpu, 0.08), at_most(Measure::TotalCpu, 0.15)];
const ECHO_DEFLATE: &[Goal] = &[at_least(Measure::Rate, 2.0), at_most(Measure::VmCpu, 0.12)];
const BROADCAST: &[Goal] =
    &[at_least(Measure::Rate, 2.0), at_most(Measure::VmCpu, 0.05), at_most(Measure::TotalCpu, 0.60)];
const BROADCAST_DEFLATE: &[Goal] = &[at_least(Measure::Rate, 8.0), at_most(Measure::TotalCpu, 0.10)];
const IDLE: &[Goal] = &[at_most(Measure::Memory, 0.7), Goal { measure: Measure::Memory, bound: Bound::Below(4500.0) }];

const TLS_SMALL: &[Goal] =
    &[at_least(Measure::Rate, 2.5), at_most(Measure::VmCpu, 0.10), at_most(Measure::TotalCpu, 0.30)];
const TLS_16K: &[Goal] =
    &[at_least(Measure::Rate, 1.7), at_most(Measure::VmCpu, 0.18), at_most(Measure::TotalCpu, 0.50)];
const TLS_CONNECT: &[Goal] = &[at_least(Measure::Rate, 2.5), at_most(Measure::TotalCpu, 0.30)];
const TLS_IDLE: &[Goal] =
    &[at_most(Measure::Memory, 0.17), Goal { measure: Measure::Memory, bound: Bound::Below(12_000.0) }];

const BOTH: [Side; 2] = [Side::Cowboy, Side::Outrider];

/// All rows of the table. `idle` is the number of idle connections.
pub fn table(idle: usize) -> Vec<Row> {
    let mut rows = vec![
        echo(1, 64, 1, true, &[at_most(Measure::P50, 1.5)]),
        echo(100, 64, 1, true, ECHO_64),
        echo(100, 64, 16, false, &[]),
        echo(100, 1024, 1, true, ECHO_1K),
        echo(100, 1024, 16, false, &[]),
        echo(100, 16384, 1, true, ECHO_16K),
        echo(100, 16384, 16, false, &[]),
    ];
    for size in [64, 1024, 16384] {
        for window in [1, 16] {
            rows.push(echo(1000, size, window, false, &[]));
        }
    }
    let deflated = |payload| Load::Echo { connections: 100, size: 1024, window: 1, payload };
    let broadcast = |payload, size, by| Load::FanOut { connections: 1000, size, payload, by };
    let fan_out = |payload, size| broadcast(payload, size, By::Pg);
    let idle = |deflate, messages| Load::Idle { connections: idle, deflate, messages };
    rows.extend([
        row(
            "echo-deflate",
            "Echo, deflated 1 KiB JSON, 100 connections",
            deflated(Payload::Deflated),
            true,
            ECHO_DEFLATE,
        ),
        row(
            "echo-deflate-same",
            "Echo, deflated 1 KiB JSON, always the same",
            deflated(Payload::DeflatedSame),
            true,
            ECHO_DEFLATE,
        ),
        row(
            "push",
            "Push, 200 B to each of 1,000 every 50 ms",
            Load::Push { connections: 1000, every_ms: 50 },
            true,
            &[],
        ),
        row(
            "fanout",
            "Fan-out by pg, 200 B to 1,000",
            fan_out(Payload::Plain, 200),
            true,
            &[at_least(Measure::Rate, 1.5)],
        ),
        row("fanout-deflate", "Fan-out by pg, deflated 1 KiB to 1,000", fan_out(Payload::Deflated, 1024), true, &[]),
        row("idle", "Idle, plain", idle(false, 0), true, IDLE),
        row("idle-deflate", "Idle, deflate negotiated, silent", idle(true, 0), true, &[]),
        row(
            "idle-deflate-used",
            "Idle, deflate, after two messages",
            idle(true, 2),
            false,
            &[at_most(Measure::Memory, 0.25)],
        ),
        row(
            "connect",
            "Handshakes, 64 at a time",
            Load::Connect { at_a_time: 64 },
            true,
            &[at_least(Measure::Rate, 1.0)],
        ),
        row(
            "http",
            "HTTP reply of 100 B, 100 kept connections",
            Load::Http { connections: 100 },
            true,
            &[at_least(Measure::Rate, 0.8)],
        ),
    ]);
    rows.extend(
        [
            echo(100, 64, 1, true, TLS_SMALL),
            echo(100, 1024, 1, true, TLS_SMALL),
            echo(100, 16384, 1, true, TLS_16K),
            row(
                "fanout",
                "Fan-out by pg, 200 B to 500",
                Load::FanOut { connections: 500, size: 200, payload: Payload::Plain, by: By::Pg },
                true,
                &[at_least(Measure::Rate, 1.5)],
            ),
            row("connect", "Full handshakes, 64 at a time", Load::Connect { at_a_time: 64 }, true, TLS_CONNECT),
            row("idle", "Idle, plain", idle(false, 0), false, TLS_IDLE),
        ]
        .map(with_tls),
    );
    for (name, title, by, sides, goals) in [
        ("", "Broadcast", By::SendMany, BOTH, [BROADCAST, BROADCAST_DEFLATE]),
        ("-topic", "Broadcast to a topic", By::Topic, BOTH, [BROADCAST, BROADCAST_DEFLATE]),
        ("-pg", "Fan-out and broadcast", By::SendMany, [Side::Outrider; 2], [&[], &[]]),
    ] {
        for (kind, what, payload, size, goals) in [
            ("", "200 B to 1,000", Payload::Plain, 200, goals[0]),
            ("-deflate", "deflated 1 KiB to 1,000", Payload::Deflated, 1024, goals[1]),
        ] {
            rows.push(Row {
                name: format!("broadcast{name}{kind}"),
                title: format!("{title}, {what}"),
                loads: [By::Pg, by].map(|by| broadcast(payload, size, by)),
                sides,
                tls: false,
                quick: false,
                goals: goals.to_vec(),
            });
        }
    }
    for side in BOTH {
        rows.push(Row {
            name: format!("neighbours-{}", side.name()),
            title: format!("Echo, 64 B, 50 connections at a fixed pace, {} alone and beside trouble", side.name()),
            loads: neighbours(Trouble::Messages),
            sides: [side; 2],
            tls: false,
            quick: false,
            goals: Vec::new(),
        });
        rows.push(Row {
            name: format!("tls-neighbours-{}", side.name()),
            title: format!("TLS echo, 64 B, 50 connections at a fixed pace, {} alone and flooded", side.name()),
            loads: neighbours(Trouble::Hellos),
            sides: [side; 2],
            tls: true,
            quick: false,
            goals: Vec::new(),
        });
    }
    for (name, title, load) in [
        (
            "64",
            "Echo, 64 B, 100 connections",
            Load::Echo { connections: 100, size: 64, window: 1, payload: Payload::Plain },
        ),
        ("deflate", "Echo, deflated 1 KiB JSON, 100 connections", deflated(Payload::Deflated)),
        ("fanout", "Fan-out by pg, 200 B to 1,000", fan_out(Payload::Plain, 200)),
    ] {
        rows.push(Row {
            name: format!("two-sidecars-{name}"),
            title: format!("{title}: one sidecar and two"),
            loads: [load; 2],
            sides: [Side::Outrider, Side::Outrider2],
            tls: false,
            quick: false,
            goals: Vec::new(),
        });
    }
    for size in [64, 1024, 16384] {
        rows.push(Row {
            name: format!("engine-{}", short(size)),
            title: format!("Echo, {}, 100 connections: Outrider and its engine alone", long(size)),
            loads: [Load::Echo { connections: 100, size, window: 1, payload: Payload::Plain }; 2],
            sides: [Side::Outrider, Side::Engine],
            tls: false,
            quick: size == 64,
            goals: Vec::new(),
        });
    }
    rows
}

/// The same row with TLS.
fn with_tls(row: Row) -> Row {
    Row { name: format!("tls-{}", row.name), title: format!("TLS: {}", row.title), tls: true, ..row }
}

/// A server alone, and in trouble.
fn neighbours(trouble: Trouble) -> [Load; 2] {
    [None, Some(trouble)].map(|trouble| Load::Neighbours { connections: 50, size: 64, trouble })
}

/// The rows that show growth: the same load on more and more connections, up to `most`.
pub fn growth(most: usize) -> Vec<Row> {
    let counts = [100, 1000, 10_000].into_iter().filter(|count| *count < most).chain([most]);
    counts
        .flat_map(|connections| {
            let echo = Load::Echo { connections, size: 64, window: 1, payload: Payload::Plain };
            let idle = Load::Idle { connections, deflate: false, messages: 0 };
            [("echo", "Echo, 64 B", echo), ("idle", "Idle, plain", idle)].map(|(name, title, load)| {
                row(&format!("{name}-{connections}"), &format!("{title}, {connections} connections"), load, false, &[])
            })
        })
        .collect()
}

/// How long an ordinary run and a quick one measure.
pub fn timing(seconds: f64) -> Timing {
    Timing { warm_up: Duration::from_secs_f64(seconds * 0.3), measure: Duration::from_secs_f64(seconds) }
}

fn row(name: &str, title: &str, load: Load, quick: bool, goals: &[Goal]) -> Row {
    Row {
        name: name.to_owned(),
        title: title.to_owned(),
        loads: [load; 2],
        sides: BOTH,
        tls: false,
        quick,
        goals: goals.to_vec(),
    }
}

fn echo(connections: usize, size: usize, window: usize, quick: bool, goals: &[Goal]) -> Row {
    let name = format!("echo-{connections}x{}-w{window}", short(size));
    let plural = if connections == 1 { "" } else { "s" };
    let title = format!("Echo, {}, {connections} connection{plural}, window {window}", long(size));
    row(&name, &title, Load::Echo { connections, size, window, payload: Payload::Plain }, quick, goals)
}

fn short(size: usize) -> String {
    if size < 1024 { format!("{size}") } else { format!("{}k", size / 1024) }
}

fn long(size: usize) -> String {
    if size < 1024 { format!("{size} B") } else { format!("{} KiB", size / 1024) }
}
