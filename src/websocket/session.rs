//! The state of one WebSocket and what the VM's commands do to it: commands in, bytes to be written out. No socket.
//!
//! It exists from the command that orders the upgrade on, so that the commands behind that one find it, although the
//! socket is still hyper's. The port's reader calls it then, the WebSocket's task and the port's reader afterwards.
//!
//! ```text
//!            client's close, protocol error, timeout          finish, close
//!   Open ──────────────────────────────────────► Closing ───────────────────► Ending ── written ──► FIN, linger
//!     └───────────────────────────── close ──────────────────────────────────────┘
//!   any ── socket failed ──► Gone ◄── abort ── Open, Closing
//! ```

use std::time::Duration;

use tokio::time::Instant;

use crate::http;
use crate::port::message::{Command, Headers, OVERHEAD, WebsocketOptions};
use crate::ws::{self, Decoder, Encoder};

/// The state of one WebSocket, without its socket.
pub struct Session {
    pub(super) phase: Phase,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    /// Received and not decoded: the window was full. At most one read.
    pub(super) unread: Vec<u8>,
    /// Frames to be written, from `written` on.
    pub(super) out: Vec<u8>,
    pub(super) written: usize,
    /// Cost of the events that the application has not used up.
    pub(super) unused: usize,
    /// Cost of the commands whose frames are in `out`.
    pub(super) queued: usize,
    /// Cost of the commands whose frames have been written, not yet told to the VM.
    pub(super) credit: usize,
    /// A pong that must wait for the end of a message that is being sent in pieces.
    pub(super) pong: Option<Box<[u8]>>,
    pub(super) active: bool,
    pub(super) idle_timeout: Option<Duration>,
    /// When bytes were last received.
    pub(super) received: Instant,
    /// Since when the client has taken nothing of `out`.
    pub(super) blocked: Option<Instant>,
    /// The decoder was stopped by a full window: it, or `unread`, has more.
    pub(super) paused: bool,
    /// The timer must be set anew: `idle_timeout` has changed.
    pub(super) rearm: bool,
    /// The task is woken by the client's next bytes.
    pub(super) waits_for_client: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
/// Where a WebSocket is in its life.
pub enum Phase {
    /// Messages both ways.
    Open,
    /// The application has been told the end; the close frame with this code (or none) goes out when it says `finish`.
    Closing(Option<u16>),
    /// A close frame is the last of what is to be written.
    Ending,
    /// Nothing more can or will be written.
    Gone,
}

/// A command that does not fit the stream's state: a bug on one of the two sides.
#[derive(Debug)]
pub struct Misplaced;

impl Session {
    /// Negotiates compression by the request's `sec-websocket-extensions`, and begins with the answer to the upgrade.
    pub fn new(mut headers: Headers, offers: Option<&[u8]>, options: &WebsocketOptions) -> Self {
        let offers = offers.and_then(|offers| std::str::from_utf8(offers).ok());
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
        let WebsocketOptions { max_frame_size, validate_utf8, .. } = *options;
        let limits = ws::Options { max_frame_size, validate_utf8, max_fragments: u32::MAX };
        Self {
            phase: Phase::Open,
            decoder: Decoder::new(limits, agreement),
            encoder: Encoder::new(agreement),
            unread: Vec::new(),
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
        }
    }

    /// Bytes that wait for the client to take them.
    pub fn waiting(&self) -> usize {
        self.out.len() - self.written
    }

    /// Whether the client is to be read: someone wants it, and there is room for what comes of it.
    pub fn reading(&self, window: usize) -> bool {
        self.phase == Phase::Open && self.active && self.unused < window && self.waiting() < window
    }

    /// Carries out a command of the VM.
    pub fn command(&mut self, command: Command<'_>) -> Result<(), Misplaced> {
        match (command, self.phase) {
            (_, Phase::Ending | Phase::Gone) => {}
            (Command::Abort, _) => self.phase = Phase::Gone,
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

    /// Ends the WebSocket with a close frame; without one in the middle of a message, where it cannot stand.
    pub fn close(&mut self, close: Option<(u16, &[u8])>) {
        if self.encoder.is_open() {
            self.phase = Phase::Gone;
            return;
        }
        self.encoder.close(close, &mut self.out);
        self.phase = Phase::Ending;
        self.unread = Vec::new();
    }

    /// `n` more bytes of `out` have been written. Commands are credited in proportion: how many bytes each has become
    /// (compression) does not matter, and their sum comes out exactly.
    pub fn has_written(&mut self, n: usize) {
        let credit = self.queued * n / self.waiting();
        self.queued -= credit;
        self.credit += credit;
        self.written += n;
        if self.written == self.out.len() {
            self.written = 0;
            self.out = Vec::new();
        } else if self.written > self.waiting() {
            // A client that never catches up: what it has taken must not be kept. Each byte is moved once at most.
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// What has been written, once it is worth an event. The pieces of a compressed message count as written when they
    /// have come: their frame can only be written when all of them are there.
    pub fn take_credit(&mut self, worth: usize) -> Option<usize> {
        if self.out.is_empty() {
            self.credit += std::mem::take(&mut self.queued);
        }
        (self.credit >= worth).then(|| std::mem::take(&mut self.credit))
    }
}
