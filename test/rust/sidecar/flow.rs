//! What waits for a client in the sidecar, what the VM is told of it, and how the VM gets rid of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::vm::{Term, Vm, atom, binary, int, map, tuple};
use crate::{HELLO, connect, read_all, upgrade, upgraded};

/// What a command costs of the window beside its payload.
const OVERHEAD: usize = 64;

const MIB: usize = 1 << 20;

fn message(payload: &[u8]) -> Term {
    tuple([atom("binary"), binary(payload)])
}

/// The bytes that the next event, a credit, gives back.
fn credit(vm: &mut Vm) -> usize {
    let (_, credit) = vm.event("credit");
    let [Term::FixInteger(bytes)] = &credit[..] else { panic!("no number: {credit:?}") };
    usize::try_from(bytes.value).expect("not negative")
}

/// A WebSocket client with a small receive buffer: it is never faster than its server.
pub fn slow_client(vm: &mut Vm, options: Term) -> (TcpStream, u64) {
    let client = slow_client_of_http(vm);
    upgrade(vm, client, options)
}

/// Such a client before its upgrade.
pub fn slow_client_of_http(vm: &Vm) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("sets it");
    let address: std::net::SocketAddr = ([127, 0, 0, 1], vm.port).into();
    socket.connect(&address.into()).expect("connects");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("sets a timeout");
    socket.into()
}

/// Reads a little, again and again, for longer than `SEND_TIMEOUT_MS`; far less than what makes the socket writable.
fn dawdle(client: &mut TcpStream) -> usize {
    let begin = Instant::now();
    let mut taken = 0;
    while begin.elapsed() < Duration::from_millis(3 * SEND_TIMEOUT_MS) {
        taken += client.read(&mut [0; 4096]).expect("is open");
        std::thread::sleep(Duration::from_millis(50));
    }
    taken
}

const SEND_TIMEOUT_MS: u64 = 1500;

#[test]
fn a_websocket_client_that_takes_little_all_the_time_is_not_silent() {
    let timeout = SEND_TIMEOUT_MS.to_string();
    let mut vm = Vm::ready(&["--window", &(64 * MIB).to_string(), "--send-timeout", &timeout]);
    let (mut client, stream) = slow_client(&mut vm, map([]));
    for _ in 0..8 {
        vm.command(stream, [message(&vec![b'x'; MIB])]);
    }
    dawdle(&mut client);
    client.write_all(HELLO).expect("writes");
    assert_eq!(vm.event("text").0, stream);
}

#[test]
fn a_client_that_takes_little_of_a_response_all_the_time_is_not_silent() {
    let timeout = SEND_TIMEOUT_MS.to_string();
    let mut vm = Vm::ready(&["--send-timeout", &timeout]);
    let mut client = slow_client_of_http(&vm);
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("writes");
    let (stream, _) = vm.event("request");
    let body = vec![b'x'; 8 * MIB];
    vm.command(stream, [tuple([atom("response"), int(200), crate::list([]), binary(&body)])]);
    let taken = dawdle(&mut client);
    assert!(taken + read_all(&mut client).len() > body.len());
}

/// The rest of a client's handshake with compression, and its stream.
fn compressing_client(vm: &mut Vm) -> (TcpStream, u64) {
    let mut client = connect(vm.port);
    let head = [
        crate::HANDSHAKE.strip_suffix(b"\r\n").expect("a head"),
        b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
    ];
    client.write_all(&head.concat()).expect("writes");
    let (stream, _) = vm.event("request");
    let options = map([(atom("compress"), atom("true"))]);
    vm.command(stream, [tuple([atom("websocket"), crate::list([]), options])]);
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("is answered");
        answer.extend(byte);
    }
    (client, stream)
}

/// The next frame: its first byte and its payload.
fn frame(client: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    client.read_exact(&mut head).expect("a frame");
    let length = match head[1] {
        126 => {
            let mut length = [0; 2];
            client.read_exact(&mut length).expect("a length");
            u64::from(u16::from_be_bytes(length))
        }
        127 => {
            let mut length = [0; 8];
            client.read_exact(&mut length).expect("a length");
            u64::from_be_bytes(length)
        }
        short => short.into(),
    };
    let mut payload = vec![0; length as usize];
    client.read_exact(&mut payload).expect("a payload");
    (head[0], payload)
}

#[test]
fn a_pong_goes_between_the_fragments_of_a_compressed_message() {
    let mut vm = Vm::ready(&[]);
    let (mut client, stream) = compressing_client(&mut vm);
    let part = || tuple([atom("part"), binary(&vec![b'x'; 65_536])]);
    vm.command(stream, [tuple([atom("open"), atom("binary"), int(2 * 65_536)]), part()]);
    client.write_all(b"\x89\x81\0\0\0\0p").expect("writes");
    assert_eq!(frame(&mut client), (0x8a, b"p".to_vec()));
    vm.command(stream, [part()]);
    assert_eq!(frame(&mut client).0, 0xc2);
}

