//! What the VM is told of this process and all its clients together.

use std::rc::Rc;
use std::time::Duration;

use crate::gate::Gate;
use crate::metrics::{self, Label, Limit, Metrics, Sample, Value, count};
use crate::port::Port;
use crate::streams::Streams;

/// How often limits are told.
const PERIOD: Duration = Duration::from_secs(5);

/// What has been counted, and how much there is of what somebody else counts.
pub fn metrics(gate: &Gate, streams: &Streams, port: &Port) -> Vec<Sample> {
    let number = |name, number| (name, Value::Number(number));
    let mut samples = count(Metrics::read);
    let (handshaking, websockets, on_streams) =
        count(|metrics| (metrics.tls_handshaking.get(), metrics.websockets.get(), metrics.websocket_streams.get()));
    let (all, http) = (gate.sockets.count() as u64, gate.connections.count() as u64);
    let (topics, subscriptions) = streams.topic_counts();
    samples.extend([
        (
            "connections",
            Value::By(vec![
                (Label::Name("tls_handshake"), handshaking),
                (Label::Name("http"), http.saturating_sub(handshaking)),
                (Label::Name("websocket"), websockets),
                (Label::Name("closing"), (all + on_streams).saturating_sub(http + websockets)),
            ]),
        ),
        number("backlog_bytes", streams.queued.bytes() as u64),
        number("port_waiting_bytes", port.waiting() as u64),
        number("port_congested_us", port.congested_us()),
        number("topics", topics as u64),
        number("subscriptions", subscriptions as u64),
        number("cpu_us", metrics::processor_time().as_micros() as u64),
    ]);
    samples.extend(metrics::resident().map(|bytes| number("memory_bytes", bytes)));
    samples
}

/// Tells for ever which limits have been reached, unless the VM is behind.
pub async fn limits(port: Rc<Port>) {
    let mut told = [0; Limit::COUNT];
    loop {
        tokio::time::sleep(PERIOD).await;
        if !port.is_congested() {
            let reached = count(|metrics| metrics.reached_since(&mut told));
            if !reached.is_empty() {
                port.limits(&reached);
            }
        }
    }
}
