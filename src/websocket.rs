//! One WebSocket: the client's socket on one side, the application on the other, the protocol (`ws/`) between them.
//!
//! Two callers in one thread: the stream's own task, which reads, keeps time, and writes what could not be written at
//! once; and the port's reader, which carries out the VM's commands and has their frames written at the end of its turn.
//! An idle WebSocket holds no buffer.
//!
//! ```text
//!            client's close, protocol error, timeout          finish, close
//!   Open ──────────────────────────────────────► Closing ───────────────────► Ending ── written ──► FIN, linger
//!     └───────────────────────────── close ──────────────────────────────────────┘
//!   any ── socket failed, abort ──► Gone
//! ```
//!
//! Nothing is unbounded: above the window of events that the application has not used up, or of frames that the client
//! has not taken, the socket is not read (docs/port-protocol.md, "Credit").

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::http::exchange::Exchange;
use crate::port::message::{Command, Headers, OVERHEAD, Reason, StreamId, WebsocketOptions};
use crate::server::{App, Server, Stream};
use crate::socket::Socket;
use crate::ws::{self, Decoder, Encoder, Event};
use crate::{http, scratch};

/// A deadline that never comes.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// One WebSocket, shared by its task, the table of streams and the list of those to be flushed.
pub struct Websocket {
    id: StreamId,
    server: Rc<Server>,
    socket: Socket,
    state: RefCell<State>,
    task: Cell<Option<Waker>>,
    /// In the server's list of streams to be flushed.
    dirty: Cell<bool>,
}

struct State {
    phase: Phase,
    decoder: Decoder,
    encoder: Encoder,
    /// Received and not decoded: the window was full. At most one read.
    unread: Vec<u8>,
    /// Frames to be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// Cost of the events that the application has not used up.
    unused: usize,
    /// Cost of the commands whose frames are in `out`.
    queued: usize,
    /// Cost of the commands whose frames have been written, not yet told to the VM.
    credit: usize,
    /// A pong that must wait for the end of a message that is being sent in pieces.
    pong: Option<Box<[u8]>>,
    active: bool,
    idle_timeout: Option<Duration>,
    /// When bytes were last received.
    received: Instant,
    /// Since when the client has taken nothing of `out`.
    blocked: Option<Instant>,
    /// The decoder was stopped by a full window: it, or `unread`, has more.
    paused: bool,
    /// The timer must be set anew: `idle_timeout` has changed.
    rearm: bool,
    /// The task is woken by the client's next bytes.
    waits_for_client: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The application has been told the end; the close frame with this code (or none) goes out when it says `finish`.
    Closing(Option<u16>),
    /// A close frame is the last of what is to be written.
    Ending,
    Gone,
}

/// Answers the upgrade and runs the WebSocket from here on, in a task of its own: what HTTP needed is freed.
pub fn start(
    server: Rc<Server>,
    socket: Socket,
    received: Vec<u8>,
    exchange: &Exchange,
    mut headers: Headers,
    options: WebsocketOptions,
) {
    let offers = exchange.extensions.as_deref().and_then(|offers| std::str::from_utf8(offers).ok());
    let agreed = match (offers, &options.deflate) {
        (Some(offers), Some(deflate)) => ws::extension::negotiate(offers, deflate),
        _ => None,
    };
    if let Some((answer, _)) = &agreed {
        let name = "sec-websocket-extensions";
        let at = headers.iter().position(|(other, _)| other.as_ref() > name.as_bytes()).unwrap_or(headers.len());
        headers.insert(at, (name.into(), answer.clone().into()));
    }
    let agreement = agreed.as_ref().map(|(_, agreement)| agreement);
    let websocket = Rc::new(Websocket {
        id: exchange.id,
        socket,
        state: RefCell::new(State {
            phase: Phase::Open,
            decoder: Decoder::new(
                ws::Options { max_frame_size: options.max_frame_size, validate_utf8: options.validate_utf8 },
                agreement,
            ),
            encoder: Encoder::new(agreement),
            unread: received,
            out: http::switching_protocols(&headers),
            written: 0,
            unused: 0,
            queued: 0,
            credit: 0,
            pong: None,
            active: options.active,
            idle_timeout: options.idle_timeout.map(Duration::from_millis),
            received: Instant::now(),
            blocked: None,
            paused: true,
            rearm: false,
            waits_for_client: false,
        }),
        task: Cell::default(),
        dirty: Cell::new(false),
        server: Rc::clone(&server),
    });
    server.insert(exchange.id, Stream::Websocket(Rc::clone(&websocket)));
    tokio::task::spawn_local(run(websocket));
}

