//! One message on its way from frames to events: limits, UTF-8, and the cutting into pieces.
//!
//! A message that fits into one piece becomes one event, however it was fragmented and segmented. A longer one is given
//! away piece by piece, so that no connection holds more than one piece.

use std::ops::ControlFlow;

use super::kept::Kept;
use super::utf8::Utf8;
use super::{CHUNK, Error, Event, Kind, Options};

/// A piece of a long message that is at least this long (in bytes) is given as it is. Shorter ones are gathered first,
/// because each event has a price of its own.
const WORTH_AN_EVENT: usize = 16 * 1024;

/// Where events go: takes each, and breaks to stop after it.
pub trait Sink: FnMut(Event<'_>) -> ControlFlow<()> {}

impl<F: FnMut(Event<'_>) -> ControlFlow<()>> Sink for F {}

/// A message of which the first frame's header has been read.
pub struct Message {
    kind: Kind,
    /// The first frame had RSV1; or the last one, where each is compressed for itself.
    pub compressed: bool,
    /// Frames so far.
    fragments: u32,
    /// Bytes so far, inflated.
    size: u64,
    utf8: Utf8,
    /// Bytes that no event has carried yet: at most [`CHUNK`].
    gathered: Kept,
    /// An event has carried some of it.
    given: bool,
}

impl Message {
    pub fn new(kind: Kind, compressed: bool) -> Message {
        Message {
            kind,
            compressed,
            fragments: 0,
            size: 0,
            utf8: Utf8::default(),
            gathered: Kept::default(),
            given: false,
        }
    }

    /// Another frame of it begins. Frames without payload cost time, and put off the idle timeout, without end.
    pub fn count_fragment(&mut self, max: u32) -> Result<(), Error> {
        if self.fragments >= max {
            return Err(Error::ManyFragments(max));
        }
        self.fragments = self.fragments.saturating_add(1);
        Ok(())
    }

    /// Refuses `more` bytes that would make the message too long.
    pub fn allow(&self, more: u64, options: &Options) -> Result<(), Error> {
        let size = self.size.saturating_add(more);
        let max = options.max_frame_size;
        if size > max { Err(Error::LongMessage { size, max }) } else { Ok(()) }
    }

    /// How many bytes may come before the message is too long, and one more, by which that is seen.
    pub fn allowance(&self, options: &Options) -> u64 {
        options.max_frame_size.saturating_sub(self.size).saturating_add(1)
    }

    /// Checks the next piece of the message. `last`: nothing comes after it. Where both the limit and UTF-8 are broken, the
    /// first byte that breaks one decides, so that the client's segments have no say in it.
    pub fn check(&mut self, piece: &[u8], last: bool, options: &Options) -> Result<(), Error> {
        let allowed = self.allowance(options).saturating_sub(1).min(piece.len() as u64) as usize;
        if self.kind == Kind::Text && options.validate_utf8 {
            self.utf8.push(&piece[..allowed]).map_err(|_| Error::Utf8)?;
            if last {
                self.utf8.finish().map_err(|_| Error::Utf8)?;
            }
        }
        self.allow(piece.len() as u64, options)?;
        self.size += piece.len() as u64;
        Ok(())
    }

    /// How many bytes can be gathered before a piece must be given away.
    pub fn room(&self) -> usize {
        CHUNK - self.gathered.len()
    }

    /// Gives away what is gathered. The message goes on.
    pub fn flush(&mut self, sink: &mut impl Sink) -> ControlFlow<()> {
        self.given = true;
        let flow = sink(Event::Part(self.kind, &self.gathered));
        self.gathered.vec().clear();
        flow
    }

    /// Takes a piece which is not the last and for which there is room. `left` more bytes are known to come.
    pub fn add(&mut self, piece: &[u8], left: u64, sink: &mut impl Sink) -> ControlFlow<()> {
        let long = self.given || piece.len() as u64 + left > CHUNK as u64;
        if long && self.gathered.is_empty() && piece.len() >= WORTH_AN_EVENT {
            self.given = true;
            return sink(Event::Part(self.kind, piece));
        }
        self.keep(piece);
        ControlFlow::Continue(())
    }

    /// Gathers a piece for which there is room. The buffer grows by doubling, but never beyond [`CHUNK`].
    pub fn keep(&mut self, piece: &[u8]) {
        let size = self.gathered.len() + piece.len();
        let gathered = self.gathered.vec();
        if size > gathered.capacity() {
            let capacity = size.next_power_of_two().min(CHUNK);
            gathered.reserve_exact(capacity - gathered.len());
        }
        gathered.extend_from_slice(piece);
    }

    /// Takes the last piece, for which there is room, and gives the message or what is left of it.
    pub fn end(mut self, piece: &[u8], sink: &mut impl Sink) -> ControlFlow<()> {
        if self.gathered.is_empty() {
            return sink(Event::Message(self.kind, piece));
        }
        self.keep(piece);
        sink(Event::Message(self.kind, &self.gathered))
    }

    /// Frees an empty buffer: the connection may stay as it is for long.
    pub fn trim(&mut self) {
        if self.gathered.is_empty() {
            self.gathered = Kept::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wrong_byte_decides_between_limit_and_encoding() {
        let options = Options { max_frame_size: 2, validate_utf8: true, max_fragments: u32::MAX };
        let check = |piece| Message::new(Kind::Text, true).check(piece, false, &options);
        assert_eq!(check(b"ab"), Ok(()));
        assert_eq!(check(b"a\xff!"), Err(Error::Utf8));
        assert_eq!(check(b"ab\xff"), Err(Error::LongMessage { size: 3, max: 2 }));
    }

    #[test]
    fn the_buffer_never_exceeds_a_chunk() {
        let mut message = Message::new(Kind::Binary, false);
        for size in [1, 40_000, CHUNK - 40_001] {
            message.keep(&vec![0; size]);
            assert!(message.gathered.vec().capacity() <= CHUNK);
        }
        assert_eq!(message.room(), 0);
    }
}
