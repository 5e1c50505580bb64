//! Compression against an independent zlib (Python's), in every setting that can be negotiated.

mod ws_support;

use std::io::{BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use outrider::ws::{Agreement, Decoder, Encoder, Kind, Options, Strategy as Method};
use proptest::collection::vec;
use proptest::prelude::*;

use ws_support::{FIN, RSV1, Receiver, Whole, client_frame, server_frame};

/// The other zlib, in a process of its own that lives as long as the tests.
struct Peer {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _process: Child,
}

static PEER: LazyLock<Mutex<Peer>> = LazyLock::new(|| {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/test/rust/ws_zlib_peer.py");
    let mut process = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed for this test");
    let input = process.stdin.take().expect("piped");
    let output = BufReader::new(process.stdout.take().expect("piped"));
    Mutex::new(Peer { input, output, _process: process })
});

/// Sends a request with its messages, and reads as many.
fn ask(request: &str, messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut peer = PEER.lock().expect("no other test failed");
    let mut bytes = format!("{request} {}\n", messages.len()).into_bytes();
    for message in messages {
        bytes.extend((message.len() as u32).to_be_bytes());
        bytes.extend_from_slice(message);
    }
    let Peer { input, output, .. } = &mut *peer;
    // Written beside the reading: neither pipe holds everything.
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(&bytes).and_then(|()| input.flush()).expect("the peer reads"));
        let read = |size: usize, output: &mut BufReader<ChildStdout>| {
            let mut bytes = vec![0; size];
            output.read_exact(&mut bytes).expect("the peer answers");
            bytes
        };
        let answers = messages.iter().map(|_| {
            let size = u32::from_be_bytes(read(4, output).try_into().expect("4 bytes"));
            read(size as usize, output)
        });
        answers.collect()
    })
}

fn deflate(agreement: &Agreement, messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let Agreement { client_max_window_bits: bits, client_context_takeover: takeover, level, mem_level, .. } = agreement;
    ask(&format!("deflate {bits} {} {level} {mem_level}", u8::from(*takeover)), messages)
}

fn inflate(agreement: &Agreement, messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let Agreement { server_max_window_bits: bits, server_context_takeover: takeover, .. } = agreement;
    ask(&format!("inflate {bits} {}", u8::from(*takeover)), messages)
}

/// Messages as an application sends them: alike among themselves, and some that no compressor can do anything about.
fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let alike = vec(prop::sample::select(vec!["{\"id\":", "17", "}", ",", "\"name\":\"", "abcdefgh", "水"]), 0..400)
        .prop_map(|words| words.concat().into_bytes());
    let long = (any::<u32>(), 0..200_000usize)
        .prop_map(|(seed, size)| (0..size as u32).map(|i| (i.wrapping_mul(seed) >> 27) as u8).collect());
    vec(prop_oneof![6 => alike, 1 => vec(any::<u8>(), 0..2000), 1 => long], 1..8)
}

fn agreement() -> impl Strategy<Value = Agreement> {
    let method = prop::sample::select(vec![Method::Default, Method::Filtered, Method::HuffmanOnly, Method::Rle]);
    (8..=15u8, 8..=15u8, any::<bool>(), any::<bool>(), -1..=9i32, 1..=9u8, method).prop_map(
        |(
            server_max_window_bits,
            client_max_window_bits,
            server_context_takeover,
            client_context_takeover,
            level,
            mem_level,
            strategy,
        )| {
            Agreement {
                server_max_window_bits,
                client_max_window_bits,
                server_context_takeover,
                client_context_takeover,
                level,
                mem_level,
                strategy,
                ..Agreement::default()
            }
        },
    )
}

/// The payloads of the messages that we send, whole or (`step`) in pieces.
fn sent(agreement: &Agreement, messages: &[Vec<u8>], step: Option<usize>) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(Some(agreement));
    messages.iter().map(|message| send(&mut encoder, message, step)).collect()
}

fn send(encoder: &mut Encoder, message: &[u8], step: Option<usize>) -> Vec<u8> {
    let mut out = Vec::new();
    match step {
        None => encoder.message(Kind::Binary, message, &mut out),
        Some(step) => {
            encoder.open(Kind::Binary, message.len() as u64, &mut out);
            for piece in message.chunks(step) {
                encoder.part(piece, &mut out).expect("the pieces add up");
            }
        }
    }
    let (mut rest, mut payload, mut opcode) = (&out[..], Vec::new(), RSV1 | 2);
    while !rest.is_empty() {
        let (first, fragment, after) = server_frame(rest);
        assert_eq!(first, if after.is_empty() { FIN | opcode } else { opcode });
        payload.extend_from_slice(fragment);
        (rest, opcode) = (after, 0);
    }
    payload
}

/// What happens to connections that send at the same time.
#[derive(Clone, Debug)]
enum Step {
    /// A message to all of them.
    All(Vec<u8>),
    /// A message to one, whole or in pieces of a size.
    One(prop::sample::Index, Vec<u8>, Option<usize>),
    /// One has been silent for so long that it forgets its history.
    Rest(prop::sample::Index),
}

