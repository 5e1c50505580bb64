//! Frames that others are sent, too: what of them a client is given, and what not.

use super::{Phase, Session};
use crate::metrics::count;
use crate::port::message::OnBacklog;
use crate::streams::Delivered;
use crate::streams::broadcast::Broadcast;

/// So many frames that were dropped are told although the client still lags.
const MANY_DROPPED: u32 = 1000;

/// What may wait for a client whose handler waits for it (`block`), in windows: a broadcast waits for nobody.
const BLOCKED_WINDOWS: usize = 4;

impl Session {
    /// Appends frames that others are sent, too. They cost no credit: the VM does not wait for their client.
    pub fn deliver(&mut self, broadcast: &Broadcast) -> Delivered {
        if self.phase != Phase::Open {
            return Delivered::Nothing;
        }
        if self.is_full(broadcast) {
            if self.on_backlog == OnBacklog::Drop {
                self.dropped = self.dropped.saturating_add(broadcast.count());
                count(|metrics| metrics.frames_dropped.add(broadcast.count().into()));
                return Delivered::Nothing;
            }
            return Delivered::TooMuch;
        }
        broadcast.counted();
        self.traffic.messages_sent += u64::from(broadcast.count());
        self.traffic.bytes_sent += broadcast.payload();
        let open = self.encoder.is_open();
        let shared = broadcast.encoded(self.encoder.class());
        if shared.is_kept() && !open {
            self.encoder.has_sent_shared();
        }
        self.out.share(shared, open);
        Delivered::Queued
    }

    /// So much waits already that these frames may not.
    pub fn is_full(&self, broadcast: &Broadcast) -> bool {
        self.out.cost() >= self.bound(broadcast.window)
    }

    /// From how much on that waits nothing more for many is sent to this client.
    fn bound(&self, window: usize) -> usize {
        match (self.max_backlog, self.on_backlog) {
            (u32::MAX, OnBacklog::Block) => window.saturating_mul(BLOCKED_WINDOWS),
            (u32::MAX, _) => window,
            (max, _) => max as usize,
        }
    }

    /// How many frames for many were not sent, once half of what may wait has drained, or they are many.
    pub fn take_dropped(&mut self, window: usize) -> Option<u32> {
        let is_told = self.dropped >= MANY_DROPPED || (self.dropped > 0 && self.out.cost() <= self.bound(window) / 2);
        is_told.then(|| std::mem::take(&mut self.dropped))
    }
}
