//! When streams want to be woken: one timer for all of them. In the event loop's thread.
//!
//! A tokio timer takes 96 bytes, in a task that is held for every idle client, whether it has a deadline or not. Here a
//! stream has 8 bytes for the time at which it will be woken, and an entry in a table only while there is such a time. The
//! table has one entry for a stream, however often its deadline moves: setting an [`Alarm`] replaces the one before.
//!
//! Comes in: deadlines, and the time. Goes out: the streams whose time has come, never before it, and within
//! two milliseconds after it. `streams/mod.rs` has the task that wakes them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::port::message::StreamId;

/// Milliseconds since `Alarms::start`.
type Tick = u64;

/// No alarm is set.
const NEVER: Tick = Tick::MAX;

/// The alarms of all streams.
pub struct Alarms {
    start: Instant,
    table: RefCell<BTreeSet<(Tick, StreamId)>>,
    /// Another alarm is now the first.
    earlier: Notify,
}

/// One stream's alarm, not set at first. It is the stream's to clear it at its end.
pub struct Alarm(Cell<Tick>);

impl Default for Alarm {
    fn default() -> Self {
        Self(Cell::new(NEVER))
    }
}

impl Alarm {
    /// [`Alarms::pop`] has given the stream.
    pub fn has_rung(&self) {
        self.0.set(NEVER);
    }
}

impl Alarms {
    /// No alarm may be due before `start`.
    pub fn new(start: Instant) -> Self {
        Self { start, table: RefCell::default(), earlier: Notify::new() }
    }

    /// Whether this alarm rings in time for `deadline`, as it is set.
    pub fn rings_by(&self, alarm: &Alarm, deadline: Instant) -> bool {
        alarm.0.get() <= self.tick(deadline)
    }

    /// Has the stream woken at `deadline`, and not before that.
    pub fn set(&self, alarm: &Alarm, stream: StreamId, deadline: Instant) {
        self.clear(alarm, stream);
        let tick = self.tick(deadline);
        alarm.0.set(tick);
        let mut table = self.table.borrow_mut();
        table.insert((tick, stream));
        if table.first() == Some(&(tick, stream)) {
            self.earlier.notify_one();
        }
    }

    /// Has the stream not woken.
    pub fn clear(&self, alarm: &Alarm, stream: StreamId) {
        let tick = alarm.0.replace(NEVER);
        if tick != NEVER {
            self.table.borrow_mut().remove(&(tick, stream));
        }
    }

    /// Takes a stream whose time has come.
    pub fn pop(&self, now: Instant) -> Option<StreamId> {
        let mut table = self.table.borrow_mut();
        let &(tick, stream) = table.first()?;
        if self.start + Duration::from_millis(tick) > now {
            return None;
        }
        table.pop_first();
        Some(stream)
    }

    /// Waits until there may be something to take.
    pub async fn wait(&self) {
        let first = self.table.borrow().first().map(|&(tick, _)| self.start + Duration::from_millis(tick));
        let earlier = self.earlier.notified();
        match first {
            Some(at) => drop(tokio::time::timeout_at(at, earlier).await),
            None => earlier.await,
        }
    }

    /// The first tick at which `at` has come.
    fn tick(&self, at: Instant) -> Tick {
        let since = at.saturating_duration_since(self.start);
        let part = u64::from(since.subsec_nanos()).div_ceil(1_000_000);
        since.as_secs().saturating_mul(1000).saturating_add(part).min(NEVER - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn due(alarms: &Alarms, now: Instant) -> Vec<StreamId> {
        std::iter::from_fn(|| alarms.pop(now)).collect()
    }

    #[test]
    fn streams_are_woken_in_the_order_of_their_deadlines_and_none_before_its_own() {
        let start = Instant::now();
        let alarms = Alarms::new(start);
        let of_streams: Vec<_> = (0..100).map(|_| Alarm::default()).collect();
        for (stream, alarm) in of_streams.iter().enumerate().rev() {
            alarms.set(alarm, stream as StreamId, start + MS * stream as u32);
        }
        for stream in 0..100 {
            let deadline = start + MS * stream;
            assert_eq!(due(&alarms, deadline - Duration::from_nanos(1)), []);
            assert_eq!(due(&alarms, deadline), [StreamId::from(stream)]);
            assert_eq!(due(&alarms, deadline), []);
        }
    }

    #[test]
    fn a_part_of_a_millisecond_is_waited_for_too() {
        let start = Instant::now();
        let (alarms, alarm) = (Alarms::new(start), Alarm::default());
        let deadline = start + MS * 5 + Duration::from_nanos(1);
        alarms.set(&alarm, 1, deadline);
        assert!(alarms.rings_by(&alarm, deadline) && !alarms.rings_by(&alarm, deadline - MS));
        assert_eq!(due(&alarms, deadline), []);
        assert_eq!(due(&alarms, start + MS * 6), [1]);
    }

    #[test]
    fn a_stream_has_one_alarm_however_often_its_deadline_moves() {
        let start = Instant::now();
        let (alarms, alarm) = (Alarms::new(start), Alarm::default());
        for ms in (0..1000).rev().chain(0..500) {
            alarms.set(&alarm, 1, start + MS * ms);
            assert_eq!(alarms.table.borrow().len(), 1);
        }
        assert_eq!(due(&alarms, start + MS * 498), []);
        assert_eq!(due(&alarms, start + MS * 499), [1]);
        alarm.has_rung();
        assert!(!alarms.rings_by(&alarm, start + MS * 10_000));
    }

    #[test]
    fn a_stream_that_has_ended_leaves_no_alarm_and_is_not_woken() {
        let start = Instant::now();
        let alarms = Alarms::new(start);
        let (one, other) = (Alarm::default(), Alarm::default());
        alarms.set(&one, 1, start + MS);
        alarms.set(&other, 2, start + MS);
        alarms.clear(&one, 1);
        alarms.clear(&one, 1);
        assert_eq!(due(&alarms, start + MS), [2]);
        assert!(alarms.table.borrow().is_empty());
    }

    #[tokio::test]
    async fn a_wait_for_a_late_deadline_ends_for_one_that_is_set_meanwhile() {
        let start = Instant::now();
        let alarms = Alarms::new(start);
        let (one, other) = (Alarm::default(), Alarm::default());
        let waiting = async {
            while alarms.pop(Instant::now()) != Some(2) {
                alarms.wait().await;
            }
        };
        let setting = async {
            alarms.set(&one, 1, start + MS * 3_600_000);
            tokio::task::yield_now().await;
            alarms.set(&other, 2, start + MS * 10);
        };
        tokio::join!(waiting, setting);
        assert!(Instant::now() >= start + MS * 10);
        assert_eq!(alarms.pop(start + MS * 3_600_000), Some(1));
    }
}