/// Few texts, so that many are equal, and of many sizes, so that the rings of a connection begin anywhere.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let text = (1..4usize, prop_oneof![0..40usize, 0..700usize], 0..3u8).prop_map(|(words, size, salt)| {
        let words = ["{\"id\":", "17", "}", "abcdefgh"].iter().take(words).cycle();
        words.flat_map(|word| word.bytes()).map(|byte| byte + salt).take(size).collect::<Vec<u8>>()
    });
    let one = |text| (any::<prop::sample::Index>(), text, prop::option::weighted(0.2, 1..300usize));
    let step = prop_oneof![
        8 => text.clone().prop_map(Step::All),
        2 => one(text).prop_map(|(index, text, size)| Step::One(index, text, size)),
        1 => any::<prop::sample::Index>().prop_map(Step::Rest),
    ];
    vec(step, 1..40)
}

/// What one connection has sent: the messages, and the payloads that they became.
#[derive(Default)]
struct Sent {
    messages: Vec<Vec<u8>>,
    payloads: Vec<Vec<u8>>,
}

fn sent_together(agreements: &[Agreement], steps: &[Step]) -> Vec<Sent> {
    let begin = |agreement| (Encoder::new(Some(agreement)), Sent::default());
    let mut all: Vec<(Encoder, Sent)> = agreements.iter().map(begin).collect();
    for step in steps {
        let (few, message, size) = match step {
            Step::All(message) => (&mut all[..], message, None),
            Step::One(index, message, size) => (std::slice::from_mut(index.get_mut(&mut all)), message, *size),
            Step::Rest(index) => {
                let (encoder, _) = index.get_mut(&mut all);
                let now = Instant::now();
                encoder.rest(now);
                encoder.rest(now + Duration::from_secs(10));
                continue;
            }
        };
        for (encoder, sent) in few {
            sent.messages.push(message.clone());
            sent.payloads.push(send(encoder, message, size));
        }
    }
    all.into_iter().map(|(_, sent)| sent).collect()
}

fn received(agreement: &Agreement, payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let options = Options { max_frame_size: u64::MAX, validate_utf8: true, max_fragments: u32::MAX };
    let mut receiver = Receiver::new(Decoder::new(options, Some(agreement)));
    for payload in payloads {
        receiver.receive(&client_frame(FIN | RSV1 | 2, payload, [9, 8, 7, 6]), &mut || false);
    }
    assert_eq!(receiver.error, None);
    let payload = |event| match event {
        Whole::Message(Kind::Binary, payload) => payload,
        other => panic!("{other:?}"),
    };
    receiver.events.into_iter().map(payload).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn what_we_compress_the_peer_inflates(
        agreement in agreement(),
        messages in messages(),
        step in prop::option::of(1..70_000usize),
    ) {
        prop_assert!(inflate(&agreement, &sent(&agreement, &messages, step)) == messages);
    }

    #[test]
    fn what_the_peer_compresses_we_inflate(agreement in agreement(), messages in messages()) {
        prop_assert!(received(&agreement, &deflate(&agreement, &messages)) == messages);
    }

    /// What one connection is sent may have been compressed for another.
    #[test]
    fn what_we_compress_for_connections_in_turn_each_peer_inflates(
        kinds in vec((agreement(), prop_oneof![Just(8192), 0..600u16]), 1..3),
        connections in vec(any::<prop::sample::Index>(), 2..6),
        steps in steps(),
    ) {
        let kind = |index: &prop::sample::Index| {
            let (agreement, history) = *index.get(&kinds);
            Agreement { history, ..agreement }
        };
        let agreements: Vec<Agreement> = connections.iter().map(kind).collect();
        for (agreement, sent) in agreements.iter().zip(sent_together(&agreements, &steps)) {
            prop_assert!(inflate(agreement, &sent.payloads) == sent.messages);
        }
    }
}

/// Window sizes and takeover modes are few enough to try them all.
#[test]
fn every_window_and_takeover_mode_works_in_both_directions() {
    let line = |i: usize| format!("{{\"event\":\"tick\",\"sequence\":{i},\"of\":\"{}\"}}", i * i % 97);
    let messages: Vec<Vec<u8>> =
        (0..40).map(|i| (i..i + 1 + i % 30).map(line).collect::<String>().into_bytes()).collect();
    for bits in 8..=15 {
        for takeover in [true, false] {
            let agreement = Agreement {
                server_max_window_bits: bits,
                client_max_window_bits: bits,
                server_context_takeover: takeover,
                client_context_takeover: takeover,
                ..Agreement::default()
            };
            assert_eq!(inflate(&agreement, &sent(&agreement, &messages, None)), messages);
            assert_eq!(received(&agreement, &deflate(&agreement, &messages)), messages);
        }
    }
}
