//! The server begins: every connection's process sends by its timer, and the pace is fixed.

use std::time::SystemTime;

use anyhow::{Result, bail};

use crate::crowd::Crowd;
use crate::frame::{BINARY, Expect, Script, TEXT};
use crate::handshake::Target;
use crate::meter::{Meter, Sample, Timing};
use crate::server::Server;

const PUSH_BYTES: usize = 200;

/// Listens to `connections` processes that send every `every_ms` milliseconds.
pub fn run(server: &Server, timing: Timing, connections: usize, every_ms: u64) -> Result<Sample> {
    let path = format!("/push?every={every_ms}&size={PUSH_BYTES}");
    let target = Target::websocket(server.endpoint(), &path, false);
    let expect = Expect { opcode: BINARY, deflated: false, len: Some(PUSH_BYTES as u64) };
    let mut crowd = Crowd::open(&target, connections, Script::new(TEXT, &[Vec::new()], false))?;
    let mut meter = Meter::start(server, timing)?;
    while !meter.is_over() {
        let came = crowd.turn(|tally, message, _| {
            message.check(&expect)?;
            let (sent_at, number) = message.head.split_at(8);
            let [sent_at, number] = [sent_at, number].map(|bytes| u64::from_be_bytes(bytes.try_into().expect("eight")));
            if number + 1 != tally.received {
                bail!("message {} of a connection has the number {number}", tally.received - 1);
            }
            // Both processes read the system's clock, so the difference is the time from the handler to here.
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as u64;
            meter.count(now.saturating_sub(sent_at));
            Ok(0)
        })?;
        meter.turned(came)?;
    }
    let sample = meter.finish()?;
    let due = connections as f64 * timing.measure.as_secs_f64() * 1000.0 / every_ms as f64;
    if (sample.messages as f64) < 0.5 * due {
        bail!("{due:.0} messages were due, {} came: the server cannot keep this pace", sample.messages);
    }
    Ok(Sample { connections, ..sample })
}
