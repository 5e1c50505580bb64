//! The rows of the benchmark: what each one loads, which two it compares, and what is to be reached.

use std::time::Duration;

use crate::goal::{
    BROADCAST, BROADCAST_DEFLATE, BROADCAST_LAST, ECHO_1K, ECHO_64, ECHO_DEFLATE, ECHO_LARGE, Goal, IDLE, IDLE_LAZY,
    ROOMS, TLS_16K, TLS_CONNECT, TLS_IDLE, TLS_SMALL, WAITING, at_least, at_most,
};
use crate::load::{Beside, By, Load, Payload, Trouble};
use crate::measure::Measure;
use crate::meter::Timing;
use crate::server::Side;

/// One comparison.
#[derive(Clone)]
pub struct Row {
    /// For the command line and the results.
    pub name: String,
    /// For people.
    pub title: String,
    /// What is compared, and what is done to it: two servers as a rule, under the same load. Ratios are to the first.
    pub sides: Vec<(Side, Load)>,
    /// Whether all speak TLS.
    pub tls: bool,
    /// Whether it is one of the main rows, which `quick` runs.
    pub main: bool,
    /// What is to be reached, by the sides from `judged` on.
    pub goals: Vec<Goal>,
    /// The first of them.
    pub judged: usize,
}

impl Row {
    /// The names of its sides.
    pub fn names(&self) -> Vec<String> {
        self.sides.iter().map(|(side, load)| side.name().to_owned() + load.remark()).collect()
    }

    /// The same loads on other servers.
    pub fn between(self, sides: [Side; 2]) -> Row {
        let loads = self.sides.iter().map(|(_, load)| *load);
        Row { sides: sides.into_iter().zip(loads).collect(), ..self }
    }
}

const BOTH: [Side; 2] = [Side::Cowboy, Side::Outrider];

/// All rows of the table. `idle` is the number of idle connections.
pub fn table(idle: usize) -> Vec<Row> {
    let mut rows = vec![
        echo(1, 64, 1, true, &[at_most(Measure::P50, 1.3)]),
        echo(100, 64, 1, true, ECHO_64),
        echo(100, 64, 16, true, &[]),
        echo(100, 1024, 1, true, ECHO_1K),
        echo(100, 1024, 16, false, &[]),
        echo(100, 16384, 1, true, ECHO_LARGE),
        echo(100, 16384, 16, false, &[]),
        echo(100, 65536, 1, true, ECHO_LARGE),
    ];
    for size in [64, 1024, 16384] {
        for window in [1, 16] {
            rows.push(echo(1000, size, window, false, &[]));
        }
    }
    rows.push(echo(10_000, 64, 1, false, &[]));
    let deflated = |payload| Load::Echo { connections: 100, size: 1024, window: 1, payload };
    let broadcast = |payload, size, by| Load::FanOut { connections: 1000, size, payload, under_way: 2, by };
    let fan_out = |payload, size| broadcast(payload, size, By::Pg);
    let to_ten_thousand =
        |by| Load::FanOut { connections: 10_000, size: 200, payload: Payload::Plain, under_way: 1, by };
    let lazy = Load::Idle { connections: idle, deflate: false, messages: 0, lazy: true };
    let idle = |deflate, messages| Load::Idle { connections: idle, deflate, messages, lazy: false };
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
        row("idle-lazy", "Idle, plain, lazy where the server can", lazy, false, IDLE_LAZY),
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
            &[at_least(Measure::Rate, 1.0)],
        ),
        http2(),
    ]);
    rows.extend(
        [
            echo(100, 64, 1, true, TLS_SMALL),
            echo(100, 1024, 1, true, TLS_SMALL),
            echo(100, 16384, 1, true, TLS_16K),
            row(
                "fanout",
                "Fan-out by pg, 200 B to 500",
                Load::FanOut { connections: 500, size: 200, payload: Payload::Plain, under_way: 2, by: By::Pg },
                true,
                &[at_least(Measure::Rate, 1.5)],
            ),
            row("connect", "Full handshakes, 64 at a time", Load::Connect { at_a_time: 64 }, true, TLS_CONNECT),
            http2(),
            row("idle", "Idle, plain", idle(false, 0), false, TLS_IDLE),
        ]
        .map(with_tls),
    );
    rows.extend([
        broadcasts("broadcast", "Broadcast, 200 B to 1,000", BROADCAST, |by| broadcast(Payload::Plain, 200, by)),
        broadcasts("broadcast-deflate", "Broadcast, deflated 1 KiB to 1,000", BROADCAST_DEFLATE, |by| {
            broadcast(Payload::Deflated, 1024, by)
        }),
        broadcasts("broadcast-10k", "Broadcast, 200 B to 10,000, one at a time", BROADCAST_LAST, to_ten_thousand),
        broadcasts("broadcast-rooms", "Broadcast, 100 rooms of 100, 200 B five times a second in each", ROOMS, |by| {
            Load::Rooms { members: 100, every_ms: 200, by }
        }),
        broadcasts("broadcast-waiting", "Broadcast, 1 MB to 1,000 who do not read", WAITING, |by| Load::Waiting {
            connections: 1000,
            size: 1_000_000,
            by,
        }),
    ]);
    let echo_beside = |beside| Load::Neighbours { connections: 50, size: 64, beside };
    let outrider = [By::Pg, By::SendMany, By::Topic].map(|by| (Side::Outrider, by));
    for (side, by) in [(Side::Cowboy, By::Pg)].into_iter().chain(outrider) {
        rows.push(Row {
            name: format!("broadcast-beside-{}{}", side.name(), by.remark().replace(", ", "-")),
            title: format!("Echo, 64 B, {} alone and beside a broadcast to 10,000{}", side.name(), by.remark()),
            sides: [Beside::Nobody, Beside::Broadcast(by)].map(|beside| (side, echo_beside(beside))).to_vec(),
            tls: false,
            main: false,
            goals: if by == By::Pg { Vec::new() } else { vec![at_most(Measure::P99, 1.5)] },
            judged: 1,
        });
    }
    for side in BOTH {
        let alone_and = |trouble| [Beside::Nobody, Beside::Trouble(trouble)].map(|beside| (side, echo_beside(beside)));
        rows.push(Row {
            name: format!("neighbours-{}", side.name()),
            title: format!("Echo, 64 B, 50 connections at a fixed pace, {} alone and beside trouble", side.name()),
            sides: alone_and(Trouble::Messages).to_vec(),
            tls: false,
            main: false,
            goals: Vec::new(),
            judged: 1,
        });
        rows.push(Row {
            name: format!("tls-neighbours-{}", side.name()),
            title: format!("TLS echo, 64 B, 50 connections at a fixed pace, {} alone and flooded", side.name()),
            sides: alone_and(Trouble::Hellos).to_vec(),
            tls: true,
            main: false,
            goals: Vec::new(),
            judged: 1,
        });
    }
    let small = |connections| Load::Echo { connections, size: 64, window: 1, payload: Payload::Plain };
    for (name, title, load) in [
        ("64", "Echo, 64 B, 100 connections", small(100)),
        ("64-1000", "Echo, 64 B, 1000 connections", small(1000)),
        ("64-10000", "Echo, 64 B, 10000 connections", small(10_000)),
        ("deflate", "Echo, deflated 1 KiB JSON, 100 connections", deflated(Payload::Deflated)),
        ("fanout", "Fan-out by pg, 200 B to 1,000", fan_out(Payload::Plain, 200)),
        ("broadcast-10k", "Broadcast by topic, 200 B to 10,000, one at a time", to_ten_thousand(By::Topic)),
    ] {
        rows.push(Row {
            name: format!("two-sidecars-{name}"),
            title: format!("{title}: one sidecar and two"),
            sides: [Side::Outrider, Side::Outrider2].map(|side| (side, load)).to_vec(),
            tls: false,
            main: false,
            goals: Vec::new(),
            judged: 1,
        });
    }
    for size in [64, 1024, 16384, 65536] {
        let load = Load::Echo { connections: 100, size, window: 1, payload: Payload::Plain };
        rows.push(Row {
            name: format!("engine-{}", short(size)),
            title: format!("Echo, {}, 100 connections: Outrider and its engine alone", long(size)),
            sides: [Side::Outrider, Side::Engine].map(|side| (side, load)).to_vec(),
            tls: false,
            main: size == 64,
            goals: Vec::new(),
            judged: 1,
        });
    }
    rows
}

