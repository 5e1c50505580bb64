//! A sidecar with a VM that serves, in a thread of its own, and clients that misbehave.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::vm::{Term, Vm, atom, binary, get, int, list, map, tuple};

/// Far longer than anything here takes, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const MIB: usize = 1 << 20;

/// A client's handshake for `/echo`.
pub const HANDSHAKE: &str = "GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A sidecar behind which a VM serves: `/echo` is a WebSocket without a limit of size whose texts come back, `/limited` one
/// with Cowboy's limit, `/big` a response of 64 MiB, everything else "ok".
pub struct Served {
    pub port: u16,
    pub pid: u32,
    before: usize,
    events: Receiver<(u64, Vec<Term>)>,
    vm: Option<JoinHandle<()>>,
}

impl Served {
    pub fn start(flags: &[&str]) -> Served {
        Self::by(Vm::ready(flags))
    }

    pub fn by(mut vm: Vm) -> Served {
        let (port, pid) = (vm.port, vm.pid());
        let (sender, events) = channel();
        let thread = std::thread::spawn(move || {
            let mut bodies = HashMap::new();
            while let Some((stream, event)) = vm.any_event() {
                answer(&mut vm, stream, &event, &mut bodies);
                if [atom("closed"), atom("log")].contains(&event[0]) {
                    let _ = sender.send((stream, event)); // Nobody need listen.
                }
            }
        });
        let mut served = Served { port, pid, before: 0, events, vm: Some(thread) };
        served.serves(); // What is allocated once, is.
        served.before = peak(pid);
        served
    }

    /// The next end of a stream, or line of the log, that the VM is told.
    pub fn told(&self, name: &str) -> Vec<Term> {
        loop {
            let (_, event) = self.events.recv_timeout(PATIENCE).expect("the VM is told");
            if event[0] == atom(name) {
                return event;
            }
        }
    }

    /// The lines of the log that the VM has been told so far.
    pub fn log(&self) -> Vec<Vec<Term>> {
        self.events.try_iter().filter(|(_, event)| event[0] == atom("log")).map(|(_, event)| event).collect()
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.port)
    }

    /// A WebSocket client.
    pub fn websocket(&self, path: &str, more: &str) -> TcpStream {
        let mut client = self.connect();
        client.write_all(format!("{}{more}\r\n", HANDSHAKE.replace("/echo", path)).as_bytes()).expect("writes");
        let head = head(&mut client);
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        client
    }

    /// Another client is served.
    pub fn serves(&self) {
        let mut client = self.websocket("/echo", "");
        client.write_all(&frame(0x81, b"are you there")).expect("writes");
        let mut echo = [0; 15];
        client.read_exact(&mut echo).expect("is served");
        assert_eq!(&echo[2..], b"are you there");
    }

    /// Asserts that the sidecar has never had more memory than this beyond what it began with.
    pub fn never_more_than(&self, bytes: usize) {
        let more = peak(self.pid) - self.before;
        println!("{} KiB more than before", more / 1024);
        assert!(more <= bytes, "{more} bytes, not {bytes}");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.pid as i32).expect("a process");
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        if let Some(vm) = self.vm.take() {
            let _ = vm.join();
        }
    }
}

/// What the VM does with an event. `bodies` are the pieces that each `/big` has still to send.
fn answer(vm: &mut Vm, stream: u64, event: &[Term], bodies: &mut HashMap<u64, (usize, u64)>) {
    const PIECE: usize = 65_536;
    let Term::Atom(name) = &event[0] else { panic!("no name") };
    match (name.name.as_str(), event.get(1)) {
        ("request", Some(request)) => match get(request, "path") {
            path if [binary(b"/echo"), binary(b"/limited")].contains(path) => {
                let max = if *path == binary(b"/echo") { atom("infinity") } else { int(1_000_000) };
                let options = map([(atom("compress"), atom("true")), (atom("max_frame_size"), max)]);
                vm.command(stream, [tuple([atom("websocket"), list([]), options])]);
            }
            path if *path == binary(b"/big") => {
                vm.command(stream, [tuple([atom("headers"), int(200), list([])])]);
                bodies.insert(stream, (64 * MIB / PIECE, 0));
                pieces(vm, stream, bodies);
            }
            _ => vm.command(stream, [tuple([atom("response"), int(200), list([]), binary(b"ok")])]),
        },
        ("text" | "binary" | "part" | "ping" | "pong", payload) => {
            let payload = if let Some(Term::Binary(payload)) = payload { payload.bytes.as_slice() } else { b"" };
            let credit = tuple([atom("credit"), int(payload.len() as u64 + 64)]);
            match name.name.as_str() {
                "text" => vm.command(stream, [credit, tuple([atom("text"), binary(payload)])]),
                _ => vm.command(stream, [credit]),
            }
        }
        ("credit", Some(Term::FixInteger(credit))) => {
            if let Some((_, sent)) = bodies.get_mut(&stream) {
                *sent = sent.saturating_sub(credit.value as u64);
                pieces(vm, stream, bodies);
            }
        }
        ("closed", _) => {
            bodies.remove(&stream);
            vm.command(stream, [atom("finish")]);
        }
        _ => {}
    }

    fn pieces(vm: &mut Vm, stream: u64, bodies: &mut HashMap<u64, (usize, u64)>) {
        let Some((left, sent)) = bodies.get_mut(&stream) else { return };
        while *left > 0 && *sent < 262_144 {
            (*left, *sent) = (*left - 1, *sent + PIECE as u64 + 64);
            let fin = atom(if *left == 0 { "fin" } else { "nofin" });
            vm.command(stream, [tuple([atom("data"), fin, binary(&[b'x'; PIECE])])]);
        }
    }
}

