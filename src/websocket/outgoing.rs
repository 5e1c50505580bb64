//! What is to be written to one client, in order: frames of its own, and frames that it shares with others. No socket.
//!
//! Most clients have only frames of their own, in one buffer. A shared one that must wait is held by reference, in a list
//! before that buffer; what comes behind it begins the buffer anew. An idle client has neither.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

use crate::port::message::OVERHEAD;
use crate::streams::broadcast::Shared;
use crate::ws;

/// Bytes that have been written and are not worth being forgotten while others wait behind them.
const KEPT: usize = 65_536;

/// Pieces that one system call writes.
const SLICES: usize = 16;

/// Bytes to be written. What has been written and is not forgotten yet lies before them.
#[derive(Default)]
pub struct Outgoing {
    /// Of the first piece, so much has been written.
    written: usize,
    /// Bytes at the beginning of the first piece before its first frame: the upgrade's answer, or the end of a frame whose
    /// beginning has been written.
    lead: usize,
    /// The frames before that began a message, and did not end it.
    within: bool,
    many: Option<Box<Many>>,
    /// The client's own frames, behind those of `many`.
    own: Vec<u8>,
}

/// There while a shared frame waits.
#[derive(Default)]
struct Many {
    /// Never within a message, but for the beginning of the first.
    pieces: VecDeque<Piece>,
    /// The sum of their lengths.
    bytes: usize,
    /// The part of it that is the client's own.
    own_bytes: usize,
    /// Shared frames that wait for the end of a message of the client's own.
    held: Vec<Rc<Shared>>,
    /// The sum of their lengths.
    held_bytes: usize,
}

enum Piece {
    Own(Vec<u8>),
    /// So many bytes of shared frames, from their beginning.
    Shared(Rc<Shared>, usize),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(shared, length) => &shared.bytes()[..*length],
        }
    }
}

impl Outgoing {
    /// Sets what is written before the first frame: the answer to the upgrade.
    pub fn begin(&mut self, answer: Vec<u8>) {
        self.lead = answer.len();
        self.own = answer;
    }

