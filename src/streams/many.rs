//! Topics, and what is sent to many: who gets it, and when.

use std::rc::Rc;

use super::broadcast::Broadcast;
use super::due::Owed;
use super::stream::{Delivered, Stream, Turn};
use super::{Entry, Streams, topics};
use crate::metrics::reached;
use crate::port::message::{Command, Frame, Member, Publish, Reason, SendMany, StreamId};

impl Streams {
    /// Subscribes a stream; the application is told where a limit forbids it, for which a lazy handler begins.
    pub fn subscribe(&self, id: StreamId, topic: &[u8]) {
        if self.table.borrow().contains_key(&id)
            && let Err(topics::Refused(limit)) = self.topics.borrow_mut().subscribe(id, topic)
        {
            reached(limit);
            self.wake(id);
            self.app.not_subscribed(id, topic, limit.name());
        }
    }

    /// Ends a subscription.
    pub fn unsubscribe(&self, id: StreamId, topic: &[u8]) {
        self.topics.borrow_mut().unsubscribe(id, topic);
    }

    /// Sends frames to the subscribers of a topic. `sender` is the stream that is meant by [`Member::Itself`].
    pub fn publish(&self, publish: &Publish<'_>, sender: Option<StreamId>) {
        let except = match publish.except {
            Some(Member::Itself) => sender,
            Some(Member::Process(pid)) => self.of_process(pid),
            None => None,
        };
        let topics = self.topics.borrow();
        let subscribers = topics.subscribers(publish.topic).iter().copied();
        self.deliver(&publish.frames, subscribers.filter(|id| Some(*id) != except));
    }

    /// Sends frames to the WebSockets of processes. Those that have none here are not meant.
    pub fn send_many(&self, many: &SendMany<'_>) {
        let of_process = self.of_process.borrow();
        self.deliver(&many.frames, many.pids.iter().filter_map(|pid| of_process.get(pid).copied()));
    }

    /// Sends frames to these streams: from now on they are due to them.
    fn deliver(&self, frames: &[Frame<'_>], ids: impl Iterator<Item = StreamId>) {
        let held = self.due.borrow().share();
        let broadcast = Rc::new(Broadcast::new(frames, &self.queued, held, self.options.window));
        let at_once = self.is_behind();
        for id in ids {
            if !at_once {
                self.due.borrow_mut().add(id, Rc::clone(&broadcast));
            } else if let Some(Entry { stream, .. }) = self.table.borrow().get(&id) {
                self.give_due(id, stream);
                self.give(id, stream, &broadcast);
            }
        }
    }

    /// Gives a stream what it is due, before its turn.
    pub(super) fn give_due(&self, id: StreamId, stream: &Rc<dyn Stream>) {
        let owed = self.due.borrow_mut().take(id);
        owed.iter().for_each(|owed| self.give_all(id, stream, owed));
    }

    pub(super) fn give_all(&self, id: StreamId, stream: &Rc<dyn Stream>, owed: &Owed) {
        owed.broadcasts().iter().for_each(|broadcast| self.give(id, stream, broadcast));
    }

    /// Gives a stream what was sent to many.
    fn give(&self, id: StreamId, stream: &Rc<dyn Stream>, broadcast: &Broadcast) {
        let turn = match stream.deliver(broadcast) {
            Delivered::Queued => Turn::Shared,
            Delivered::Nothing => return,
            Delivered::TooMuch => {
                tracing::debug!(stream = id, "closed: it has not taken what was sent to many");
                self.app.closed(id, &Reason::Socket("backlog"));
                if !stream.command(Command::Cut(1013)) {
                    return;
                }
                Turn::Own
            }
        };
        self.dirty[turn as usize].borrow_mut().push_back(Rc::clone(stream));
    }

    /// So much is due to clients that no more commands should be carried out before they have got some of it.
    pub fn is_behind(&self) -> bool {
        self.due.borrow().is_full()
    }

    /// How many subscribers a topic has.
    pub fn subscribers(&self, topic: &[u8]) -> usize {
        self.topics.borrow().subscribers(topic).len()
    }

    /// How many topics have a subscriber, and how many subscriptions there are.
    pub fn topic_counts(&self) -> (usize, usize) {
        self.topics.borrow().counts()
    }

    /// The topics that have a subscriber.
    pub fn topics(&self) -> Vec<topics::Topic> {
        self.topics.borrow().names().map(Rc::clone).collect()
    }
}
