//! What is counted of all that happens here, for whoever operates it: numbers, by the names of docs/metrics.md.
//!
//! Every part may count, by [`count`], so this lies below all of them. The numbers are plain memory of the event loop's thread: to
//! count is an addition, and there is nothing to be looked up. They are read when the VM asks (`run.rs`), which walks over
//! nothing but themselves: what is the sum over all clients is kept while they change.

mod labels;
mod number;
mod process;

use std::cell::Cell;

pub use labels::{Label, Limit, Opcode, TlsFailure, TlsVersion};
pub use number::{Number, Numbers, Sample, Times, Value};
pub use process::{processor_time, resident};

thread_local! {
    static METRICS: Metrics = const { Metrics::new() };
}

/// Changes or reads what this thread has counted.
pub fn count<R>(f: impl FnOnce(&Metrics) -> R) -> R {
    METRICS.with(f)
}

/// A limit of docs/operations.md has been reached once more.
pub fn reached(limit: Limit) {
    count(|metrics| metrics.limits.add(limit as usize, 1));
}

/// Counts one until it is dropped.
pub struct During(fn(&Metrics) -> &Number);

impl During {
    pub fn new(number: fn(&Metrics) -> &Number) -> Self {
        count(|metrics| number(metrics).add(1));
        Self(number)
    }
}

impl Drop for During {
    fn drop(&mut self) {
        count(|metrics| (self.0)(metrics).sub(1));
    }
}

/// Close codes that are counted each for itself; then one number for each thousand that is the application's, and one for the rest.
const CODES: std::ops::RangeInclusive<u16> = 1000..=1015;
const CODE_LABELS: usize = 19;
const OTHER_CODES: [&str; 3] = ["3xxx", "4xxx", "other"];

/// Statuses of answers (RFC 9110, section 15).
const STATUSES: std::ops::RangeInclusive<u16> = 100..=599;
const STATUS_LABELS: usize = 500;

/// Upper bounds of backlogs: powers of two from 1 KiB (2^10) to 1 GiB, then one for the rest.
const LEAST_BACKLOG: u32 = 10;
const BACKLOGS: usize = 22;

/// All that is counted. Where nothing else is said, since the process began.
pub struct Metrics {
    /// Connections that were accepted.
    pub accepted: Number,
    /// How often each limit was reached.
    pub limits: Numbers<{ Limit::COUNT }>,
    /// Requests that went to the application.
    pub requests: Number,
    /// Those that did not.
    requests_refused: Numbers<STATUS_LABELS>,
    /// Requests that became WebSockets; those that wanted to and were answered otherwise.
    pub handshakes: Number,
    handshakes_failed: Numbers<STATUS_LABELS>,
    pub tls_handshakes: Numbers<{ TlsVersion::COUNT }>,
    pub tls_handshakes_failed: Numbers<{ TlsFailure::COUNT }>,
    /// Now: clients whose handshake goes on, and WebSockets of which neither side has ended it.
    pub tls_handshaking: Number,
    pub websockets: Number,
    /// Those of them that are streams of HTTP/2.
    pub websocket_streams: Number,
    pub messages_received: Numbers<{ Opcode::COUNT }>,
    pub message_bytes_received: Numbers<{ Opcode::COUNT }>,
    pub messages_sent: Numbers<{ Opcode::COUNT }>,
    pub message_bytes_sent: Numbers<{ Opcode::COUNT }>,
    closes_by_client: Numbers<CODE_LABELS>,
    closes_by_server: Numbers<CODE_LABELS>,
    /// On the clients' sockets, HTTP and TLS included.
    pub socket_bytes_received: Number,
    pub socket_bytes_sent: Number,
    /// Now: clients that do not take what there is for them, and WebSockets by what waits.
    pub clients_blocked: Number,
    backlogs: Numbers<BACKLOGS>,
    /// Frames for many that were not sent, for want of room.
    pub frames_dropped: Number,
    /// Messages before and after their compression, and their inflation.
    pub deflate_bytes_in: Number,
    pub deflate_bytes_out: Number,
    pub inflate_bytes_in: Number,
    pub inflate_bytes_out: Number,
    /// From the VM, and to it.
    pub port_bytes_received: Number,
    pub port_packets_received: Number,
    pub port_bytes_sent: Number,
    pub port_packets_sent: Number,
    /// How often, and for how many microseconds, no client was read because of what waited for the VM.
    pub port_congested: Number,
    pub port_congested_us: Number,
    /// Now: what the VM has been sent of clients and has not used up, and what it sent and no client has taken, by their cost.
    pub credit_received_bytes: Number,
    pub credit_sent_bytes: Number,
    /// How long turns of the event loop have taken, and pings with their pongs.
    pub turns: Times,
    pub round_trips: Times,
}

/// Who ended a WebSocket first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    Client,
    Server,
}