/// The stream's task.
async fn run(websocket: Rc<Websocket>) {
    let mut timer = pin!(sleep_until(Instant::now() + NEVER));
    let phase = poll_fn(|cx| websocket.poll(cx, timer.as_mut())).await;
    websocket.server.remove(websocket.id);
    if let App::Echo(echo) = &websocket.server.app {
        echo.forget(websocket.id);
    }
    if phase == Phase::Ending {
        http::linger(&websocket.socket, &websocket.server).await;
    }
}

impl Websocket {
    /// Carries out a command of the VM. Its frames are written by [`Websocket::flush`].
    pub fn command(self: &Rc<Self>, command: Command<'_>) {
        let mut state = self.state.borrow_mut();
        if let Err(Misplaced) = state.command(command) {
            tracing::error!(stream = self.id, "a command that is not allowed here");
            state.phase = Phase::Gone;
        }
        if !self.dirty.replace(true) {
            self.server.flush_later(Rc::clone(self));
        }
    }

    /// Writes what there is, and has the task look at what the commands have changed.
    pub fn flush(&self) {
        self.dirty.set(false);
        let mut state = self.state.borrow_mut();
        self.write(&mut state);
        // While all is well the task waits for the client and has nothing to do with what was just written.
        let undisturbed = state.phase == Phase::Open
            && state.out.is_empty()
            && state.reading(self.server.window) == state.waits_for_client
            && !state.rearm;
        if !undisturbed {
            drop(state);
            self.wake();
        }
    }

    /// Ends the stream because the whole server ends.
    pub fn go_away(&self) {
        let mut state = self.state.borrow_mut();
        if matches!(state.phase, Phase::Open | Phase::Closing(_)) {
            state.close(Some((1001, b"")));
            drop(state);
            self.wake();
        }
    }

    /// Gives back what compression keeps between messages.
    pub fn rest(&self, now: Instant) {
        let mut state = self.state.borrow_mut();
        state.encoder.rest(now.into());
    }

