//! Looks at HTTP/2 frames on their way (RFC 9113, 4.1), of which only the heads matter here: how many come, of which kind, how
//! large. Bytes in, what was noticed out. Pure; no I/O.
//!
//! The frames themselves are h2's. It answers each ping, takes each setting and forgets each cancelled stream; how often a
//! client may ask for that is said here, by Cowboy's limits.

use std::time::Duration;

use h2::Reason;
use tokio::time::Instant;

use crate::metrics::Limit;

/// What a client's connection begins with (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEAD: usize = 9;
/// A head and the code of an error, which is all that a RST_STREAM has.
const RESET: usize = HEAD + 4;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// How often something may happen: less than `count` times in `period`, which begins anew when both are over.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub count: u32,
    /// `None` is for ever.
    pub period: Option<Duration>,
}

/// What a client may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Frames.
    pub received: Rate,
    /// RST_STREAM frames.
    pub cancelled: Rate,
    /// Errors on streams that are answered by RST_STREAM.
    pub reset: Rate,
    /// Bytes of a header block in several frames, before it is decoded.
    pub header_block: usize,
}

/// A frame, as far as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub length: usize,
    /// Of RST_STREAM.
    pub code: u32,
}

/// Finds the frames in bytes that come in any pieces.
#[derive(Default)]
pub struct Scanner {
    /// Bytes of a payload that are still to come, or of the preface.
    skip: usize,
    head: [u8; RESET],
    have: usize,
}

impl Scanner {
    /// Begins behind so many bytes that are no frames.
    pub fn behind(skip: usize) -> Self {
        Self { skip, ..Self::default() }
    }

    /// Takes bytes, and gives each frame whose head they complete to `found`, up to the first that it does not want.
    pub fn scan<E>(&mut self, mut bytes: &[u8], mut found: impl FnMut(Frame) -> Result<(), E>) -> Result<(), E> {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return Ok(());
            }
            let wanted = if self.have >= HEAD { RESET } else { HEAD };
            let (taken, rest) = bytes.split_at(bytes.len().min(wanted - self.have));
            self.head[self.have..self.have + taken.len()].copy_from_slice(taken);
            self.have += taken.len();
            bytes = rest;
            if self.have < wanted {
                return Ok(());
            }
            let [l0, l1, l2, kind, flags, s0, s1, s2, s3, c0, c1, c2, c3] = self.head;
            let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
            if kind == RST_STREAM && length >= RESET - HEAD && self.have == HEAD {
                continue; // With its code.
            }
            let code = if self.have == RESET { u32::from_be_bytes([c0, c1, c2, c3]) } else { 0 };
            self.skip = length + HEAD - self.have;
            self.have = 0;
            let stream = u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff;
            found(Frame { kind, flags, stream, length, code })?;
        }
    }
}

/// Counts down.
struct Counter {
    rate: Rate,
    limit: Limit,
    left: u32,
    until: Option<Instant>,
}

impl Counter {
    fn new(rate: Rate, limit: Limit, now: Instant) -> Self {
        Self { rate, limit, left: rate.count, until: rate.period.map(|period| now + period) }
    }

    /// One more. Fails where that is one too many.
    fn count(&mut self, now: Instant) -> Result<(), Limit> {
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return Ok(());
        }
        if self.until.is_none_or(|until| now < until) {
            return Err(self.limit);
        }
        *self = Self::new(self.rate, self.limit, now);
        Ok(())
    }
}

/// What is known of a connection by its frames, and what has been too much.
pub struct Watch {
    header_block: usize,
    incoming: Scanner,
    outgoing: Scanner,
    received: Counter,
    cancelled: Counter,
    reset: Counter,
    /// Bytes so far of a header block whose end has not come.
    block: usize,
    /// The client has sent its settings.
    pub settings: bool,
    /// The client has taken ours.
    pub acknowledged: bool,
}

