//! Every connection keeps its window full: an answer is followed by the next question.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::DRAIN;
use crate::crowd::Crowd;
use crate::frame::Script;
use crate::handshake::Target;
use crate::meter::{Meter, Sample, Timing};
use crate::server::Server;

/// Sends the script to `target`, with `window` messages under way on each connection.
pub fn run(
    server: &Server,
    timing: Timing,
    target: &Target,
    connections: usize,
    window: usize,
    script: Script,
) -> Result<Sample> {
    let expect = script.expect;
    let mut crowd = Crowd::open(target, connections, script)?;
    let mut under_way = connections * window;
    // A slow server is measured when it has answered as much as was sent at the beginning.
    let mut meter = Meter::start(server, timing)?.after(under_way as u64);
    for number in 0..connections {
        crowd.send(number, window)?;
    }
    let mut deadline = None;
    while under_way > 0 {
        let is_over = meter.is_over();
        let came = crowd.turn(|tally, message, now| {
            message.check(&expect)?;
            let sent_at = tally.sent_at.pop_front().context("an answer that nobody asked for")?;
            meter.count(now - sent_at);
            Ok(usize::from(!is_over))
        })?;
        meter.turned(came)?;
        if is_over {
            under_way -= came as usize;
            if Instant::now() > *deadline.get_or_insert_with(|| Instant::now() + DRAIN) {
                bail!("{under_way} messages had no answer {DRAIN:?} after the end");
            }
        }
    }
    Ok(Sample { connections, ..meter.finish()? })
}
