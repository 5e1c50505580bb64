//! Who has subscribed to what. In the event loop's thread; no I/O.
//!
//! A topic is there while it has a subscriber. Both tables are bounded: by the topics of one stream, and by the topics that
//! there are. Names are what handlers choose, perhaps by what clients sent, so their hash is the standard library's.

use std::collections::HashMap;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::metrics::Limit;
use crate::port::message::StreamId;

/// A topic's name.
pub type Topic = Rc<[u8]>;

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Topics of one stream.
    pub per_stream: usize,
    /// Topics with a subscriber.
    pub topics: usize,
}

/// Which limit keeps a stream from being subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub Limit);

/// The subscriptions of all streams.
pub struct Topics {
    limits: Limits,
    by_name: HashMap<Topic, Subscribers>,
    of_stream: FxHashMap<StreamId, Vec<Topic>>,
    /// How many subscriptions there are.
    count: usize,
}

/// A topic's subscribers, in no order.
#[derive(Default)]
struct Subscribers {
    streams: Vec<StreamId>,
    /// Where each is in `streams`.
    places: FxHashMap<StreamId, u32>,
}

impl Topics {
    /// Nobody has subscribed to anything.
    pub fn new(limits: Limits) -> Self {
        Self { limits, by_name: HashMap::new(), of_stream: FxHashMap::default(), count: 0 }
    }

    /// Subscribes a stream; no effect if it has subscribed already.
    pub fn subscribe(&mut self, stream: StreamId, name: &[u8]) -> Result<(), Refused> {
        let known = self.by_name.get_key_value(name);
        if known.is_some_and(|(_, subscribers)| subscribers.places.contains_key(&stream)) {
            return Ok(());
        }
        let own = self.of_stream.get(&stream).map_or(0, Vec::len);
        if own >= self.limits.per_stream {
            return Err(Refused(Limit::MaxTopicsPerClient));
        }
        let topic = match known {
            Some((topic, _)) => Rc::clone(topic),
            None if self.by_name.len() >= self.limits.topics => return Err(Refused(Limit::MaxTopics)),
            None => name.into(),
        };
        self.of_stream.entry(stream).or_default().push(Rc::clone(&topic));
        self.by_name.entry(topic).or_default().add(stream);
        self.count += 1;
        Ok(())
    }

    /// Ends a subscription, if there is one.
    pub fn unsubscribe(&mut self, stream: StreamId, name: &[u8]) {
        let Some(own) = self.of_stream.get_mut(&stream) else { return };
        let Some(at) = own.iter().position(|topic| **topic == *name) else { return };
        let topic = own.swap_remove(at);
        if own.is_empty() {
            self.of_stream.remove(&stream);
        }
        self.leave(stream, &topic);
    }

    /// Ends all subscriptions of a stream.
    pub fn forget(&mut self, stream: StreamId) {
        for topic in self.of_stream.remove(&stream).into_iter().flatten() {
            self.leave(stream, &topic);
        }
    }

    /// The subscribers of a topic.
    pub fn subscribers(&self, name: &[u8]) -> &[StreamId] {
        self.by_name.get(name).map_or(&[], |subscribers| &subscribers.streams)
    }

    /// All topics that have a subscriber.
    pub fn names(&self) -> impl Iterator<Item = &Topic> {
        self.by_name.keys()
    }

    /// How many topics have a subscriber, and how many subscriptions there are.
    pub fn counts(&self) -> (usize, usize) {
        (self.by_name.len(), self.count)
    }

    fn leave(&mut self, stream: StreamId, topic: &Topic) {
        let Some(subscribers) = self.by_name.get_mut(topic) else { return };
        subscribers.remove(stream);
        self.count -= 1;
        if subscribers.streams.is_empty() {
            self.by_name.remove(topic);
            if self.by_name.len() < self.by_name.capacity() / 4 {
                self.by_name.shrink_to_fit(); // Many short-lived topics leave nothing behind.
            }
        }
    }
}

