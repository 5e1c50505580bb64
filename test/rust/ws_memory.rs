//! What a WebSocket costs in memory, in each mode of compression: docs/compression.md states these numbers, this test
//! holds them. `cargo test --test ws_memory -- --nocapture` prints them.

mod ws_support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use outrider::ws::{Agreement, CHUNK, Decoder, Encoder, Kind, Options};

use ws_support::{FIN, RSV1, client_frame, server_frame};

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, which counts the bytes that a thread holds.
struct Counting;

// SAFETY: every call goes to the system's allocator with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.set(LIVE.get() + layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get() - layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONNECTIONS: usize = 4;

struct Connection {
    decoder: Decoder,
    encoder: Encoder,
}

impl Connection {
    fn new(agreement: Option<&Agreement>) -> Connection {
        let options = Options { max_frame_size: 1_000_000, validate_utf8: true, max_fragments: u32::MAX };
        Connection { decoder: Decoder::new(options, agreement), encoder: Encoder::new(agreement) }
    }

    fn receive(&mut self, bytes: &[u8]) {
        let used = self.decoder.decode(&mut bytes.to_vec(), &mut |_| ControlFlow::Continue(()));
        assert_eq!(used, Ok(bytes.len()));
    }
}

/// Bytes per connection that `work` leaves behind, `size_of` its halves included.
fn cost(agreement: Option<&Agreement>, work: impl Fn(&mut Connection)) -> usize {
    let mut connections = Vec::with_capacity(CONNECTIONS);
    // What a thread keeps for all its connections is there after the first.
    let mut first = Connection::new(agreement);
    work(&mut first);
    let before = LIVE.get();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::new(agreement));
        connections.iter_mut().last().map(&work);
    }
    size_of::<Connection>() + usize::try_from(LIVE.get() - before).unwrap() / CONNECTIONS
}

/// A message of `size` bytes as a compressing client sends it, and does not refer to any other.
fn compressed(size: usize, seed: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let text: Vec<u8> =
        (seed..).flat_map(|n| format!("{{\"id\":{},\"n\":{n}}}", n * 7919 % 10007).into_bytes()).take(size).collect();
    Encoder::new(Some(&Agreement::default())).message(Kind::Text, &text, &mut out);
    client_frame(FIN | RSV1 | 1, server_frame(&out).1, [1, 2, 3, 4])
}

fn exchange(connection: &mut Connection, count: usize) {
    for n in 0..count {
        connection.receive(&compressed(1024, n * 100));
        connection.encoder.message(Kind::Text, &[b'a' + (n % 26) as u8; 1024], &mut Vec::new());
    }
}

fn idle(connection: &mut Connection) {
    let now = Instant::now();
    connection.encoder.rest(now);
    connection.encoder.rest(now + Duration::from_secs(10));
}

#[test]
fn a_connection_costs_what_the_documentation_says() {
    let takeover = Agreement::default();
    let none = Agreement { server_context_takeover: false, client_context_takeover: false, ..takeover };
    let small = Agreement { server_max_window_bits: 9, client_max_window_bits: 9, mem_level: 1, ..takeover };
    let half_a_message = |connection: &mut Connection| {
        let message = compressed(200_000, 0);
        connection.receive(&message[..message.len() / 2]);
    };
    let half_a_frame =
        |connection: &mut Connection| connection.receive(&client_frame(FIN | 2, &[7; CHUNK], [0; 4])[..CHUNK]);

    for (what, bytes, most) in [
        ("plain, idle", cost(None, |_| {}), 250),
        ("plain, within a frame of 64 KiB", cost(None, half_a_frame), CHUNK + 500),
        ("compressed, no message yet", cost(Some(&takeover), |_| {}), 700),
        ("takeover, after a message of 1 KiB", cost(Some(&takeover), |c| exchange(c, 1)), 400_000),
        ("takeover, after 100 messages", cost(Some(&takeover), |c| exchange(c, 100)), 420_000),
        (
            "takeover, after 100 messages, idle for 10 s",
            cost(Some(&takeover), |c| (exchange(c, 100), idle(c)).1),
            34_000,
        ),
        ("no takeover, after 100 messages", cost(Some(&none), |c| exchange(c, 100)), 700),
        ("takeover, 9 bits, mem_level 1, active", cost(Some(&small), |c| exchange(c, 100)), 300_000),
        ("takeover, 9 bits, mem_level 1, idle for 10 s", cost(Some(&small), |c| (exchange(c, 100), idle(c)).1), 1_300),
        ("takeover, within a long message", cost(Some(&takeover), half_a_message), CHUNK + 90_000),
    ] {
        println!("{what:>46}: {bytes:>7} bytes");
        assert!(bytes <= most, "{what}: {bytes} bytes, not {most}");
    }
}
