//! The port to the Erlang VM: events go up, commands come down (docs/port-protocol.md).
//!
//! [`Port`] collects the events of one turn of the event loop into one packet; the task in `stdio.rs` writes it when
//! the other ready tasks have run, and reads the VM's packets. All in the event loop's thread; a call here only copies
//! bytes. What waits for the VM is bounded: above [`CONGESTED`] bytes the streams stop reading from their clients.

mod control;
pub mod decode;
mod etf;
mod events;
mod http;
pub mod message;
mod metrics;
mod query;
mod reader;
pub mod stdio;
mod terms;
mod tls;

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use rustc_hash::FxHashSet;

use crate::metrics::count;
use etf::Writer;
use message::StreamId;

/// Bytes waiting for the VM above which no client is read; below half of it reading goes on.
pub const CONGESTED: usize = 4 << 20;

/// A packet is closed when it has more than this many bytes, so that the VM is not given all of a busy turn in one piece. But
/// not before an event of the stream that had the last one: messages that were read together are handled together.
const PACKET_LIMIT: usize = 1 << 18;

/// Before such an event it is closed when it has more than this many: a window of the usual size, or a read without compression,
/// is less.
const PACKET_MOST: usize = 1 << 20;

/// Length, version, list tag, count: what a packet begins with before its first event.
const PACKET_HEAD: usize = 4 + 1 + 1 + 4;

/// Events on their way to the VM.
#[derive(Default)]
pub struct Port {
    outgoing: RefCell<Outgoing>,
    /// Counts what only a VM that runs can have done.
    signs_of_life: Cell<u64>,
}

#[derive(Default)]
struct Outgoing {
    /// Whole packets, then the open one from `open_at` on, if `events` is not 0.
    bytes: Vec<u8>,
    open_at: usize,
    /// Events in the open packet, and whose the last of them is.
    events: u32,
    last: StreamId,
    /// Bytes that the writer has taken and not yet written.
    in_flight: usize,
    writer: Option<Waker>,
    /// Since when, if so.
    congested: Option<Instant>,
    /// Nothing has come from the VM for long.
    mute: bool,
    /// Who waits to read from clients, longest first; and each by what makes a waker that task's, `Waker::data`.
    waiting: Vec<Waker>,
    known: FxHashSet<usize>,
}