#[test]
fn a_pong_follows_the_frame_whose_pieces_are_still_coming() {
    let mut vm = Vm::ready(&[]);
    let (mut client, stream) = upgraded(&mut vm);
    let part = || tuple([atom("part"), binary(&vec![b'x'; 65_536])]);
    vm.command(stream, [tuple([atom("open"), atom("binary"), int(2 * 65_536)]), part()]);
    client.write_all(b"\x89\x81\0\0\0\0p").expect("writes");
    while vm.any_event().expect("the sidecar runs").1[0] != atom("ping") {}
    vm.command(stream, [part()]);
    assert_eq!(frame(&mut client).0, 0x82);
    assert_eq!(frame(&mut client), (0x8a, b"p".to_vec()));
}

#[test]
fn what_the_vm_has_sent_arrives_before_its_end_and_half_a_message_does_not_harm_it() {
    let mut vm = Vm::ready(&["--window", &(64 * MIB).to_string()]);
    let (mut client, stream) = slow_client(&mut vm, map([]));
    let payload = vec![b'x'; 8 * MIB];
    vm.command(stream, [message(&payload), tuple([atom("open"), atom("binary"), int(2 * 65_536)])]);
    vm.command(stream, [tuple([atom("part"), binary(&vec![b'x'; 65_536])])]);
    vm.close_stdin();
    assert_eq!(frame(&mut client), (0x82, payload));
    assert_eq!(frame(&mut client), (0x88, 1001u16.to_be_bytes().to_vec()));
}

#[test]
fn light_traffic_costs_no_credit() {
    let mut vm = Vm::ready(&[]);
    let (mut client, stream) = upgraded(&mut vm);
    for n in 0..100 {
        vm.command(stream, [message(&[n])]);
    }
    let mut frames = [0; 300];
    client.read_exact(&mut frames).expect("gets all");
    client.write_all(HELLO).expect("writes");
    assert_eq!(vm.event("text").0, stream);
}

#[test]
fn credit_comes_when_half_a_window_has_been_written() {
    let mut vm = Vm::ready(&["--window", "2000"]);
    let (mut client, stream) = upgraded(&mut vm);
    let (below, rest) = (999 - OVERHEAD, 1);
    vm.command(stream, [message(&vec![b'x'; below])]);
    client.read_exact(&mut vec![0; 4 + below]).expect("gets it");
    client.write_all(HELLO).expect("writes");
    vm.event("text"); // And no credit before it.
    vm.command(stream, [message(&[b'x'; 1])]);
    assert_eq!(credit(&mut vm), below + rest + 2 * OVERHEAD);
}

#[test]
fn a_backlog_smaller_than_the_window_is_credited_in_halves_of_itself() {
    let mut vm = Vm::ready(&[]);
    let client = connect(vm.port);
    let (_client, stream) = upgrade(&mut vm, client, map([(atom("max_backlog"), int(1000))]));
    vm.command(stream, [message(&[b'x'; 500 - OVERHEAD])]);
    assert_eq!(credit(&mut vm), 500);
}

#[test]
fn a_backlog_larger_than_the_window_is_credited_in_halves_of_the_window() {
    let mut vm = Vm::ready(&["--window", "1000"]);
    let client = connect(vm.port);
    let (_client, stream) = upgrade(&mut vm, client, map([(atom("max_backlog"), int(1_000_000))]));
    vm.command(stream, [message(&[b'x'; 500 - OVERHEAD])]);
    assert_eq!(credit(&mut vm), 500);
}

#[test]
fn what_a_client_that_lags_has_taken_is_not_kept() {
    let window = 4 * MIB;
    let mut vm = Vm::ready(&["--window", &window.to_string(), "--sndbuf", "65536"]);
    let (mut client, stream) = slow_client(&mut vm, map([]));
    let payload = vec![b'x'; 65_000];
    let messages = 2000; // 124 MiB.
    let reader = std::thread::spawn(move || {
        let mut left = messages * (4 + 65_000);
        let mut buffer = [0; 4096];
        while left > 0 {
            let most = left.min(buffer.len());
            left -= client.read(&mut buffer[..most]).expect("reads");
        }
    });
    let mut under_way = 0;
    for _ in 0..messages {
        while under_way >= window {
            under_way -= credit(&mut vm);
        }
        vm.command(stream, [message(&payload)]);
        under_way += payload.len() + OVERHEAD;
    }
    reader.join().expect("has read all");
    assert!(vm.most_memory() < 48 * MIB, "{} bytes", vm.most_memory());
}

