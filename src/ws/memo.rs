//! What was compressed last, so that a message to many clients is compressed once (docs/decisions/0005-equal-messages.md).
//!
//! Connections of one room have mostly been sent the same, and are sent the same next: what a compressor would make of it is
//! the same bytes. In goes all that these bytes depend on, a [`Source`]; out they come, remembered or made. Memory and time
//! are bounded: few messages are remembered, and long ones are not. Each thread has one, in `deflate`. Pure.

use zlib_rs::Strategy;

/// How many messages a memo remembers: enough for two rooms at a time, and members that have come to each meanwhile.
const ENTRIES: usize = 4;

/// Bytes of an entry at most: a text of 64 KiB with what it may refer to, if it becomes 24 KiB or less. What is longer
/// is compressed each time.
const MAX_ENTRY: usize = 96 * 1024;

/// What makes a compressor. Values outside their range are taken as the nearest that is inside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    pub level: i32,
    pub mem_level: i32,
    pub strategy: Strategy,
    pub window_bits: u8,
}

/// All that the compressed bytes of a message depend on.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub settings: Settings,
    /// What the message may refer to, in two parts, the older first. Where it is cut does not matter.
    pub told: [&'a [u8]; 2],
    pub payload: &'a [u8],
}

/// The messages that were compressed last.
pub struct Memo {
    /// At most [`ENTRIES`], the one that was used last first.
    entries: Vec<Entry>,
}

/// A message and what it became.
struct Entry {
    settings: Settings,
    /// What it may refer to, its payload, and the compressed bytes. Never more than [`MAX_ENTRY`].
    bytes: Vec<u8>,
    /// Where the payload begins.
    payload: usize,
    /// Where the compressed bytes begin.
    output: usize,
}

impl Memo {
    /// A memo of nothing, which holds no memory.
    pub const fn new() -> Memo {
        Memo { entries: Vec::new() }
    }

    /// Appends the compressed bytes of a message. `compress` appends them where they are not known.
    pub fn append(&mut self, source: Source<'_>, out: &mut Vec<u8>, compress: impl FnOnce(&mut Vec<u8>)) {
        if let Some(index) = self.entries.iter().position(|entry| entry.is_of(source)) {
            self.entries[..=index].rotate_right(1);
            out.extend_from_slice(self.entries[0].output());
        } else {
            let at = out.len();
            compress(out);
            self.keep(source, &out[at..]);
        }
    }

    /// Remembers a message in the place of the one that was used longest ago, whose buffer serves again.
    fn keep(&mut self, source: Source<'_>, output: &[u8]) {
        let Source { settings, told: [older, newer], payload } = source;
        let parts = [older, newer, payload, output];
        let size = parts.iter().map(|part| part.len()).sum();
        if size > MAX_ENTRY {
            return;
        }
        let spare = if self.entries.len() == ENTRIES { self.entries.pop() } else { None };
        let mut bytes = spare.map_or(Vec::new(), |entry| entry.bytes);
        bytes.clear();
        bytes.reserve_exact(size);
        for part in parts {
            bytes.extend_from_slice(part);
        }
        self.entries.insert(0, Entry { settings, bytes, payload: source.told_len(), output: size - output.len() });
    }
}

impl Source<'_> {
    fn told_len(&self) -> usize {
        self.told[0].len() + self.told[1].len()
    }
}

impl Entry {
    /// Compares what is cheap first: another message mostly has another length, or differs within a few bytes.
    fn is_of(&self, source: Source<'_>) -> bool {
        let [older, newer] = source.told;
        self.settings == source.settings
            && self.payload == source.told_len()
            && self.bytes[self.payload..self.output] == *source.payload
            && self.bytes[..older.len()] == *older
            && self.bytes[older.len()..self.payload] == *newer
    }

