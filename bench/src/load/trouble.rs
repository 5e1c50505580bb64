//! Clients that give trouble to the others, each kind by threads of its own.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustls::ClientConnection;
use socket2::SockRef;

use crate::frame::{BINARY, frame};
use crate::handshake::Endpoint;
use crate::probe;
use crate::wire::server_name;

/// The size of a large message.
const LARGE: usize = 64 << 20;
/// The pause between two large messages, and between two bytes of the client that sends one at a time.
const PAUSE: Duration = Duration::from_secs(1);
/// Clients that shake hands at a time.
const FLOODERS: usize = 32;

/// What trouble there is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Four clients: one sends large messages, one floods a handler that sleeps, one reads nothing, one is slow.
    Messages,
    /// A flood of ClientHellos: 32 at a time, each of a client that leaves when it has its answer.
    Hellos,
}

/// What gives trouble.
pub enum Trouble {
    /// As [`Kind::Messages`].
    Messages(Four),
    /// As [`Kind::Hellos`].
    Hellos(Flood),
}

impl Trouble {
    /// Begins.
    pub fn start(kind: Kind, endpoint: &Endpoint) -> Result<Self> {
        match kind {
            Kind::Messages => Four::start(endpoint).map(Self::Messages),
            Kind::Hellos => Flood::start(endpoint).map(Self::Hellos),
        }
    }

    /// Ends it. It is an error if there was none.
    pub fn end(self) -> Result<()> {
        match self {
            Self::Messages(four) => four.end(),
            Self::Hellos(flood) => flood.end(),
        }
    }
}

/// Clients that say hello again and again, all with the same bytes: it is the server's work that is to be done.
pub struct Flood {
    running: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<usize>>>,
}

impl Flood {
    fn start(endpoint: &Endpoint) -> Result<Self> {
        let config = endpoint.tls.as_ref().context("a flood of ClientHellos needs TLS")?;
        let mut hello = Vec::new();
        ClientConnection::new(Arc::clone(config), server_name())?.write_tls(&mut hello)?;
        let (hello, running, address) = (Arc::new(hello), Arc::new(AtomicBool::new(true)), endpoint.address);
        let flooder = |_| {
            let (hello, running) = (Arc::clone(&hello), Arc::clone(&running));
            std::thread::spawn(move || say_hello(address, &hello, &running))
        };
        let threads = (0..FLOODERS).map(flooder).collect();
        Ok(Self { running, threads })
    }

    fn end(self) -> Result<()> {
        self.running.store(false, Ordering::Relaxed);
        let mut answered = 0;
        for thread in self.threads {
            answered += thread.join().map_err(|_| anyhow!("a client that says hello panicked"))??;
        }
        if answered == 0 {
            bail!("no ClientHello was answered");
        }
        eprintln!("  {answered} ClientHellos were answered");
        Ok(())
    }
}

/// Says how often it was answered.
fn say_hello(address: SocketAddr, hello: &[u8], running: &AtomicBool) -> Result<usize> {
    let mut answered = 0;
    while running.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        // A reset leaves no TIME_WAIT behind that would use up the ports.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        stream.write_all(hello)?;
        // A server that turns clients away is not to be held against it.
        if stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {
            answered += 1;
        }
    }
    Ok(answered)
}

/// The four, each a connection of its own; three of them have a thread.
pub struct Four {
    streams: Vec<TcpStream>,
    /// Dropped to end the pauses.
    running: Vec<Sender<()>>,
    /// Sends large messages, and says how many were answered.
    large: JoinHandle<Result<usize>>,
}

impl Four {
    fn start(endpoint: &Endpoint) -> Result<Self> {
        let open = |path: &str| probe::open(endpoint, path);
        let large = open("/sink")?;
        let asleep = open("/sleep")?;
        let reads_nothing = open("/push?every=1&size=65536")?;
        let slow = open("/echo")?;
        let streams = [&large, &asleep, &reads_nothing, &slow].map(TcpStream::try_clone);
        let streams = streams.into_iter().collect::<std::io::Result<_>>()?;
        let message = frame(BINARY, &vec![b'x'; LARGE], false);
        let small = frame(BINARY, &[b'x'; 125], false);
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
