//! The compression of messages (RFC 7692, 7.2.1).
//!
//! A compressor of zlib costs 251 to 380 KB. The connections of a thread share them: a connection borrows one for a
//! message, tells it what the message may refer to, and keeps for itself only that, the last few KiB that it sent. So a
//! connection costs little memory, and the one compressor stays in the processor's cache, where a thousand would not:
//! that outweighs the telling several times (docs/decisions/0004-shared-compressors.md). A message that others were sent
//! a moment ago, after the same history, is not compressed again (`memo`).

use std::cell::RefCell;
use std::time::{Duration, Instant};

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Status};

use super::Agreement;
use super::history::History;
use super::memo::{Memo, Settings, Source};
use crate::metrics::count;

/// How far the output buffer is enlarged at once, at most.
const MAX_STEP: usize = 128 * 1024;

/// What a message may refer to before itself, whatever its size.
const LEAST_HISTORY: usize = 2048;

/// So many bytes more for each of its own: to tell a compressor 8 KiB costs more than a short message can gain.
const HISTORY_PER_BYTE: usize = 2;

/// How many unused compressors a thread keeps: one for each setting that is in use, within reason.
const MAX_SPARE: usize = 8;

thread_local! {
    static SPARE: RefCell<Vec<(Settings, Deflate)>> = const { RefCell::new(Vec::new()) };
    static MEMO: RefCell<Memo> = const { RefCell::new(Memo::new()) };
}

/// The compression of the messages to one client.
pub struct Deflater {
    settings: Settings,
    /// What was sent last; of no bytes without takeover.
    history: History,
    max_idle: Duration,
    /// Borrowed within a message that comes in pieces.
    live: Option<Deflate>,
    /// A message has been compressed since the last `rest`.
    used: bool,
    /// The first `rest` after the last message.
    idle_since: Option<Instant>,
}

impl Deflater {
    pub fn new(agreement: &Agreement) -> Deflater {
        // zlib has no raw streams with 8 bits. With 9 bits it never refers further back than 250 bytes, which a window of
        // 8 bits holds.
        let window_bits = agreement.server_max_window_bits.clamp(9, 15);
        let history = if agreement.server_context_takeover { agreement.history.into() } else { 0 };
        Deflater {
            settings: Settings {
                level: agreement.level.clamp(-1, 9),
                mem_level: agreement.mem_level.clamp(1, 9).into(),
                strategy: agreement.strategy,
                window_bits,
            },
            history: History::new(history.min(1 << window_bits)),
            max_idle: agreement.max_idle,
            live: None,
            used: false,
            idle_since: None,
        }
    }

    /// Compresses the next bytes of a message and appends what comes out. `last` ends the message, which must not have been
    /// empty: an empty message is the single byte 0 (RFC 7692, 7.2.3.6) and has no part in the history.
    pub fn compress(&mut self, payload: &[u8], last: bool, out: &mut Vec<u8>) {
        self.used = true;
        let before = out.len();
        let told = self.history.last(LEAST_HISTORY + HISTORY_PER_BYTE * payload.len());
        if last && self.live.is_none() {
            let source = Source { settings: self.settings, told, payload };
            MEMO.with_borrow_mut(|memo| memo.append(source, out, |out| whole(source, out)));
        } else {
            let mut live = self.live.take().unwrap_or_else(|| borrow(self.settings, told));
            run(&mut live, payload, last, out);
            if last {
                give_back(self.settings, live);
            } else {
                self.live = Some(live);
            }
        }
        self.history.push(payload);
        counted(payload.len(), out.len() - before);
    }

    /// What its compressor is made of.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// The next message begins without history. Not within a message.
    pub fn forget(&mut self) {
        self.history.clear();
    }

    /// Forgets what was sent if that was long ago: the next message begins without history, which the protocol allows the
    /// sender at any time. To be called now and then, not within a message.
    pub fn rest(&mut self, now: Instant) {
        if self.used {
            self.used = false;
            self.idle_since = Some(now);
        } else if self.idle_since.is_some_and(|since| now.duration_since(since) >= self.max_idle) {
            self.idle_since = None;
            self.history.clear();
        }
    }
}

/// Compresses a message that refers to none before it, and appends what comes out; never an empty one.
pub fn alone(settings: Settings, payload: &[u8], out: &mut Vec<u8>) {
    let before = out.len();
    whole(Source { settings, told: [&[], &[]], payload }, out);
    counted(payload.len(), out.len() - before);
}

fn counted(payload: usize, compressed: usize) {
    count(|metrics| {
        metrics.deflate_bytes_in.add(payload as u64);
        metrics.deflate_bytes_out.add(compressed as u64);
    });
}

