//! The inflation of compressed messages (RFC 7692, 7.2.2).
//!
//! An inflater of zlib costs 43 to 48 KB, and is needed only while a message is read. So the connections of a thread
//! share them: a connection borrows one for a message, and keeps for itself only what the protocol makes it remember,
//! the last bytes of what it has inflated (nothing at all without context takeover). To put 32 KiB of history into an
//! inflater takes less than a microsecond.

use std::cell::{Cell, RefCell};
use std::mem;
use std::ops::{Deref, DerefMut};

use flate2::{Decompress, FlushDecompress, Status};

use super::history::History;
use super::{Agreement, CHUNK, Error};
use crate::metrics::count;

/// What the sender has cut off the end of every message (RFC 7692, 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// A last, empty block: where it is understood as such, the message has ended at the end of a block.
const FINAL_BLOCK: [u8; 2] = [0x03, 0x00];

/// How many unused inflaters a thread keeps.
const MAX_SPARE: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<Decompress>> = const { RefCell::new(Vec::new()) };
    static OUTPUT: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// The inflation of one client's messages.
pub struct Inflater {
    /// What the next message may refer to; `None` without context takeover.
    history: Option<History>,
    /// Borrowed while a message is read.
    live: Option<Decompress>,
    /// No byte has been read since the DEFLATE stream in `live` began.
    fresh: bool,
    /// How many bytes of [`TAIL`] have been read.
    tail: usize,
    /// The data is wrong after what has come out so far.
    broken: bool,
}

/// What [`Inflater::feed`] has done.
#[derive(Debug)]
pub struct Fed {
    /// Bytes of input that were read.
    pub used: usize,
    /// Bytes of output that were written.
    pub made: usize,
    /// All input is read and all that it stands for is written. Otherwise the output is full or the data is wrong: feed
    /// again, even without input.
    pub drained: bool,
}

impl Inflater {
    pub fn new(agreement: &Agreement) -> Inflater {
        Inflater {
            // zlib compresses with 9 bits where 8 are agreed on, and so do its users.
            history: agreement
                .client_context_takeover
                .then(|| History::new(1 << agreement.client_max_window_bits.clamp(9, 15))),
            live: None,
            fresh: true,
            tail: 0,
            broken: false,
        }
    }

    /// Inflates the next bytes of a message into `output`, which must not be empty. `last`: the message has no byte after
    /// `input`.
    pub fn feed(&mut self, input: &[u8], last: bool, output: &mut [u8]) -> Result<Fed, Error> {
        if self.broken {
            return Err(Error::Deflate);
        }
        let live = self.live.get_or_insert_with(|| borrow(self.history.as_ref()));
        let (mut used, mut made, mut remembered) = (0, 0, 0);
        let drained = loop {
            let in_tail = used == input.len() && last;
            let source = if in_tail { &TAIL[self.tail..] } else { &input[used..] };
            // A message without data, or that ends with a final block and nothing after it (RFC 7692, 7.2.3.4 adds an empty
            // block, but not everybody does), has no block that the tail could be the end of.
            if self.fresh && self.tail == 0 && (in_tail || source.is_empty()) {
                break true;
            }
            let (total_in, total_out) = (live.total_in(), live.total_out());
            let result = live.decompress(source, &mut output[made..], FlushDecompress::None);
            let read = (live.total_in() - total_in) as usize;
            made += (live.total_out() - total_out) as usize;
            *(if in_tail { &mut self.tail } else { &mut used }) += read;
            self.fresh &= read == 0;
            match result {
                Err(_) => {
                    self.broken = true;
                    break false;
                }
                // What comes after a final block is a new stream with the same window.
                Ok(Status::StreamEnd) => {
                    if let Some(history) = &mut self.history {
                        history.push(&output[remembered..made]);
                        remembered = made;
                    }
                    restart(live, self.history.as_ref());
                    self.fresh = true;
                }
                Ok(_) if made == output.len() => break false,
                Ok(_) if read < source.len() => {
                    self.broken = true;
                    break false;
                }
                Ok(_) if in_tail || !last => break true,
                Ok(_) => {}
            }
        };
        if let Some(history) = &mut self.history {
            history.push(&output[remembered..made]);
        }
        count(|metrics| {
            metrics.inflate_bytes_in.add(used as u64);
            metrics.inflate_bytes_out.add(made as u64);
        });
        if self.broken && made == 0 { Err(Error::Deflate) } else { Ok(Fed { used, made, drained }) }
    }

    /// Ends the message, of which everything has been fed. It must have ended at the end of a block.
    pub fn end(&mut self) -> Result<(), Error> {
        self.tail = 0;
        let fresh = mem::replace(&mut self.fresh, true);
        let Some(mut live) = self.live.take() else { return Ok(()) };
        if !fresh {
            let total_out = live.total_out();
            let result = live.decompress(&FINAL_BLOCK, &mut [0], FlushDecompress::None);
            if !matches!(result, Ok(Status::StreamEnd)) || live.total_out() != total_out {
                return Err(Error::Deflate);
            }
        }
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < MAX_SPARE {
                spare.push(live);
            }
        });
        Ok(())
    }
}

