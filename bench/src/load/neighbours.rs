//! Echo at a fixed pace, alone or beside clients that give trouble: what a client's behaviour does to the others.
//!
//! An open loop: a question is due when its time has come, whatever has been answered, so that a server which stands still
//! for a moment shows that in the latency of all that were due meanwhile. Far from what either server can do.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::trouble::{Kind, Trouble};
use crate::crowd::Crowd;
use crate::frame::Script;
use crate::handshake::Target;
use crate::meter::{Meter, Sample, Timing};
use crate::probe;
use crate::server::Server;

/// How often each connection asks.
const EVERY: Duration = Duration::from_millis(20);

/// Asks on each of `connections` every [`EVERY`].
pub fn run(
    server: &Server,
    timing: Timing,
    connections: usize,
    trouble: Option<Kind>,
    script: Script,
) -> Result<Sample> {
    probe::echo(server.endpoint(), "/echo", false)?;
    let expect = script.expect;
    let mut crowd = Crowd::open(&Target::websocket(server.endpoint(), "/echo", false), connections, script)?;
    let trouble = trouble.map(|kind| Trouble::start(kind, server.endpoint())).transpose()?;
    let mut meter = Meter::start(server, timing)?;
    let began = Instant::now();
    let gap = EVERY / connections as u32;
    let (mut asked, mut answered) = (0, 0);
    while !meter.is_over() || answered < asked {
        while !meter.is_over() && began.elapsed() >= gap * asked {
            crowd.send(asked as usize % connections, 1)?;
            asked += 1;
        }
        let came = crowd.turn_within(Duration::from_millis(1), |tally, message, now| {
            message.check(&expect)?;
            meter.count(now - tally.sent_at.pop_front().context("an answer that nobody asked for")?);
            Ok(0)
        })?;
        meter.turned(came)?;
        answered += came as u32;
    }
    trouble.map_or(Ok(()), Trouble::end)?;
    Ok(Sample { connections, ..meter.finish()? })
}
