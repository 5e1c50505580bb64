//! The VM's side of the port, played by a test: starts a sidecar, sends packets, collects events.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub use eetf::Term;
use eetf::{Atom, BigInteger, Binary, FixInteger, List, Map, Tuple};

pub fn atom(name: &str) -> Term {
    Term::from(Atom::from(name))
}

pub fn binary(bytes: &[u8]) -> Term {
    Term::from(Binary::from(bytes.to_vec()))
}

pub fn int(value: u64) -> Term {
    match i32::try_from(value) {
        Ok(value) => Term::from(FixInteger::from(value)),
        Err(_) => Term::from(BigInteger::from(value)),
    }
}

pub fn tuple<const N: usize>(terms: [Term; N]) -> Term {
    Term::from(Tuple::from(terms.to_vec()))
}

pub fn list<const N: usize>(terms: [Term; N]) -> Term {
    Term::from(List::from(terms.to_vec()))
}

pub fn map<const N: usize>(pairs: [(Term, Term); N]) -> Term {
    Term::from(Map::from(pairs))
}

/// A map's value.
pub fn get<'a>(term: &'a Term, key: &str) -> &'a Term {
    let Term::Map(map) = term else { panic!("not a map: {term}") };
    map.map.get(&atom(key)).unwrap_or_else(|| panic!("no key {key}"))
}

/// The TCP port that a hello names.
pub fn port_of(hello: &Term) -> u16 {
    let Term::Tuple(hello) = hello else { panic!("no hello: {hello}") };
    port_in(get(&hello.elements[2], "listening"))
}

/// The TCP port of the first address in a list; 0 for a Unix socket.
pub fn port_in(addresses: &Term) -> u16 {
    let Term::List(addresses) = addresses else { panic!("no list: {addresses}") };
    let Term::Tuple(address) = &addresses.elements[0] else { panic!("no address") };
    let Term::FixInteger(port) = &address.elements[1] else { return 0 };
    u16::try_from(port.value).expect("a port")
}

/// A sidecar, and the VM's end of its pipes. Killed when dropped.
pub struct Vm {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    events: VecDeque<(u64, Vec<Term>)>,
    pub port: u16,
}

impl Vm {
    /// Starts a sidecar and reads its first packet.
    pub fn start(flags: &[&str]) -> (Term, Vm) {
        Self::start_with(flags, Stdio::piped())
    }

    /// The same with a stderr of the caller's.
    pub fn start_with(flags: &[&str], stderr: Stdio) -> (Term, Vm) {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_outrider")).arg("serve").args(flags).stderr(stderr))
    }

    /// The same by a command of one's own, which must become the sidecar.
    pub fn spawn(command: &mut Command) -> (Term, Vm) {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary runs");
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().expect("piped"));
        let mut vm = Vm { child, stdin, stdout, events: VecDeque::new(), port: 0 };
        (vm.packet(), vm)
    }

    /// Starts a sidecar that accepts clients.
    pub fn ready(flags: &[&str]) -> Vm {
        let (hello, vm) = Self::start(&[&["--listen", "127.0.0.1:0"], flags].concat());
        vm.greet(&hello)
    }

    /// Answers the hello.
    pub fn greet(mut self, hello: &Term) -> Vm {
        let vm = &mut self;
        vm.port = port_of(hello);
        vm.send(&tuple([atom("hello"), int(1)]));
        self
    }

    pub fn send(&mut self, term: &Term) {
        let mut packet = vec![0; 4];
        term.encode(&mut packet).expect("encodes");
        let length = (packet.len() - 4) as u32;
        packet[..4].copy_from_slice(&length.to_be_bytes());
        self.stdin.as_mut().expect("stdin is open").write_all(&packet).expect("the sidecar reads");
    }

    pub fn command<const N: usize>(&mut self, stream: u64, commands: [Term; N]) {
        self.send(&list([tuple([int(stream), list(commands)])]));
    }

    /// The number of the sidecar's OS process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next event, whatever it is; `None` when the sidecar has ended.
    pub fn any_event(&mut self) -> Option<(u64, Vec<Term>)> {
        while self.events.is_empty() {
            let Term::List(events) = self.try_packet().ok()? else { panic!("not a list of events") };
            self.events.extend(events.elements.into_iter().map(split));
        }
        self.events.pop_front()
    }

    /// The next event, which must have this name: its stream and its arguments. Connections that have ended are passed over,
    /// if it is not this that is asked for.
    pub fn event(&mut self, name: &str) -> (u64, Vec<Term>) {
        let gone = [atom("gone")];
        let mut events = std::iter::from_fn(|| self.any_event());
        let (stream, mut event) = events.find(|(_, event)| name == "gone" || *event != gone).expect("the sidecar runs");
        assert_eq!(event.remove(0), atom(name));
        (stream, event)
    }

    /// Events that came in one packet with those already looked at.
    pub fn unread_events(&self) -> usize {
        self.events.len()
    }

    /// The most memory that the sidecar has occupied so far, in bytes.
    pub fn most_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("is told");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("is a number") * 1024
    }

    pub fn signal(&self, name: &str) {
        let args = [format!("-{name}"), self.child.id().to_string()];
        assert!(Command::new("kill").args(args).status().expect("kill runs").success());
    }

    /// R, S, T, …; see proc(5).
    pub fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).expect("is told")
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }

    /// The next line that it says on stderr.
    pub fn line(&mut self) -> String {
        let stderr = self.child.stderr.as_mut().expect("piped");
        let (mut line, mut byte) = (Vec::new(), [0]);
        while byte != [b'\n'] {
            stderr.read_exact(&mut byte).expect("a whole line");
            line.push(byte[0]);
        }
        String::from_utf8(line).expect("is text")
    }

    /// What it has said on stderr, once it has ended.
    pub fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut text).expect("is text");
        text
    }

    fn packet(&mut self) -> Term {
        self.try_packet().expect("a packet")
    }

    fn try_packet(&mut self) -> io::Result<Term> {
        let mut head = [0; 4];
        self.stdout.read_exact(&mut head)?;
        let mut packet = vec![0; u32::from_be_bytes(head) as usize];
        self.stdout.read_exact(&mut packet)?;
        Ok(Term::decode(packet.as_slice()).expect("decodes"))
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `{Stream, Event}` as the stream's number and the event's elements.
fn split(event: Term) -> (u64, Vec<Term>) {
    let Term::Tuple(pair) = event else { panic!("not a tuple: {event}") };
    let [Term::FixInteger(stream), event] = <[Term; 2]>::try_from(pair.elements).expect("a pair") else {
        panic!("no number")
    };
    let mut elements = match event {
        Term::Tuple(tuple) => tuple.elements,
        name => vec![name],
    };
    if elements[0] == atom("request") {
        let Term::Tuple(head) = elements.remove(1) else { panic!("no head") };
        elements.insert(1, named(head.elements));
    }
    (u64::try_from(stream.value).expect("a number"), elements)
}

/// A request's head as a map, by Cowboy's names.
fn named(head: Vec<Term>) -> Term {
    const NAMES: [&str; 14] = [
        "version",
        "method",
        "scheme",
        "host",
        "port",
        "path",
        "qs",
        "headers",
        "peer",
        "sock",
        "cert",
        "has_body",
        "body_length",
        "streamid",
    ];
    let Some((Term::Map(more), values)) = head.split_last() else { panic!("not what a request has beside these") };
    assert_eq!(values.len(), NAMES.len());
    let pairs = NAMES.into_iter().map(atom).zip(values.iter().cloned());
    Term::from(Map::from(pairs.chain(more.map.clone()).collect::<std::collections::HashMap<_, _>>()))
}
