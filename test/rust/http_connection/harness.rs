//! A connection as the sidecar serves it, with a client's bytes on one side and an application on the other that this test
//! plays: the real reception and what is behind it, the real port. Only the pipes to a VM are missing. Everything runs in one
//! thread, and nothing depends on time: a piece is sent when the one before it has had all its effects.
//!
//! Shared with `test/rust/http2_frames`, `test/rust/tls_records` and the fuzz targets of all three.

#![allow(dead_code, reason = "each of its users needs a part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use clap::Parser;
use eetf::Term;
use outrider::config::{Cli, Command as Verb, Serve};
use outrider::gate::Gate;
use outrider::http::{self, Permits};
use outrider::port::Port;
use outrider::port::message::{Body, Command, Headers, Status, StreamId, WebsocketOptions};
use outrider::reception::{self, Protocol, Reception};
use outrider::streams::{self, Streams};
use outrider::transport::{Plain, tls};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};

/// So many turns of the event loop without any effect, and there is nothing more to come: from a client's byte to the
/// application, and back to the client, it is fewer.
const QUIET: usize = 12;

/// What came of what a client sent.
#[derive(Clone, Eq, PartialEq)]
pub struct Outcome {
    /// All that the client got, without `100 Continue`, which who has sent the body already need not be told.
    pub received: String,
    /// What WebSockets said, and how streams ended that the application did not end.
    pub heard: Vec<String>,
    /// Whether the server has ended the connection.
    pub closed: bool,
}

/// The outcome of these bytes of HTTP/1.1, if they come in these pieces.
pub fn talk<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    run(async {
        let mut talk = Talk::start(Protocol::Http, None);
        for piece in pieces {
            talk.send(piece).await;
        }
        talk.end().await
    })
}

/// Has an event loop to itself.
pub fn run<T>(talk: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| LocalSet::new().block_on(runtime, talk))
}

impl fmt::Debug for Outcome {
    /// Long bodies are shortened: nobody reads them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let received = self.received.replace(&"x".repeat(100), "");
        write!(f, "{} bytes, heard {:?}, closed: {}:\n{received}", self.received.len(), self.heard, self.closed)
    }
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("an event loop");
    static FLAGS: Serve = flags();
}

/// Nothing ends for the time it takes, or for its length.
fn flags() -> Serve {
    let mut words = vec!["outrider", "serve", "--listen", "unix:unused"];
    for flag in [
        "--request-timeout",
        "--idle-timeout",
        "--send-timeout",
        "--handshake-timeout",
        "--preface-timeout",
        "--settings-timeout",
        "--linger-timeout",
        "--max-skip-body-length",
        "--max-sockets",
    ] {
        words.extend([flag, "infinity"]);
    }
    words.extend(["--enable-connect-protocol", "true"]);
    let Verb::Serve(flags) = Cli::parse_from(words).command else { unreachable!("it is serve") };
    flags
}

/// A client, and the server that it speaks to.
pub struct Talk {
    client: UnixStream,
    /// All that the client got.
    pub received: Vec<u8>,
    /// The server has ended the connection.
    pub closed: bool,
    /// The connection's task, until a WebSocket takes over.
    task: JoinHandle<()>,
    application: Application,
}

impl Talk {
    /// A client that has connected to a server that speaks this. To be called in an event loop ([`run`]).
    pub fn start(protocol: Protocol, tls: Option<tls::Acceptor>) -> Self {
        let port = Rc::new(Port::default());
        let (limits, window) = FLAGS.with(|flags| (flags.limits.clone(), flags.window));
        let streams = Streams::new(Rc::clone(&port) as Rc<_>, limits.streams(window)).expect("has a set of sockets");
        spawn_local(streams::give_turns(Rc::clone(&streams)));
        let gate = Rc::new(Gate::new(&limits.gate()));
        let (connection, any) = gate.admit();
        let server = http::Server::new(Rc::clone(&streams), gate, limits.http());
        let http2 = Rc::new(limits.http2());
        let options =
            reception::Options { protocols: vec![protocol], alpn_default_protocol: protocol, ..limits.reception() };
        let reception = Rc::new(Reception { options, http: server, http2, tls: tls.map(Rc::new) });
        let (client, socket) = UnixStream::pair().expect("a pair of sockets");
        let permits = Permits { connection, socket: any };
        let task = spawn_local(reception::serve(reception, Plain::Unix(Box::new(socket)), permits));
        let (asked, late, heard) = Default::default();
        let application = Application { port, streams, requests: 0, asked, late, heard };
        Self { client, received: Vec::new(), closed: false, task, application }
    }