fn borrow(history: Option<&History>) -> Decompress {
    let spare = SPARE.with_borrow_mut(Vec::pop);
    let mut live = spare.unwrap_or_else(|| Decompress::new(false));
    restart(&mut live, history);
    live
}

/// Begins a new stream that may refer to `history`. An inflater has a window of 32 KiB always, so the history is what
/// bounds a client that agreed to a smaller one.
fn restart(live: &mut Decompress, history: Option<&History>) {
    live.reset(false);
    for part in history.iter().flat_map(|history| history.last(usize::MAX)) {
        if !part.is_empty() {
            // Refused only by streams with a zlib header.
            let _ = live.set_dictionary(part);
        }
    }
}

/// A buffer of [`CHUNK`] bytes to inflate into, one per thread.
pub struct Output(Box<[u8]>);

impl Output {
    pub fn take() -> Output {
        Output(OUTPUT.take().unwrap_or_else(|| vec![0; CHUNK].into()))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        OUTPUT.set(Some(mem::take(&mut self.0)));
    }
}

impl Deref for Output {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Output {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inflates whole messages with one inflater, each given in pieces of `step` bytes, to outputs of `room` bytes.
    fn inflate(agreement: &Agreement, messages: &[&[u8]], step: usize, room: usize) -> Result<Vec<u8>, Error> {
        let mut inflater = Inflater::new(agreement);
        let mut result = Vec::new();
        let mut output = vec![0; room];
        for message in messages {
            let mut at = 0;
            loop {
                let end = message.len().min(step.saturating_add(at));
                let fed = inflater.feed(&message[at..end], end == message.len(), &mut output)?;
                result.extend_from_slice(&output[..fed.made]);
                at += fed.used;
                if fed.drained && at == message.len() {
                    break;
                }
            }
            inflater.end()?;
        }
        Ok(result)
    }

    fn inflated(messages: &[&[u8]], takeover: bool) -> Result<Vec<u8>, Error> {
        let agreement = Agreement { client_context_takeover: takeover, ..Agreement::default() };
        let whole = inflate(&agreement, messages, usize::MAX, 1000);
        for (step, room) in [(1, 1000), (2, 1), (100, 1), (100, 2)] {
            assert_eq!(inflate(&agreement, messages, step, room), whole);
        }
        whole
    }

    /// RFC 7692, 7.2.3.1 to 7.2.3.6.
    #[test]
    fn messages_are_those_of_the_rfc() {
        const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
        let stored = b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00";
        let final_block = b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00";
        let two_blocks = b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00";
        for takeover in [true, false] {
            for message in [HELLO, stored, final_block, two_blocks] {
                assert_eq!(inflated(&[message, message, HELLO], takeover).as_deref(), Ok(&b"HelloHelloHello"[..]));
            }
            assert_eq!(inflated(&[b"\x00", HELLO, b"\x00"], takeover).as_deref(), Ok(&b"Hello"[..]));
        }
        let with_context = b"\xf2\x00\x11\x00\x00";
        assert_eq!(inflated(&[HELLO, with_context], true).as_deref(), Ok(&b"HelloHello"[..]));
        assert_eq!(inflated(&[HELLO, with_context], false), Err(Error::Deflate));
    }

    #[test]
    fn a_message_may_end_with_a_final_block_or_have_no_data() {
        let final_block = &b"\xf3\x48\xcd\xc9\xc9\x07\x00"[..];
        for takeover in [true, false] {
            assert_eq!(inflated(&[final_block, b"", final_block], takeover).as_deref(), Ok(&b"HelloHello"[..]));
        }
    }

    #[test]
    fn what_comes_after_a_final_block_may_refer_to_what_came_before() {
        let messages = [&b"\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x00\x11\x00\x00"[..], b"\xf2\x00\x11\x00\x00"];
        assert_eq!(inflated(&messages, true).as_deref(), Ok(&b"HelloHelloHello"[..]));
    }

    #[test]
    fn a_message_that_ends_within_a_block_is_refused() {
        for message in [&b"\xf2\x48"[..], b"\xf2\x48\xcd\xc9\xc9\x07", b"\x00\x06\x00\xf9\xff\x48"] {
            assert_eq!(inflated(&[message], true), Err(Error::Deflate));
        }
    }

    #[test]
    fn wrong_data_is_refused_after_what_came_before_it() {
        let message = b"\xf2\x48\x05\x00\x00\x00\xff\xff\xff";
        let mut inflater = Inflater::new(&Agreement::default());
        let mut output = [0; 9];
        let fed = inflater.feed(message, true, &mut output).unwrap();
        assert_eq!((&output[..fed.made], fed.drained), (&b"He"[..], false));
        assert_eq!(inflater.feed(&[], true, &mut output).unwrap_err(), Error::Deflate);
    }
}