    /// Nothing waits to be written.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.many.is_none()
    }

    /// Bytes that may be written now.
    pub fn writable(&self) -> usize {
        self.many.as_ref().map_or(0, |many| many.bytes) + self.own.len() - self.written
    }

    /// Bytes that wait to be written.
    pub fn waiting(&self) -> usize {
        self.writable() + self.many.as_ref().map_or(0, |many| many.held_bytes)
    }

    /// What a broadcast finds waiting: the bytes, and what it costs to hold each piece of them for this client.
    pub fn cost(&self) -> usize {
        self.waiting() + self.many.as_ref().map_or(0, |many| OVERHEAD * many.count())
    }

    /// Bytes that wait and are the client's own: those of shared frames are counted by themselves, but for what holds them here.
    pub fn own_waiting(&self) -> usize {
        let Some(many) = &self.many else { return self.own.len() - self.written };
        let written = if let Some(Piece::Shared(..)) = many.pieces.front() { 0 } else { self.written };
        many.own_bytes + self.own.len() - written + size_of::<Piece>() * many.count()
    }

    /// The end of what is to be written, for frames of the client's own. `owed` is how many bytes of a frame whose header has
    /// been appended before are still to come.
    pub fn own(&mut self, owed: usize) -> &mut Vec<u8> {
        if self.writable() == 0 {
            self.lead = owed;
        }
        &mut self.own
    }

    /// Appends shared frames; while a message of the client's own is `open`, behind that.
    pub fn share(&mut self, shared: Rc<Shared>, open: bool) {
        let many = self.many.get_or_insert_default();
        if open {
            many.held_bytes += shared.bytes().len();
            many.held.push(shared);
            return;
        }
        if !self.own.is_empty() {
            let own = std::mem::take(&mut self.own);
            many.bytes += own.len();
            many.own_bytes += own.len();
            many.pieces.push_back(Piece::Own(own));
        }
        let length = shared.bytes().len();
        many.bytes += length;
        many.pieces.push_back(Piece::Shared(shared, length));
    }

    /// The open message has ended: the shared frames that have waited for that are next. Says whether a client's inflater keeps
    /// any of them.
    pub fn release(&mut self) -> bool {
        let Some(many) = &mut self.many else { return false };
        many.held_bytes = 0;
        let held = std::mem::take(&mut many.held);
        let is_kept = held.iter().any(|shared| shared.is_kept());
        held.into_iter().for_each(|shared| self.share(shared, false));
        is_kept
    }

    /// The open message will not end: those that have waited for that go.
    pub fn forget_held(&mut self) {
        if let Some(many) = &mut self.many {
            many.held_bytes = 0;
            many.held = Vec::new();
            if many.pieces.is_empty() {
                self.many = None;
            }
        }
    }

    /// Has `write` take as much as it can of what waits, in one call. `write` says how many bytes it took.
    pub fn write<E>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> Result<usize, E>) -> Result<usize, E> {
        let Some(many) = &self.many else { return write(&[IoSlice::new(&self.own[self.written..])]) };
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        let mut skip = self.written;
        let own = (!self.own.is_empty()).then_some(&self.own[..]);
        for bytes in many.pieces.iter().map(Piece::bytes).chain(own).take(SLICES) {
            slices[count] = IoSlice::new(&bytes[skip..]);
            skip = 0;
            count += 1;
        }
        write(&slices[..count])
    }

    /// `n` more bytes have been written. `within`: a message is open and the last byte ended a frame of it, if it was the last.
    pub fn has_written(&mut self, n: usize, within: bool) {
        self.written += n;
        if let Some(many) = &mut self.many {
            while let Some(first) = many.pieces.front().map(|piece| piece.bytes().len())
                && self.written >= first
            {
                if let Some(Piece::Own(own)) = many.pieces.pop_front() {
                    many.own_bytes -= own.len();
                }
                many.bytes -= first;
                self.written -= first;
                self.lead = 0;
                self.within = false;
            }
            if !many.pieces.is_empty() {
                return;
            }
            if many.held.is_empty() {
                self.many = None;
            }
        }
        if self.written == self.own.len() {
            self.written = 0;
            self.lead = 0;
            self.within = within;
            self.own = Vec::new();
        } else if self.written >= KEPT && self.written >= self.own.len() / 2 {
            // A client that always lags a little never empties it. This moves no byte that it does not pay for.
            let (boundary, within) = self.boundary(&self.own);
            self.lead = boundary - self.written;
            self.within = within;
            self.own.drain(..self.written);
            self.written = 0;
        }
    }

    /// Discards all but the message that is being written; the client does not take the others.
    pub fn cut(&mut self) {
        match self.many.take().and_then(|many| many.pieces.into_iter().next()) {
            Some(Piece::Own(first)) => self.own = first,
            Some(Piece::Shared(shared, _)) => {
                self.own = Vec::new();
                match self.end_of_message(shared.bytes()) {
                    end if end > self.written => {
                        let pieces = VecDeque::from([Piece::Shared(shared, end)]);
                        self.many = Some(Box::new(Many { pieces, bytes: end, ..Many::default() }));
                    }
                    _ => self.written = 0,
                }
                return;
            }
            None => {}
        }
        self.own.truncate(self.end_of_message(&self.own));
        self.own.shrink_to_fit();
    }

    /// Bytes that are to be written before the next frame begins; `owed` as for [`Outgoing::own`].
    pub fn to_boundary(&self, owed: usize) -> usize {
        if self.writable() == 0 {
            return owed;
        }
        let first = self.many.as_ref().and_then(|many| many.pieces.front()).map_or(&self.own[..], Piece::bytes);
        self.boundary(first).0 - self.written
    }

    /// Takes the last frame back, whose payload is not complete. Says whether whole frames are left: not if some of it has been
    /// written.
    pub fn take_back(&mut self) -> bool {
        let mut at = match self.many.as_ref().is_some_and(|many| !many.pieces.is_empty()) {
            true => 0,
            false => self.boundary(&self.own).0,
        };
        while at < self.own.len() {
            let end = at.saturating_add(ws::frame_size(&self.own[at..]));
            if end > self.own.len() {
                self.own.truncate(at);
                return true;
            }
            at = end;
        }
        false
    }

    /// All that may be written now.
    #[cfg(test)]
    pub fn bytes(&self) -> Vec<u8> {
        let many = self.many.iter().flat_map(|many| many.pieces.iter().map(Piece::bytes));
        let all: Vec<u8> = many.chain([&self.own[..]]).flatten().copied().collect();
        all[self.written..].to_vec()
    }

    /// Whether what has been written and not forgotten is little.
    #[cfg(test)]
    pub fn is_compact(&self) -> bool {
        self.written < 2 * KEPT.max(self.waiting())
    }

    /// Where in the first piece the first frame begins of which nothing has been written, and whether that is within a message.
    fn boundary(&self, first: &[u8]) -> (usize, bool) {
        let (mut at, mut within) = (self.lead, self.within);
        while at < self.written {
            within = ws::is_within_message(within, first[at]);
            at = at.saturating_add(ws::frame_size(&first[at..]));
        }
        (at, within)
    }

    /// Where in the first piece the message ends that is being written: where all of it has been written that was begun, if none
    /// is.
    fn end_of_message(&self, first: &[u8]) -> usize {
        match self.boundary(first) {
            (at, true) => message_end(first, at).unwrap_or(at),
            (at, false) => at,
        }
    }
}

impl Many {
    fn count(&self) -> usize {
        self.pieces.len() + self.held.len()
    }
}

/// Where the message ends whose frames go on at `at`, if it does.
fn message_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let within = ws::is_within_message(true, *bytes.get(at)?);
        at = at.saturating_add(ws::frame_size(&bytes[at..]));
        if !within {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests;