    /// Sends, and waits for all that comes of it.
    pub async fn send(&mut self, mut piece: &[u8]) {
        loop {
            match self.client.try_write(piece) {
                Ok(n) => piece = &piece[n..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => piece = &[], // It has been refused, and is not read.
            }
            self.settle().await;
            if piece.is_empty() {
                return;
            }
        }
    }

    /// Requests that the application has heard of.
    pub fn requests(&self) -> usize {
        self.application.requests
    }

    /// The client leaves. All that there was of the connection goes with it, or a fuzzer finds the leak.
    pub async fn end(self) -> Outcome {
        let Self { client, received, closed, task, mut application } = self;
        let heard = std::mem::take(&mut application.heard);
        drop(client);
        for _ in 0..4 * QUIET {
            yield_now().await;
            application.turn();
        }
        assert_eq!(application.streams.numbers(), [], "streams outlive their connection");
        if let Err(panic) = task.await {
            std::panic::resume_unwind(panic.into_panic()); // Else it would have ended the connection, and nobody would know.
        }
        // Bytes above 127 would only make a failure hard to read.
        let received = received.iter().flat_map(|byte| byte.escape_ascii()).map(char::from).collect::<String>();
        let received = received.replace("\\r\\n", "\n").replace("HTTP/1.1 100 Continue\n\n", "");
        Outcome { received, heard, closed }
    }

    /// Waits until nothing happens any more.
    async fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < QUIET {
            yield_now().await;
            let read = self.read();
            if self.application.turn() || read || (quiet + 1 == QUIET && self.application.answer_late()) {
                quiet = 0;
            } else {
                quiet += 1;
            }
        }
    }

    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.client.try_read(&mut buffer) {
            Ok(0) => !std::mem::replace(&mut self.closed, true),
            Ok(n) => {
                self.received.extend_from_slice(&buffer[..n]);
                true
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => false,
            Err(_) => !std::mem::replace(&mut self.closed, true),
        }
    }
}

/// Tells each request what it was, and writes down what WebSockets say. What a request wants is in its path: an answer before
/// its body has been read (`/early`; not of a chunked body or one that is expected, where it depends on the time whether the
/// connection goes on), in pieces (`/stream`), or only when nothing else happens (`/late`).
struct Application {
    port: Rc<Port>,
    streams: Rc<Streams>,
    requests: usize,
    /// Requests whose body is being read: what to say of them.
    asked: BTreeMap<StreamId, (String, Vec<u8>)>,
    late: VecDeque<(StreamId, Vec<u8>)>,
    heard: Vec<String>,
}

impl Application {
    /// Deals with all events so far. Says whether there were any.
    fn turn(&mut self) -> bool {
        let mut packets = Vec::new();
        self.port.take(&mut packets);
        let mut rest = packets.as_slice();
        while let Some((length, packet)) = rest.split_first_chunk() {
            let (packet, behind) = packet.split_at(u32::from_be_bytes(*length) as usize);
            let Ok(Term::List(events)) = Term::decode(packet) else { panic!("not a list of events") };
            for event in events.elements {
                let Term::Tuple(pair) = event else { panic!("not a tuple") };
                let [Term::FixInteger(stream), event] = &pair.elements[..] else { panic!("no number") };
                let event =
                    if let Term::Tuple(event) = event { &event.elements[..] } else { std::slice::from_ref(event) };
                let Term::Atom(name) = &event[0] else { panic!("no name") };
                self.event(stream.value as StreamId, &name.name, &event[1..]);
            }
            rest = behind;
        }
        !packets.is_empty()
    }

