//! Measures one load: when the measuring begins and ends, what was counted in between, what it cost.
//!
//! A load warms up, is measured, and is then drained; the meter says which phase it is in. It also ends a load in which
//! nothing comes any more, so that a server that does not answer is an error and never a zero.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::server::{Server, Usage};

/// A load without any message for this long has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// A warm-up that lasts longer has failed.
const MOST_WARM_UP: Duration = Duration::from_secs(60);

/// Latencies above this count as this.
const MOST_LATENCY_NS: u64 = 60_000_000_000;

/// How long to warm up and to measure.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Before the measuring.
    pub warm_up: Duration,
    /// The measuring itself.
    pub measure: Duration,
}

/// What one load on one server showed. A message is what the row counts: an echo, a delivery, a handshake, a response.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Connections that were open.
    pub connections: usize,
    /// Messages that were counted.
    pub messages: u64,
    /// Messages per second.
    pub rate: Option<f64>,
    /// From sending to receiving.
    pub latency: Option<Latency>,
    /// From sending to the receiving by the last of many.
    #[serde(default)]
    pub last: Option<Latency>,
    /// CPU time per message.
    pub cpu: Option<Cpu>,
    /// CPU time per second that neither the server nor the load generator used: 1 is one core. Kernel threads are
    /// in it, the hypervisor's theft, and whatever else ran.
    pub others: Option<f64>,
    /// Nanoseconds of a cache line's round trip between two cores, before or after: see `cores`.
    #[serde(default)]
    pub core_trip: Option<f64>,
    /// Memory per connection, after a rest.
    pub memory: Option<Memory>,
    /// The same right after the last message, or the last connection's arrival.
    pub memory_at_once: Option<Memory>,
    /// The kernel's memory per connection, both ends of it.
    #[serde(default)]
    pub kernel_memory: Option<f64>,
    /// Memory of all, while a message waits for every client, above that before it.
    #[serde(default)]
    pub waiting: Option<Memory>,
}

/// Latency in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// Half are no slower.
    pub p50: f64,
    /// 99 of 100 are no slower.
    pub p99: f64,
    /// 999 of 1,000 are no slower.
    pub p999: f64,
}

/// CPU time per message in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cpu {
    /// Of the VM.
    pub vm: f64,
    /// Of its sidecars.
    pub sidecar: f64,
    /// Of the load generator; part of no ratio.
    pub generator: f64,
}

/// Memory in bytes, per connection or of all, above what the processes had before.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// Of the VM.
    pub vm: f64,
    /// Of its sidecars.
    pub sidecar: f64,
}

impl Memory {
    /// Of all processes.
    pub fn total(self) -> f64 {
        self.vm + self.sidecar
    }
}

/// One measuring.
pub struct Meter<'a> {
    server: &'a Server,
    began: Instant,
    timing: Timing,
    phase: Phase,
    /// When something came last.
    last_came: Instant,
    /// How many messages must have come before the measuring.
    to_come_before: u64,
    came: u64,
    latencies: Latencies,
    last: Latencies,
    messages: u64,
}

/// Nanoseconds.
struct Latencies(Histogram<u64>);

impl Latencies {
    fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_max(MOST_LATENCY_NS, 3)?))
    }

    fn found(&self) -> Option<Latency> {
        let quantile = |q| self.0.value_at_quantile(q) as f64 / 1e3;
        (!self.0.is_empty()).then(|| Latency { p50: quantile(0.5), p99: quantile(0.99), p999: quantile(0.999) })
    }
}

enum Phase {
    WarmUp,
    Measuring { since: Instant, usage: Usage },
    Over { sample: Sample },
}

impl<'a> Meter<'a> {
    /// Begins the warm-up.
    pub fn start(server: &'a Server, timing: Timing) -> Result<Self> {
        Ok(Self {
            server,
            began: Instant::now(),
            timing,
            phase: Phase::WarmUp,
            last_came: Instant::now(),
            to_come_before: 0,
            came: 0,
            latencies: Latencies::new()?,
            last: Latencies::new()?,
            messages: 0,
        })
    }

    /// Lets the warm-up last until this many messages have come.
    pub fn after(self, messages: u64) -> Self {
        Self { to_come_before: messages, ..self }
    }

    /// Whether a message counts now.
    pub fn is_measuring(&self) -> bool {
        matches!(self.phase, Phase::Measuring { .. })
    }

    /// Whether nothing is to be sent any more.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over { .. })
    }

    /// Counts a message.
    pub fn count(&mut self, latency_ns: u64) {
        if self.is_measuring() {
            self.messages += 1;
            self.latencies.0.saturating_record(latency_ns);
        }
    }

    /// Counts what the last of many has received: no message, since it has been counted.
    pub fn count_last(&mut self, latency_ns: u64) {
        if self.is_measuring() {
            self.last.0.saturating_record(latency_ns);
        }
    }

    /// To be called after each turn with what came in it: changes the phase when it is time.
    pub fn turned(&mut self, came: u64) -> Result<()> {
        let now = Instant::now();
        self.came += came;
        if came > 0 {
            self.last_came = now;
        } else if now - self.last_came > PATIENCE {
            bail!("nothing came for {PATIENCE:?} (until then {} messages were counted)", self.messages);
        }
        match &self.phase {
            Phase::WarmUp if now - self.began >= self.timing.warm_up && self.came >= self.to_come_before => {
                self.phase = Phase::Measuring { since: now, usage: self.server.usage()? };
            }
            Phase::WarmUp if now - self.began > MOST_WARM_UP => {
                bail!(
                    "{} messages came in {MOST_WARM_UP:?} of warm-up, {} should have",
                    self.came,
                    self.to_come_before
                );
            }
            Phase::Measuring { since, usage } if now - *since >= self.timing.measure => {
                let sample = self.sample(*since, *usage)?;
                self.phase = Phase::Over { sample };
            }
            _ => {}
        }
        Ok(())
    }

    /// The result.
    pub fn finish(self) -> Result<Sample> {
        match self.phase {
            Phase::Over { sample } => Ok(sample),
            _ => bail!("the load ended before its time"),
        }
    }

    fn sample(&self, since: Instant, before: Usage) -> Result<Sample> {
        if self.messages == 0 {
            bail!("no message in {:?}", self.timing.measure);
        }
        let elapsed = since.elapsed();
        let (cpu, others) = cost(self.messages, elapsed, before, self.server.usage()?);
        Ok(Sample {
            messages: self.messages,
            rate: Some(self.messages as f64 / elapsed.as_secs_f64()),
            latency: self.latencies.found(),
            last: self.last.found(),
            cpu: Some(cpu),
            others: Some(others),
            ..Sample::default()
        })
    }
}

/// CPU time per message, and of others in cores, of what was used meanwhile.
pub fn cost(messages: u64, elapsed: Duration, before: Usage, after: Usage) -> (Cpu, f64) {
    let per_message = |after: Duration, before: Duration| micros(after - before) / messages as f64;
    let ours = |usage: Usage| usage.vm_cpu + usage.sidecar_cpu + usage.generator_cpu;
    let others = (after.machine_cpu - before.machine_cpu).saturating_sub(ours(after) - ours(before));
    let cpu = Cpu {
        vm: per_message(after.vm_cpu, before.vm_cpu),
        sidecar: per_message(after.sidecar_cpu, before.sidecar_cpu),
        generator: per_message(after.generator_cpu, before.generator_cpu),
    };
    (cpu, others.as_secs_f64() / elapsed.as_secs_f64())
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
