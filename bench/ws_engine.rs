//! What the WebSocket engine alone takes for a message, in and out: `cargo bench --bench ws_engine`.
//!
//! Prints nanoseconds per message. Unmasking, UTF-8 and inflation are in the decoder's figure, deflation in the encoder's.

mod timing;

use std::hint::black_box;
use std::ops::ControlFlow;

use outrider::ws::{Agreement, Decoder, Encoder, Event, Kind, Options};

use timing::best;

const CONNECTIONS: usize = 100;

fn main() {
    println!("{:>32} {:>12} {:>12}", "message", "decode, ns", "encode, ns");
    let takeover = Agreement::default();
    let none = Agreement { server_context_takeover: false, client_context_takeover: false, ..takeover };
    for (name, agreement) in
        [("plain", None), ("deflate, takeover", Some(takeover)), ("deflate, no takeover", Some(none))]
    {
        for size in [64, 1024, 16 * 1024, 64 * 1024] {
            for kind in [Kind::Text, Kind::Binary] {
                let label = format!("{name}, {kind:?}, {size}");
                println!("{label:>32} {:>12} {:>12}", decode(agreement, kind, size), encode(agreement, kind, size));
            }
        }
    }
    println!("\n{:>32} {:>12} {:>12}", "for many, once for a setting", "ns", "bytes");
    let level_1 = Agreement { level: 1, ..takeover };
    for (name, agreement) in [("plain", None), ("level 6", Some(takeover)), ("level 1", Some(level_1))] {
        for size in [200, 1024, 16 * 1024, 64 * 1024] {
            let (time, bytes) = for_many(agreement, size);
            println!("{:>32} {time:>12} {bytes:>12}", format!("{name}, {size}"));
        }
    }
    println!("\n{:>32} {:>12} {:>12}", "to 100 connections in turn", "the same, ns", "another, ns");
    for (name, agreement) in [("takeover", takeover), ("no takeover", none)] {
        for size in [64, 1024, 16 * 1024, 64 * 1024] {
            let label = format!("{name}, {size}");
            println!("{label:>32} {:>12} {:>12}", rooms(agreement, 1, size), rooms(agreement, CONNECTIONS, size));
        }
    }
}

/// Messages that are read as one read of the socket would find them: as many as fit into 64 KiB.
fn decode(agreement: Option<Agreement>, kind: Kind, size: usize) -> u128 {
    let options = Options { max_frame_size: u64::MAX, validate_utf8: true, max_fragments: u32::MAX };
    let mut decoder = Decoder::new(options, agreement.as_ref());
    let mut encoder = Encoder::new(agreement.as_ref());
    let count = (64 * 1024 / size).max(1);
    let mut read = || {
        let mut out = Vec::new();
        for n in 0..count {
            let start = out.len();
            encoder.message(kind, &payload(size, n), &mut out);
            mask(&mut out, start);
        }
        out
    };
    // Compressed messages refer to those before: every read is another one.
    let reads: Vec<Vec<u8>> = (0..if agreement.is_some() { 300 } else { 1 }).map(|_| read()).collect();
    let mut scratch = Vec::new();
    let mut next = reads.iter().cycle();
    best(count, || {
        let Some(read) = next.next() else { return };
        scratch.clear();
        scratch.extend_from_slice(read);
        let used = decoder.decode(&mut scratch, &mut |event: Event<'_>| {
            black_box(event);
            ControlFlow::Continue(())
        });
        assert_eq!(used, Ok(scratch.len()));
    })
}

fn encode(agreement: Option<Agreement>, kind: Kind, size: usize) -> u128 {
    let mut encoder = Encoder::new(agreement.as_ref());
    let payloads: Vec<Vec<u8>> = (0..16).map(|n| payload(size, n)).collect();
    let mut out = Vec::new();
    best(payloads.len(), || {
        out.clear();
        for payload in &payloads {
            encoder.message(kind, payload, &mut out);
        }
        black_box(&out);
    })
}

/// A message to each of 100 connections in turn, and then the next. Each of the `rooms` has messages of its own.
fn rooms(agreement: Agreement, rooms: usize, size: usize) -> u128 {
    let mut encoders: Vec<Encoder> = (0..CONNECTIONS).map(|_| Encoder::new(Some(&agreement))).collect();
    let payloads: Vec<Vec<u8>> = (0..rooms.max(16)).map(|n| payload(size, n)).collect();
    let mut out = Vec::new();
    let mut round = 0;
    best(CONNECTIONS, || {
        for (n, encoder) in encoders.iter_mut().enumerate() {
            out.clear();
            encoder.message(Kind::Text, &payloads[(round + n % rooms) % payloads.len()], &mut out);
            black_box(&out);
        }
        round += 1;
    })
}

/// What a message for many takes once for each setting, and what it becomes.
fn for_many(agreement: Option<Agreement>, size: usize) -> (u128, usize) {
    let class = Encoder::new(agreement.as_ref()).class();
    let payloads: Vec<Vec<u8>> = (0..16).map(|n| payload(size, n)).collect();
    let mut out = Vec::new();
    let time = best(payloads.len(), || {
        out.clear();
        payloads.iter().for_each(|payload| class.message(Kind::Text, payload, &mut out));
        black_box(&out);
    });
    (time, out.len() / payloads.len())
}

/// JSON, which compresses to about a quarter.
fn payload(size: usize, seed: usize) -> Vec<u8> {
    let record =
        |n: usize| format!("{{\"id\":{n},\"user\":\"u{}\",\"text\":\"{:x}\"}},", n * 7919 % 1009, n * 2_654_435_761);
    let mut bytes: Vec<u8> = (seed * 1000..).take(size / 32 + 1).flat_map(|n| record(n).into_bytes()).collect();
    bytes.truncate(size);
    bytes
}

/// Makes a client's frame of the server's frame that begins at `start`.
fn mask(out: &mut Vec<u8>, start: usize) {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let at = start
        + match out[start + 1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
    out[start + 1] |= 0x80;
    out.splice(at..at, key);
    for (byte, key) in out[at + 4..].iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}
