//! What a message takes to cross the port, on the sidecar's side: `cargo bench --bench port_codec`.
//!
//! Prints nanoseconds per message of our own codec for the hot shapes, and of the general one (the crate `eetf`) for the
//! same terms: docs/decisions/0001-two-codecs.md.

mod timing;

use std::hint::black_box;

use eetf::{Atom, Binary, FixInteger, List, Term, Tuple};
use outrider::port::{Port, decode};
use outrider::ws::Kind;

use timing::best;

/// Events in one packet.
const BATCH: usize = 64;

fn main() {
    println!("{:>8} {:>12} {:>12} {:>12} {:>12}", "bytes", "event, ns", "by eetf", "command, ns", "by eetf");
    for size in [16, 64, 1024, 16 * 1024] {
        let payload = vec![7; size];
        println!(
            "{size:>8} {:>12} {:>12} {:>12} {:>12}",
            event(&payload),
            event_by_eetf(&payload),
            command(&payload),
            command_by_eetf(&payload)
        );
    }
    let packet = response_packet();
    println!("{:>8} {:>12} {:>12} {:>12} {:>12}", "response", "", "", read(&packet), read_by_eetf(&packet));
}

/// A response of 100 bytes with four headers.
fn response_packet() -> Vec<u8> {
    let binary = |text: &str| Term::from(Binary::from(text.as_bytes().to_vec()));
    let header = |name, value| Term::from(Tuple::from(vec![binary(name), binary(value)]));
    let headers = vec![
        header("content-length", "100"),
        header("content-type", "text/plain"),
        header("date", "Fri, 27 Nov 2026 16:00:00 GMT"),
        header("server", "Cowboy"),
    ];
    let command = vec![
        Term::from(Atom::from("response")),
        Term::from(FixInteger::from(200)),
        Term::from(List::from(headers)),
        binary(&"x".repeat(100)),
    ];
    let mut packet = Vec::new();
    let bundle = pair(1, Term::from(List::from(vec![Term::from(Tuple::from(command))])));
    Term::from(List::from(vec![bundle])).encode(&mut packet).expect("encodes");
    packet
}

fn event(payload: &[u8]) -> u128 {
    let port = Port::default();
    let mut packets = Vec::new();
    best(BATCH, || {
        for stream in 0..BATCH as u64 {
            port.message(stream, Kind::Binary, payload);
        }
        port.take(&mut packets);
        black_box(&packets);
    })
}

fn event_by_eetf(payload: &[u8]) -> u128 {
    let mut packet = Vec::new();
    best(BATCH, || {
        packet.clear();
        let events: Vec<_> = (0..BATCH as i32).map(|stream| pair(stream, message(payload))).collect();
        Term::from(List::from(events)).encode(&mut packet).expect("encodes");
        black_box(&packet);
    })
}

fn command(payload: &[u8]) -> u128 {
    read(&command_packet(payload))
}

fn read(packet: &[u8]) -> u128 {
    best(1, || {
        let result = decode::commands(black_box(packet), |stream, command| {
            black_box((stream, command));
        });
        assert!(result.is_ok());
    })
}

fn command_by_eetf(payload: &[u8]) -> u128 {
    read_by_eetf(&command_packet(payload))
}

fn read_by_eetf(packet: &[u8]) -> u128 {
    best(1, || {
        black_box(Term::decode(black_box(packet)).expect("decodes"));
    })
}

fn command_packet(payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let bundle = pair(1, Term::from(List::from(vec![message(payload)])));
    Term::from(List::from(vec![bundle])).encode(&mut packet).expect("encodes");
    packet
}

fn message(payload: &[u8]) -> Term {
    Term::from(Tuple::from(vec![Term::from(Atom::from("binary")), Term::from(Binary::from(payload.to_vec()))]))
}

fn pair(stream: i32, term: Term) -> Term {
    Term::from(Tuple::from(vec![Term::from(FixInteger::from(stream)), term]))
}
