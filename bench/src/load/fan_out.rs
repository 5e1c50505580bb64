//! One connection speaks, and its handler sends what it says to all: a chat.

use anyhow::{Context, Result, bail};

use super::room::{By, join};
use crate::frame::Script;
use crate::meter::{Meter, Sample, Timing};
use crate::server::Server;

/// Speaks the script's messages on the first of `connections`, `under_way` at a time: enough of them that the server always has
/// something to do, or one.
pub fn run(
    server: &Server,
    timing: Timing,
    connections: usize,
    by: By,
    under_way: usize,
    script: Script,
) -> Result<Sample> {
    let expect = script.expect;
    let (mut crowd, _) = join(&by.target(server.endpoint(), 1, expect.deflated), connections, script)?;
    let mut meter = Meter::start(server, timing)?;
    // When each message under way was sent, and how many connections have heard it; the oldest has the number `complete`.
    let mut sent_at = vec![0; under_way];
    let mut heard = vec![0; under_way];
    let (mut spoken, mut complete) = (0, 0);
    loop {
        while spoken - complete < under_way && !meter.is_over() {
            sent_at[spoken % under_way] = crowd.now();
            heard[spoken % under_way] = 0;
            crowd.send(0, 1)?;
            spoken += 1;
        }
        if spoken == complete {
            break;
        }
        let came = crowd.turn(|tally, message, now| {
            message.check(&expect)?;
            // The first message of each connection was its greeting.
            let number = tally.received as usize - 2;
            if !(complete..spoken).contains(&number) {
                bail!("a connection heard message {number} while {complete} to {spoken} were under way");
            }
            heard[number % under_way] += 1;
            let latency = now - sent_at[number % under_way];
            meter.count(latency);
            if heard[number % under_way] == connections {
                meter.count_last(latency);
            }
            Ok(0)
        })?;
        meter.turned(came).with_context(|| format!("{complete} of {spoken} messages were heard by all"))?;
        while complete < spoken && heard[complete % under_way] == connections {
            complete += 1;
        }
    }
    Ok(Sample { connections, ..meter.finish()? })
}