/// Rows that take minutes, or much memory: they run when they are named.
pub fn apart() -> Vec<Row> {
    vec![row("idle-100k", "Idle, plain, 100,000 connections", Load::Multitude { connections: 100_000 }, false, IDLE)]
}

/// The same row with TLS.
fn with_tls(row: Row) -> Row {
    Row { name: format!("tls-{}", row.name), title: format!("TLS: {}", row.title), tls: true, ..row }
}

/// The rows that show growth: the same load on more and more connections, up to `most`.
pub fn growth(most: usize) -> Vec<Row> {
    let counts = [100, 1000, 10_000].into_iter().filter(|count| *count < most).chain([most]);
    counts
        .flat_map(|connections| {
            let echo = Load::Echo { connections, size: 64, window: 1, payload: Payload::Plain };
            let idle = Load::Idle { connections, deflate: false, messages: 0, lazy: false };
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

fn row(name: &str, title: &str, load: Load, main: bool, goals: &[Goal]) -> Row {
    Row {
        name: name.to_owned(),
        title: title.to_owned(),
        sides: BOTH.map(|side| (side, load)).to_vec(),
        tls: false,
        main,
        goals: goals.to_vec(),
        judged: 1,
    }
}

/// Cowboy by `pg`, Outrider by `pg`, and Outrider by its own two means, which are to reach the goals.
fn broadcasts(name: &str, title: &str, goals: &[Goal], load: impl Fn(By) -> Load) -> Row {
    let by = |side, by| (side, load(by));
    Row {
        name: name.to_owned(),
        title: title.to_owned(),
        sides: vec![
            by(Side::Cowboy, By::Pg),
            by(Side::Outrider, By::Pg),
            by(Side::Outrider, By::SendMany),
            by(Side::Outrider, By::Topic),
        ],
        tls: false,
        main: false,
        goals: goals.to_vec(),
        judged: 2,
    }
}

fn echo(connections: usize, size: usize, window: usize, main: bool, goals: &[Goal]) -> Row {
    let name = format!("echo-{connections}x{}-w{window}", short(size));
    let plural = if connections == 1 { "" } else { "s" };
    let title = format!("Echo, {}, {connections} connection{plural}, window {window}", long(size));
    row(&name, &title, Load::Echo { connections, size, window, payload: Payload::Plain }, main, goals)
}

fn http2() -> Row {
    row(
        "http2",
        "HTTP/2 reply of 100 B, 10 connections of 10",
        Load::Http2 { connections: 10, streams: 10 },
        true,
        &[at_least(Measure::Rate, 1.5)],
    )
}

fn short(size: usize) -> String {
    if size < 1024 { format!("{size}") } else { format!("{}k", size / 1024) }
}

fn long(size: usize) -> String {
    if size < 1024 { format!("{size} B") } else { format!("{} KiB", size / 1024) }
}