impl Port {
    /// Waits until the VM has been sent everything so far.
    pub async fn flushed(&self) {
        while self.waiting() > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// The VM has read or written: it runs.
    pub fn heard(&self) {
        self.signs_of_life.set(self.signs_of_life.get().wrapping_add(1));
        let mut outgoing = self.outgoing.borrow_mut();
        if std::mem::take(&mut outgoing.mute) {
            outgoing.go_on();
        }
    }

    /// Bytes that wait for the VM.
    pub fn waiting(&self) -> usize {
        let outgoing = self.outgoing.borrow();
        outgoing.in_flight + outgoing.bytes.len()
    }

    /// For how long, in microseconds, it has been congested since it began.
    pub fn congested_us(&self) -> u64 {
        let since = self.outgoing.borrow().congested;
        let now = since.map_or(0, |since| since.elapsed().as_micros() as u64);
        count(|metrics| metrics.port_congested_us.get()) + now
    }

    /// Changes with every sign of life.
    pub fn signs_of_life(&self) -> u64 {
        self.signs_of_life.get()
    }

    /// The VM has stopped: as congested until it is [heard](Port::heard).
    pub fn mute(&self) {
        self.outgoing.borrow_mut().mute = true;
    }

    /// Whether so much waits for the VM, or it has been silent for so long, that no client should be read.
    pub fn is_congested(&self) -> bool {
        let outgoing = self.outgoing.borrow();
        outgoing.is_congested()
    }

    /// The same. If so, the task is woken when that is over, in its turn.
    pub fn poll_congested(&self, cx: &mut Context<'_>) -> bool {
        let mut outgoing = self.outgoing.borrow_mut();
        let congested = outgoing.is_congested();
        if congested {
            let waker = cx.waker();
            if outgoing.known.insert(waker.data().addr()) {
                outgoing.waiting.push(waker.clone());
            }
        }
        congested
    }

    /// Any event: `write` appends its term.
    pub fn event(&self, stream: StreamId, write: impl FnOnce(&mut Writer<'_>)) {
        let mut outgoing = self.outgoing.borrow_mut();
        let outgoing = &mut *outgoing;
        let most = if stream == outgoing.last { PACKET_MOST } else { PACKET_LIMIT };
        if outgoing.events > 0 && outgoing.bytes.len() - outgoing.open_at > most {
            outgoing.close_packet();
        }
        if outgoing.events == 0 {
            outgoing.open_at = outgoing.bytes.len();
            outgoing.bytes.extend_from_slice(&[0, 0, 0, 0, etf::VERSION, etf::LIST, 0, 0, 0, 0]);
        }
        outgoing.events += 1;
        outgoing.last = stream;
        let mut writer = Writer(&mut outgoing.bytes);
        writer.tuple(2).integer(stream);
        write(&mut writer);
        outgoing.wake_writer();
    }

    fn packet(&self, write: impl FnOnce(&mut Writer<'_>)) {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.close_packet();
        let start = outgoing.bytes.len();
        outgoing.bytes.extend_from_slice(&[0, 0, 0, 0, etf::VERSION]);
        write(&mut Writer(&mut outgoing.bytes));
        let length = (outgoing.bytes.len() - start - 4) as u32;
        outgoing.bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
        count(|metrics| metrics.port_packets_sent.add(1));
        outgoing.wake_writer();
    }

    /// Takes all packets so far, in exchange for an empty buffer. The writer says [`Port::written`] of what it took.
    pub fn take(&self, buffer: &mut Vec<u8>) {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.close_packet();
        buffer.clear();
        std::mem::swap(buffer, &mut outgoing.bytes);
        outgoing.in_flight = buffer.len();
    }

    /// For the writer: ready when there is something to take.
    fn poll_something(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut outgoing = self.outgoing.borrow_mut();
        if outgoing.bytes.is_empty() {
            outgoing.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// For the writer: so many bytes of what it took have been written.
    fn written(&self, bytes: usize) {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.in_flight -= bytes;
        count(|metrics| metrics.port_bytes_sent.add(bytes as u64));
        if let Some(since) = outgoing.congested
            && outgoing.in_flight + outgoing.bytes.len() < CONGESTED / 2
        {
            outgoing.congested = None;
            count(|metrics| metrics.port_congested_us.add(since.elapsed().as_micros() as u64));
            outgoing.go_on();
        }
    }
}

impl Outgoing {
    fn close_packet(&mut self) {
        if self.events == 0 {
            return;
        }
        self.bytes.push(etf::NIL);
        let packet = &mut self.bytes[self.open_at..];
        let length = (packet.len() - 4) as u32;
        packet[..4].copy_from_slice(&length.to_be_bytes());
        packet[PACKET_HEAD - 4..PACKET_HEAD].copy_from_slice(&self.events.to_be_bytes());
        self.events = 0;
        count(|metrics| metrics.port_packets_sent.add(1));
    }

    fn is_congested(&self) -> bool {
        self.congested.is_some() || self.mute
    }

    /// Wakes those who wait to read from clients, unless there is another reason not to. In their order: the first may take
    /// all the room there is, and those who find none are then ahead of them.
    fn go_on(&mut self) {
        if !self.is_congested() {
            self.known.clear();
            self.waiting.drain(..).for_each(Waker::wake);
        }
    }

    fn wake_writer(&mut self) {
        if self.congested.is_none() && self.in_flight + self.bytes.len() > CONGESTED {
            self.congested = Some(Instant::now());
            count(|metrics| metrics.port_congested.add(1));
        }
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }
}

pub(crate) use etf::Writer as TermWriter;
pub(crate) use events::{endpoint_term, protocol_error};

#[cfg(test)]
mod tests;