impl Subscribers {
    fn add(&mut self, stream: StreamId) {
        self.places.insert(stream, self.streams.len() as u32);
        self.streams.push(stream);
    }

    fn remove(&mut self, stream: StreamId) {
        let Some(place) = self.places.remove(&stream) else { return };
        self.streams.swap_remove(place as usize);
        if let Some(moved) = self.streams.get(place as usize) {
            self.places.insert(*moved, place);
        }
        if self.streams.len() < self.streams.capacity() / 4 {
            self.streams.shrink_to_fit();
            self.places.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { per_stream: 2, topics: 3 };

    #[test]
    fn a_stream_may_have_as_many_topics_as_the_limit_and_no_more_until_one_is_left() {
        let mut topics = Topics::new(LIMITS);
        assert_eq!(topics.subscribe(1, b"a"), Ok(()));
        assert_eq!(topics.subscribe(1, b"b"), Ok(()));
        assert_eq!(topics.subscribe(1, b"c"), Err(Refused(Limit::MaxTopicsPerClient)));
        assert_eq!(topics.subscribe(1, b"b"), Ok(()), "it is subscribed already");
        topics.unsubscribe(1, b"a");
        assert_eq!(topics.subscribe(1, b"c"), Ok(()));
    }

    #[test]
    fn there_may_be_as_many_topics_as_the_limit_and_no_more_until_one_has_lost_its_last_subscriber() {
        let mut topics = Topics::new(LIMITS);
        for (stream, name) in [(1, b"a"), (2, b"b"), (3, b"c"), (4, b"a")] {
            assert_eq!(topics.subscribe(stream, name), Ok(()));
        }
        assert_eq!(topics.subscribe(5, b"d"), Err(Refused(Limit::MaxTopics)));
        topics.unsubscribe(1, b"a");
        assert_eq!(topics.subscribe(5, b"d"), Err(Refused(Limit::MaxTopics)));
        topics.forget(4);
        assert_eq!(topics.subscribe(5, b"d"), Ok(()));
    }

    #[test]
    fn nothing_is_kept_of_who_has_left() {
        let mut topics = Topics::new(Limits { per_stream: 10, topics: 10_000 });
        for stream in 0..1000 {
            topics.subscribe(stream, b"all").expect("is below the limits");
            topics.subscribe(stream, &stream.to_be_bytes()).expect("is below the limits");
        }
        (0..1000).for_each(|stream| topics.forget(stream));
        assert!(topics.by_name.capacity() < 8 && topics.of_stream.is_empty());
    }

    proptest! {
        #[test]
        fn the_subscribers_are_those_who_have_subscribed_and_not_left(
            steps in prop::collection::vec((0..3u8, 0..8u64, 0..4u8), 0..200),
        ) {
            let mut topics = Topics::new(Limits { per_stream: 100, topics: 100 });
            let mut model = BTreeSet::new();
            for (step, stream, name) in steps {
                match step {
                    0 => {
                        prop_assert_eq!(topics.subscribe(stream, &[name]), Ok(()));
                        model.insert((name, stream));
                    }
                    1 => {
                        topics.unsubscribe(stream, &[name]);
                        model.remove(&(name, stream));
                    }
                    _ => {
                        topics.forget(stream);
                        model.retain(|(_, other)| *other != stream);
                    }
                }
                for name in 0..4 {
                    let found: BTreeSet<_> = topics.subscribers(&[name]).iter().map(|stream| (name, *stream)).collect();
                    prop_assert_eq!(found.len(), topics.subscribers(&[name]).len());
                    let expected = model.iter().filter(|(other, _)| *other == name).copied().collect();
                    prop_assert_eq!(found, expected);
                }
                let names_of_model: BTreeSet<_> = model.iter().map(|(name, _)| *name).collect();
                prop_assert_eq!(topics.counts(), (names_of_model.len(), model.len()));
                let names: BTreeSet<_> = topics.names().map(|topic| topic[0]).collect();
                prop_assert_eq!(names, names_of_model);
            }
        }
    }
}
