//! Whose turn it is.

use super::broadcast::Broadcast;
use super::*;
use crate::port::Port;
use crate::port::message::{Frame, Publish};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    Command,
    /// It was given frames for many, with so many bytes of payload.
    Deliver(u64),
    Flush(Turn),
}

type Done = Rc<RefCell<Vec<(StreamId, Did)>>>;

/// Has always something to be written, and says what it is told to do.
struct Member(StreamId, Done);

impl Stream for Member {
    fn command(&self, _: Command<'_>) -> bool {
        self.1.borrow_mut().push((self.0, Did::Command));
        true
    }

    fn deliver(&self, broadcast: &Broadcast) -> Delivered {
        self.1.borrow_mut().push((self.0, Did::Deliver(broadcast.payload())));
        Delivered::Queued
    }

    fn flush(&self, turn: Turn) {
        self.1.borrow_mut().push((self.0, Did::Flush(turn)));
    }

    fn blocked_since(&self) -> Option<Instant> {
        None
    }

    fn give_up(&self) {}

    fn go_away(&self) {}
}

/// So many members of a topic, and what they have done.
fn members(count: StreamId) -> (Rc<Streams>, Done) {
    let options = Options {
        window: 1000,
        max_queued: None,
        send_timeout: None,
        linger_timeout: None,
        topics: topics::Limits { topics: 1, per_stream: 1 },
    };
    let streams = Streams::new(Rc::new(Port::default()), options).expect("has a set of sockets");
    let done = Done::default();
    for id in 1..=count {
        streams.insert(id, Rc::new(Member(id, Rc::clone(&done))));
        streams.subscribe(id, b"topic");
    }
    (streams, done)
}

fn publish(streams: &Streams, payload: &[u8]) {
    streams.publish(&Publish { topic: b"topic", except: None, frames: vec![Frame::Ping(payload)] }, None);
}

#[tokio::test]
async fn an_answer_waits_for_a_few_of_those_who_are_sent_what_many_are() {
    let (streams, done) = members(100);
    streams.insert(101, Rc::new(Member(101, Rc::clone(&done))));
    let flushed = || {
        let mut flushed = done.take();
        flushed.retain(|(_, did)| matches!(did, Did::Flush(_)));
        flushed
    };
    publish(&streams, b"");
    streams.command(101, Command::Abort);
    assert!(streams.flush(SHARED_PART));
    assert_eq!(flushed(), [(101, Did::Flush(Turn::Own)), (1, Did::Flush(Turn::Shared))]);
    // The others have their turn although there is always something else.
    for turn in 2..=99 {
        streams.command(101, Command::Abort);
        assert!(streams.flush(SHARED_PART), "turn {turn}");
        assert_eq!(flushed(), [(101, Did::Flush(Turn::Own)), (turn, Did::Flush(Turn::Shared))]);
    }
    assert!(!streams.flush(SHARED_PART));
    assert_eq!(flushed(), [(100, Did::Flush(Turn::Shared))]);
}

#[tokio::test]
async fn what_is_sent_to_many_reaches_each_before_its_next_command_and_before_nobody_elses() {
    let (streams, done) = members(100);
    publish(&streams, b"");
    publish(&streams, b"1");
    assert_eq!(done.take(), [], "nobody has had his turn");
    streams.command(50, Command::Abort);
    assert_eq!(done.take(), [(50, Did::Deliver(0)), (50, Did::Deliver(1)), (50, Did::Command)]);
    streams.remove(1);
    publish(&streams, b"22");
    while streams.flush(1000) {}
    let mut delivered = done.take();
    delivered.retain(|(_, did)| matches!(did, Did::Deliver(_)));
    for id in 1..=100 {
        let of_it: Vec<_> = delivered.iter().filter(|(other, _)| *other == id).map(|(_, did)| *did).collect();
        let expected = match id {
            1 => &[][..], // It has ended.
            50 => &[Did::Deliver(2)],
            _ => &[0, 1, 2].map(Did::Deliver),
        };
        assert_eq!(of_it, expected, "{id}");
    }
}

#[tokio::test]
async fn what_is_more_than_may_be_due_is_given_at_once_behind_what_was_before() {
    let (streams, done) = members(100);
    while !streams.is_behind() {
        publish(&streams, b"");
    }
    assert_eq!(done.take(), []);
    publish(&streams, b"1");
    let given = done.take();
    for id in 1..=100 {
        let of_it: Vec<_> = given.iter().filter(|(other, _)| *other == id).map(|(_, did)| *did).collect();
        assert_eq!(of_it.last(), Some(&Did::Deliver(1)), "{id}");
        assert!(of_it[..of_it.len() - 1].iter().all(|did| *did == Did::Deliver(0)) && of_it.len() > 100);
    }
    assert!(!streams.is_behind());
}

#[test]
fn it_is_calm_once_when_nothing_has_come_or_gone_and_again_after_a_change() {
    let mut calm = Calm { known: (0, 0), is_known: true };
    let seen = [(0, 0), (1, 1), (1, 1), (1, 1), (2, 1), (2, 0), (2, 0), (2, 0)];
    assert_eq!(seen.map(|now| calm.begins(now)), [false, false, true, false, false, false, true, false]);
}
