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

mod many;
mod phase;

use std::time::Duration;

use tokio::time::Instant;

use super::aside::Aside;
use super::keepalive::Keepalive;
use super::outgoing::Outgoing;
use super::trace::Trace;
use super::traffic::sent;
use crate::metrics::{Limit, Opcode, Side, count, reached};
use crate::port::message::{Command, OVERHEAD, OnBacklog, PONG_TIMEOUT, SetOptions, Traffic, WebsocketOptions};
use crate::streams::moment::Moment;
use crate::streams::status::End;
use crate::transport::Queue;
use crate::transport::stall::Stall;
use crate::ws::{self, Decoder, Encoder, Kept};

/// A close frame without a code, and an end without a close frame (RFC 6455, 7.4.1).
pub(super) const NO_CODE: u16 = 1005;
pub(super) const NO_CLOSE: u16 = 1006;

pub use phase::{Ended, Phase};

/// The state of one WebSocket, without its socket.
pub struct Session {
    pub(super) phase: Phase,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    /// Received and not decoded: the window was full. At most one read.
    pub(super) unread: Kept,
    /// Frames to be written.
    pub(super) out: Outgoing,
    /// Cost of the events that the application has not used up.
    pub(super) unused: usize,
    /// Cost of the commands whose frames are in `out`.
    pub(super) queued: usize,
    /// Cost of the commands whose frames have been written, not yet told to the VM.
    pub(super) credit: usize,
    /// What the VM lets wait for this client, if the handler has said so; else `u32::MAX`.
    max_backlog: u32,
    on_backlog: OnBacklog,
    /// Frames for many that were not sent, and the VM has not been told.
    dropped: u32,
    pub(super) traffic: Traffic,
    /// The application wants to know of it at the end, and has not been told.
    pub(super) tells_stats: bool,
    pub(super) ended: Ended,
    /// What a lazy handler begins with, while it has not; or a pong that must wait.
    pub(super) aside: Aside,
    pub(super) active: bool,
    /// In milliseconds: the options have no more than fits.
    pub(super) idle_timeout: Option<u32>,
    /// There if somebody looks at the client's frames.
    pub(super) trace: Option<Box<Trace>>,
    /// There if the client is to be pinged.
    pub(super) keepalive: Option<Box<Keepalive>>,
    /// When bytes were last received.
    pub(super) received: Moment,
    /// It was kept at the end of its idle timeout, because the kernel had bytes of it; none of them have come since.
    pub(super) spared: bool,
    /// The client does not take all of `out`.
    pub(super) stall: Option<Box<Stall>>,
    /// The decoder was stopped by a full window: it, or `unread`, has more.
    pub(super) paused: bool,
    /// The alarm must be looked at: `idle_timeout`, or when the client is pinged, has changed.
    pub(super) rearm: bool,
    /// The task is woken by the client's next bytes.
    pub(super) waits_for_client: bool,
}

/// A command that does not fit the stream's state: a bug on one of the two sides.
#[derive(Debug)]
pub struct Misplaced;

impl Session {
    /// Negotiates compression by the request's `sec-websocket-extensions`. The second value is that header of the answer.
    pub fn new(offers: Option<&[u8]>, options: &WebsocketOptions) -> (Self, Option<String>) {
        let offers = offers.and_then(|offers| std::str::from_utf8(offers).ok());
        let agreed = match (offers, &options.deflate) {
            (Some(offers), Some(deflate)) => ws::extension::negotiate(offers, deflate),
            _ => None,
        };
        let (answer, agreement) = agreed.unzip();
        let agreement = agreement.as_ref();
        let WebsocketOptions { max_frame_size, validate_utf8, .. } = *options;
        let max_frame_size = max_frame_size.unwrap_or(u64::MAX);
        let limits = ws::Options { max_frame_size, validate_utf8, max_fragments: u32::MAX };
        let session = Self {
            phase: Phase::Open,
            decoder: Decoder::new(limits, agreement),
            encoder: Encoder::new(agreement),
            unread: Kept::default(),
            out: Outgoing::default(),
            unused: 0,
            queued: 0,
            credit: 0,
            max_backlog: options
                .max_backlog
                .map_or(u32::MAX, |max| u32::try_from(max).unwrap_or(u32::MAX).min(u32::MAX - 1)),
            on_backlog: options.on_backlog,
            dropped: 0,
            traffic: Traffic::default(),
            tells_stats: options.stats,
            ended: Ended { by: (Side::Server, NO_CODE), is_stream: false },
            aside: Aside::lazy(&options.lazy),
            active: options.active,
            idle_timeout: options.idle_timeout.map(saturated),
            trace: None,
            keepalive: keepalive(options.ping_interval, Duration::from_millis(options.pong_timeout)),
            received: Moment::now(),
            spared: false,
            stall: None,
            paused: true,
            rearm: false,
            waits_for_client: false,
        };
        count(|metrics| metrics.websockets.add(1));
        (session, answer)
    }

