//! Numbers that are counted, one or several of a kind, and what is read of them.

use std::cell::Cell;
use std::time::Duration;

use super::labels::Label;

/// Upper bounds of times, in microseconds; then the rest.
const TIMES: [u64; 17] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 2_500_000,
    10_000_000,
];

/// A number that is counted. It wraps rather than fails.
pub struct Number(Cell<u64>);

impl Number {
    pub(super) const fn new() -> Self {
        Self(Cell::new(0))
    }

    pub fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    pub fn sub(&self, n: u64) {
        self.0.set(self.0.get().wrapping_sub(n));
    }

    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// A number for each of `N` labels.
pub struct Numbers<const N: usize>(pub(super) [Number; N]);

impl<const N: usize> Numbers<N> {
    pub(super) const fn new() -> Self {
        Self([const { Number::new() }; N])
    }

    pub fn add(&self, label: usize, n: u64) {
        self.0[label].add(n);
    }

    pub fn get(&self, label: usize) -> u64 {
        self.0[label].get()
    }

    /// All of them, the zeros too.
    pub(super) fn by(&self, label: impl Fn(usize) -> Label) -> Value {
        Value::By(self.0.iter().enumerate().map(|(at, number)| (label(at), number.get())).collect())
    }

    /// Those that are not zero.
    pub(super) fn seen(&self, label: impl Fn(usize) -> Label) -> Value {
        let seen = self.0.iter().enumerate().filter(|(_, number)| number.get() > 0);
        Value::By(seen.map(|(at, number)| (label(at), number.get())).collect())
    }
}

/// How often something took how long.
pub struct Times {
    counts: Numbers<{ TIMES.len() + 1 }>,
    /// In microseconds.
    sum: Number,
}

impl Times {
    pub(super) const fn new() -> Self {
        Self { counts: Numbers::new(), sum: Number::new() }
    }

    pub fn add(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.counts.add(TIMES.partition_point(|bound| *bound < us), 1);
        self.sum.add(us);
    }

    pub(super) fn histogram(&self) -> Value {
        let bounds = TIMES.iter().map(|bound| Label::Number(*bound)).chain([Label::Name("infinity")]);
        let buckets = bounds.zip(self.counts.0.iter().map(Number::get)).collect();
        Value::Histogram { sum: self.sum.get(), buckets }
    }
}

/// A metric's name, which the VM knows as an atom, and what it is now.
pub type Sample = (&'static str, Value);

/// What a metric is now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    Number(u64),
    By(Vec<(Label, u64)>),
    /// How many there were up to each bound and above the one before, and the sum of all, in the unit of the bounds.
    Histogram {
        sum: u64,
        buckets: Vec<(Label, u64)>,
    },
}
