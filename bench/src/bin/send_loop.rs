//! The least that a delivery can cost: one thread that does nothing but `send` 204 bytes (a frame of 200) to one socket of many
//! after the other. What is behind them is another process, which reads what comes.
//!
//! usage: send_loop [CONNECTIONS [MEMBERS [EVERY_MS]]]: of so many (10,000) so many are sent something each time (all), and
//! again when they have it; or every EVERY_MS milliseconds to the next ones, if that is given. For 3 seconds.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mio::{Events, Interest, Poll, Token};

#[path = "../out.rs"]
mod out;

const BYTES: usize = 204;
const SECONDS: u64 = 3;

fn main() -> Result<()> {
    let numbers: Vec<usize> = std::env::args().skip(1).map(|arg| arg.parse()).collect::<Result<_, _>>()?;
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let connections = number(0, 10_000);
    let members = number(1, connections).min(connections);
    match numbers.get(3) {
        Some(port) => receive(connections, members, *port as u16),
        None => send(connections, members, Duration::from_millis(number(2, 0) as u64)),
    }
}

fn send(connections: usize, members: usize, every: Duration) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port().into();
    let mut receiver = Command::new(std::env::current_exe()?)
        .args([connections, members, 0, port].map(|number: usize| number.to_string()))
        .stdout(Stdio::piped())
        .spawn()?;
    let mut heard = receiver.stdout.take().context("a pipe was asked for")?;
    let mut sockets = Vec::new();
    for _ in 0..connections {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        sockets.push(socket);
    }
    // Those of one group came one after the other nowhere but here: as in rooms, which anybody joins at any time.
    let stride = connections / members;
    let order: Vec<_> = (0..stride).flat_map(|first| (first..connections).step_by(stride)).collect();
    heard.read_exact(&mut [0])?; // All are connected.
    let frame = [b'x'; BYTES];
    let (mut last, mut used) = (Vec::new(), Duration::ZERO);
    let (began, mut at) = (Instant::now(), 0);
    while began.elapsed().as_secs() < SECONDS {
        std::thread::sleep((every * last.len() as u32).saturating_sub(began.elapsed()));
        let (sent, cpu) = (Instant::now(), thread_cpu());
        for _ in 0..members {
            let n = (&sockets[order[at]]).write(&frame)?;
            anyhow::ensure!(n == BYTES, "the kernel took {n} bytes");
            at = (at + 1) % order.len();
        }
        used += thread_cpu() - cpu;
        heard.read_exact(&mut [0])?;
        last.push(sent.elapsed());
    }
    receiver.kill()?;
    receiver.wait()?;
    last.sort();
    let quantile = |of: usize| last[(last.len() * of / 100).min(last.len() - 1)].as_secs_f64() * 1e3;
    let line = format!(
        "{members} of {connections}, {} times: {:.2} µs of CPU a send, last delivery p50 {:.1} ms, p99 {:.1} ms\n",
        last.len(),
        used.as_secs_f64() * 1e6 / (members * last.len()) as f64,
        quantile(50),
        quantile(99)
    );
    Ok(out::print(&line)?)
}

/// Says so whenever all members have got the frame.
fn receive(connections: usize, members: usize, port: u16) -> Result<()> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    let mut sockets = Vec::new();
    for number in 0..connections {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        socket.set_nonblocking(true)?;
        let mut socket = mio::net::TcpStream::from_std(socket);
        poll.registry().register(&mut socket, Token(number), Interest::READABLE)?;
        sockets.push(socket);
    }
    let tell = || std::io::stdout().write_all(b".").and_then(|()| std::io::stdout().flush());
    tell()?;
    let (mut buffer, mut bytes) = (vec![0; 65_536], 0);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            while let Ok(n @ 1..) = sockets[event.token().0].read(&mut buffer) {
                bytes += n;
            }
        }
        while bytes >= members * BYTES {
            bytes -= members * BYTES;
            tell()?;
        }
    }
}

/// CPU time of this thread so far.
fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to the place that it is given, and fails for no clock that Linux has.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
