//! What of a sample can be compared.

use crate::meter::{Memory, Sample};

/// What can be compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// Messages per second.
    Rate,
    /// CPU time per message of the VM, in microseconds.
    VmCpu,
    /// CPU time per message of the VM and its sidecars, in microseconds.
    TotalCpu,
    /// Median latency in microseconds.
    P50,
    /// 99th percentile of the latency in microseconds.
    P99,
    /// Median of the time until the last of many has it, in microseconds.
    LastP50,
    /// 99th percentile of that.
    LastP99,
    /// Memory per connection of the VM and its sidecars, in bytes.
    Memory,
    /// That of the VM alone.
    VmMemory,
    /// Memory of both while a message waits for all clients, in bytes.
    Waiting,
}

impl Measure {
    /// Its value in a sample, if the sample has it.
    pub fn of(self, sample: &Sample) -> Option<f64> {
        match self {
            Measure::Rate => sample.rate,
            Measure::VmCpu => sample.cpu.map(|cpu| cpu.vm),
            Measure::TotalCpu => sample.cpu.map(|cpu| cpu.vm + cpu.sidecar),
            Measure::P50 => sample.latency.map(|latency| latency.p50),
            Measure::P99 => sample.latency.map(|latency| latency.p99),
            Measure::LastP50 => sample.last.map(|latency| latency.p50),
            Measure::LastP99 => sample.last.map(|latency| latency.p99),
            Measure::Memory => sample.memory.map(Memory::total),
            Measure::VmMemory => sample.memory.map(|memory| memory.vm),
            Measure::Waiting => sample.waiting.map(Memory::total),
        }
    }

    /// A value, for people.
    pub fn shown(self, value: f64) -> String {
        match self {
            Measure::Rate => format!("{value:.0} /s"),
            Measure::VmCpu | Measure::TotalCpu => format!("{value:.2} µs"),
            Measure::P50 | Measure::P99 | Measure::LastP50 | Measure::LastP99 => format!("{:.1} ms", value / 1e3),
            Measure::Memory | Measure::VmMemory => format!("{value:.0} B"),
            Measure::Waiting => format!("{:.1} MB", value / 1e6),
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Measure::Rate => "throughput",
            Measure::VmCpu => "VM CPU per message",
            Measure::TotalCpu => "total CPU per message",
            Measure::P50 => "median latency",
            Measure::P99 => "p99 of the latency",
            Measure::LastP50 => "last delivery, p50",
            Measure::LastP99 => "last delivery, p99",
            Measure::Memory => "memory per connection",
            Measure::VmMemory => "VM memory per connection",
            Measure::Waiting => "memory while it waits",
        }
    }
}
