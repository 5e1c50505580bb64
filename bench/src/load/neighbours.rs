//! Echo at a fixed pace, alone or beside four clients that give trouble: what one client's behaviour does to the others.
//!
//! An open loop: a question is due when its time has come, whatever has been answered, so that a server which stands still
//! for a moment shows that in the latency of all that were due meanwhile. Far from what either server can do.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::crowd::Crowd;
use crate::frame::{BINARY, Script};
use crate::handshake::Target;
use crate::meter::{Meter, Sample, Timing};
use crate::probe;
use crate::server::Server;

/// How often each connection asks.
const EVERY: Duration = Duration::from_millis(20);
/// The size of a large message.
const LARGE: usize = 64 << 20;
/// The pause between two large messages, and between two bytes of the client that sends one at a time.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks on each of `connections` every [`EVERY`].
pub fn run(server: &Server, timing: Timing, connections: usize, disturbed: bool, script: Script) -> Result<Sample> {
    probe::echo(server.address(), "/echo", false)?;
    let expect = script.expect;
    let mut crowd = Crowd::open(&Target::websocket(server.address(), "/echo", false), connections, script)?;
    let trouble = disturbed.then(|| Trouble::start(server.address())).transpose()?;
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
    Ok(Sample { connections, ..meter.finish()? })
}

/// The four, each a connection of its own; three of them have a thread.
struct Trouble {
    streams: Vec<TcpStream>,
    /// Dropped to end the pauses.
    running: Vec<Sender<()>>,
    /// Sends large messages, and says how many were answered.
    large: JoinHandle<Result<usize>>,
}

impl Trouble {
    fn start(address: SocketAddr) -> Result<Self> {
        let open = |path: &str| probe::open(address, path, false);
        let large = open("/sink")?;
        let asleep = open("/sleep")?;
        let reads_nothing = open("/push?every=1&size=65536")?;
        let slow = open("/echo")?;
        let streams = [&large, &asleep, &reads_nothing, &slow].map(TcpStream::try_clone);
        let streams = streams.into_iter().collect::<std::io::Result<_>>()?;
        let message = Script::new(BINARY, &[vec![b'x'; LARGE]], false).bytes;
        let small = Script::new(BINARY, &[vec![b'x'; 125]], false).bytes;
        let ((first, large_pauses), (second, slow_pauses)) = (channel(), channel());
        let large = std::thread::spawn(move || send_large(large, &message, &large_pauses));
        let flood = small.repeat(1000);
        std::thread::spawn(move || while (&asleep).write_all(&flood).is_ok() {});
        std::thread::spawn(move || send_slowly(slow, &small, &slow_pauses));
        Ok(Self { streams, running: vec![first, second], large })
    }

    /// Ends them. It is an error if no large message was answered: then there was no trouble.
    fn end(self) -> Result<()> {
        let Self { streams, running, large } = self;
        let was_running = !large.is_finished();
        drop(running);
        for stream in &streams {
            let _ = stream.shutdown(Shutdown::Both); // The server may have closed it.
        }
        let answered = large.join().map_err(|_| anyhow!("the client with large messages panicked"))?;
        match answered {
            Ok(0) => bail!("no message of {LARGE} bytes was answered"),
            Err(error) if !was_running => Err(error.context("large messages")),
            _ => Ok(()),
        }
    }
}

/// Sends a large message, waits for the answer, and pauses, until it is told to end.
fn send_large(mut stream: TcpStream, message: &[u8], pauses: &Receiver<()>) -> Result<usize> {
    let expected = LARGE.to_string();
    let mut answered = 0;
    stream.set_read_timeout(None)?;
    loop {
        let mut answer = vec![0; 2 + expected.len()];
        if let Err(error) = stream.write_all(message).and_then(|()| stream.read_exact(&mut answer)) {
            return if answered > 0 { Ok(answered) } else { Err(error.into()) };
        }
        if answer[2..] != *expected.as_bytes() {
            bail!("the answer is not the message's size");
        }
        answered += 1;
        if pauses.recv_timeout(PAUSE) == Err(RecvTimeoutError::Disconnected) {
            return Ok(answered);
        }
    }
}

/// Sends a byte at a time.
fn send_slowly(mut stream: TcpStream, frame: &[u8], pauses: &Receiver<()>) {
    for byte in frame.iter().cycle() {
        let ended = pauses.recv_timeout(PAUSE) == Err(RecvTimeoutError::Disconnected);
        if ended || stream.write_all(&[*byte]).is_err() {
            return;
        }
    }
}
