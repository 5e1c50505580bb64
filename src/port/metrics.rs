//! What has been counted, as a term for the VM (docs/port-protocol.md, "Metrics").

use super::Port;
use super::etf::Writer;
use super::message::SIDECAR;
use crate::metrics::{Label, Sample, Value};

impl Port {
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