/// Compresses a message that came in one piece.
fn whole(source: Source<'_>, out: &mut Vec<u8>) {
    let mut live = borrow(source.settings, source.told);
    run(&mut live, source.payload, true, out);
    give_back(source.settings, live);
}

/// A compressor that knows of no message but what it is told.
fn borrow(settings: Settings, told: [&[u8]; 2]) -> Deflate {
    let spare = SPARE.with_borrow_mut(|spare| {
        let index = spare.iter().position(|(other, _)| *other == settings)?;
        Some(spare.swap_remove(index).1)
    });
    let mut live = match spare {
        Some(mut live) => {
            live.reset();
            live
        }
        None => Deflate::new_with_config(DeflateConfig {
            level: settings.level,
            mem_level: settings.mem_level,
            strategy: settings.strategy,
            // Negative: raw DEFLATE.
            window_bits: -i32::from(settings.window_bits),
            ..DeflateConfig::default()
        }),
    };
    for part in told {
        if !part.is_empty() {
            // Refused only by streams with a gzip header, or within a block.
            let result = live.set_dictionary(part);
            debug_assert!(result.is_ok());
        }
    }
    live
}

/// Compresses the next bytes of a message; the last ones without the four bytes that end every message.
fn run(live: &mut Deflate, payload: &[u8], last: bool, out: &mut Vec<u8>) {
    let flush = if last { DeflateFlush::SyncFlush } else { DeflateFlush::NoFlush };
    let mut used = 0;
    loop {
        let at = out.len();
        out.resize(at + bound(payload.len() - used), 0);
        let (total_in, total_out) = (live.total_in(), live.total_out());
        let result = live.compress(&payload[used..], &mut out[at..], flush);
        used += (live.total_in() - total_in) as usize;
        let end = at + (live.total_out() - total_out) as usize;
        let full = end == out.len();
        out.truncate(end);
        // Nothing but an end of the stream or a wrong state is an error, and there is neither.
        debug_assert!(matches!(result, Ok(Status::Ok | Status::BufError)));
        if !full {
            break;
        }
    }
    if last {
        debug_assert!(out.ends_with(&[0x00, 0x00, 0xff, 0xff]));
        out.truncate(out.len() - 4);
    }
}

/// Keeps one unused compressor per setting; where there are too many settings, the one that was used longest ago goes.
fn give_back(settings: Settings, live: Deflate) {
    SPARE.with_borrow_mut(|spare| {
        if spare.iter().any(|(other, _)| *other == settings) {
            return;
        }
        if spare.len() == MAX_SPARE {
            spare.remove(0);
        }
        spare.push((settings, live));
    });
}

/// Room for what `size` bytes become at worst, the end of the message included. Where it does not suffice, because much
/// was held back before, another round follows.
fn bound(size: usize) -> usize {
    (size + size / 8 + size / 64 + 64).min(MAX_STEP)
}

#[cfg(test)]
mod tests {
    use super::super::Strategy;
    use super::*;

    const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";

    fn compress(deflater: &mut Deflater, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        deflater.compress(payload, true, &mut out);
        out
    }

    fn hello(agreement: &Agreement) -> Vec<u8> {
        compress(&mut Deflater::new(agreement), b"Hello")
    }

    #[test]
    fn hello_becomes_the_seven_bytes_that_cowboy_sends() {
        let defaults = Agreement::default();
        for agreement in [
            defaults,
            Agreement { level: 1, ..defaults },
            Agreement { mem_level: 1, ..defaults },
            Agreement { strategy: Strategy::Rle, ..defaults },
            Agreement { server_max_window_bits: 8, ..defaults },
        ] {
            assert_eq!(hello(&agreement), HELLO);
        }
    }

    #[test]
    fn level_mem_level_and_strategy_take_effect() {
        let defaults = Agreement::default();
        let text: String = (0..4000).map(|i| format!("{} ", i * i % 977)).collect();
        let size = |agreement: Agreement| compress(&mut Deflater::new(&agreement), text.as_bytes()).len();
        let best = size(defaults);
        assert!(size(Agreement { level: 1, ..defaults }) > best);
        assert!(size(Agreement { level: 0, ..defaults }) > text.len());
        assert_ne!(size(Agreement { mem_level: 1, ..defaults }), best);
        assert!(size(Agreement { strategy: Strategy::HuffmanOnly, ..defaults }) > best);
        assert!(size(Agreement { server_max_window_bits: 9, ..defaults }) > best);
    }

    #[test]
    fn values_out_of_range_are_taken_as_the_nearest() {
        let wild = Agreement { level: 99, mem_level: 0, server_max_window_bits: 99, ..Agreement::default() };
        assert_eq!(hello(&wild), HELLO);
    }

