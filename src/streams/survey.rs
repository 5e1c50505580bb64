//! Looks at all WebSockets for whoever asks about them, a few at a time: the loop turns between two looks, so that who has
//! something to do waits for some of them and not for all. What is found is of that moment, for each of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use tokio::time::Instant;

use super::Streams;
use super::application::ready;
use super::status::{Ended, Status};
use crate::port::Port;
use crate::port::message::{Filter, Query, SIDECAR, Sort, StreamId};

/// So many are looked at in one turn.
const AT_ONCE: usize = 256;

/// So many are told of in one event.
const TOLD_AT_ONCE: usize = 64;

/// And so many numbers.
const NUMBERS_AT_ONCE: usize = 1024;

/// Answers which WebSockets come first, as `connections` of the question, in several events, of which the last is empty.
pub async fn connections(streams: Rc<Streams>, port: Rc<Port>, question: u64, query: Query) {
    let found = if query.closed { ended(&streams, &query) } else { first(&streams, &query).await };
    for found in found.chunks(TOLD_AT_ONCE).chain([&[][..]]) {
        ready(&*streams.app).await;
        let now = Instant::now();
        port.event(SIDECAR, |w| {
            w.tuple(3).atom("connections").integer(question).list(found.len());
            for one in found {
                match one {
                    Found::There(status) => status.encode(w, now, 0),
                    Found::Ended(ended) => ended.encode(w, now),
                }
            }
            w.nil();
        });
    }
}

/// Answers which WebSockets a filter means, by their numbers, as `streams` of the question, likewise.
pub async fn numbers(streams: Rc<Streams>, port: Rc<Port>, question: u64, filter: Filter) {
    let mut numbers = Vec::new();
    look(&streams, &filter, |status, _| numbers.push(status.stream)).await;
    for numbers in numbers.chunks(NUMBERS_AT_ONCE).chain([&[][..]]) {
        ready(&*streams.app).await;
        port.event(SIDECAR, |w| {
            w.tuple(3).atom("streams").integer(question).list(numbers.len());
            for number in numbers {
                w.integer(*number);
            }
            w.nil();
        });
    }
}

enum Found {
    There(Status),
    Ended(Ended),
}

/// One of the first so far. Those of the same measure are ordered by number, so that the same question has the same answer.
struct Ranked(u64, Reverse<StreamId>, Status);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Ranked {}

async fn first(streams: &Streams, query: &Query) -> Vec<Found> {
    let mut first = BinaryHeap::new();
    look(streams, &query.filter, |status, now| {
        let measure = status.measure(query.sort, now);
        first.push(Reverse(Ranked(measure, Reverse(status.stream), status)));
        if first.len() > query.limit {
            first.pop(); // The least of them.
        }
    })
    .await;
    first.into_sorted_vec().into_iter().map(|Reverse(Ranked(_, _, status))| Found::There(status)).collect()
}

fn ended(streams: &Streams, query: &Query) -> Vec<Found> {
    let mut ended = streams.recent.all();
    ended.retain(|ended| ended.status.is_meant(&query.filter, ended.at));
    ended.reverse(); // The last first; and a stable sort leaves it so where two are equal.
    if query.sort != Sort::Closed {
        ended.sort_by_key(|ended| Reverse(ended.status.measure(query.sort, ended.at)));
    }
    ended.truncate(query.limit);
    ended.into_iter().map(Found::Ended).collect()
}

/// Gives each WebSocket that is meant to `found`.
async fn look(streams: &Streams, filter: &Filter, mut found: impl FnMut(Status, Instant)) {
    let meant = match filter.who {
        Some(who) => streams.find(who).into_iter().collect(),
        None => streams.numbers(),
    };
    let filter = &Filter { who: None, ..filter.clone() };
    for some in meant.chunks(AT_ONCE) {
        let now = Instant::now();
        for status in some.iter().filter_map(|id| streams.status(*id)) {
            if status.is_meant(filter, now) {
                found(status, now);
            }
        }
        tokio::task::yield_now().await;
    }
}