impl Metrics {
    const fn new() -> Self {
        Self {
            accepted: Number::new(),
            limits: Numbers::new(),
            requests: Number::new(),
            requests_refused: Numbers::new(),
            handshakes: Number::new(),
            handshakes_failed: Numbers::new(),
            tls_handshakes: Numbers::new(),
            tls_handshakes_failed: Numbers::new(),
            tls_handshaking: Number::new(),
            websockets: Number::new(),
            websocket_streams: Number::new(),
            messages_received: Numbers::new(),
            message_bytes_received: Numbers::new(),
            messages_sent: Numbers::new(),
            message_bytes_sent: Numbers::new(),
            closes_by_client: Numbers::new(),
            closes_by_server: Numbers::new(),
            socket_bytes_received: Number::new(),
            socket_bytes_sent: Number::new(),
            clients_blocked: Number::new(),
            backlogs: Numbers::new(),
            frames_dropped: Number::new(),
            deflate_bytes_in: Number::new(),
            deflate_bytes_out: Number::new(),
            inflate_bytes_in: Number::new(),
            inflate_bytes_out: Number::new(),
            port_bytes_received: Number::new(),
            port_packets_received: Number::new(),
            port_bytes_sent: Number::new(),
            port_packets_sent: Number::new(),
            port_congested: Number::new(),
            port_congested_us: Number::new(),
            credit_received_bytes: Number::new(),
            credit_sent_bytes: Number::new(),
            turns: Times::new(),
            round_trips: Times::new(),
        }
    }

    /// A request was refused with this status.
    pub fn refused(&self, status: u16) {
        self.requests_refused.add(status_label(status), 1);
    }

    /// A request that wanted to become a WebSocket was answered with this status.
    pub fn handshake_failed(&self, status: u16) {
        self.handshakes_failed.add(status_label(status), 1);
    }

    /// A client has sent a message, or a control frame. A message of several pieces is counted with its last.
    pub fn received(&self, opcode: Opcode, bytes: u64) {
        self.messages_received.add(opcode as usize, 1);
        self.message_bytes_received.add(opcode as usize, bytes);
    }

    /// So many clients are sent one. A message of several pieces is counted with its first, as a whole.
    pub fn sent(&self, opcode: Opcode, clients: u64, bytes: u64) {
        self.messages_sent.add(opcode as usize, clients);
        self.message_bytes_sent.add(opcode as usize, clients * bytes);
    }

    /// A WebSocket has been ended, with this code: 1005 for none, 1006 without a close frame (RFC 6455, 7.4.1).
    pub fn closed(&self, side: Side, code: u16) {
        let label = match code {
            3000..=3999 => 16,
            4000..=4999 => 17,
            code if CODES.contains(&code) => usize::from(code - CODES.start()),
            _ => 18,
        };
        match side {
            Side::Client => self.closes_by_client.add(label, 1),
            Side::Server => self.closes_by_server.add(label, 1),
        }
    }

    /// So much waits for a WebSocket's client now, that was counted where `before` says.
    pub fn backlog(&self, before: &Cell<u8>, bytes: usize) {
        let bucket = match bytes {
            0 => 0,
            _ => 1 + usize_log2(bytes).saturating_sub(LEAST_BACKLOG).min(BACKLOGS as u32 - 1) as u8,
        };
        let before = before.replace(bucket);
        if before == bucket {
            return;
        }
        if let Some(number) = self.backlogs.0.get(usize::from(before).wrapping_sub(1)) {
            number.sub(1);
        }
        if let Some(number) = self.backlogs.0.get(usize::from(bucket).wrapping_sub(1)) {
            number.add(1);
        }
    }

    /// Limits that were reached since this was last called, with `told` for what was known then.
    pub fn reached_since(&self, told: &mut [u64; Limit::COUNT]) -> Vec<(Label, u64)> {
        let mut reached = Vec::new();
        for (at, told) in told.iter_mut().enumerate() {
            let now = self.limits.get(at);
            let before = std::mem::replace(told, now);
            if now != before {
                reached.push((Limit::label(at), now.wrapping_sub(before)));
            }
        }
        reached
    }

