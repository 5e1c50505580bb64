//! What has been counted, as a term for the VM (docs/port-protocol.md, "Metrics").

use super::Port;
use super::etf::Writer;
use super::message::{SIDECAR, StreamId, Traffic};
use crate::metrics::{Label, Sample, Side, Value};

impl Port {
    /// What a WebSocket's client has sent and was sent until its end, and who came to that first, with which code.
    pub fn stats(&self, stream: StreamId, traffic: &Traffic, (side, code): (Side, u16)) {
        self.event(stream, |w| {
            let side = match side {
                Side::Client => "client",
                Side::Server => "server",
            };
            w.tuple(4).atom("stats");
            term(w, traffic);
            w.atom(side).integer(code.into());
        });
    }

    /// The answer to a question: the same of the WebSocket of a process, if there is one.
    pub fn stats_of(&self, question: u64, traffic: Option<&Traffic>) {
        self.event(SIDECAR, |w| {
            w.tuple(3).atom("stats").integer(question);
            match traffic {
                Some(traffic) => term(w, traffic),
                None => drop(w.atom("undefined")),
            }
        });
    }

    /// Limits that were reached, and how often since this was told last.
    pub fn limits(&self, reached: &[(Label, u64)]) {
        self.event(SIDECAR, |w| {
            w.tuple(2).atom("limits");
            by_label(w, reached);
        });
    }

    /// The answer to a question: all metrics, as one map.
    pub fn metrics(&self, question: u64, samples: &[Sample]) {
        self.event(SIDECAR, |w| {
            w.tuple(3).atom("metrics").integer(question).map(samples.len());
            for (name, value) in samples {
                w.atom(name);
                match value {
                    Value::Number(number) => drop(w.integer(*number)),
                    Value::By(numbers) => by_label(w, numbers),
                    Value::Histogram { sum, buckets } => {
                        w.tuple(3).atom("histogram").integer(*sum);
                        by_label(w, buckets);
                    }
                }
            }
        });
    }
}

fn term(w: &mut Writer<'_>, traffic: &Traffic) {
    w.map(4);
    w.atom("messages_received").integer(traffic.messages_received);
    w.atom("bytes_received").integer(traffic.bytes_received);
    w.atom("messages_sent").integer(traffic.messages_sent);
    w.atom("bytes_sent").integer(traffic.bytes_sent);
}

fn by_label(w: &mut Writer<'_>, numbers: &[(Label, u64)]) {
    w.map(numbers.len());
    for (label, number) in numbers {
        match label {
            Label::Name(name) => w.atom(name),
            Label::Number(number) => w.integer(*number),
        };
        w.integer(*number);
    }
}