/// The peak of a process's resident set, in bytes.
fn peak(pid: u32) -> usize {
    status(pid, "VmHWM:")
}

/// The resident set now.
pub fn resident(pid: u32) -> usize {
    status(pid, "VmRSS:")
}

fn status(pid: u32, field: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

pub fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}

pub fn connect(port: u16) -> TcpStream {
    let client = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    client.set_read_timeout(Some(PATIENCE)).expect("sets a timeout");
    client.set_write_timeout(Some(PATIENCE)).expect("sets a timeout");
    client
}

/// A client with small buffers in the kernel, so that what it does not take waits in the sidecar.
pub fn connect_narrow(port: u16) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(16 * 1024).expect("sets a size");
    socket.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("connects");
    let client = TcpStream::from(socket);
    client.set_read_timeout(Some(PATIENCE)).expect("sets a timeout");
    client
}

/// A masked frame (with a mask of zeros).
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length @ ..65_536 => frame.extend([&[0xfe], &(length as u16).to_be_bytes()[..]].concat()),
        length => frame.extend([&[0xff], &(length as u64).to_be_bytes()[..]].concat()),
    }
    [&frame, &[0; 4][..], payload].concat()
}

/// A response's head.
pub fn head(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match client.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            end => panic!("{end:?} after {}", String::from_utf8_lossy(&head)),
        }
    }
    String::from_utf8(head).expect("is text")
}

/// All that comes until the server ends the connection, be it by a reset.
pub fn rest(client: &mut TcpStream) -> Vec<u8> {
    let (mut all, mut bytes) = (Vec::new(), [0; 4096]);
    loop {
        match client.read(&mut bytes) {
            Ok(0) => return all,
            Ok(n) => all.extend_from_slice(&bytes[..n]),
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return all,
            Err(e) => panic!("{e} instead of an end, after {} bytes", all.len()),
        }
    }
}

/// Writes the same bytes again and again, up to `most` of them, and says how many the server took: until it takes no more
/// for a while, or has ended the connection.
pub fn flood(client: &mut TcpStream, bytes: &[u8], most: usize) -> usize {
    client.set_write_timeout(Some(Duration::from_millis(300))).expect("sets a timeout");
    let mut written = 0;
    while written < most {
        let at = written % bytes.len();
        match client.write(&bytes[at..]) {
            Ok(n) => written += n,
            Err(_) => break,
        }
    }
    written
}

/// Waits until a process has nothing to do: it has used no time of a processor for a while.
pub fn until_idle(pid: u32) {
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let fields: Vec<_> = stat.rsplit(") ").next().expect("has fields").split(' ').map(str::to_owned).collect();
        (fields[0].clone(), fields[11].clone(), fields[12].clone())
    };
    let (mut last, mut same) = (used(), 0);
    while same < 30 {
        std::thread::sleep(Duration::from_millis(10));
        let now = used();
        same = if now == last && now.0 == "S" { same + 1 } else { 0 };
        last = now;
    }
}

/// Waits for what sends no event.
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "not {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A WebSocket client of a VM that the test plays, and its stream's number.
pub fn upgraded(vm: &mut Vm, mut client: TcpStream) -> (TcpStream, u64) {
    client.write_all(format!("{HANDSHAKE}\r\n").as_bytes()).expect("writes");
    let (stream, _) = vm.event("request");
    vm.command(stream, [tuple([atom("websocket"), list([]), map([])])]);
    assert!(head(&mut client).starts_with("HTTP/1.1 101"));
    (client, stream)
}
