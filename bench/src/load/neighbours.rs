//! Echo at a fixed pace, alone, beside clients that give trouble, or beside a broadcast: what some do to the others.
//!
//! An open loop: a question is due when its time has come, whatever has been answered, so that a server which stands still
//! for a moment shows that in the latency of all that were due meanwhile. Far from what either server can do.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::audience::Audience;
use super::room::By;
use super::trouble::{Kind, Trouble};
use crate::crowd::Crowd;
use crate::frame::Script;
use crate::handshake::Target;
use crate::meter::{Meter, Sample, Timing};
use crate::probe;
use crate::server::Server;

/// How often each connection asks.
const EVERY: Duration = Duration::from_millis(20);

/// What else the server does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Beside {
    /// Nothing.
    Nobody,
    /// Some clients give trouble.
    Trouble(Kind),
    /// Somebody speaks to an audience.
    Broadcast(By),
}

impl Beside {
    /// What is added to the name of a side.
    pub fn remark(self) -> &'static str {
        match self {
            Beside::Nobody => "",
            Beside::Trouble(_) => ", disturbed",
            Beside::Broadcast(_) => ", beside it",
        }
    }
}

/// Asks on each of `connections` every [`EVERY`].
pub fn run(server: &Server, timing: Timing, connections: usize, beside: Beside, script: Script) -> Result<Sample> {
    probe::echo(server.endpoint(), "/echo", false)?;
    let expect = script.expect;
    let mut crowd = Crowd::open(&Target::websocket(server.endpoint(), "/echo", false), connections, script)?;
    let (mut trouble, mut audience) = (None, None);
    match beside {
        Beside::Nobody => {}
        Beside::Trouble(kind) => trouble = Some(Trouble::start(kind, server.endpoint())?),
        Beside::Broadcast(by) => audience = Some(Audience::start(server.endpoint(), by)?),
    }
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
    audience.map_or(Ok(()), Audience::end)?;
    Ok(Sample { connections, ..meter.finish()? })
}
