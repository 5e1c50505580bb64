//! When a client is pinged, and whether it has answered (RFC 6455, 5.5.2). No socket: the time comes in, deadlines go out.
//!
//! Any byte of the client is a sign of life: a pong stands behind what the client is sending, and a slow network may take long
//! for that. So is, where a ping stands behind other bytes in the kernel's queue, that the client takes some of them. Only a pong of ours
//! says how long the way there and back takes. One ping is on its way at most.
//!
//! Pings are spread: the first comes at some moment of the first interval, the others an interval after that each. Our pongs are
//! known by their payload: four bytes that are this WebSocket's own, and the ping's number.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use crate::transport::Queue;

/// The payload of a ping of ours.
pub type Payload = [u8; 8];

/// How a client is asked whether it is still there. Boxed, for there is none where nobody has asked for it.
#[derive(Debug)]
pub struct Keepalive {
    interval: Duration,
    timeout: Duration,
    /// When the next ping is due.
    next: Instant,
    /// Since when nothing has to be received for the client to be silent: the last ping, or the last excuse.
    asked: Option<Instant>,
    /// When the ping with this number was sent, until it is answered.
    sent: Option<Instant>,
    number: u32,
    tag: u32,
    /// What the last ping stands behind, until the client's side has all of it.
    behind: Option<Behind>,
    /// Of the last ping that was answered.
    round_trip: Option<Duration>,
}

/// Bytes that the kernel had for the client before a ping.
#[derive(Debug)]
struct Behind {
    /// How many the client's side has acknowledged, at the last look.
    acknowledged: u64,
    /// How many it has when it has all of them.
    end: u64,
}

/// What is to be done at a deadline.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// Not yet.
    Nothing,
    /// A ping; or nothing, if it cannot be sent now.
    Ping,
    /// The client has not answered.
    Silent,
}

impl Keepalive {
    /// A ping each `interval`, of 1 ms at least; the client is silent `timeout` after one of them.
    pub fn new(interval: Duration, timeout: Duration, now: Instant) -> Box<Self> {
        let random = RandomState::new().hash_one(());
        let share = (random >> 32) as f64 / f64::from(u32::MAX);
        Box::new(Self {
            interval,
            timeout,
            next: now + interval.mul_f64(share),
            asked: None,
            sent: None,
            number: 0,
            behind: None,
            tag: random as u32,
            round_trip: None,
        })
    }

    /// How long the client may take for an answer.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sets it anew.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// How long the last ping that was answered and its pong took.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// When there is something to do next, of a client of which bytes were `received` last at that time.
    pub fn deadline(&self, received: Instant) -> Instant {
        match self.asked {
            Some(asked) if received < asked => asked + self.timeout,
            _ => self.next,
        }
    }

    /// What is to be done now. A ping is due once: the next one is an interval later, whatever becomes of this.
    pub fn due(&mut self, received: Instant, now: Instant) -> Due {
        if self.deadline(received) > now {
            return Due::Nothing;
        }
        if self.asked.take_if(|asked| received < *asked).is_some() {
            return Due::Silent;
        }
        let late = now.duration_since(self.next).as_millis() / self.interval.as_millis().max(1);
        self.next += self.interval * (late as u32 + 1);
        Due::Ping
    }

    /// The next ping, which is sent now, behind what the kernel has for the client.
    pub fn ping(&mut self, queue: Option<Queue>, now: Instant) -> Payload {
        let behind = |Queue { acknowledged, unsent }| Behind { acknowledged, end: acknowledged + unsent };
        self.behind = queue.filter(|queue| queue.unsent > 0).map(behind);
        self.number = self.number.wrapping_add(1);
        self.asked = Some(now);
        self.sent = Some(now);
        self.payload()
    }

    /// Whether the last ping still stood behind other bytes when this was looked at last, and the client has taken some of them since.
    pub fn has_taken(&mut self, queue: impl FnOnce() -> Option<Queue>) -> bool {
        let Some(Behind { acknowledged: before, end }) = self.behind.take() else { return false };
        let Some(Queue { acknowledged, .. }) = queue() else { return false };
        self.behind = (acknowledged < end).then_some(Behind { acknowledged, end });
        acknowledged > before
    }