    /// Sets what came behind the request, and how many frames a message may have.
    pub fn receive(&mut self, received: Vec<u8>, max_fragments: Option<u32>) {
        self.unread = received.into();
        self.decoder.set_max_fragments(max_fragments.unwrap_or(u32::MAX));
    }

    /// Sets what is written before the first frame: the answer to the upgrade.
    pub fn begin(&mut self, answer: Vec<u8>) {
        self.out.begin(answer);
    }

    /// Goes on to the next phase, by that side and with that code.
    pub(super) fn leave(&mut self, next: Phase, side: Side, code: u16) {
        self.phase.leave(next, &mut self.ended, (side, code));
    }

    /// It has no socket of its own.
    pub(super) fn counts_as_stream(&mut self) {
        if self.phase == Phase::Open {
            self.ended.is_stream = true;
            count(|metrics| metrics.websocket_streams.add(1));
        }
    }

    /// No handler has begun, so nobody is told what the client says but by the first message.
    pub(super) fn is_lazy(&self) -> bool {
        self.aside.is_lazy()
    }

    /// What a lazy handler begins with, once; empty where it has begun. None if the WebSocket is not open.
    pub fn take_lazy(&mut self) -> Option<Vec<u8>> {
        (self.phase == Phase::Open).then(|| self.aside.take_lazy())
    }

    /// Nobody says `finish` of one whose handler has not begun.
    pub(super) fn finish_if_lazy(&mut self) {
        if let (Phase::Closing(code), true) = (self.phase, self.is_lazy()) {
            self.close(code.map(|code| (code, &b""[..])));
        }
    }

    /// How it was ended by our side: with the code of the close frame, if it had one.
    pub(super) fn stopped(&self) -> End {
        End::Stop(Some(self.ended.by.1).filter(|code| ![NO_CODE, NO_CLOSE].contains(code)))
    }

    /// What the client has sent and was sent.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Bytes that wait for the client to take them.
    pub fn waiting(&self) -> usize {
        self.out.waiting()
    }

    /// Whether the client is to be read: someone wants it, and there is room for what comes of it.
    pub fn reading(&self, window: usize) -> bool {
        self.phase == Phase::Open && self.active && self.unused < window && self.waiting() < window
    }

    /// Carries out a command of the VM.
    pub fn command(&mut self, command: Command<'_>) -> Result<(), Misplaced> {
        match (command, self.phase) {
            (_, Phase::Ending | Phase::Gone) => {}
            (Command::Abort, _) => self.leave(Phase::Gone, Side::Server, NO_CLOSE),
            (Command::Finish, Phase::Closing(code)) => self.close(code.map(|code| (code, &b""[..]))),
            (Command::Close(close), _) => self.close(close),
            (Command::Cut(code), _) => {
                reached(Limit::MaxBacklog);
                self.cut(code, b"");
            }
            (Command::Credit(n), _) => {
                let used = self.unused.min(usize::try_from(n).unwrap_or(usize::MAX));
                self.unused -= used;
                count(|metrics| metrics.credit_received_bytes.sub(used as u64));
            }
            (Command::Active(active), _) => self.active = active,
            (Command::SetOptions(options), _) => self.set_options(&options),
            (Command::Deflate(on), _) => self.encoder.set_deflate(on),
            (command, _) => return self.frame(command),
        }
        Ok(())
    }

    fn set_options(&mut self, options: &SetOptions) {
        if let Some(timeout) = options.idle_timeout {
            self.idle_timeout = timeout.map(saturated);
            self.received = Moment::now();
            self.rearm = true;
        }
        if let Some(size) = options.max_frame_size {
            self.decoder.set_max_frame_size(size.unwrap_or(u64::MAX));
        }
        let pong_timeout = options.pong_timeout.map(Duration::from_millis);
        if let Some(interval) = options.ping_interval {
            let before = self.keepalive.as_ref().map(|keepalive| keepalive.timeout());
            let timeout = pong_timeout.or(before).unwrap_or(Duration::from_millis(PONG_TIMEOUT));
            self.keepalive = keepalive(interval, timeout);
            self.rearm = true;
        } else if let (Some(timeout), Some(keepalive)) = (pong_timeout, &mut self.keepalive) {
            keepalive.set_timeout(timeout);
            self.rearm = true;
        }
    }

    /// Bytes that are to be written before the next frame begins.
    pub fn to_boundary(&self) -> u64 {
        self.out.to_boundary(self.encoder.owed()) as u64
    }

    /// Appends a ping of ours, if one can stand here: where nothing else waits for the client, and no frame is incomplete.
    /// `queue` is what the kernel has for the client.
    pub fn ping(&mut self, queue: Option<Queue>, now: Instant) {
        if let Some(keepalive) = &mut self.keepalive
            && self.out.is_empty()
            && !self.encoder.is_within_frame()
        {
            let payload = keepalive.ping(queue, now);
            sent(&mut self.traffic, Opcode::Ping, payload.len() as u64);
            self.encoder.ping(&payload, self.out.own(0));
        }
    }

