//! What is sent to many and has not reached their streams yet: each one's broadcasts in their order, and whose turn is next.
//!
//! A command to thousands is only noted here, in one compact table. A stream is given what it is due when it is its turn to
//! write, all at once, or before a command of its own is carried out. So an answer does not wait until thousands have been
//! looked at, and each is looked at once for all that has come meanwhile.

use std::collections::VecDeque;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::broadcast::Broadcast;
use super::queued::{Queued, Share};
use crate::port::message::StreamId;

/// How many deliveries may be due, and bytes of their payloads (each broadcast's once).
const MOST: usize = 1 << 16;
const MOST_BYTES: usize = 4 << 20;

/// Who is due what.
pub struct Due {
    of: FxHashMap<StreamId, Owed>,
    /// Everybody in `of`, and some who have been given it before their turn.
    turns: VecDeque<StreamId>,
    /// Deliveries.
    count: usize,
    bytes: Rc<Queued>,
}

/// What one stream is due, in order.
pub enum Owed {
    One(Rc<Broadcast>),
    Several(Vec<Rc<Broadcast>>),
}

impl Owed {
    pub fn broadcasts(&self) -> &[Rc<Broadcast>] {
        match self {
            Self::One(broadcast) => std::slice::from_ref(broadcast),
            Self::Several(broadcasts) => broadcasts,
        }
    }

    fn push(&mut self, broadcast: Rc<Broadcast>) {
        match self {
            Self::One(first) => *self = Self::Several(vec![Rc::clone(first), broadcast]),
            Self::Several(broadcasts) => broadcasts.push(broadcast),
        }
    }
}

impl Default for Due {
    fn default() -> Self {
        Self { of: FxHashMap::default(), turns: VecDeque::new(), count: 0, bytes: Queued::new(Some(MOST_BYTES)) }
    }
}

impl Due {
    /// Counts the bytes of a broadcast for as long as it is due to anybody.
    pub fn share(&self) -> Share {
        self.bytes.share()
    }

    /// It is due so much that no more should be added.
    pub fn is_full(&self) -> bool {
        self.count >= MOST || self.turns.len() >= MOST || self.bytes.is_exceeded()
    }

    /// Nobody is due anything.
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// A stream is to be given this, behind what it is due already.
    pub fn add(&mut self, stream: StreamId, broadcast: Rc<Broadcast>) {
        use std::collections::hash_map::Entry;
        self.count += 1;
        match self.of.entry(stream) {
            Entry::Occupied(mut owed) => owed.get_mut().push(broadcast),
            Entry::Vacant(place) => {
                place.insert(Owed::One(broadcast));
                self.turns.push_back(stream);
            }
        }
    }

    /// Takes out what a stream is due, whoever's turn it is; or because the stream has ended.
    pub fn take(&mut self, stream: StreamId) -> Option<Owed> {
        if self.of.is_empty() {
            return None; // Mostly.
        }
        let owed = self.of.remove(&stream)?;
        self.count -= owed.broadcasts().len();
        Some(owed)
    }

    /// Takes out what the next stream is due.
    pub fn next(&mut self) -> Option<(StreamId, Owed)> {
        while let Some(stream) = self.turns.pop_front() {
            if let Some(owed) = self.take(stream) {
                return Some((stream, owed));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::message::Frame;

    fn broadcast(due: &Due, payload: &[u8]) -> Rc<Broadcast> {
        Rc::new(Broadcast::new(&[Frame::Ping(payload)], &Queued::new(None), due.share(), 0))
    }

    /// What there is of each, by the lengths of the payloads.
    fn lengths(owed: &Owed) -> Vec<u64> {
        owed.broadcasts().iter().map(|broadcast| broadcast.payload()).collect()
    }

    #[test]
    fn each_gets_all_of_its_own_in_order_at_the_turn_of_the_first() {
        let mut due = Due::default();
        let [one, two] = [&[0; 1][..], &[0; 2]].map(|payload| broadcast(&due, payload));
        for (stream, broadcast) in [(7, &one), (8, &one), (9, &one), (8, &two), (7, &two), (7, &two)] {
            due.add(stream, Rc::clone(broadcast));
        }
        assert_eq!(due.take(8).as_ref().map(lengths), Some(vec![1, 2]), "before its turn");
        due.add(8, two);
        let turns: Vec<_> = std::iter::from_fn(|| due.next().map(|(stream, owed)| (stream, lengths(&owed)))).collect();
        assert_eq!(turns, [(7, vec![1, 2, 2]), (8, vec![2]), (9, vec![1])]);
        assert!(due.is_empty() && due.take(7).is_none());
    }

    #[test]
    fn it_is_full_with_so_many_deliveries_or_turns_or_bytes() {
        let mut due = Due::default();
        let small = broadcast(&due, b"");
        for n in 0..MOST {
            assert!(!due.is_full(), "{n} deliveries");
            due.add(n as StreamId % 2, Rc::clone(&small));
        }
        assert!(due.is_full());
        due.take(0);
        assert!(!due.is_full());
        due.take(1);
        for n in 2..MOST {
            assert!(!due.is_full(), "{n} turns");
            due.add(0, Rc::clone(&small));
            due.take(0);
        }
        assert!(due.is_full());
        assert!(due.next().is_none() && !due.is_full());
        let large = [MOST_BYTES, 1].map(|size| {
            assert!(!due.is_full(), "so many bytes may be held");
            broadcast(&due, &vec![0; size])
        });
        assert!(due.is_full());
        drop(large);
        assert!(!due.is_full());
    }
}
