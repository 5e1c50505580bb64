//! A moment in eight bytes instead of an `Instant`'s sixteen, for what each idle client keeps.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

/// A moment, in nanoseconds since the first one that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(i64);

static FIRST: OnceLock<Instant> = OnceLock::new();

impl Moment {
    pub fn now() -> Self {
        Instant::now().into()
    }

    pub fn instant(self) -> Instant {
        let first = *FIRST.get_or_init(Instant::now);
        let since = Duration::from_nanos(self.0.unsigned_abs());
        if self.0 < 0 { first - since } else { first + since }
    }
}

impl From<Instant> for Moment {
    fn from(at: Instant) -> Self {
        let first = *FIRST.get_or_init(|| at);
        let nanos = |since: Duration| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        Self(if at < first { -nanos(first - at) } else { nanos(at - first) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_instant_that_it_was() {
        let now = Instant::now();
        let _ = Moment::from(now);
        for at in
            [now, now + Duration::from_nanos(1), now + Duration::from_secs(1 << 30), now - Duration::from_nanos(1)]
        {
            assert_eq!(Moment::from(at).instant(), at);
        }
        assert_eq!(size_of::<Moment>(), 8);
    }
}
