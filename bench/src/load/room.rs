//! Rooms: connections that hear what one of them says, by one of several means.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::JOINING;
use crate::crowd::Crowd;
use crate::frame::{Expect, Script};
use crate::handshake::{Endpoint, Target};

/// How the handler sends it to all.
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
    /// What is added to the name of a side, or of a row, that does it by other means than a message for each process.
    pub fn remark(self) -> &'static str {
        match self {
            By::Pg => "",
            By::SendMany => ", send_many",
            By::Topic => ", topic",
        }
    }

    /// Where there is a place in one of so many rooms.
    pub fn path(self, rooms: usize) -> String {
        let path = match self {
            By::Pg => "room",
            By::SendMany => "send_many",
            By::Topic => "topic",
        };
        format!("/{path}?rooms={rooms}")
    }

    /// What asks for such a place.
    pub fn target(self, endpoint: &Endpoint, rooms: usize, deflate: bool) -> Target {
        Target::websocket(endpoint, &self.path(rooms), deflate)
    }
}

/// Opens `connections`, and waits until each has its place: the number of its room, by that of the connection.
pub fn join(target: &Target, connections: usize, script: Script) -> Result<(Crowd, Vec<usize>)> {
    let greeting = Expect { len: None, ..script.expect };
    let mut crowd = Crowd::open(target, connections, script)?;
    let mut rooms = vec![0; connections];
    let mut greetings = 0;
    let deadline = Instant::now() + JOINING;
    while greetings < connections {
        greetings += crowd.turn(|tally, message, _| {
            message.check(&greeting)?;
            if !greeting.deflated {
                let number = std::str::from_utf8(&message.head[12..]).ok().and_then(|number| number.parse().ok());
                rooms[tally.number] = number.context("a greeting without the number of the room")?;
            }
            Ok(0)
        })? as usize;
        if Instant::now() > deadline {
            bail!("{greetings} of {connections} handlers greeted in {JOINING:?}");
        }
    }
    Ok((crowd, rooms))
}