impl Watch {
    /// A connection that begins now, with the preface.
    pub fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            header_block: limits.header_block,
            incoming: Scanner::behind(PREFACE.len()),
            outgoing: Scanner::default(),
            received: Counter::new(limits.received, Limit::MaxReceivedFrameRate, now),
            cancelled: Counter::new(limits.cancelled, Limit::MaxCancelStreamRate, now),
            reset: Counter::new(limits.reset, Limit::MaxResetStreamRate, now),
            block: 0,
            settings: false,
            acknowledged: false,
        }
    }

    /// The client has sent these bytes. `over` gets the streams that it has cancelled. Fails with the limit to close for.
    pub fn received(&mut self, bytes: &[u8], now: Instant, mut over: impl FnMut(u32)) -> Result<(), Limit> {
        let Self { incoming, received, cancelled, block, settings, acknowledged, header_block, .. } = self;
        incoming.scan(bytes, |frame| {
            received.count(now)?;
            match frame.kind {
                SETTINGS if frame.flags & ACK != 0 => *acknowledged = true,
                SETTINGS => *settings = true,
                RST_STREAM => {
                    over(frame.stream);
                    cancelled.count(now)?;
                }
                HEADERS | CONTINUATION => {
                    *block = if frame.kind == HEADERS { 0 } else { *block } + frame.length;
                    if *block > *header_block || (frame.kind == CONTINUATION && frame.length == 0) {
                        return Err(Limit::MaxFragmentedHeaderBlockSize);
                    }
                    if frame.flags & END_HEADERS != 0 {
                        *block = 0;
                    }
                }
                _ => {}
            }
            Ok(())
        })
    }

    /// We have sent these bytes. `each` gets every frame. Fails with the limit to close for.
    pub fn sent(&mut self, bytes: &[u8], now: Instant, mut each: impl FnMut(Frame)) -> Result<(), Limit> {
        let Self { outgoing, reset, .. } = self;
        outgoing.scan(bytes, |frame| {
            each(frame);
            let is_error = frame.kind == RST_STREAM && frame.code != u32::from(Reason::NO_ERROR);
            if is_error { reset.count(now) } else { Ok(()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { count: 3, period: Some(Duration::from_secs(10)) };
    const PLENTY: Rate = Rate { count: u32::MAX, period: None };
    const LIMITS: Limits = Limits { received: PLENTY, cancelled: PLENTY, reset: PLENTY, header_block: 100 };

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn found(pieces: &[&[u8]]) -> Vec<Frame> {
        let (mut scanner, mut frames) = (Scanner::default(), Vec::new());
        for piece in pieces {
            let Ok(()) = scanner.scan(piece, |frame| {
                frames.push(frame);
                Ok::<_, std::convert::Infallible>(())
            });
        }
        frames
    }

    #[test]
    fn frames_are_found_wherever_they_are_cut() {
        let bytes = [
            frame(DATA, END_STREAM, 1, b"abc"),
            frame(RST_STREAM, 0, 3, &8u32.to_be_bytes()),
            frame(SETTINGS, ACK, 0, b""),
            frame(RST_STREAM, 0, 5, b"x"),
            frame(DATA, 0, 7, &[0; 300]),
        ]
        .concat();
        let expected = found(&[&bytes]);
        let seen: Vec<_> = expected.iter().map(|f| (f.kind, f.stream, f.length, f.code)).collect();
        assert_eq!(
            seen,
            [(DATA, 1, 3, 0), (RST_STREAM, 3, 4, 8), (SETTINGS, 0, 0, 0), (RST_STREAM, 5, 1, 0), (DATA, 7, 300, 0)]
        );
        for cut in 0..bytes.len() {
            assert_eq!(found(&[&bytes[..cut], &bytes[cut..]]), expected, "{cut}");
        }
        assert_eq!(found(&bytes.chunks(1).collect::<Vec<_>>()), expected);
    }

    fn watch(limits: Limits, now: Instant) -> Watch {
        let mut watch = Watch::new(&limits, now);
        watch.received(PREFACE, now, |_| {}).expect("is no frame");
        watch
    }

    #[test]
    fn as_many_frames_as_the_rate_says_are_too_many_until_its_period_is_over() {
        let now = Instant::now();
        let ping = frame(6, 0, 0, &[0; 8]);
        let mut watch = watch(Limits { received: RATE, ..LIMITS }, now);
        for _ in 0..2 {
            assert_eq!(watch.received(&ping, now, |_| {}), Ok(()));
        }
        let later = now + Duration::from_secs(10);
        for _ in 0..3 {
            assert_eq!(watch.received(&ping, later, |_| {}), Ok(()), "the period is over");
        }
        assert_eq!(watch.received(&ping, later, |_| {}), Err(Limit::MaxReceivedFrameRate));
    }

    #[test]
    fn streams_that_the_client_cancels_and_errors_that_we_answer_are_counted_apart() {
        let now = Instant::now();
        let reset = |code: u32| frame(RST_STREAM, 0, 1, &code.to_be_bytes());
        let mut cancelled = watch(Limits { cancelled: RATE, ..LIMITS }, now);
        let results: Vec<_> = (0..3).map(|_| cancelled.received(&reset(8), now, |_| {})).collect();
        assert_eq!(results, [Ok(()), Ok(()), Err(Limit::MaxCancelStreamRate)]);
        let mut erring = watch(Limits { reset: RATE, ..LIMITS }, now);
        for _ in 0..10 {
            assert_eq!(erring.sent(&reset(0), now, |_| {}), Ok(()), "no error");
        }
        let results: Vec<_> = (0..3).map(|_| erring.sent(&reset(1), now, |_| {})).collect();
        assert_eq!(results, [Ok(()), Ok(()), Err(Limit::MaxResetStreamRate)]);
    }

    #[test]
    fn a_header_block_has_a_limit_whatever_frames_it_comes_in() {
        let now = Instant::now();
        let block = |first: usize, second: usize| {
            let mut watch = watch(LIMITS, now);
            let headers = frame(HEADERS, 0, 1, &vec![0; first]);
            watch.received(&headers, now, |_| {})?;
            watch.received(&frame(CONTINUATION, END_HEADERS, 1, &vec![0; second]), now, |_| {})
        };
        assert_eq!(block(99, 1), Ok(()));
        assert_eq!(block(50, 51), Err(Limit::MaxFragmentedHeaderBlockSize));
        assert_eq!(block(50, 0), Err(Limit::MaxFragmentedHeaderBlockSize));
        let mut watch = watch(LIMITS, now);
        for stream in 0..10 {
            let headers = frame(HEADERS, END_HEADERS, 2 * stream + 1, &[0; 60]);
            assert_eq!(watch.received(&headers, now, |_| {}), Ok(()));
        }
    }
}