    /// It is not the client's fault that nothing was received: it has the time once more.
    pub fn excuse(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// Whether this pong answers a ping of ours, and how long it took where that is the last one.
    pub fn answers(&mut self, pong: &[u8], now: Instant) -> Option<Option<Duration>> {
        let (tag, number) = pong.split_first_chunk::<4>()?;
        if *tag != self.tag.to_be_bytes() || number.len() != 4 {
            return None;
        }
        let sent = self.sent.take_if(|_| *number == self.number.to_be_bytes());
        let took = sent.map(|sent| now.saturating_duration_since(sent));
        self.round_trip = took.or(self.round_trip);
        Some(took)
    }

    fn payload(&self) -> Payload {
        (u64::from(self.tag) << 32 | u64::from(self.number)).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// One that is to be pinged each 10 s and has 3 s to answer, at the moment of its first ping.
    fn pinged() -> (Keepalive, Instant, Payload) {
        let start = Instant::now();
        let mut keepalive = *Keepalive::new(SECOND * 10, SECOND * 3, start);
        let first = keepalive.deadline(start);
        assert!(first >= start && first <= start + SECOND * 10);
        assert_eq!(keepalive.due(start, first - Duration::from_nanos(1)), Due::Nothing);
        assert_eq!(keepalive.due(start, first), Due::Ping);
        let payload = keepalive.ping(None, first);
        (keepalive, first, payload)
    }

    #[test]
    fn the_first_pings_of_many_are_spread_over_the_interval() {
        let start = Instant::now();
        let mut tenths = [0; 10];
        for _ in 0..2000 {
            let first = Keepalive::new(SECOND * 10, SECOND, start).deadline(start) - start;
            tenths[(first.as_secs() as usize).min(9)] += 1;
        }
        assert!(tenths.iter().all(|count| (100..300).contains(count)), "{tenths:?}");
    }

    #[test]
    fn a_client_of_which_nothing_comes_is_silent_when_its_time_is_over() {
        let (mut keepalive, first, _) = pinged();
        let before = first - SECOND;
        assert_eq!(keepalive.deadline(before), first + SECOND * 3);
        assert_eq!(keepalive.due(before, first + SECOND * 3 - Duration::from_nanos(1)), Due::Nothing);
        assert_eq!(keepalive.due(before, first + SECOND * 3), Due::Silent);
    }

    #[test]
    fn any_byte_is_a_sign_of_life_and_the_next_ping_comes_an_interval_after_the_last() {
        let (mut keepalive, first, _) = pinged();
        let received = first + SECOND;
        assert_eq!(keepalive.due(received, first + SECOND * 3), Due::Nothing);
        assert_eq!(keepalive.deadline(received), first + SECOND * 10);
        assert_eq!(keepalive.due(received, first + SECOND * 10), Due::Ping);
        assert_eq!(keepalive.round_trip(), None);
    }

    #[test]
    fn pings_that_could_not_be_sent_are_not_made_up_for() {
        let (mut keepalive, first, _) = pinged();
        let late = first + SECOND * 35;
        assert_eq!(keepalive.due(first, late), Due::Ping);
        assert_eq!(keepalive.due(first, late), Due::Nothing);
        assert_eq!(keepalive.deadline(first), first + SECOND * 40);
    }

    #[test]
    fn an_excused_client_has_its_time_once_more() {
        let (mut keepalive, first, _) = pinged();
        let now = first + SECOND * 3;
        assert_eq!(keepalive.due(first - SECOND, now), Due::Silent);
        keepalive.excuse(now);
        assert_eq!(keepalive.due(first - SECOND, now + SECOND * 2), Due::Nothing);
        assert_eq!(keepalive.due(first - SECOND, now + SECOND * 3), Due::Silent);
    }

    #[test]
    fn a_client_that_takes_what_stands_before_the_ping_has_its_time_once_more_each_time_and_once_behind_it() {
        let (mut keepalive, first, _) = pinged();
        let at = |acknowledged| move || Some(Queue { acknowledged, unsent: 1 });
        assert!(!keepalive.has_taken(at(9)), "nothing stood before it");
        keepalive.ping(Some(Queue { acknowledged: 100, unsent: 0 }), first);
        assert!(!keepalive.has_taken(at(101)), "nothing stood before it");
        keepalive.ping(Some(Queue { acknowledged: 100, unsent: 50 }), first);
        let looks = [(101, true), (101, false), (149, true), (150, true), (151, false)];
        assert_eq!(looks.map(|(acknowledged, _)| keepalive.has_taken(at(acknowledged))), looks.map(|(_, taken)| taken));
        keepalive.ping(Some(Queue { acknowledged: 100, unsent: 50 }), first);
        assert!(!keepalive.has_taken(|| None), "the kernel does not say");
    }

    #[test]
    fn only_pongs_that_carry_a_ping_of_ours_are_ours_and_only_the_last_ping_is_timed() {
        let (mut keepalive, first, payload) = pinged();
        for other in [&b""[..], b"1234567", b"12345678", b"123456789", &payload[..7], &payload[1..]] {
            assert_eq!(keepalive.answers(other, first), None);
        }
        let next = keepalive.ping(None, first + SECOND);
        assert_ne!(payload, next);
        assert_eq!(keepalive.answers(&payload, first + SECOND * 2), Some(None), "late");
        assert_eq!(keepalive.answers(&next, first + SECOND * 2), Some(Some(SECOND)));
        assert_eq!(keepalive.answers(&next, first + SECOND * 3), Some(None), "again");
        assert_eq!(keepalive.round_trip(), Some(SECOND));
    }
}
