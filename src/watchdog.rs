//! Notices a VM that has stopped, as by SIGSTOP or a debugger, although its end of the pipes is open.
//!
//! A VM that runs sends a `ping` every quarter of `--watchdog` whatever else it does, so silence says that it does not run.
//! Whatever comes from it counts as a sign of life, and so does that it reads: then it is busy, not stopped. Time is
//! counted in ticks of our own, each of which can be late but none too early: a process that was itself stopped, or a
//! machine that was suspended, sees one tick of silence and not an hour. One task, in the event loop's thread.

use std::io::{self, Write};
use std::sync::mpsc;
use std::time::Duration;

use crate::port::Port;

/// How many pings a living VM sends in `--watchdog`.
const TICKS: u32 = 4;

/// Watches the VM. When it has been silent for `period`, the port is told, so that no client is read or accepted until the
/// VM speaks. Returns when the silence has lasted for `patience`; never, if either is `None` (infinity).
pub async fn watch(port: &Port, period: Option<Duration>, patience: Option<Duration>) {
    let Some(period) = period else { return std::future::pending().await };
    let tick = (period / TICKS).max(Duration::from_millis(1));
    let (mut signs, mut silent_ticks) = (port.signs_of_life(), 0);
    loop {
        tokio::time::sleep(tick).await;
        if port.signs_of_life() != signs {
            signs = port.signs_of_life();
            if silent_ticks > TICKS {
                tracing::warn!("the VM speaks again after {} ms", (tick * silent_ticks).as_millis());
            }
            silent_ticks = 0;
            continue;
        }
        silent_ticks = silent_ticks.saturating_add(1);
        if silent_ticks == TICKS + 1 {
            port.mute();
            last_words(format!(
                "the VM has been silent for {} ms: no client is read until it speaks",
                period.as_millis()
            ));
        }
        if silent_ticks > TICKS && patience.is_some_and(|patience| tick * silent_ticks >= patience) {
            return;
        }
    }
}

/// Says something on stderr without waiting for who reads it: that may be the VM's own terminal or log, stopped with it.
/// What it gives back receives when it has been said.
pub fn last_words(text: String) -> mpsc::Receiver<()> {
    let (said, is_said) = mpsc::channel();
    let speaker = move || {
        let _ = writeln!(io::stderr(), "outrider: {text}"); // Closed, or its disk is full.
        let _ = said.send(()); // Who does not wait has gone.
    };
    let _ = std::thread::Builder::new().spawn(speaker); // Without a thread nothing is said.
    is_said
}
