//! Whose turn it is.

use super::*;
use crate::port::Port;
use crate::port::message::Frame;

type Flushed = Rc<RefCell<Vec<(StreamId, Turn)>>>;

/// Has always something to be written, and says when it may.
struct Member(StreamId, Flushed);

impl Stream for Member {
    fn command(&self, _: Command<'_>) -> bool {
        true
    }

    fn deliver(&self, _: &Broadcast<'_>) -> Delivered {
        Delivered::Queued
    }

    fn flush(&self, turn: Turn) {
        self.1.borrow_mut().push((self.0, turn));
    }

    fn blocked_since(&self) -> Option<Instant> {
        None
    }

    fn give_up(&self) {}

    fn go_away(&self) {}
}

#[tokio::test]
async fn an_answer_waits_for_a_few_of_those_who_are_sent_what_many_are() {
    let options = Options {
        window: 1000,
        max_queued: None,
        send_timeout: None,
        linger_timeout: None,
        topics: topics::Limits { topics: 1, per_stream: 1 },
    };
    let streams = Streams::new(Rc::new(Port::default()), options);
    let flushed = Flushed::default();
    for id in 1..=101 {
        streams.insert(id, Rc::new(Member(id, Rc::clone(&flushed))));
    }
    (1..=100).for_each(|id| streams.subscribe(id, b"topic"));
    let frames = vec![Frame::Ping(b"")];
    streams.publish(&Publish { topic: b"topic", except: None, frames }, None);
    streams.command(101, Command::Abort);
    assert!(streams.flush(SHARED_PART));
    assert_eq!(flushed.borrow()[0], (101, Turn::Own));
    assert_eq!(flushed.borrow().len(), 2);
    // The others have their turn although there is always something else.
    for turn in 2..=99 {
        streams.command(101, Command::Abort);
        assert!(streams.flush(SHARED_PART), "turn {turn}");
    }
    assert!(!streams.flush(SHARED_PART));
    let members = flushed.borrow().iter().filter(|(_, turn)| *turn == Turn::Shared).count();
    assert_eq!(members, 100);
}