    fn output(&self) -> &[u8] {
        &self.bytes[self.output..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { level: 6, mem_level: 8, strategy: Strategy::Default, window_bits: 15 };

    fn source<'a>(told: &'a [u8], payload: &'a [u8]) -> Source<'a> {
        Source { settings: SETTINGS, told: [told, b""], payload }
    }

    /// Asks for a message, which would become `output`; says what came, and whether it had to be made.
    fn ask(memo: &mut Memo, source: Source<'_>, output: &[u8]) -> (Vec<u8>, bool) {
        let (mut out, mut made) = (b"before".to_vec(), false);
        memo.append(source, &mut out, |out| {
            made = true;
            out.extend_from_slice(output);
        });
        (out.split_off(b"before".len()), made)
    }

    #[test]
    fn an_equal_message_is_compressed_once() {
        let mut memo = Memo::new();
        assert_eq!(ask(&mut memo, source(b"told", b"message"), b"made"), (b"made".to_vec(), true));
        for _ in 0..3 {
            assert_eq!(ask(&mut memo, source(b"told", b"message"), b"again"), (b"made".to_vec(), false));
        }
    }

    #[test]
    fn a_message_that_differs_in_anything_is_another() {
        let other = Settings { level: 1, ..SETTINGS };
        for different in [
            Source { settings: other, ..source(b"told", b"message") },
            source(b"tolD", b"message"),
            source(b"Told", b"message"),
            source(b"told", b"messagE"),
            source(b"told", b"Message"),
            source(b"tol", b"dmessage"),
            source(b"toldm", b"essage"),
            source(b"old", b"message"),
            source(b"told", b"messag"),
            source(b"", b"message"),
        ] {
            let mut memo = Memo::new();
            ask(&mut memo, source(b"told", b"message"), b"made");
            assert_eq!(ask(&mut memo, different, b"another"), (b"another".to_vec(), true));
        }
    }

    #[test]
    fn where_the_history_is_cut_does_not_matter() {
        let (told, mut memo) = (b"abcabd", Memo::new());
        ask(&mut memo, source(told, b"message"), b"made");
        for cut in 0..=told.len() {
            let (older, newer) = told.split_at(cut);
            let equal = Source { told: [older, newer], ..source(told, b"message") };
            assert!(!ask(&mut memo, equal, b"").1, "{cut}");
            let different = Source { told: [newer, older], ..equal };
            assert_eq!(ask(&mut memo, different, b"other").1, cut % told.len() != 0, "{cut}");
            memo = Memo::new();
            ask(&mut memo, equal, b"made");
        }
    }

    #[test]
    fn the_message_that_was_used_longest_ago_is_forgotten() {
        for others in [ENTRIES - 2, ENTRIES - 1, ENTRIES] {
            let mut memo = Memo::new();
            ask(&mut memo, source(b"", b"a"), b"made");
            ask(&mut memo, source(b"", b"b"), b"made");
            ask(&mut memo, source(b"", b"a"), b"");
            for n in 0..others {
                ask(&mut memo, source(b"", &[n as u8]), b"made");
            }
            assert!(memo.entries.len() <= ENTRIES);
            let made = [b"a", b"b"].map(|message| ask(&mut memo, source(b"", message), b"made").1);
            assert_eq!(made, [others == ENTRIES, others >= ENTRIES - 1]);
        }
    }

    #[test]
    fn a_room_is_compressed_once_beside_another_and_newcomers() {
        let mut memo = Memo::new();
        let made = |memo: &mut Memo, told: &[u8]| ask(memo, source(told, b"message"), b"made").1;
        assert!(made(&mut memo, b"room 1") && made(&mut memo, b"room 2"));
        for newcomer in 0..100 {
            assert!(!made(&mut memo, b"room 1"));
            assert!(made(&mut memo, &[newcomer]));
            assert!(!made(&mut memo, b"room 2"));
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_made_each_time_and_takes_no_place() {
        for size in [MAX_ENTRY - 1, MAX_ENTRY, MAX_ENTRY + 1] {
            let mut memo = Memo::new();
            ask(&mut memo, source(b"told", b"message"), b"made");
            let payload = vec![b'a'; size - 8];
            let made = [0, 0].map(|_| ask(&mut memo, source(b"told", &payload), b"made").1);
            assert_eq!(made, [true, size > MAX_ENTRY]);
            assert!(!ask(&mut memo, source(b"told", b"message"), b"").1);
        }
    }

    #[test]
    fn buffers_serve_again_and_are_bounded() {
        let mut memo = Memo::new();
        let buffers = |memo: &Memo| {
            let mut buffers: Vec<_> = memo.entries.iter().map(|entry| entry.bytes.as_ptr()).collect();
            buffers.sort();
            buffers
        };
        for n in 0..ENTRIES as u8 {
            ask(&mut memo, source(b"", &[n; 1024]), b"made");
        }
        let before = buffers(&memo);
        for n in 0..100 {
            ask(&mut memo, source(b"", &[b'a' + n; 1000]), b"made");
            assert_eq!(buffers(&memo), before);
        }
        for size in (MAX_ENTRY - 99..=MAX_ENTRY).chain([1]) {
            ask(&mut memo, source(b"", &vec![b'a'; size - 1]), b"!");
            assert!(memo.entries.iter().all(|entry| entry.bytes.capacity() <= MAX_ENTRY));
        }
    }
}
