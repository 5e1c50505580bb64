//! Many client connections driven by one thread and one epoll: opens them, sends scripted frames, reads what comes.
//!
//! Edge-triggered, so one event costs one read and at most one write, and all messages found in one read are answered
//! together. Rows say what to do with a message; this module says nothing of time or load.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mio::{Events, Interest, Poll, Token};

use crate::frame::{Expect, Message, Outbox, Reader, Script};
use crate::handshake::{Opening, Progress, Target};
use crate::response::Responses;
use crate::wire::Wire;

/// How many connections are being opened at a time: below the backlog of either server.
const OPENING_AT_A_TIME: usize = 64;
/// A connection must be open this long after the one before it.
const OPENING_PATIENCE: Duration = Duration::from_secs(10);
/// One buffer for all connections.
const SCRATCH_BYTES: usize = 512 * 1024;
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// What a row remembers of one connection.
#[derive(Default)]
pub struct Tally {
    /// Which of the connections it is.
    pub number: usize,
    /// When each message that has no answer yet was sent, oldest first: nanoseconds since the crowd's beginning.
    pub sent_at: VecDeque<u64>,
    /// How many messages came.
    pub received: u64,
}

struct Connection {
    wire: Wire,
    parser: Parser,
    outbox: Outbox,
    tally: Tally,
    /// Bytes that came together with the handshake's answer.
    early: Vec<u8>,
}

enum Parser {
    Frames(Reader),
    Responses(Responses),
}

/// Connections to one server.
pub struct Crowd {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    scratch: Box<[u8]>,
    script: Script,
    began: Instant,
    /// Whether events may have been lost while connections were opened.
    must_read_all: bool,
}

impl Crowd {
    /// Opens `count` connections. Each begins at another frame of the script.
    pub fn open(target: &Target, count: usize, script: Script) -> Result<Self> {
        let mut crowd = Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            connections: Vec::with_capacity(count),
            scratch: vec![0; SCRATCH_BYTES].into(),
            script,
            began: Instant::now(),
            must_read_all: true,
        };
        crowd.open_all(target, count).with_context(|| format!("opening {count} connections"))?;
        Ok(crowd)
    }

    fn open_all(&mut self, target: &Target, count: usize) -> Result<()> {
        let mut openings: Vec<Option<Opening>> = Vec::with_capacity(count);
        let mut last_opened = Instant::now();
        while self.connections.len() < count {
            while openings.len() < count && openings.len() - self.connections.len() < OPENING_AT_A_TIME {
                let mut opening = Opening::start(target, openings.len())?;
                self.poll.registry().register(&mut opening.wire.stream, Token(openings.len()), BOTH)?;
                openings.push(Some(opening));
            }
            poll(&mut self.poll, &mut self.events, Duration::from_millis(100))?;
            for event in &self.events {
                let slot = &mut openings[event.token().0];
                let Some(opening) = slot else { continue };
                let Progress::Open(early) = opening.progress(target)? else { continue };
                let wire = slot.take().expect("it is there").wire;
                // Nothing refers to a connection by the token of its opening from here on: see `must_read_all`.
                let number = self.connections.len();
                let outbox = Outbox::from(number % self.script.frames());
                let tally = Tally { number, ..Tally::default() };
                let parser = match target.is_websocket() {
                    true => Parser::Frames(Reader::default()),
                    false => Parser::Responses(Responses::default()),
                };
                self.connections.push(Connection { wire, parser, outbox, tally, early });
                last_opened = Instant::now();
            }
            if last_opened.elapsed() > OPENING_PATIENCE {
                bail!("{} are open, and no other in {OPENING_PATIENCE:?}", self.connections.len());
            }
        }
        for (number, connection) in self.connections.iter_mut().enumerate() {
            self.poll.registry().reregister(&mut connection.wire.stream, Token(number), BOTH)?;
        }
        Ok(())
    }

    /// What every answer to the script must look like.
    pub fn expect(&self) -> Expect {
        self.script.expect
    }

    /// Nanoseconds since the crowd's beginning.
    pub fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Sends the next `frames` of the script on one connection.
    pub fn send(&mut self, number: usize, frames: usize) -> Result<()> {
        let now = self.now();
        self.connections[number].send(&self.script, frames, now)
    }

    /// Waits until something comes, for 100 ms at most, and hands every message with the connection's tally and the time
    /// to `on_message`, which says how many frames to send there in turn. Returns how many messages came.
    pub fn turn(&mut self, on_message: impl FnMut(&mut Tally, &Message, u64) -> Result<usize>) -> Result<u64> {
        self.turn_within(Duration::from_millis(100), on_message)
    }

    /// The same, waiting for `most` at most.
    pub fn turn_within(
        &mut self,
        most: Duration,
        mut on_message: impl FnMut(&mut Tally, &Message, u64) -> Result<usize>,
    ) -> Result<u64> {
        let mut came = 0;
        if std::mem::take(&mut self.must_read_all) {
            for connection in &mut self.connections {
                came += connection.read(&mut self.scratch, &self.script, &self.began, &mut on_message)?;
            }
        }
        let wait = if came == 0 { most } else { Duration::ZERO };
        poll(&mut self.poll, &mut self.events, wait)?;
        for event in &self.events {
            let connection = &mut self.connections[event.token().0];
            if event.is_writable() {
                connection.flush(&self.script)?;
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                came += connection.read(&mut self.scratch, &self.script, &self.began, &mut on_message)?;
            }
        }
        Ok(came)
    }
}

/// `Poll::poll`, which a signal may interrupt.
pub fn poll(poll: &mut Poll, events: &mut Events, wait: Duration) -> Result<()> {
    match poll.poll(events, Some(wait)) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error).context("epoll"),
        _ => Ok(()),
    }
}

impl Connection {
    fn read(
        &mut self,
        scratch: &mut [u8],
        script: &Script,
        began: &Instant,
        on_message: &mut impl FnMut(&mut Tally, &Message, u64) -> Result<usize>,
    ) -> Result<u64> {
        let Self { wire, parser, tally, early, .. } = self;
        let before = tally.received;
        let mut to_send = 0;
        let mut take = |bytes: &[u8]| {
            let now = began.elapsed().as_nanos() as u64;
            let found = |message: &Message| {
                tally.received += 1;
                to_send += on_message(tally, message, now)?;
                Ok(())
            };
            match parser {
                Parser::Frames(reader) => reader.read(bytes, found),
                Parser::Responses(responses) => responses.read(bytes, found),
            }
        };
        take(&std::mem::take(early))?;
        while wire.read(scratch, &mut take)? {}
        let came = self.tally.received - before;
        if to_send > 0 {
            self.send(script, to_send, began.elapsed().as_nanos() as u64)?;
        }
        Ok(came)
    }

    fn send(&mut self, script: &Script, frames: usize, now: u64) -> Result<()> {
        self.outbox.add(frames);
        self.tally.sent_at.extend(std::iter::repeat_n(now, frames));
        self.flush(script)
    }

    fn flush(&mut self, script: &Script) -> Result<()> {
        match self.wire.flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            flushed => flushed.context("writing to the server")?,
        }
        loop {
            let bytes = self.outbox.next(script);
            if bytes.is_empty() {
                break;
            }
            match self.wire.write(bytes) {
                Ok(count) => self.outbox.sent(count, script),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("writing to the server"),
            }
        }
        Ok(())
    }
}
