//! Floods of frames, frames that lie, and clients that do not take what they are sent.

use std::io::{Read, Write};
use std::time::Duration;

use crate::support::{
    MIB, Served, connect, connect_narrow, flood, frame, head, open_files, resident, rest, until, upgraded,
};
use crate::vm::{Vm, atom, binary, int, tuple};

/// `size` zeros as a raw deflate stream of one message, without its tail.
fn bomb(size: usize) -> Vec<u8> {
    let mut compress = flate2::Compress::new(flate2::Compression::best(), false);
    let mut out = Vec::with_capacity(size / 500 + 1000);
    let zeros = vec![0; size];
    compress.compress_vec(&zeros, &mut out, flate2::FlushCompress::Sync).expect("compresses");
    assert_eq!(compress.total_in(), size as u64);
    out.truncate(out.len() - 4);
    out
}

fn error(reason: &str) -> Vec<crate::vm::Term> {
    vec![atom("closed"), tuple([atom("error"), atom(reason)])]
}

#[test]
fn pings_whose_pongs_are_not_read_stop_at_the_window() {
    let server = Served::start(&["--sndbuf", "16384"]);
    let mut clients: Vec<_> = (0..10)
        .map(|_| {
            let mut client = connect_narrow(server.port);
            client.write_all(format!("{}\r\n", crate::support::HANDSHAKE).as_bytes()).expect("writes");
            head(&mut client);
            client
        })
        .collect();
    for client in &mut clients {
        flood(client, &frame(0x89, &[b'x'; 125]), 8 * MIB);
        server.serves();
    }
    server.never_more_than(10 * MIB);
}

#[test]
fn pings_whose_pongs_are_read_are_all_answered() {
    let server = Served::start(&[]);
    let mut client = server.websocket("/echo", "");
    let ping = frame(0x89, &[b'x'; 125]).repeat(100);
    let mut pongs = vec![0; 127 * 100];
    for _ in 0..100 {
        client.write_all(&ping).expect("writes");
        client.read_exact(&mut pongs).expect("answers");
    }
    server.never_more_than(8 * MIB);
}

#[test]
fn a_client_that_never_catches_up_costs_its_window() {
    let mut vm = Vm::ready(&["--sndbuf", "16384"]);
    let narrow = connect_narrow(vm.port);
    let (mut client, stream) = upgraded(&mut vm, narrow);
    let other = connect(vm.port);
    let (mut other, other_stream) = upgraded(&mut vm, other);
    let before = resident(vm.pid());
    let message = tuple([atom("binary"), binary(&[b'x'; 65_536])]);
    let mut frame = vec![0; 10 + 65_536];
    // As much as a window is on its way, always.
    vm.command(stream, [message.clone(), message.clone(), message.clone(), message.clone()]);
    for _ in 0..600 {
        client.read_exact(&mut frame).expect("a frame");
        vm.command(stream, [message.clone()]);
        // Another client has what was sent after it: the sidecar has it, too.
        vm.command(other_stream, [atom("ping")]);
        other.read_exact(&mut [0; 2]).expect("a ping");
    }
    let more = resident(vm.pid()).saturating_sub(before);
    assert!(more < 8 * MIB, "{more} bytes");
}

#[test]
fn one_byte_fragments_cost_no_more_than_the_message_they_make() {
    let server = Served::start(&[]);
    let mut client = server.websocket("/limited", "");
    client.write_all(&frame(0x02, b"x")).expect("writes");
    let fragments = frame(0x00, b"x").repeat(1000);
    for _ in 0..300 {
        client.write_all(&fragments).expect("writes");
    }
    server.serves();
    client.write_all(&frame(0x80, b"x")).expect("writes");
    client.write_all(&frame(0x88, b"\x03\xe8")).expect("writes");
    assert_eq!(rest(&mut client), b"\x88\x02\x03\xe8");
    server.never_more_than(8 * MIB);
}

#[test]
fn a_message_of_more_fragments_than_max_fragments_ends_with_1009() {
    let server = Served::start(&["--max-fragments", "1000"]);
    for (fragments, served) in [(999, true), (1000, true), (1001, false)] {
        let mut client = server.websocket("/echo", "");
        client.write_all(&[frame(0x02, b""), frame(0x00, b"").repeat(fragments - 2)].concat()).expect("writes");
        client.write_all(&frame(0x80, b"")).expect("writes");
        if served {
            client.write_all(&frame(0x88, b"\x03\xe8")).expect("writes");
            assert_eq!(rest(&mut client), b"\x88\x02\x03\xe8");
        } else {
            assert_eq!(rest(&mut client), b"\x88\x02\x03\xf1");
        }
    }
}

