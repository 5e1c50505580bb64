//! Says in the log why handshakes fail, as OTP does, but not how often strangers want it said.

use std::cell::Cell;
use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

/// The target of these events, whose level is OTP's `notice`.
pub const TARGET: &str = "outrider::tls::alert";

/// So many are logged in this time; the next one says how many were not.
const MOST: u32 = 10;
const PERIOD: Duration = Duration::from_secs(10);

/// Counts what is logged.
#[derive(Default)]
pub struct Alerts {
    since: Cell<Option<Instant>>,
    count: Cell<u32>,
}

impl Alerts {
    /// A handshake has failed for this reason.
    pub fn log(&self, reason: &dyn Display) {
        let now = Instant::now();
        if self.since.get().is_none_or(|since| now - since >= PERIOD) {
            self.since.set(Some(now));
            let dropped = self.count.replace(0).saturating_sub(MOST);
            if dropped > 0 {
                info!(target: TARGET, "TLS server: {dropped} more handshakes have failed");
            }
        }
        self.count.set(self.count.get().saturating_add(1));
        if self.count.get() <= MOST {
            info!(target: TARGET, "TLS server: handshake failed: {reason}");
        }
    }
}
