//! Starts the event loop, and ends it.
//!
//! `serve` speaks with the VM on stdin and stdout until stdin ends; `echo` runs until it is killed.

mod failure;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, LocalSet};

use crate::acceptor::{self, Acceptor, ListenError, Tell};
use crate::echo::{self, Echo};
use crate::gate::Gate;
use crate::http::{self, Permits};
use crate::metrics::count;
use crate::port::message::{Command, Member, SIDECAR, StreamId, Undecodable, VERSION};
use crate::port::{Port, decode, stdio};
use crate::reception::{self, Reception};
use crate::streams::Streams;
use crate::streams::application::Application;
use crate::streams::survey;
use crate::transport::{Endpoint, Listener, listener, tls};
use crate::{allocator, config, log, report, rights, streams, watchdog};
pub use failure::Failure;

/// How long clients may take their close frames at the end.
const FAREWELL: Duration = Duration::from_secs(2);
/// The window of `outrider echo`, in bytes; that of `outrider serve` is a flag.
const ECHO_WINDOW: usize = 1 << 18;
/// So many clients are written to for their own commands between two looks at what else is to be done, and a sixteenth of that for
/// what is sent to many.
const FLUSHED_AT_ONCE: usize = 128;
/// Stack of a thread that reads files, in bytes: more than opening and reading takes. It counts for the memory limit as a
/// whole; with the defaults, 512 and 2 MiB, clients who ask for files would use up 1 GB of it.
const FILE_READER_STACK: usize = 256 * 1024;

/// `outrider serve`: relays until the VM closes stdin.
pub fn serve(flags: config::Serve) -> Result<(), Failure> {
    let rights = flags.rights.options();
    rights::limit(&rights).map_err(Failure::Rights)?;
    event_loop(async move {
        let (receiver, sender) = stdio::open()?;
        let mut packets = stdio::Packets::new(receiver);
        let port = Rc::new(Port::default());
        log::to_vm(Rc::clone(&port), flags.log_level.into());
        tokio::task::spawn_local(stdio::write(Rc::clone(&port), sender));

        let mut listener = flags.limits.listener();
        let listeners = match (!flags.suspended).then(|| acceptor::bind(&listener)).transpose() {
            Ok(listeners) => listeners,
            Err(failure) => {
                port.listen_error(&failure.address.to_string(), acceptor::posix(&failure.error));
                port.flushed().await;
                return Err(Failure::Listen(failure));
            }
        };
        rights::settle(&rights).map_err(Failure::Rights)?;
        let endpoints = acceptor::endpoints(listeners.as_deref().unwrap_or_default())?;
        if listeners.is_some() {
            listener.stay(&endpoints);
        }
        port.hello(&endpoints);
        if !hello(&mut packets).await? {
            return Ok(());
        }

        let told = Rc::clone(&port);
        let tell = move |listening: Result<&[Endpoint], ListenError>| match listening {
            Ok(endpoints) => told.listening(endpoints),
            Err(ListenError { address, error }) => told.relisten_error(&address.to_string(), acceptor::posix(&error)),
        };
        let tls = flags.tls.then(|| {
            let asked = Rc::clone(&port);
            Rc::new(flags.limits.tls(move |name| asked.host(name)))
        });
        let (house, driving) = House::new(Rc::clone(&port) as Rc<dyn Application>, &flags.limits, flags.window, tls)?;
        house.gate.begin(flags.suspended);
        tokio::task::spawn_local(report::limits(Rc::clone(&port)));
        let accepting = tokio::task::spawn_local(house.accept(listener, listeners, Box::new(tell)));
        let result = tokio::select! {
            result = relay(&house, &port, &mut packets) => result,
            () = watchdog::watch(&port, flags.watchdog.0, flags.vm_timeout.0) => Err(Failure::Silent),
            error = failure(driving) => Err(error),
        };
        accepting.abort();
        let _ = accepting.await; // Now the addresses are free for a successor.
        house.go_away().await;
        result
    })
}