#[test]
fn empty_fragments_without_end_are_refused_by_default() {
    let server = Served::start(&[]);
    let mut client = server.websocket("/echo", "");
    client.write_all(&frame(0x01, b"")).expect("writes");
    flood(&mut client, &frame(0x00, b"").repeat(1000), 8 * MIB);
    // It is the second to end: the first was served to begin with.
    assert_eq!([server.told("closed"), server.told("closed")][1], error("badsize"));
    server.serves();
    server.never_more_than(8 * MIB);
}

#[test]
fn a_deflate_bomb_costs_what_the_limit_allows() {
    let bomb = bomb(64 * MIB);
    for takeover in ["", "; client_no_context_takeover; server_no_context_takeover"] {
        let server = Served::start(&[]);
        let offer = format!("Sec-WebSocket-Extensions: permessage-deflate{takeover}\r\n");
        let whole = frame(0xc2, &bomb);
        let mut pieces = bomb.chunks(100);
        let mut fragments = frame(0x42, pieces.next().expect("not empty"));
        pieces.for_each(|piece| fragments.extend(frame(0x00, piece)));
        fragments.extend(frame(0x80, b""));
        for bomb in [&whole, &fragments] {
            // With Cowboy's limit it is refused.
            let mut client = server.websocket("/limited", &offer);
            let _ = client.write_all(bomb); // It may be refused before it is all there.
            assert_eq!(rest(&mut client), b"\x88\x02\x03\xf1");
            // Without one the VM gets all of it, and the sidecar holds a window of it at most.
            let mut client = server.websocket("/echo", &offer);
            client.write_all(bomb).expect("writes");
            server.serves();
            client.write_all(&frame(0x88, b"\x03\xe8")).expect("writes");
            assert_eq!(rest(&mut client), b"\x88\x02\x03\xe8");
        }
        server.never_more_than(10 * MIB);
    }
}

#[test]
fn a_length_that_lies_allocates_nothing() {
    let server = Served::start(&[]);
    let header = b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0";
    let mut limited = server.websocket("/limited", "");
    limited.write_all(header).expect("writes");
    assert_eq!(rest(&mut limited), b"\x88\x02\x03\xf1");
    let mut clients: Vec<_> = (0..100).map(|_| server.websocket("/echo", "")).collect();
    for client in &mut clients {
        client.write_all(&[&header[..], b"and a little of it"].concat()).expect("writes");
    }
    server.serves();
    server.never_more_than(8 * MIB);
}

#[test]
fn what_waited_for_the_window_is_freed_when_it_has_gone() {
    let mut vm = Vm::ready(&["--window", "1000"]);
    let mut clients = Vec::new();
    for _ in 0..100 {
        let client = connect(vm.port);
        clients.push(upgraded(&mut vm, client));
    }
    let before = resident(vm.pid());
    // Each client sends in one go what is much longer than its window.
    let frames = frame(0x82, &[b'x'; 936]).repeat(120);
    for (client, stream) in &mut clients {
        client.write_all(&frames).expect("writes");
        for _ in 0..120 {
            assert_eq!(vm.event("binary").0, *stream);
            vm.command(*stream, [tuple([atom("credit"), int(1000)])]);
        }
    }
    let more = resident(vm.pid()).saturating_sub(before);
    assert!(more < 4 * MIB, "{more} bytes");
}

#[test]
fn floods_of_connections_and_resets_leave_nothing_behind() {
    let server = Served::start(&[]);
    let files = open_files(server.pid);
    for n in 0..5000 {
        let mut client = server.connect();
        match n % 3 {
            0 => {}
            1 => client.write_all(b"GET / HT").expect("writes"),
            _ => client.write_all(format!("{}\r\n", crate::support::HANDSHAKE).as_bytes()).expect("writes"),
        }
        if n % 2 == 0 {
            // A reset instead of an end.
            socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("sets an option");
        }
        if n % 1000 == 0 {
            server.serves();
        }
    }
    until("all closed", || open_files(server.pid) <= files);
    server.serves();
    server.never_more_than(16 * MIB);
}