    /// Appends a frame, or a piece of one, to what is to be written.
    fn frame(&mut self, command: Command<'_>) -> Result<(), Misplaced> {
        let out = self.out.own(self.encoder.owed());
        let cost = match command {
            Command::Part(piece) => {
                let complete = self.encoder.part(piece, out).map_err(|_| Misplaced)?;
                if complete {
                    if let Some(payload) = self.aside.take_pong() {
                        sent(&mut self.traffic, Opcode::Pong, payload.len() as u64);
                        self.encoder.pong(&payload, out);
                    }
                    if self.out.release() {
                        self.encoder.has_sent_shared();
                    }
                }
                piece.len()
            }
            _ if self.encoder.is_open() => return Err(Misplaced),
            Command::Message(kind, payload) => {
                sent(&mut self.traffic, kind.into(), payload.len() as u64);
                self.encoder.message(kind, payload, out);
                payload.len()
            }
            Command::Open(kind, size) => {
                sent(&mut self.traffic, kind.into(), size);
                self.encoder.open(kind, size, out);
                0
            }
            Command::Ping(payload) => {
                sent(&mut self.traffic, Opcode::Ping, payload.len() as u64);
                self.encoder.ping(payload, out);
                payload.len()
            }
            Command::Pong(payload) => {
                sent(&mut self.traffic, Opcode::Pong, payload.len() as u64);
                self.encoder.pong(payload, out);
                payload.len()
            }
            _ => return Err(Misplaced),
        };
        self.queued += cost + OVERHEAD;
        count(|metrics| metrics.credit_sent_bytes.add((cost + OVERHEAD) as u64));
        Ok(())
    }

    /// Ends the WebSocket with a close frame, behind all that waits. A frame whose payload is not complete will never be: it is
    /// taken back, or, where some of it has been written, nothing can stand behind it.
    pub fn close(&mut self, close: Option<(u16, &[u8])>) {
        if !self.take_back() {
            self.leave(Phase::Gone, Side::Server, NO_CLOSE);
            return;
        }
        if self.encoder.is_open() {
            self.out.forget_held();
        } else {
            self.out.release();
        }
        self.encoder.close(close, self.out.own(0));
        self.leave(Phase::Ending, Side::Server, close.map_or(NO_CODE, |(code, _)| code));
        self.unread = Kept::default();
    }

    /// Ends the WebSocket with a close frame behind the message that is being written: the frames after that are discarded,
    /// since the client does not take them.
    pub fn cut(&mut self, code: u16, text: &[u8]) {
        if !self.take_back() {
            self.leave(Phase::Gone, Side::Server, NO_CLOSE);
            return;
        }
        self.out.cut();
        self.close(Some((code, text)));
    }

    /// Takes a frame back whose payload is not complete. Says whether whole frames are left: not if some of it has been written.
    fn take_back(&mut self) -> bool {
        if !self.encoder.is_within_frame() {
            return true;
        }
        let is_whole = self.out.take_back();
        if is_whole {
            self.encoder.abandon();
        }
        is_whole
    }

    /// `n` more bytes of `out` have been written. Commands are credited in proportion: how many bytes each has become
    /// (compression) does not matter, and their sum comes out exactly.
    pub fn has_written(&mut self, n: usize) {
        let credit = self.queued * n / self.waiting();
        self.queued -= credit;
        self.credit += credit;
        self.out.has_written(n, self.encoder.is_open() && !self.encoder.is_within_frame());
    }

    /// What has been written, once it is worth an event: half of the window, or of a smaller backlog. The pieces of a
    /// compressed message count as written when they have come: their frame can only be written when all of them are there.
    pub fn take_credit(&mut self, window: usize) -> Option<usize> {
        let worth = (window.min(self.max_backlog as usize) / 2).max(1);
        if self.out.is_empty() {
            self.credit += std::mem::take(&mut self.queued);
        }
        (self.credit >= worth).then(|| {
            count(|metrics| metrics.credit_sent_bytes.sub(self.credit as u64));
            std::mem::take(&mut self.credit)
        })
    }
}

/// What it has in the sums of all leaves them.
impl Drop for Session {
    fn drop(&mut self) {
        count(|metrics| {
            metrics.credit_received_bytes.sub(self.unused as u64);
            metrics.credit_sent_bytes.sub((self.queued + self.credit) as u64);
            if self.phase == Phase::Open {
                metrics.websockets.sub(1); // The client has gone before it was one.
                metrics.websocket_streams.sub(self.ended.is_stream.into());
            }
        });
    }
}

fn saturated(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// None without an interval, in milliseconds.
fn keepalive(interval: Option<u64>, timeout: Duration) -> Option<Box<Keepalive>> {
    interval.map(|interval| Keepalive::new(Duration::from_millis(interval.max(1)), timeout, Instant::now()))
}

#[cfg(test)]
mod tests;