/// `outrider echo`: serves until it is killed.
pub fn echo(flags: config::Echo) -> Result<(), Failure> {
    event_loop(async move {
        log::to_stderr();
        let listener = flags.limits.listener();
        let listeners = acceptor::bind(&listener).map_err(Failure::Listen)?;
        for endpoint in acceptor::endpoints(&listeners)? {
            match endpoint {
                Endpoint::Ip(addr) => eprintln!("listening on {addr}"),
                Endpoint::Local(path) => eprintln!("listening on unix:{}", path.display()),
            }
        }
        let idle_timeout = flags.limits.idle_timeout.0.map(|timeout| timeout.as_millis() as u64);
        let echo = Rc::new(Echo::new(flags.max_frame_size.0, flags.compress, idle_timeout));
        let tls = match flags.certfile.as_deref().zip(flags.keyfile.as_deref()) {
            Some((certificate, key)) => {
                let tls = flags.limits.tls(|_| {});
                let identity = tls::Identity::from_files(certificate, key)?;
                tls.hosts.set(&tls::Settings::of(identity)).map_err(|invalid| io::Error::other(invalid.to_string()))?;
                Some(Rc::new(tls))
            }
            None => None,
        };
        let (house, driving) = House::new(Rc::clone(&echo) as Rc<dyn Application>, &flags.limits, ECHO_WINDOW, tls)?;
        tokio::task::spawn_local(echo::answer(echo, Rc::clone(&house.streams), FLUSHED_AT_ONCE));
        tokio::select! {
            () = house.accept(listener, Some(listeners), Box::new(|_| {})) => Ok(()),
            error = failure(driving) => Err(error),
        }
    })
}

/// The parts that serve clients, put together.
struct House {
    gate: Rc<Gate>,
    streams: Rc<Streams>,
    reception: Rc<Reception>,
}

impl House {
    /// And the task that gives WebSockets their turns, until the kernel fails.
    fn new(
        app: Rc<dyn Application>,
        limits: &config::Limits,
        window: usize,
        tls: Option<Rc<tls::Acceptor>>,
    ) -> io::Result<(Self, JoinHandle<io::Error>)> {
        let gate = Rc::new(Gate::new(&limits.gate()));
        let streams = Streams::new(app, limits.streams(window))?;
        let http = http::Server::new(Rc::clone(&streams), Rc::clone(&gate), limits.http());
        let http2 = Rc::new(limits.http2());
        let reception = Rc::new(Reception { options: limits.reception(), http, http2, tls });
        tokio::task::spawn_local(streams::keep_time(Rc::clone(&streams)));
        tokio::task::spawn_local(streams::keep_house(Rc::clone(&streams), allocator::return_free_pages));
        let driving = tokio::task::spawn_local(streams::give_turns(Rc::clone(&streams)));
        Ok((Self { gate, streams, reception }, driving))
    }

    /// Takes clients in, for ever.
    fn accept(
        &self,
        options: listener::Options,
        listeners: Option<Vec<Listener>>,
        tell: Tell,
    ) -> impl Future<Output = ()> + use<> {
        let reception = Rc::clone(&self.reception);
        let acceptor = Acceptor {
            options,
            gate: Rc::clone(&self.gate),
            app: Rc::clone(&self.streams.app),
            serve: Box::new(move |socket, connection, any| {
                let permits = Permits { connection, socket: any };
                tokio::task::spawn_local(reception::serve(Rc::clone(&reception), socket, permits));
            }),
            tell,
        };
        let tls = self.reception.tls.clone();
        async move {
            if let Some(tls) = tls {
                tls.hosts.configured().await;
            }
            acceptor::run(acceptor, listeners).await;
        }
    }

    /// Carries out a command of the VM.
    fn command(&self, port: &Rc<Port>, id: StreamId, command: Command<'_>) {
        if id != SIDECAR {
            return self.streams.command(id, command);
        }
        match command {
            Command::Ping(payload) => port.pong(SIDECAR, payload),
            Command::Suspend => self.gate.suspend(true),
            Command::Resume => self.gate.suspend(false),
            Command::Drain => self.gate.drain(),
            Command::MaxConnections(max) => {
                self.gate.connections.set_max(max.map(|max| usize::try_from(max).unwrap_or(usize::MAX)));
            }
            Command::Tls(number, settings) => {
                let result: Result<(), String> = self.tls(|tls| tls.hosts.set(&settings));
                port.tls(number, &result);
            }
            Command::Host(name, answer) => {
                if let Err(reason) = self.tls(|tls| tls.hosts.answer(&name, &answer)) {
                    tracing::error!(name, "the certificate of a host cannot be used: {reason}");
                }
            }
            Command::Subscribe(Member::Process(pid), topic) => {
                if let Some(id) = self.streams.of_process(pid) {
                    self.streams.subscribe(id, topic);
                }
            }
            Command::Unsubscribe(Member::Process(pid), topic) => {
                if let Some(id) = self.streams.of_process(pid) {
                    self.streams.unsubscribe(id, topic);
                }
            }
            Command::Publish(publish) => self.streams.publish(&publish, None),
            Command::SendMany(many) => self.streams.send_many(&many),
            Command::Subscribers(question, topic) => port.subscribers(question, self.streams.subscribers(topic)),
            Command::Topics(question) => port.topics(question, &self.streams.topics()),
            Command::StatsOf(question, pid) => {
                let traffic = self.streams.of_process(pid).and_then(|id| self.streams.traffic(id));
                port.stats_of(question, traffic.as_ref());
            }
            Command::Metrics(question) => {
                port.metrics(question, &report::metrics(&self.gate, &self.streams, port));
            }
            Command::Connections(question, query) => {
                let (streams, port) = (Rc::clone(&self.streams), Rc::clone(port));
                tokio::task::spawn_local(survey::connections(streams, port, question, *query));
            }
            Command::Streams(question, filter) => {
                let (streams, port) = (Rc::clone(&self.streams), Rc::clone(port));
                tokio::task::spawn_local(survey::numbers(streams, port, question, *filter));
            }
            Command::Trace(number, stream, options) => {
                port.tracing(number, self.streams.trace(stream, number, &options));
            }
            Command::Untrace(number, stream) => self.streams.untrace(stream, number),
            Command::Wake(question, stream) => {
                port.woken(question, Some(stream).filter(|stream| self.streams.wake(*stream)));
            }
            Command::Kick(question, kick) => {
                port.kicked(question, self.streams.kick(&kick.streams, kick.code, &kick.text));
            }
            _ => tracing::error!("a command that is not for the sidecar itself"),
        }
    }