    fn wake(&self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// The task's turn: read, write, look at the clock, until there is nothing to do. Ready at the end.
    fn poll(&self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<Phase> {
        loop {
            let mut state = self.state.borrow_mut();
            self.task.set(Some(cx.waker().clone()));
            self.write(&mut state);
            if state.phase == Phase::Gone || (state.phase == Phase::Ending && state.out.is_empty()) {
                return Poll::Ready(state.phase);
            }
            let mut again = false;
            if !state.out.is_empty() {
                again |= self.socket.poll_write_ready(cx).is_ready();
            }
            state.waits_for_client = state.reading(self.server.window);
            if state.waits_for_client && !self.server.app.poll_congested(cx) {
                again |= self.read(&mut state, cx);
            }
            if !again && self.poll_timer(&mut state, cx, timer.as_mut()).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Decodes what was left, or reads once. Says whether something has changed.
    fn read(&self, state: &mut State, cx: &mut Context<'_>) -> bool {
        if std::mem::take(&mut state.paused) {
            let mut unread = std::mem::take(&mut state.unread);
            let used = self.decode(state, &mut unread);
            unread.drain(..used);
            state.unread = unread;
            return true;
        }
        if self.socket.poll_read_ready(cx).is_pending() {
            return false;
        }
        let result: io::Result<usize> = scratch::with(|buffer| {
            let n = self.socket.try_read(buffer)?;
            let used = self.decode(state, &mut buffer[..n]);
            state.unread.extend_from_slice(&buffer[used..n]);
            Ok(n)
        });
        match result {
            Ok(0) => self.lost(state, &io::ErrorKind::ConnectionReset.into()),
            Ok(_) => state.received = Instant::now(),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(e) => self.lost(state, &e),
        }
        true
    }

    /// Decodes, tells the application, and says how much of `input` was used: all, unless the window is full.
    fn decode(&self, state: &mut State, input: &mut [u8]) -> usize {
        let State { decoder, encoder, out, unused, pong, phase, paused, .. } = state;
        let window = self.server.window;
        let result = decoder.decode(input, &mut |event| {
            match (&event, &self.server.app) {
                (Event::Ping(payload), _) if encoder.is_open() => *pong = Some((*payload).into()),
                (Event::Ping(payload), _) => encoder.pong(payload, out),
                _ => {}
            }
            match &self.server.app {
                App::Vm(port) => {
                    *unused += OVERHEAD + payload(&event).len();
                    match event {
                        Event::Part(bytes) => port.part(self.id, bytes),
                        Event::Message(kind, bytes) => port.message(self.id, kind, bytes),
                        Event::Ping(payload) => port.ping(self.id, payload),
                        Event::Pong(payload) => port.pong(self.id, payload),
                        Event::Close(close) => {
                            *phase = Phase::Closing(close.map(|(code, _)| code));
                            let close = close.map(|(code, text)| (code, text.into()));
                            port.closed(self.id, &Reason::Remote(close));
                        }
                    }
                }
                App::Echo(echo) => {
                    if let Event::Close(close) = event {
                        encoder.close(close.map(|(code, _)| (code, &b""[..])), out);
                        *phase = Phase::Ending;
                    } else {
                        echo.message(self.id, event, encoder, out);
                    }
                }
            }
            *paused = *unused >= window || out.len() >= window;
            if *paused || *phase != Phase::Open { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match result {
            Ok(used) => used,
            Err(error) => {
                tracing::debug!(stream = self.id, %error, "the client broke the protocol");
                self.end(state, Reason::Protocol(error.reason()), Some(error.close_code()));
                input.len()
            }
        }
    }

    /// The client's side has ended: tells the application, whose `finish` sends the close frame.
    fn end(&self, state: &mut State, reason: Reason, code: Option<u16>) {
        match &self.server.app {
            App::Vm(port) => {
                port.closed(self.id, &reason);
                state.phase = Phase::Closing(code);
            }
            App::Echo(_) => state.close(code.map(|code| (code, &b""[..]))),
        }
    }

    /// The socket has failed.
    fn lost(&self, state: &mut State, error: &io::Error) {
        if let (App::Vm(port), Phase::Open) = (&self.server.app, state.phase) {
            port.closed(self.id, &Reason::Socket(posix(error)));
        }
        state.phase = Phase::Gone;
    }

    /// Writes as much as the socket takes now.
    fn write(&self, state: &mut State) {
        while state.written < state.out.len() {
            match self.socket.try_write(&state.out[state.written..]) {
                Ok(n) => {
                    state.blocked = None;
                    state.has_written(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    state.blocked.get_or_insert_with(Instant::now);
                    break;
                }
                Err(e) => {
                    self.lost(state, &e);
                    return;
                }
            }
        }
        if state.credit >= self.server.window / 2
            && let (App::Vm(port), Phase::Open) = (&self.server.app, state.phase)
        {
            port.credit(self.id, std::mem::take(&mut state.credit));
        }
    }

    /// Ready when a deadline has passed and something was done about it.
    fn poll_timer(&self, state: &mut State, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<()> {
        state.rearm = false;
        loop {
            let idle = match (state.phase, state.idle_timeout) {
                (Phase::Open, Some(timeout)) => Some(state.received + timeout),
                _ => None,
            };
            let send = state.blocked.zip(self.server.limits.send_timeout.0).map(|(since, timeout)| since + timeout);
            let Some(deadline) = idle.into_iter().chain(send).min() else { return Poll::Pending };
            // A deadline moves with every byte; the timer is set anew only when it rings, or would ring too late.
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if send.is_some_and(|deadline| deadline <= now) {
                self.lost(state, &io::ErrorKind::TimedOut.into());
                return Poll::Ready(());
            }
            if idle.is_some_and(|deadline| deadline <= now) {
                if state.active && !state.reading(self.server.window) {
                    state.received = now; // We are the ones who do not read.
                    continue;
                }
                self.end(state, Reason::Timeout, Some(1000));
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

/// A command that does not fit the stream's state: a bug on one of the two sides.
struct Misplaced;

impl State {
    /// Whether the client is to be read: someone wants it, and there is room for what comes of it.
    fn reading(&self, window: usize) -> bool {
        self.phase == Phase::Open && self.active && self.unused < window && self.out.len() - self.written < window
    }

    fn command(&mut self, command: Command<'_>) -> Result<(), Misplaced> {
        match (command, self.phase) {
            (Command::Abort, _) => self.phase = Phase::Gone,
            (_, Phase::Ending | Phase::Gone) => {}
            (Command::Finish, Phase::Closing(code)) => self.close(code.map(|code| (code, &b""[..]))),
            (Command::Close(close), _) => self.close(close),
            (Command::Credit(n), _) => {
                self.unused = self.unused.saturating_sub(usize::try_from(n).unwrap_or(usize::MAX))
            }
            (Command::Active(active), _) => self.active = active,
            (Command::SetOptions { idle_timeout, max_frame_size }, _) => {
                if let Some(timeout) = idle_timeout {
                    self.idle_timeout = timeout.map(Duration::from_millis);
                    self.received = Instant::now();
                    self.rearm = true;
                }
                if let Some(size) = max_frame_size {
                    self.decoder.set_max_frame_size(size);
                }
            }
            (Command::Deflate(on), _) => self.encoder.set_deflate(on),
            (command, _) => return self.frame(command),
        }
        Ok(())
    }

    /// Appends a frame, or a piece of one, to what is to be written.
    fn frame(&mut self, command: Command<'_>) -> Result<(), Misplaced> {
        let out = &mut self.out;
        let cost = match command {
            Command::Part(piece) => {
                let complete = self.encoder.part(piece, out).map_err(|_| Misplaced)?;
                if complete && let Some(payload) = self.pong.take() {
                    self.encoder.pong(&payload, out);
                }
                piece.len()
            }
            _ if self.encoder.is_open() => return Err(Misplaced),
            Command::Message(kind, payload) => {
                self.encoder.message(kind, payload, out);
                payload.len()
            }
            Command::Open(kind, size) => {
                self.encoder.open(kind, size, out);
                0
            }
            Command::Ping(payload) => {
                self.encoder.ping(payload, out);
                payload.len()
            }
            Command::Pong(payload) => {
                self.encoder.pong(payload, out);
                payload.len()
            }
            _ => return Err(Misplaced),
        };
        self.queued += cost + OVERHEAD;
        Ok(())
    }

    fn close(&mut self, close: Option<(u16, &[u8])>) {
        self.encoder.close(close, &mut self.out);
        self.phase = Phase::Ending;
        self.unread = Vec::new();
    }

    /// `n` more bytes of `out` have been written. Commands are credited in proportion: how many bytes each has become
    /// (compression) does not matter, and their sum comes out exactly.
    fn has_written(&mut self, n: usize) {
        let credit = self.queued * n / (self.out.len() - self.written);
        self.queued -= credit;
        self.credit += credit;
        self.written += n;
        if self.written == self.out.len() {
            self.written = 0;
            self.out.clear();
            if self.out.capacity() > 0 {
                self.out = Vec::new();
            }
        }
    }
}

fn payload<'a>(event: &Event<'a>) -> &'a [u8] {
    match *event {
        Event::Part(bytes) | Event::Message(_, bytes) | Event::Ping(bytes) | Event::Pong(bytes) => bytes,
        Event::Close(_) => &[],
    }
}

/// The reason in `{error, Reason}`, as `gen_tcp` would give it.
fn posix(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::TimedOut if error.raw_os_error().is_none() => "timeout",
        io::ErrorKind::TimedOut => "etimedout",
        io::ErrorKind::HostUnreachable => "ehostunreach",
        io::ErrorKind::NetworkUnreachable => "enetunreach",
        io::ErrorKind::NetworkDown => "enetdown",
        _ => "closed",
    }
}