    /// All of it, each by its name.
    pub fn read(&self) -> Vec<Sample> {
        let number = |name, number: &Number| (name, Value::Number(number.get()));
        let bound = |at: usize| {
            if at + 1 < BACKLOGS { Label::Number(1 << (at as u32 + LEAST_BACKLOG)) } else { Label::Name("infinity") }
        };
        vec![
            number("connections_accepted", &self.accepted),
            ("limits_reached", self.limits.by(Limit::label)),
            number("requests", &self.requests),
            ("requests_refused", self.requests_refused.seen(status)),
            number("handshakes", &self.handshakes),
            ("handshakes_failed", self.handshakes_failed.seen(status)),
            ("tls_handshakes", self.tls_handshakes.by(TlsVersion::label)),
            ("tls_handshakes_failed", self.tls_handshakes_failed.by(TlsFailure::label)),
            ("messages_received", self.messages_received.by(Opcode::label)),
            ("message_bytes_received", self.message_bytes_received.by(Opcode::label)),
            ("messages_sent", self.messages_sent.by(Opcode::label)),
            ("message_bytes_sent", self.message_bytes_sent.by(Opcode::label)),
            ("closes_by_client", self.closes_by_client.seen(code)),
            ("closes_by_server", self.closes_by_server.seen(code)),
            number("socket_bytes_received", &self.socket_bytes_received),
            number("socket_bytes_sent", &self.socket_bytes_sent),
            number("clients_blocked", &self.clients_blocked),
            ("backlog_clients", self.backlogs.by(bound)),
            number("frames_dropped", &self.frames_dropped),
            number("deflate_bytes_in", &self.deflate_bytes_in),
            number("deflate_bytes_out", &self.deflate_bytes_out),
            number("inflate_bytes_in", &self.inflate_bytes_in),
            number("inflate_bytes_out", &self.inflate_bytes_out),
            number("port_bytes_received", &self.port_bytes_received),
            number("port_packets_received", &self.port_packets_received),
            number("port_bytes_sent", &self.port_bytes_sent),
            number("port_packets_sent", &self.port_packets_sent),
            number("port_congested", &self.port_congested),
            number("credit_received_bytes", &self.credit_received_bytes),
            number("credit_sent_bytes", &self.credit_sent_bytes),
            ("turns", self.turns.histogram()),
            ("ping_round_trips", self.round_trips.histogram()),
        ]
    }
}

/// The least `n` of which 2^n is not less.
fn usize_log2(bytes: usize) -> u32 {
    usize::BITS - (bytes - 1).leading_zeros()
}

fn status_label(status: u16) -> usize {
    usize::from(status.clamp(*STATUSES.start(), *STATUSES.end()) - STATUSES.start())
}

fn status(at: usize) -> Label {
    Label::Number(at as u64 + u64::from(*STATUSES.start()))
}

fn code(at: usize) -> Label {
    match at.checked_sub(CODES.count()) {
        None => Label::Number(at as u64 + u64::from(*CODES.start())),
        Some(other) => Label::Name(OTHER_CODES[other]),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn seen(name: &str) -> Vec<(Label, u64)> {
        let samples = count(Metrics::read);
        match samples.into_iter().find(|(other, _)| *other == name).expect("is a metric").1 {
            Value::By(numbers) | Value::Histogram { buckets: numbers, .. } => {
                numbers.into_iter().filter(|(_, number)| *number > 0).collect()
            }
            Value::Number(number) => panic!("has no labels: {number}"),
        }
    }

    #[test]
    fn a_backlog_is_counted_below_the_first_bound_that_it_does_not_exceed_and_once() {
        let place = Cell::new(0);
        for (bytes, bound) in [
            (0, None),
            (1, Some(Label::Number(1 << 10))),
            (1 << 10, Some(Label::Number(1 << 10))),
            ((1 << 10) + 1, Some(Label::Number(1 << 11))),
            (1 << 30, Some(Label::Number(1 << 30))),
            ((1 << 30) + 1, Some(Label::Name("infinity"))),
            (usize::MAX, Some(Label::Name("infinity"))),
            (0, None),
        ] {
            count(|metrics| metrics.backlog(&place, bytes));
            assert_eq!(
                seen("backlog_clients"),
                bound.map(|bound| (bound, 1)).into_iter().collect::<Vec<_>>(),
                "{bytes}"
            );
        }
    }

    #[test]
    fn close_codes_of_applications_are_counted_by_the_thousand_and_no_client_adds_a_label() {
        let codes = [0, 999, 1000, 1015, 1016, 2999, 3000, 3999, 4000, 4999, 5000, u16::MAX];
        codes.iter().for_each(|code| count(|metrics| metrics.closed(Side::Client, *code)));
        let expected = [
            (Label::Number(1000), 1),
            (Label::Number(1015), 1),
            (Label::Name("3xxx"), 2),
            (Label::Name("4xxx"), 2),
            (Label::Name("other"), 6),
        ];
        assert_eq!(seen("closes_by_client"), expected);
        assert_eq!(seen("closes_by_server"), []);
    }

    #[test]
    fn a_time_is_counted_below_the_first_bound_that_it_does_not_exceed() {
        for us in [0, 10, 11, 25, 10_000_000, 10_000_001] {
            count(|metrics| metrics.turns.add(Duration::from_micros(us)));
        }
        let expected = [
            (Label::Number(10), 2),
            (Label::Number(25), 2),
            (Label::Number(10_000_000), 1),
            (Label::Name("infinity"), 1),
        ];
        assert_eq!(seen("turns"), expected);
    }

    #[test]
    fn what_goes_on_counts_until_it_ends() {
        let blocked = || count(|metrics| metrics.clients_blocked.get());
        let first = During::new(|metrics| &metrics.clients_blocked);
        let second = During::new(|metrics| &metrics.clients_blocked);
        assert_eq!(blocked(), 2);
        drop((first, second));
        assert_eq!(blocked(), 0);
    }

    #[test]
    fn the_process_has_memory_and_has_worked() {
        assert!(resident().is_none_or(|bytes| bytes > 100_000));
        assert!(processor_time() > Duration::ZERO);
    }
}
