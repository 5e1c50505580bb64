//! How far two cores lie apart: the round trip of a cache line between them.
//!
//! On a virtual machine the host decides where its processors run. Two that share a cache of the third level hand a line over
//! in some tens of nanoseconds; two that do not need several times as long, and everything that crosses from process to
//! process costs more. That changes within a run, so each sample is told in which state it was taken.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Trips in one attempt, and attempts. The shortest attempt counts: others were interrupted.
const TRIPS: u32 = 64;
const ATTEMPTS: usize = 60;
/// Then it gives up: something else has a core.
const PATIENCE: Duration = Duration::from_millis(40);

/// Nanoseconds of a round trip between the first two cores; nothing where there is one, or where nobody had them both.
pub fn round_trip() -> Option<f64> {
    let deadline = Instant::now() + PATIENCE;
    let line = AtomicU32::new(0);
    std::thread::scope(|scope| {
        // Answers an odd number with the next.
        let answering = scope.spawn(|| {
            if !pin(1) {
                return;
            }
            while Instant::now() < deadline {
                for _ in 0..1000 {
                    let found = line.load(Ordering::Acquire);
                    if found % 2 == 1 {
                        line.store(found + 1, Ordering::Release);
                    }
                }
            }
        });
        let asking = scope.spawn(|| {
            let mut best: Option<Duration> = None;
            if !pin(0) {
                return None;
            }
            for _ in 0..ATTEMPTS {
                let began = Instant::now();
                for _ in 0..TRIPS {
                    let asked = line.load(Ordering::Relaxed) + 1;
                    line.store(asked, Ordering::Release);
                    while line.load(Ordering::Acquire) == asked {
                        if Instant::now() > deadline {
                            return best;
                        }
                    }
                }
                let took = began.elapsed();
                best = Some(best.map_or(took, |best| best.min(took)));
            }
            best
        });
        let best = asking.join().ok().flatten();
        answering.join().ok();
        best.map(|best| best.as_nanos() as f64 / f64::from(TRIPS))
    })
}

/// Keeps the calling thread on one core, if there is such a one.
fn pin(core: usize) -> bool {
    // SAFETY: the set is a plain value of this function, which the calls write and read.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set) == 0
    }
}