/// The frames of `bytes`, each as the number that its payload begins with, up to the close frame's code.
fn numbers_and_code(mut bytes: &[u8]) -> (Vec<u32>, u16) {
    let mut numbers = Vec::new();
    loop {
        let (head, rest) = bytes.split_first_chunk().expect("a frame");
        match *head {
            [0x88, 2] => {
                assert_eq!(rest.len(), 2, "nothing behind the close frame");
                return (numbers, u16::from_be_bytes([rest[0], rest[1]]));
            }
            [0x82, 126] => {
                let (size, rest) = rest.split_first_chunk().expect("a length");
                let (payload, rest) = rest.split_at(usize::from(u16::from_be_bytes(*size)));
                numbers.push(u32::from_be_bytes(*payload.first_chunk().expect("a number")));
                bytes = rest;
            }
            _ => panic!("not a frame of ours: {head:?}"),
        }
    }
}

#[test]
fn a_cut_leaves_whole_frames_then_the_close_code() {
    let mut vm = Vm::ready(&["--window", &(64 * MIB).to_string(), "--sndbuf", "65536"]);
    let (mut client, stream) = slow_client(&mut vm, map([]));
    let messages = 500;
    for n in 0..messages {
        let mut payload = vec![b'x'; 65_000];
        payload[..4].copy_from_slice(&u32::to_be_bytes(n));
        vm.command(stream, [message(&payload)]);
    }
    vm.command(stream, [tuple([atom("cut"), int(1013)])]);
    let (numbers, code) = numbers_and_code(&read_all(&mut client));
    assert_eq!(code, 1013);
    assert!(numbers.len() < messages as usize, "what had not been begun is gone");
    assert!(numbers.iter().copied().eq(0..numbers.len() as u32), "{numbers:?}");
}

#[test]
fn a_cut_before_anything_was_sent_is_a_close() {
    let mut vm = Vm::ready(&[]);
    let (mut client, stream) = upgraded(&mut vm);
    vm.command(stream, [tuple([atom("cut"), int(1013)])]);
    assert_eq!(read_all(&mut client), b"\x88\x02\x03\xf5");
}

#[test]
fn a_cut_in_the_packet_of_the_upgrade_keeps_the_answer() {
    let mut vm = Vm::ready(&[]);
    let mut client = connect(vm.port);
    client.write_all(crate::HANDSHAKE).expect("writes");
    let (stream, _) = vm.event("request");
    let websocket = tuple([atom("websocket"), crate::list([]), map([])]);
    vm.command(stream, [websocket, message(b"never seen"), tuple([atom("cut"), int(1013)])]);
    assert_eq!(read_all(&mut client), b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x88\x02\x03\xf5");
}

#[test]
fn a_client_that_never_reads_is_gone_send_timeout_after_the_cut() {
    let window = (64 * MIB).to_string();
    let flags = ["--window", &window, "--send-timeout", "200", "--max-sockets", "1"];
    let mut vm = Vm::ready(&flags);
    let (_silent, stream) = slow_client(&mut vm, map([]));
    for _ in 0..400 {
        vm.command(stream, [message(&[b'x'; 65_000])]);
    }
    vm.command(stream, [tuple([atom("cut"), int(1013)])]);
    // There is room for another one only when it is gone.
    let mut next = connect(vm.port);
    next.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").expect("writes");
    while vm.any_event().expect("the sidecar runs").0 == stream {}
}

/// A binary message of 60,000 bytes from a client.
fn flood_frame() -> Vec<u8> {
    [&b"\x82\xfe\xea\x60\0\0\0\0"[..], &[b'x'; 60_000]].concat()
}

#[test]
fn a_vm_that_does_not_read_stops_its_clients_and_is_obeyed() {
    let mut vm = Vm::ready(&["--window", "1000000000", "--watchdog", "infinity"]);
    let (mut other, other_stream) = upgraded(&mut vm);
    let (mut client, stream) = upgraded(&mut vm);
    client.set_write_timeout(Some(std::time::Duration::from_secs(2))).expect("sets a timeout");
    let frame = flood_frame();
    let mut sent = 0;
    while client.write_all(&frame).is_ok() {
        sent += 1; // Until the pipe, what the sidecar keeps, and the kernel's buffers are full.
    }
    assert!(vm.most_memory() < 40 * MIB, "{} bytes", vm.most_memory());
    vm.command(other_stream, [message(b"obeyed")]);
    let mut answer = [0; 8];
    other.read_exact(&mut answer).expect("is written");
    assert_eq!(&answer, b"\x82\x06obeyed");
    // It reads again, and misses nothing.
    for _ in 0..sent {
        assert_eq!(vm.event("binary").0, stream);
    }
}

#[test]
fn a_vm_that_reads_all_the_time_and_says_nothing_is_busy() {
    let mut vm = Vm::ready(&["--window", "1000000000", "--watchdog", "200", "--vm-timeout", "1000"]);
    let (mut client, stream) = upgraded(&mut vm);
    let messages = 8000; // 480 MB take longer than the VM has.
    let writer = std::thread::spawn(move || {
        let frame = flood_frame();
        for _ in 0..messages {
            client.write_all(&frame).expect("writes");
        }
        client
    });
    for _ in 0..messages {
        assert_eq!(vm.event("binary").0, stream);
    }
    drop(writer.join().expect("has written all"));
}