    /// Changes how connections are encrypted, if they are.
    fn tls(&self, change: impl FnOnce(&tls::Acceptor) -> Result<(), tls::Invalid>) -> Result<(), String> {
        let tls = self.reception.tls.as_ref().ok_or("connections are not encrypted")?;
        change(tls).map_err(|invalid| invalid.to_string())
    }

    /// Sends all clients away: WebSockets with 1001, HTTP connections with the rest of an answer that the VM has finished.
    /// Waits, for a bounded time, until they have it.
    async fn go_away(&self) {
        self.streams.flush(usize::MAX); // What the VM has said before.
        self.gate.drain();
        self.streams.go_away();
        let gone = async {
            self.gate.connections.emptied().await;
            self.streams.go_away(); // Those that have come of HTTP since.
            self.streams.emptied().await;
        };
        let _ = tokio::time::timeout(FAREWELL, gone).await;
    }
}

/// Why WebSockets have no turns any more.
async fn failure(driving: JoinHandle<io::Error>) -> Failure {
    driving.await.unwrap_or_else(io::Error::other).into()
}

/// Runs a future, and the tasks that it spawns, in this thread.
fn event_loop(main: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(http::FILE_THREADS)
        .thread_stack_size(FILE_READER_STACK)
        .enable_all()
        .build()?;
    let tasks = LocalSet::new();
    let mut turns = pin!(tasks.run_until(main));
    let mut is_timed = false;
    let result = runtime.block_on(poll_fn(|cx| {
        // The clock is read twice for every other turn: once a turn.
        is_timed = !is_timed;
        let begin = is_timed.then(Instant::now);
        let result = turns.as_mut().poll(cx);
        if let Some(begin) = begin {
            count(|metrics| metrics.turns.add(begin.elapsed()));
        }
        result
    }));
    runtime.shutdown_background(); // A file read that hangs must not keep us.
    result
}

/// Every client is a file descriptor: takes as many as the administrator allows.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit); // What there is is enough to start with.
}

/// Waits for the VM's first packet. `false` if it ends instead.
async fn hello(packets: &mut stdio::Packets) -> Result<bool, Failure> {
    loop {
        if let Some(packet) = packets.pop().map_err(|length| Failure::Packet(Vec::new(), length))? {
            return match decode::hello(packet) {
                Ok(VERSION) => Ok(true),
                Ok(theirs) => Err(Failure::Version(theirs)),
                Err(Undecodable) => Err(Failure::packet(packet)),
            };
        }
        if !packets.read().await? {
            return Ok(false);
        }
    }
}

/// Carries out the VM's commands until it closes stdin.
///
/// Between two shares of the clients that are to be written to, the loop turns, and commands that have come meanwhile are
/// carried out: who has not had his turn gets them in the same write. So the more there is to do the fewer system calls it
/// takes, and a broadcast to thousands does not keep the others waiting.
async fn relay(house: &House, port: &Rc<Port>, packets: &mut stdio::Packets) -> Result<(), Failure> {
    loop {
        let is_behind = || house.streams.is_behind();
        while !is_behind()
            && let Some(packet) = packets.pop().map_err(|length| Failure::Packet(Vec::new(), length))?
        {
            decode::commands(packet, |stream, command| house.command(port, stream, command))
                .map_err(|Undecodable| Failure::packet(packet))?;
        }
        let was_behind = is_behind(); // Then there may be a packet left.
        let open = if house.streams.flush(FLUSHED_AT_ONCE) || was_behind {
            tokio::task::yield_now().await;
            if is_behind() { None } else { packets.try_read()? }
        } else {
            Some(packets.read().await?)
        };
        match open {
            Some(true) => port.heard(),
            Some(false) => return Ok(()),
            None => {}
        }
    }
}
