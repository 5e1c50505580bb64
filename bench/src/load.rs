//! The kinds of load, each a function from a running server to a sample.
//!
//! All but `push` are closed loops: a connection sends when an answer came, so a slow server gets less to do and no queue
//! grows without end. Latencies therefore tell of a server under exactly this load, not of one with arrivals of its own.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use mio::{Events, Interest, Poll, Token};

use crate::crowd::{Crowd, poll};
use crate::frame::{BINARY, Expect, Script, TEXT};
use crate::handshake::{Opening, Progress, Target};
use crate::meter::{Memory, Meter, Sample, Timing};
use crate::probe;
use crate::server::Server;
use crate::text;

/// What is sent where, how often, by how many.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// Every connection has `window` messages of `size` bytes under way; each answer is followed by the next.
    Echo {
        /// How many connections.
        connections: usize,
        /// Bytes of payload.
        size: usize,
        /// Messages under way per connection.
        window: usize,
        /// What they say.
        payload: Payload,
    },
    /// The same with HTTP requests on connections that are kept.
    Http {
        /// How many connections.
        connections: usize,
    },
    /// Every connection's process sends 200 bytes each `every_ms`.
    Push {
        /// How many connections.
        connections: usize,
        /// Milliseconds.
        every_ms: u64,
    },
    /// One connection speaks, all hear it; when all have, the next message is due. Two are under way at a time.
    FanOut {
        /// How many connections.
        connections: usize,
        /// Bytes of payload.
        size: usize,
        /// What they say.
        payload: Payload,
    },
    /// Connections that stay open: each has echoed `messages` messages of 1 KiB, and its process hibernates.
    Idle {
        /// How many connections.
        connections: usize,
        /// With permessage-deflate.
        deflate: bool,
        /// How many messages each has echoed before.
        messages: usize,
    },
    /// Connections come, shake hands, and leave.
    Connect {
        /// How many at a time.
        at_a_time: usize,
    },
}

/// What messages say. All are text frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Payload {
    /// Letters, not compressed.
    Plain,
    /// JSON in permessage-deflate. The messages differ, and there are more of them than deflate's window of 32 KiB holds.
    Deflated,
    /// One JSON text again and again in permessage-deflate: the least work that compression can have.
    DeflatedSame,
}

const DIFFERENT: u64 = 256;
const FAN_OUT_UNDER_WAY: usize = 2;
const PUSH_BYTES: usize = 200;
const DRAIN: Duration = Duration::from_secs(60);

impl Load {
    /// Runs the load once.
    pub fn run(self, server: &Server, timing: Timing) -> Result<Sample> {
        match self {
            Load::Echo { connections, size, window, payload } => {
                let script = script(size, payload);
                let target = Target::websocket(server.address(), "/echo", script.expect.deflated);
                probe::echo(server.address(), "/echo", script.expect.deflated)?;
                closed_loop(server, timing, &target, connections, window, script)
            }
            Load::Http { connections } => {
                let request = format!("GET /reply HTTP/1.1\r\nHost: {}\r\n\r\n", server.address());
                let target = Target::http(server.address());
                closed_loop(server, timing, &target, connections, 1, Script::of_request(&request, 100))
            }
            Load::Push { connections, every_ms } => push(server, timing, connections, every_ms),
            Load::FanOut { connections, size, payload } => fan_out(server, timing, connections, script(size, payload)),
            Load::Idle { connections, deflate, messages } => idle(server, connections, messages, deflate),
            Load::Connect { at_a_time } => connect(server, timing, at_a_time),
        }
    }
}

fn script(size: usize, payload: Payload) -> Script {
    match payload {
        Payload::Plain => Script::new(TEXT, &[text::plain(size)], false),
        Payload::Deflated => Script::new(TEXT, &text::json(DIFFERENT, size), true),
        Payload::DeflatedSame => Script::new(TEXT, &text::json(1, size), true),
    }
}

fn closed_loop(
    server: &Server,
    timing: Timing,
    target: &Target,
    connections: usize,
    window: usize,
    script: Script,
) -> Result<Sample> {
    let expect = script.expect;
    let mut crowd = Crowd::open(target, connections, script)?;
    let mut under_way = connections * window;
    // A slow server is measured when it has answered as much as was sent at the beginning.
    let mut meter = Meter::start(server, timing)?.after(under_way as u64);
    for number in 0..connections {
        crowd.send(number, window)?;
    }
    let mut deadline = None;
    while under_way > 0 {
        let is_over = meter.is_over();
        let came = crowd.turn(|tally, message, now| {
            message.check(&expect)?;
            let sent_at = tally.sent_at.pop_front().context("an answer that nobody asked for")?;
            meter.count(now - sent_at);
            Ok(usize::from(!is_over))
        })?;
        meter.turned(came)?;
        if is_over {
            under_way -= came as usize;
            if Instant::now() > *deadline.get_or_insert_with(|| Instant::now() + DRAIN) {
                bail!("{under_way} messages had no answer {DRAIN:?} after the end");
            }
        }
    }
    Ok(Sample { connections, ..meter.finish()? })
}

