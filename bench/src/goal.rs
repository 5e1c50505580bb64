//! What the rows are to reach.

use crate::measure::Measure;

/// What a row is to reach.
#[derive(Clone, Copy)]
pub struct Goal {
    /// Of what.
    pub measure: Measure,
    /// How much, beside the oldest Cowboy.
    pub bound: Bound,
    /// And beside the newest, if it has to be reached there.
    pub newest: Option<Bound>,
}

impl Goal {
    /// Another bound beside the newest Cowboy.
    const fn newest(self, ratio: f64) -> Goal {
        let newest = match self.bound {
            Bound::AtLeast(_) => Bound::AtLeast(ratio),
            Bound::AtMost(_) => Bound::AtMost(ratio),
            Bound::Below(_) => Bound::Below(ratio),
        };
        Goal { newest: Some(newest), ..self }
    }

    /// Nothing has to be reached beside the newest.
    const fn oldest_alone(self) -> Goal {
        Goal { newest: None, ..self }
    }
}

/// The limit of a goal.
#[derive(Clone, Copy)]
pub enum Bound {
    /// The ratio is not lower.
    AtLeast(f64),
    /// The ratio is not higher.
    AtMost(f64),
    /// A side's own figure is lower.
    Below(f64),
}

/// The ratio of a measure is not lower.
pub const fn at_least(measure: Measure, ratio: f64) -> Goal {
    goal(measure, Bound::AtLeast(ratio))
}

/// The ratio of a measure is not higher.
pub const fn at_most(measure: Measure, ratio: f64) -> Goal {
    goal(measure, Bound::AtMost(ratio))
}

const fn below(measure: Measure, value: f64) -> Goal {
    goal(measure, Bound::Below(value))
}

const fn goal(measure: Measure, bound: Bound) -> Goal {
    Goal { measure, bound, newest: Some(bound) }
}

/// An echo of 64 B.
pub const ECHO_64: &[Goal] = &[
    at_least(Measure::Rate, 1.5).newest(2.0),
    at_most(Measure::VmCpu, 0.30).oldest_alone(),
    at_most(Measure::TotalCpu, 0.70).newest(0.50),
];
/// An echo of 1 KiB.
pub const ECHO_1K: &[Goal] = &[
    at_least(Measure::Rate, 2.0).newest(3.0),
    at_most(Measure::VmCpu, 0.20).oldest_alone(),
    at_most(Measure::TotalCpu, 0.40).newest(0.35),
];
/// An echo of 16 KiB or 64 KiB.
pub const ECHO_LARGE: &[Goal] = &[
    at_least(Measure::Rate, 8.0).newest(3.0),
    at_most(Measure::VmCpu, 0.08).oldest_alone(),
    at_most(Measure::TotalCpu, 0.10).newest(0.30),
];
/// An echo with permessage-deflate.
pub const ECHO_DEFLATE: &[Goal] = &[at_least(Measure::Rate, 2.0), at_most(Measure::VmCpu, 0.12)];
/// A broadcast.
pub const BROADCAST: &[Goal] =
    &[at_least(Measure::Rate, 2.0), at_most(Measure::VmCpu, 0.05), at_most(Measure::TotalCpu, 0.60)];
/// A compressed broadcast.
pub const BROADCAST_DEFLATE: &[Goal] = &[at_least(Measure::Rate, 8.0), at_most(Measure::TotalCpu, 0.10)];
/// A broadcast's last delivery.
pub const BROADCAST_LAST: &[Goal] = &[at_most(Measure::LastP50, 0.60), at_most(Measure::LastP99, 0.60)];
/// Many small rooms.
pub const ROOMS: &[Goal] = &[at_most(Measure::TotalCpu, 0.60)];
/// A broadcast that waits.
pub const WAITING: &[Goal] = &[below(Measure::Waiting, 5e6)];
/// Idle connections.
pub const IDLE: &[Goal] = &[at_most(Measure::Memory, 0.7), below(Measure::Memory, 4500.0)];

/// Idle connections without a process.
pub const IDLE_LAZY: &[Goal] = &[below(Measure::VmMemory, 300.0)];

/// A small echo over TLS.
pub const TLS_SMALL: &[Goal] =
    &[at_least(Measure::Rate, 2.5), at_most(Measure::VmCpu, 0.10), at_most(Measure::TotalCpu, 0.30)];
/// An echo of 16 KiB over TLS.
pub const TLS_16K: &[Goal] =
    &[at_least(Measure::Rate, 1.7), at_most(Measure::VmCpu, 0.18), at_most(Measure::TotalCpu, 0.50)];
/// Handshakes over TLS.
pub const TLS_CONNECT: &[Goal] = &[at_least(Measure::Rate, 2.5), at_most(Measure::TotalCpu, 0.30)];
/// Idle connections over TLS.
pub const TLS_IDLE: &[Goal] = &[at_most(Measure::Memory, 0.17), below(Measure::Memory, 12_000.0)];
