//! How often something may happen: a token bucket that holds one second's worth. Pure; the time is an argument.
//!
//! Instead of tokens it keeps the time at which the bucket would be full again (the generic cell rate algorithm), which
//! needs no arithmetic of fractions.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// What the bucket holds: as many as flow in during this time.
const BURST: Duration = Duration::from_secs(1);

/// So many per second, and as many at once.
pub struct Rate {
    /// The time that one takes to flow in.
    interval: Duration,
    full_at: Cell<Instant>,
}

impl Rate {
    /// A full bucket.
    pub fn new(per_second: NonZeroU32, now: Instant) -> Self {
        Self { interval: BURST / per_second.get(), full_at: Cell::new(now) }
    }

    /// How long until one may be taken.
    pub fn wait(&self, now: Instant) -> Duration {
        (self.full_at.get() + self.interval).saturating_duration_since(now + BURST)
    }

    /// Takes one, whether it is there or not.
    pub fn take(&self, now: Instant) {
        self.full_at.set(self.full_at.get().max(now) + self.interval);
    }
}

/// How long something is not said again in the log.
const QUIET: Duration = Duration::from_secs(60);

/// Something that may happen all the time, and is said in the log once a minute at most.
#[derive(Default)]
pub struct Seldom(Cell<Option<Instant>>);

impl Seldom {
    /// Whether it is to be said now; then it is not for a minute.
    pub fn is_due(&self, now: Instant) -> bool {
        let due = self.0.get().is_none_or(|last| now.duration_since(last) >= QUIET);
        if due {
            self.0.set(Some(now));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_all_the_time_is_said_once_a_minute() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let said = (0..=180).filter(|second| seldom.is_due(start + Duration::from_secs(*second)));
        assert_eq!(said.collect::<Vec<_>>(), [0, 60, 120, 180]);
    }

    fn taken_at_once(rate: &Rate, now: Instant) -> u32 {
        let mut taken = 0;
        while rate.wait(now).is_zero() {
            rate.take(now);
            taken += 1;
        }
        taken
    }

    #[test]
    fn one_second_s_worth_may_come_at_once_then_one_per_interval() {
        let begin = Instant::now();
        for per_second in [1, 10, 1000] {
            let rate = Rate::new(per_second.try_into().expect("positive"), begin);
            let interval = Duration::from_secs(1) / per_second;
            assert_eq!(taken_at_once(&rate, begin), per_second);
            assert_eq!(rate.wait(begin), interval);
            assert_eq!(taken_at_once(&rate, begin + interval - Duration::from_nanos(1)), 0);
            assert_eq!(taken_at_once(&rate, begin + interval), 1);
            assert_eq!(taken_at_once(&rate, begin + interval * 4), 3.min(per_second));
        }
    }

    #[test]
    fn a_long_silence_saves_no_more_than_one_second_s_worth() {
        let begin = Instant::now();
        let rate = Rate::new(10.try_into().expect("positive"), begin);
        assert_eq!(taken_at_once(&rate, begin + Duration::from_secs(3600)), 10);
    }
}
