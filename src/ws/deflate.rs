//! The compression of messages (RFC 7692, 7.2.1).
//!
//! A compressor of zlib costs 251 to 380 KB and 5 to 9 µs to make. It is made for the first message that needs it, and
//! given back as soon as the protocol allows: after each message without context takeover, and with it after the
//! connection has been idle for a while, since a sender need not refer to what it sent before. Each thread keeps one
//! unused compressor per setting.

use std::cell::RefCell;
use std::time::{Duration, Instant};

pub use zlib_rs::Strategy;
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Status};

use super::Agreement;

/// How far the output buffer is enlarged at once, at most.
const MAX_STEP: usize = 128 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<(Settings, Deflate)>> = const { RefCell::new(Vec::new()) };
}

/// What makes a compressor. Values outside their range are taken as the nearest that is inside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Settings {
    level: i32,
    mem_level: i32,
    strategy: Strategy,
    window_bits: u8,
}

/// The compression of the messages to one client.
pub struct Deflater {
    settings: Settings,
    takeover: bool,
    max_idle: Duration,
    context: Option<Deflate>,
    /// A message has been compressed since the last `rest`.
    used: bool,
    /// The first `rest` after the last message.
    idle_since: Option<Instant>,
}

impl Deflater {
    pub fn new(agreement: &Agreement) -> Deflater {
        Deflater {
            settings: Settings {
                level: agreement.level.clamp(-1, 9),
                mem_level: agreement.mem_level.clamp(1, 9).into(),
                strategy: agreement.strategy,
                // zlib has no raw streams with 8 bits. With 9 bits it never refers further back than 250 bytes, which a
                // window of 8 bits holds.
                window_bits: agreement.server_max_window_bits.clamp(9, 15),
            },
            takeover: agreement.server_context_takeover,
            max_idle: agreement.max_idle,
            context: None,
            used: false,
            idle_since: None,
        }
    }

    /// Compresses the next bytes of a message and appends what comes out. `last` ends the message, which must not have been
    /// empty: an empty message is the single byte 0 (RFC 7692, 7.2.3.6) and has no part in the context.
    pub fn compress(&mut self, payload: &[u8], last: bool, out: &mut Vec<u8>) {
        let context = self.context.get_or_insert_with(|| borrow(self.settings));
        self.used = true;
        let flush = if last { DeflateFlush::SyncFlush } else { DeflateFlush::NoFlush };
        let mut used = 0;
        loop {
            let at = out.len();
            out.resize(at + bound(payload.len() - used), 0);
            let (total_in, total_out) = (context.total_in(), context.total_out());
            let result = context.compress(&payload[used..], &mut out[at..], flush);
            used += (context.total_in() - total_in) as usize;
            let end = at + (context.total_out() - total_out) as usize;
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
            if !self.takeover {
                self.give_back();
            }
        }
    }

    /// Gives the compressor back if it has not been used for long. To be called now and then, not within a message.
    pub fn rest(&mut self, now: Instant) {
        if self.used {
            self.used = false;
            self.idle_since = Some(now);
        } else if self.idle_since.is_some_and(|since| now.duration_since(since) >= self.max_idle) {
            self.idle_since = None;
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        let Some(context) = self.context.take() else { return };
        SPARE.with_borrow_mut(|spare| {
            if !spare.iter().any(|(settings, _)| *settings == self.settings) {
                spare.push((self.settings, context));
            }
        });
    }
}

fn borrow(settings: Settings) -> Deflate {
    let spare = SPARE.with_borrow_mut(|spare| {
        let index = spare.iter().position(|(other, _)| *other == settings)?;
        Some(spare.swap_remove(index).1)
    });
    if let Some(mut context) = spare {
        context.reset();
        return context;
    }
    Deflate::new_with_config(DeflateConfig {
        level: settings.level,
        mem_level: settings.mem_level,
        strategy: settings.strategy,
        // Negative: raw DEFLATE.
        window_bits: -i32::from(settings.window_bits),
        ..DeflateConfig::default()
    })
}

/// Room for what `size` bytes become at worst, the end of the message included. Where it does not suffice, because much
/// was held back before, another round follows.
fn bound(size: usize) -> usize {
    (size + size / 8 + size / 64 + 64).min(MAX_STEP)
}

#[cfg(test)]
mod tests {
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
    fn without_takeover_connections_share_a_compressor_between_messages() {
        let agreement = Agreement { server_context_takeover: false, mem_level: 7, ..Agreement::default() };
        let mut deflaters = [Deflater::new(&agreement), Deflater::new(&agreement)];
        for _ in 0..2 {
            for deflater in &mut deflaters {
                assert_eq!(compress(deflater, b"Hello"), HELLO);
                assert!(deflater.context.is_none());
            }
        }
        SPARE.with_borrow(|spare| assert_eq!(spare.iter().filter(|(s, _)| *s == deflaters[0].settings).count(), 1));
    }

    #[test]
    fn a_compressor_is_given_back_after_max_idle_without_a_message() {
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
        assert!(deflater.context.is_some());
        deflater.rest(after(20_000));
        assert!(deflater.context.is_none());
        assert_eq!(compress(&mut deflater, b"Hello"), HELLO);
    }
}
