//! What there is to say of one WebSocket, and of those that have ended.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

use super::client::Client;
use crate::port::TermWriter;
use crate::port::message::{Filter, Sort, State, StreamId, Traffic, Who};

/// How many of those that have ended are remembered.
const MOST_ENDED: usize = 256;

/// One WebSocket at one moment.
#[derive(Clone)]
pub struct Status {
    pub stream: StreamId,
    pub client: Client,
    pub state: State,
    /// When bytes of the client were received last.
    pub received: Instant,
    pub traffic: Traffic,
    /// Bytes that wait for the client to take them.
    pub backlog: u64,
    /// Since when it has taken nothing of them.
    pub blocked: Option<Instant>,
    /// Cost of what the handler has not handled yet, and of what it has sent and has not been told is written.
    pub credit_in: u64,
    pub credit_out: u64,
    pub round_trip: Option<Duration>,
    /// Messages to the client are compressed.
    pub compress: bool,
    /// Version and cipher suite, as they are called in their RFCs.
    pub tls: Option<(&'static str, &'static str)>,
}

/// Why a WebSocket has ended, without texts: as `terminate/3` gets it, but `Stop` for whatever our side has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client's close frame, with its code.
    Remote(Option<u16>),
    Timeout,
    Error(&'static str),
    /// Ours, with its code; none without a close frame.
    Stop(Option<u16>),
}

/// One that has ended.
#[derive(Clone)]
pub struct Ended {
    pub status: Status,
    pub at: Instant,
    pub end: End,
}

/// Those that have ended last.
#[derive(Default)]
pub struct Recent(RefCell<VecDeque<Ended>>);

impl Recent {
    pub fn add(&self, status: Status, end: End) {
        let mut ended = self.0.borrow_mut();
        if ended.len() == MOST_ENDED {
            ended.pop_front();
        }
        ended.push_back(Ended { status, at: Instant::now(), end });
    }

    pub fn all(&self) -> Vec<Ended> {
        self.0.borrow().iter().cloned().collect()
    }
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

impl Status {
    /// What it is ordered by.
    pub fn measure(&self, by: Sort, now: Instant) -> u64 {
        match by {
            Sort::Backlog => self.backlog,
            Sort::BytesIn => self.traffic.bytes_received,
            Sort::BytesOut => self.traffic.bytes_sent,
            Sort::Messages => self.traffic.messages_received + self.traffic.messages_sent,
            Sort::Idle => ms(now.saturating_duration_since(self.received)),
            Sort::Age => ms(now.saturating_duration_since(self.client.since.instant())),
            Sort::RoundTrip => self.round_trip.map_or(0, |time| time.as_micros() as u64),
            Sort::CreditIn => self.credit_in,
            Sort::Closed => 0,
        }
    }

    pub fn is_meant(&self, filter: &Filter, now: Instant) -> bool {
        filter.state.is_none_or(|state| state == self.state)
            && filter.min_backlog <= self.backlog
            && (filter.min_idle == 0 || filter.min_idle <= self.measure(Sort::Idle, now))
            && (filter.min_age == 0 || filter.min_age <= self.measure(Sort::Age, now))
            && filter.path.as_ref().is_none_or(|path| self.client.path.starts_with(path))
            && filter.peer.is_none_or(|network| self.client.peer.ip().is_some_and(|ip| is_within(ip, network)))
            && filter.who.is_none_or(|who| who == Who::Stream(self.stream))
    }

    /// Appends it as a map, with `more` pairs that the caller appends.
    pub fn encode(&self, w: &mut TermWriter<'_>, now: Instant, more: usize) {
        let time = |w: &mut TermWriter<'_>, name, at: Instant| {
            w.atom(name).integer(ms(now.saturating_duration_since(at)));
        };
        w.map(17 + more);
        w.atom("stream").integer(self.stream);
        w.atom("peer");
        self.client.peer.encode(w);
        w.atom("path").binary(&self.client.path);
        w.atom("state").atom(self.state.name());
        time(w, "age", self.client.since.instant());
        time(w, "idle", self.received);
        w.atom("messages_in").integer(self.traffic.messages_received);
        w.atom("bytes_in").integer(self.traffic.bytes_received);
        w.atom("messages_out").integer(self.traffic.messages_sent);
        w.atom("bytes_out").integer(self.traffic.bytes_sent);
        w.atom("backlog").integer(self.backlog);
        time(w, "blocked", self.blocked.unwrap_or(now));
        w.atom("credit_in").integer(self.credit_in);
        w.atom("credit_out").integer(self.credit_out);
        w.atom("compress").bool(self.compress);
        w.atom("round_trip");
        match self.round_trip {
            Some(time) => w.integer(time.as_micros() as u64),
            None => w.atom("undefined"),
        };
        w.atom("tls");
        match self.tls {
            Some((version, suite)) => w.tuple(2).atom(version).binary(suite.as_bytes()),
            None => w.atom("undefined"),
        };
    }
}

impl Ended {
    /// Appends it as a map.
    pub fn encode(&self, w: &mut TermWriter<'_>, now: Instant) {
        self.status.encode(w, self.at, 2);
        w.atom("closed").integer(ms(now.saturating_duration_since(self.at)));
        w.atom("reason");
        match self.end {
            End::Remote(None) => w.atom("remote"),
            End::Remote(Some(code)) => w.tuple(2).atom("remote").integer(code.into()),
            End::Timeout => w.atom("timeout"),
            End::Error(name) => w.tuple(2).atom("error").atom(name),
            End::Stop(None) => w.atom("stop"),
            End::Stop(Some(code)) => w.tuple(2).atom("stop").integer(code.into()),
        };
    }
}

/// Whether the first bits are the same. An IPv4 client of an IPv6 socket counts as an IPv4 client.
fn is_within(ip: IpAddr, (network, bits): (IpAddr, u8)) -> bool {
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, 32),
        IpAddr::V6(ip) => (u128::from(Ipv6Addr::from(ip.octets())), 128),
    };
    let ((ip, size), (network, network_size)) = (number(ip.to_canonical()), number(network.to_canonical()));
    let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(size))).unwrap_or(0);
    size == network_size && (ip ^ network) & mask == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_with_its_bits() {
        let ip = |text: &str| text.parse().expect("an address");
        for (address, network, bits, expected) in [
            ("10.1.2.3", "10.0.0.0", 8, true),
            ("11.1.2.3", "10.0.0.0", 8, false),
            ("10.1.2.3", "10.1.2.3", 32, true),
            ("10.1.2.2", "10.1.2.3", 32, false),
            ("10.1.2.2", "10.1.2.3", 31, true),
            ("1.2.3.4", "9.9.9.9", 0, true),
            ("::ffff:10.1.2.3", "10.0.0.0", 8, true),
            ("10.1.2.3", "::ffff:10.0.0.0", 8, true),
            ("2001:db8:1::1", "2001:db8::", 32, true),
            ("2001:db9:1::1", "2001:db8::", 32, false),
            ("2001:db8::1", "2001:db8::1", 128, true),
            ("2001:db8::2", "2001:db8::1", 128, false),
            ("::1", "0.0.0.0", 0, false),
        ] {
            assert_eq!(is_within(ip(address), (ip(network), bits)), expected, "{address} in {network}/{bits}");
        }
    }
}
