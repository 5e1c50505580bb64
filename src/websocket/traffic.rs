//! Counts the messages of one client, and of all together.

use crate::metrics::{Opcode, count};
use crate::port::message::Traffic;
use crate::ws::Event;

/// Counts what a client has sent: whole messages, and the bytes of what has come of them.
pub fn received(traffic: &mut Traffic, event: &Event<'_>) {
    let (opcode, bytes) = match *event {
        Event::Part(kind, bytes) => {
            traffic.bytes_received += bytes.len() as u64;
            let opcode = Opcode::from(kind) as usize;
            return count(|metrics| metrics.message_bytes_received.add(opcode, bytes.len() as u64));
        }
        Event::Message(kind, bytes) => (kind.into(), bytes),
        Event::Ping(bytes) => (Opcode::Ping, bytes),
        Event::Pong(bytes) => (Opcode::Pong, bytes),
        Event::Close(_) => return,
    };
    traffic.messages_received += 1;
    traffic.bytes_received += bytes.len() as u64;
    count(|metrics| metrics.received(opcode, bytes.len() as u64));
}

/// The same of what it is sent: a message with its first piece, as a whole.
pub fn sent(traffic: &mut Traffic, opcode: Opcode, bytes: u64) {
    traffic.messages_sent += 1;
    traffic.bytes_sent += bytes;
    count(|metrics| metrics.sent(opcode, 1, bytes));
}