    fn event(&mut self, stream: StreamId, name: &str, arguments: &[Term]) {
        match (name, arguments) {
            ("request", [head, _]) => self.request(stream, head),
            ("data", [fin, Term::Binary(data)]) => {
                let Some((_, body)) = self.asked.get_mut(&stream) else { return };
                body.extend_from_slice(&data.bytes);
                self.command(stream, Command::Flow(data.bytes.len() as u64));
                if *fin == Term::from(eetf::Atom::from("fin")) {
                    let (about, body) = self.asked.remove(&stream).expect("was there");
                    self.answer(stream, &about, &body);
                }
            }
            ("closed", reason) => {
                self.heard.push(format!("{stream}: closed {reason:?}"));
                self.asked.remove(&stream);
                self.late.retain(|(late, _)| *late != stream);
                self.command(stream, Command::Finish);
            }
            ("text" | "binary" | "ping" | "pong", payload) => {
                self.heard.push(format!("{stream}: {name} {payload:?}"));
                let size = payload.first().map_or(0, |payload| text(payload).len()); // Not less than there are bytes.
                self.command(stream, Command::Credit(size as u64 + 64));
            }
            _ => {}
        }
    }

    fn request(&mut self, stream: StreamId, head: &Term) {
        self.requests += 1;
        let Term::Tuple(head) = head else { panic!("not a tuple") };
        let [_, method, _, _, _, path, qs, Term::Map(headers), _, _, _, has_body, body_length, _, Term::Map(more)] =
            &head.elements[..]
        else {
            panic!("not a request")
        };
        let header = |name: &str| headers.map.get(&Term::from(eetf::Binary::from(name.as_bytes()))).map(text);
        let about: BTreeMap<_, _> = headers.map.iter().map(|(name, value)| (text(name), text(value))).collect();
        let about = format!("{} {} {} {about:?} ", text(method), text(path), text(qs));
        let is_expected = header("expect").is_some();
        let protocol = more.map.get(&Term::from(eetf::Atom::from("protocol"))).map(text);
        if header("upgrade").or(protocol).is_some_and(|name| name.eq_ignore_ascii_case("websocket")) {
            let options = Box::<WebsocketOptions>::default();
            self.command(stream, Command::Websocket(Headers::new(), options));
        } else if *has_body == Term::from(eetf::Atom::from("false"))
            || (about.contains(" /early") && !is_expected && matches!(body_length, Term::FixInteger(_)))
        {
            self.answer(stream, &about, b"");
        } else {
            if is_expected {
                self.command(stream, Command::Inform(Status { code: 100, phrase: None }, Headers::new()));
            }
            self.asked.insert(stream, (about, Vec::new()));
        }
    }

    fn answer(&mut self, stream: StreamId, about: &str, body: &[u8]) {
        let answer = [format!("{stream}: {about}").as_bytes(), body].concat();
        let ok = || Status { code: 200, phrase: None };
        if about.contains(" /late") {
            self.late.push_back((stream, answer));
        } else if about.contains(" /stream") {
            self.command(stream, Command::Headers(ok(), Headers::new()));
            for piece in answer.chunks(100) {
                self.command(stream, Command::Data { fin: false, body: Body::Bytes(Bytes::copy_from_slice(piece)) });
            }
            self.command(stream, Command::Data { fin: true, body: Body::Bytes(Bytes::new()) });
        } else {
            self.command(stream, Command::Response(ok(), Headers::new(), Body::Bytes(answer.into())));
        }
    }

    fn answer_late(&mut self) -> bool {
        let Some((stream, answer)) = self.late.pop_front() else { return false };
        let ok = Status { code: 200, phrase: None };
        self.command(stream, Command::Response(ok, Headers::new(), Body::Bytes(answer.into())));
        true
    }

    fn command(&self, stream: StreamId, command: Command<'_>) {
        self.streams.command(stream, command);
        self.streams.flush(usize::MAX);
    }
}

fn text(term: &Term) -> String {
    match term {
        Term::Binary(binary) => binary.bytes.escape_ascii().to_string(),
        _ => panic!("not a binary"),
    }
}
