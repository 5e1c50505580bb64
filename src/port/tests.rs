use std::sync::{Arc, Mutex};
use std::task::Wake;

use super::*;
use crate::port::message::Undecodable;
use crate::port::reader::Reader;
use crate::ws::Kind;

/// A task that writes its number down when it is woken.
struct Task(usize, Arc<Mutex<Vec<usize>>>);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.1.lock().expect("is not poisoned").push(self.0);
    }
}

/// Fills the port, and gives the bytes to the VM when all of `turns` have found it full, one after the other.
fn woken(port: &Port, turns: impl Iterator<Item = usize>, tasks: &[Waker], woken: &Mutex<Vec<usize>>) -> Vec<usize> {
    while !port.is_congested() {
        port.part(1, &[0; 65_536]);
    }
    turns.for_each(|task| assert!(port.poll_congested(&mut Context::from_waker(&tasks[task]))));
    let mut buffer = Vec::new();
    port.take(&mut buffer);
    port.written(buffer.len());
    std::mem::take(&mut woken.lock().expect("is not poisoned"))
}

#[test]
fn who_has_waited_longest_for_the_vm_reads_first() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..100).map(|number| Arc::new(Task(number, Arc::clone(&order))).into()).collect();
    let port = Port::default();
    assert_eq!(woken(&port, 0..100, &tasks, &order), Vec::from_iter(0..100));
    // The first ten have read; the others found no room, and now come before them.
    let turns = || (10..100).chain(0..10);
    assert_eq!(woken(&port, turns(), &tasks, &order), Vec::from_iter(turns()));
    // Asking again does not cost the place.
    assert_eq!(woken(&port, (0..100).rev().chain(0..100), &tasks, &order), Vec::from_iter((0..100).rev()));
}

/// The packets that wait: the bytes of each, and whose events they are.
fn packets(port: &Port) -> Vec<(usize, Vec<StreamId>)> {
    let mut buffer = Vec::new();
    port.take(&mut buffer);
    let mut packets = Vec::new();
    let mut rest = buffer.as_slice();
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (packet, behind) = behind.split_at(u32::from_be_bytes(*length) as usize);
        packets.push((4 + packet.len(), whose(packet).expect("a list of events")));
        rest = behind;
    }
    packets
}

fn whose(packet: &[u8]) -> Result<Vec<StreamId>, Undecodable> {
    let mut reader = Reader::new(packet)?;
    let streams = (0..reader.list()?).map(|_| {
        reader.tuple()?;
        let stream = reader.integer()?;
        reader.term(0).map(|_| stream)
    });
    let streams = streams.collect();
    reader.tail()?;
    reader.end()?;
    streams
}

/// Bytes of a message's event beside its payload.
const EVENT: usize = 19;

#[test]
fn messages_of_a_client_are_in_one_packet_wherever_it_reaches_its_limit() {
    for room in 0..4 * EVENT {
        let port = Port::default();
        port.message(1, Kind::Binary, &vec![0; PACKET_LIMIT - PACKET_HEAD - EVENT - room]);
        (0..3).for_each(|_| port.message(2, Kind::Binary, b""));
        port.message(3, Kind::Binary, b"");
        let is_whole = room >= 3 * EVENT;
        let whose: Vec<_> = packets(&port).into_iter().map(|(_, whose)| whose).collect();
        let expected = if is_whole { vec![vec![1, 2, 2, 2, 3]] } else { vec![vec![1, 2, 2, 2], vec![3]] };
        assert_eq!(whose, expected, "with room for {room} bytes");
    }
}

/// Packets that an event of client 1 that fills one to so many bytes and another of `next` make.
fn packets_of(bytes: usize, next: StreamId) -> usize {
    let port = Port::default();
    port.message(1, Kind::Binary, &vec![0; bytes - PACKET_HEAD - EVENT]);
    port.message(next, Kind::Binary, b"");
    packets(&port).len()
}

#[test]
fn a_full_packet_is_closed_before_another_clients_message() {
    assert_eq!([PACKET_LIMIT, PACKET_LIMIT + 1].map(|bytes| packets_of(bytes, 2)), [1, 2]);
}

#[test]
fn a_packet_of_one_client_is_closed_when_it_has_a_mebibyte() {
    assert_eq!([PACKET_MOST, PACKET_MOST + 1].map(|bytes| packets_of(bytes, 1)), [1, 2]);
}