fn push(server: &Server, timing: Timing, connections: usize, every_ms: u64) -> Result<Sample> {
    let path = format!("/push?every={every_ms}&size={PUSH_BYTES}");
    let target = Target::websocket(server.address(), &path, false);
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

fn fan_out(server: &Server, timing: Timing, connections: usize, script: Script) -> Result<Sample> {
    let expect = script.expect;
    let target = Target::websocket(server.address(), "/room", expect.deflated);
    let mut crowd = Crowd::open(&target, connections, script)?;
    // Every handler greets once it has joined the group.
    let mut greetings = 0;
    let mut patience = Meter::start(server, timing)?;
    while greetings < connections {
        let came = crowd.turn(|_, message, _| message.check(&Expect { len: None, ..expect }).map(|()| 0))?;
        greetings += came as usize;
        patience.turned(came)?;
    }
    let mut meter = Meter::start(server, timing)?;
    // When each message under way was sent, and how many connections have heard it; the oldest has the number `complete`.
    let mut sent_at = [0; FAN_OUT_UNDER_WAY];
    let mut heard = [0; FAN_OUT_UNDER_WAY];
    let (mut spoken, mut complete) = (0, 0);
    loop {
        while spoken - complete < FAN_OUT_UNDER_WAY && !meter.is_over() {
            sent_at[spoken % FAN_OUT_UNDER_WAY] = crowd.now();
            heard[spoken % FAN_OUT_UNDER_WAY] = 0;
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
            heard[number % FAN_OUT_UNDER_WAY] += 1;
            meter.count(now - sent_at[number % FAN_OUT_UNDER_WAY]);
            Ok(0)
        })?;
        meter.turned(came)?;
        while complete < spoken && heard[complete % FAN_OUT_UNDER_WAY] == connections {
            complete += 1;
        }
    }
    Ok(Sample { connections, ..meter.finish()? })
}

fn idle(server: &Server, connections: usize, messages: usize, deflate: bool) -> Result<Sample> {
    let target = Target::websocket(server.address(), "/idle", deflate);
    probe::echo(server.address(), "/idle", deflate)?;
    let before = settled_memory(server)?;
    let payload = if deflate { Payload::Deflated } else { Payload::Plain };
    let mut crowd = Crowd::open(&target, connections, script(1024, payload))?;
    for first in (0..connections).step_by(100) {
        for _ in 0..messages {
            ask_some(&mut crowd, first..connections.min(first + 100))?;
        }
    }
    let after = settled_memory(server)?;
    // One that was closed meanwhile would be seen here.
    crowd.turn(|_, _, _| bail!("a silent connection got a message"))?;
    let per_connection = |after: u64, before: u64| (after as f64 - before as f64) / connections as f64;
    let memory = Memory { vm: per_connection(after.0, before.0), sidecar: per_connection(after.1, before.1) };
    Ok(Sample { connections, messages: (connections * messages) as u64, memory: Some(memory), ..Sample::default() })
}

/// Sends one message on each of these connections and waits for the answers.
fn ask_some(crowd: &mut Crowd, some: std::ops::Range<usize>) -> Result<()> {
    let expect = crowd.expect();
    let mut missing = some.len();
    for number in some {
        crowd.send(number, 1)?;
    }
    let deadline = Instant::now() + DRAIN;
    while missing > 0 {
        missing -= crowd.turn(|_, message, _| message.check(&expect).map(|()| 0))? as usize;
        if Instant::now() > deadline {
            bail!("{missing} messages had no answer in {DRAIN:?}");
        }
    }
    Ok(())
}

/// Memory once it has stopped changing: two readings half a second apart within half a percent, or the last of 20.
fn settled_memory(server: &Server) -> Result<(u64, u64)> {
    let mut last = server.memory()?;
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(500));
        let now = server.memory()?;
        let is_near = |a: u64, b: u64| a.abs_diff(b) <= b / 200;
        if is_near(now.0, last.0) && is_near(now.1, last.1) {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}

fn connect(server: &Server, timing: Timing, at_a_time: usize) -> Result<Sample> {
    let target = Target::websocket(server.address(), "/echo", false);
    probe::echo(server.address(), "/echo", false)?;
    let mut selector = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut number = 0;
    let mut open = |slot: usize, selector: &Poll| -> Result<(Opening, Instant)> {
        let mut opening = Opening::start(&target, number)?;
        selector.registry().register(&mut opening.stream, Token(slot), Interest::READABLE | Interest::WRITABLE)?;
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
