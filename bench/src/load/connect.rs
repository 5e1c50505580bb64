//! Arrival: connections come, shake hands, and leave.

use std::time::{Duration, Instant};

use anyhow::Result;
use mio::{Events, Interest, Poll, Token};

use crate::crowd::poll;
use crate::handshake::{Opening, Progress, Target};
use crate::meter::{Meter, Sample, Timing};
use crate::probe;
use crate::server::Server;

/// Keeps `at_a_time` handshakes under way. A connection leaves as soon as it is open.
pub fn run(server: &Server, timing: Timing, at_a_time: usize) -> Result<Sample> {
    let target = Target::websocket(server.endpoint(), "/echo", false);
    probe::echo(server.endpoint(), "/echo", false)?;
    let mut selector = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut number = 0;
    let mut open = |slot: usize, selector: &Poll| -> Result<(Opening, Instant)> {
        let mut opening = Opening::start(&target, number)?;
        selector.registry().register(&mut opening.wire.stream, Token(slot), Interest::READABLE | Interest::WRITABLE)?;
        number += 1;
        Ok((opening, Instant::now()))
    };
    let mut slots = (0..at_a_time).map(|slot| open(slot, &selector)).collect::<Result<Vec<_>>>()?;
    let mut meter = Meter::start(server, timing)?;
    while !meter.is_over() {
        let mut came = 0;
        poll(&mut selector, &mut events, Duration::from_millis(100))?;
        for event in &events {
            let slot = event.token().0;
            let (opening, since) = &mut slots[slot];
            if let Progress::Open(_) = opening.progress(&target)? {
                meter.count(since.elapsed().as_nanos() as u64);
                came += 1;
                let (gone, _) = std::mem::replace(&mut slots[slot], open(slot, &selector)?);
                gone.reset()?;
            }
        }
        meter.turned(came)?;
    }
    Ok(Sample { connections: at_a_time, ..meter.finish()? })
}
