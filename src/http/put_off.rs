//! A deadline that has passed though the client may have kept it: read first, then judge.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// How long the event loop may take, when it has stood still, to hear of all sockets.
pub const GRACE: Duration = Duration::from_secs(1);

/// Of a connection, the deadline that was put off last, and until when: each is once, and is another one when bytes have come.
#[derive(Default)]
pub struct PutOff(Cell<Option<(Instant, Instant)>>);

impl PutOff {
    /// When this deadline is over, as things stand.
    pub fn until(&self, due: Instant) -> Instant {
        self.0.get().filter(|&(passed, _)| passed == due).map_or(due, |(_, until)| until)
    }

    /// Puts it off where that has not been done, and the client's socket is untold (as [`crate::transport::Socket::is_untold`]).
    pub fn once(&self, due: Instant, is_untold: impl FnOnce() -> bool) -> bool {
        let may = self.until(due) == due && is_untold();
        if may {
            self.0.set(Some((due, Instant::now() + GRACE)));
        }
        may
    }
}
