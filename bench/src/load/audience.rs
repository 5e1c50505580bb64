//! Many who hear what one of them says, with a thread of their own.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use super::room::{By, join};
use super::{DRAIN, Payload, script};
use crate::crowd::Crowd;
use crate::handshake::Endpoint;

/// How many they are.
const AUDIENCE: usize = 10_000;
/// The pause after all of them have heard something.
const SILENCE: Duration = Duration::from_millis(200);

/// The audience. The next is said some time after all have heard the last.
pub struct Audience {
    /// Dropped to end it.
    running: Sender<()>,
    /// Says how many messages all have heard.
    heard: JoinHandle<Result<usize>>,
}

impl Audience {
    /// Opens all of it, and begins.
    pub fn start(endpoint: &Endpoint, by: By) -> Result<Self> {
        let script = script(200, Payload::Plain, 1);
        let (crowd, _) = join(&by.target(endpoint, 1, false), AUDIENCE, script)?;
        let (running, pauses) = channel();
        Ok(Self { running, heard: std::thread::spawn(move || listen(crowd, &pauses)) })
    }

    /// Ends it. It is an error if it heard nothing.
    pub fn end(self) -> Result<()> {
        drop(self.running);
        match self.heard.join().map_err(|_| anyhow!("the audience panicked"))?? {
            0 => bail!("the audience heard nothing"),
            _ => Ok(()),
        }
    }
}

fn listen(mut crowd: Crowd, pauses: &Receiver<()>) -> Result<usize> {
    let expect = crowd.expect();
    for spoken in 1.. {
        crowd.send(0, 1)?;
        let mut heard = 0;
        let deadline = Instant::now() + DRAIN;
        while heard < AUDIENCE {
            heard += crowd.turn(|_, message, _| message.check(&expect).map(|()| 0))? as usize;
            if Instant::now() > deadline {
                bail!("{heard} of {AUDIENCE} have heard it after {DRAIN:?}");
            }
        }
        if pauses.recv_timeout(SILENCE) == Err(RecvTimeoutError::Disconnected) {
            return Ok(spoken);
        }
    }
    unreachable!("it goes on until the pauses end")
}
