//! One connection speaks, and its handler sends what it says to all: a chat.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::crowd::Crowd;
use crate::frame::{Expect, Script};
use crate::handshake::Target;
use crate::meter::{Meter, Sample, Timing};
use crate::server::Server;

/// So many that the server always has something to do.
const UNDER_WAY: usize = 2;

/// How the handler sends it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum By {
    /// To each process of a `pg` group, which sends it to its client.
    Pg,
    /// To the processes of a `pg` group by `outrider:send_many/2`.
    SendMany,
    /// To the subscribers of a topic by `outrider:publish/3`.
    Topic,
}

impl By {
    fn path(self) -> &'static str {
        match self {
            By::Pg => "/room",
            By::SendMany => "/send_many",
            By::Topic => "/topic",
        }
    }
}

/// How long all may take to join the group.
const JOINING: Duration = Duration::from_secs(20);

/// Speaks the script's messages on the first of `connections`, each when all have heard one before.
pub fn run(server: &Server, timing: Timing, connections: usize, by: By, script: Script) -> Result<Sample> {
    let expect = script.expect;
    let target = Target::websocket(server.endpoint(), by.path(), expect.deflated);
    let mut crowd = Crowd::open(&target, connections, script)?;
    // Every handler greets once it has joined.
    let mut greetings = 0;
    let deadline = Instant::now() + JOINING;
    while greetings < connections {
        greetings += crowd.turn(|_, message, _| message.check(&Expect { len: None, ..expect }).map(|()| 0))? as usize;
        if Instant::now() > deadline {
            bail!("{greetings} of {connections} handlers greeted in {JOINING:?}");
        }
    }
    let mut meter = Meter::start(server, timing)?;
    // When each message under way was sent, and how many connections have heard it; the oldest has the number `complete`.
    let mut sent_at = [0; UNDER_WAY];
    let mut heard = [0; UNDER_WAY];
    let (mut spoken, mut complete) = (0, 0);
    loop {
        while spoken - complete < UNDER_WAY && !meter.is_over() {
            sent_at[spoken % UNDER_WAY] = crowd.now();
            heard[spoken % UNDER_WAY] = 0;
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
            heard[number % UNDER_WAY] += 1;
            meter.count(now - sent_at[number % UNDER_WAY]);
            Ok(0)
        })?;
        meter.turned(came).with_context(|| format!("{complete} of {spoken} messages were heard by all"))?;
        while complete < spoken && heard[complete % UNDER_WAY] == connections {
            complete += 1;
        }
    }
    Ok(Sample { connections, ..meter.finish()? })
}
