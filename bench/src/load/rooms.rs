//! Many rooms at a fixed pace: in each somebody says something now and then, and all of that room hear it.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::room::{By, join};
use super::{Payload, script};
use crate::meter::{Meter, Sample, Timing};
use crate::server::Server;

const ROOMS: usize = 100;

/// Says 200 bytes in each room every `every_ms` milliseconds, in one after the other.
pub fn run(server: &Server, timing: Timing, members: usize, every_ms: u64, by: By) -> Result<Sample> {
    let script = script(200, Payload::Plain, 1);
    let expect = script.expect;
    let (mut crowd, room_of) = join(&by.target(server.endpoint(), ROOMS, false), ROOMS * members, script)?;
    // Of each room; the last of them speaks.
    let (mut present, mut speakers) = ([0; ROOMS], [0; ROOMS]);
    for (number, room) in room_of.iter().enumerate() {
        present[*room] += 1;
        speakers[*room] = number;
    }
    if present != [members; ROOMS] {
        bail!("not all rooms have {members} members");
    }
    let mut meter = Meter::start(server, timing)?;
    let gap = (Duration::from_millis(every_ms) / ROOMS as u32).as_nanos() as u64;
    let began = crowd.now();
    // When each message of a room was said.
    let mut said: Vec<Vec<u64>> = vec![Vec::new(); ROOMS];
    let (mut spoken, mut heard) = (0, 0);
    while !meter.is_over() || heard < spoken * members as u64 {
        while !meter.is_over() && crowd.now() - began >= gap * spoken {
            let room = spoken as usize % ROOMS;
            said[room].push(crowd.now());
            crowd.send(speakers[room], 1)?;
            spoken += 1;
        }
        let came = crowd.turn_within(Duration::from_millis(1), |tally, message, now| {
            message.check(&expect)?;
            // The first message of each connection was its greeting.
            let said_at = said[room_of[tally.number]].get(tally.received as usize - 2);
            meter.count(now - said_at.context("a message that nobody has said")?);
            Ok(0)
        })?;
        meter.turned(came)?;
        heard += came;
    }
    Ok(Sample { connections: room_of.len(), ..meter.finish()? })
}
