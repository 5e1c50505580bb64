//! How the benches of `cargo bench` take the time.

use std::time::{Duration, Instant};

const ROUND: Duration = Duration::from_millis(50);
const ROUNDS: usize = 8;

/// Nanoseconds for each of `count` things that `work` does: the best of several rounds, because other programs on the
/// machine only ever add to them.
pub fn best(count: usize, mut work: impl FnMut()) -> u128 {
    let mut best = u128::MAX;
    for _ in 0..ROUNDS {
        let (start, mut times) = (Instant::now(), 0);
        while start.elapsed() < ROUND {
            work();
            times += count as u128;
        }
        best = best.min(start.elapsed().as_nanos() / times);
    }
    best
}