    /// RFC 7692, 7.2.3.2.
    #[test]
    fn with_takeover_a_message_refers_to_the_one_before() {
        let mut deflater = Deflater::new(&Agreement::default());
        assert_eq!(compress(&mut deflater, b"Hello"), HELLO);
        assert_eq!(compress(&mut deflater, b"Hello"), b"\xf2\x00\x11\x00\x00");
    }

    #[test]
    fn connections_share_a_compressor_and_nothing_of_their_messages() {
        for takeover in [false, true] {
            let agreement = Agreement { server_context_takeover: takeover, mem_level: 7, ..Agreement::default() };
            let mut deflaters = [Deflater::new(&agreement), Deflater::new(&agreement)];
            let first = deflaters.each_mut().map(|deflater| compress(deflater, b"Hello"));
            assert_eq!(first, [HELLO, HELLO]);
            let second = deflaters.each_mut().map(|deflater| compress(deflater, b"Hello").len());
            assert_eq!(second, if takeover { [5, 5] } else { [HELLO.len(); 2] });
            let shared = |(settings, _): &&(Settings, Deflate)| *settings == deflaters[0].settings;
            SPARE.with_borrow(|spare| assert_eq!(spare.iter().filter(shared).count(), 1));
        }
    }

    #[test]
    fn a_message_that_others_were_sent_is_not_compressed_again() {
        let agreement = Agreement { history: 100, ..Agreement::default() };
        let mut deflaters = [0, 1, 2].map(|n| {
            let mut deflater = Deflater::new(&agreement);
            // From here on the ring of each begins elsewhere.
            compress(&mut deflater, &[b'a'; 150][..n * 50 + 1]);
            deflater
        });
        let lines: Vec<String> = (0..20).map(|n| format!("line {n} of twenty lines")).collect();
        for (n, line) in lines.iter().enumerate() {
            let [first, rest @ ..] = &mut deflaters;
            let expected = compress(first, line.as_bytes());
            SPARE.take();
            for deflater in rest {
                let output = compress(deflater, line.as_bytes());
                // After five lines nobody's history has anything else.
                if n >= 5 {
                    assert_eq!(output, expected);
                    SPARE.with_borrow(|spare| assert!(spare.is_empty(), "a compressor was made"));
                }
            }
        }
        compress(&mut deflaters[0], b"another");
        SPARE.with_borrow(|spare| assert_eq!(spare.len(), 1));
    }

    #[test]
    fn a_thread_keeps_few_compressors_whatever_the_settings_are() {
        for level in 0..9 {
            for mem_level in 1..9 {
                hello(&Agreement { level, mem_level, ..Agreement::default() });
                SPARE.with_borrow(|spare| assert!(spare.len() <= MAX_SPARE));
            }
        }
    }

    #[test]
    fn a_message_within_another_has_a_compressor_of_its_own() {
        let mut deflaters = [Deflater::new(&Agreement::default()), Deflater::new(&Agreement::default())];
        let mut outer = Vec::new();
        deflaters[0].compress(b"Hel", false, &mut outer);
        assert_eq!(compress(&mut deflaters[1], b"Hello"), HELLO);
        deflaters[0].compress(b"lo", true, &mut outer);
        assert_eq!(outer, HELLO);
    }

    #[test]
    fn a_message_refers_no_further_back_than_history_says() {
        let word: Vec<u8> = (0..200u8).map(|i| i.wrapping_mul(37) ^ 0x55).collect();
        let gap: Vec<u8> = (0..1000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let second = |history| {
            let mut deflater = Deflater::new(&Agreement { history, ..Agreement::default() });
            compress(&mut deflater, &word);
            compress(&mut deflater, &gap);
            compress(&mut deflater, &word).len()
        };
        assert!(second(0) > 190);
        assert!(second(1000) > 190);
        assert!(second(1200) < 30);
    }

    #[test]
    fn the_history_is_given_back_after_max_idle_without_a_message() {
        let agreement = Agreement { max_idle: Duration::from_secs(10), ..Agreement::default() };
        let mut deflater = Deflater::new(&agreement);
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        compress(&mut deflater, b"Hello");
        deflater.rest(start);
        deflater.rest(after(9_999));
        compress(&mut deflater, b"Hello");
        deflater.rest(after(10_000));
        deflater.rest(after(19_999));
        assert_eq!(deflater.history.last(5).concat(), b"Hello");
        deflater.rest(after(20_000));
        assert_eq!(compress(&mut deflater, b"Hello"), HELLO);
    }
}
