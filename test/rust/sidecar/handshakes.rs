//! A handshake behind a request, behind a body of its own, and what the client sends behind it.

use std::io::{ErrorKind, Read, Write};

use crate::interim::CONTINUE;
use crate::requests::{FIRST, GET, answer, answered, expect, next, no_data, request, serve_another};
use crate::vm::{Vm, atom, binary, list, map, tuple};
use crate::{HANDSHAKE, HELLO, connect, read_all};

const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

#[test]
fn frames_behind_chunked_bodies_are_kept() {
    let mut vm = Vm::ready(&[]);
    let chunked =
        [&HANDSHAKE[..HANDSHAKE.len() - 2], b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nt: u\r\n\r\n"].concat();
    for (before, handshake) in [(FIRST, HANDSHAKE), (b"", &chunked), (FIRST, &chunked)] {
        for cut in [0, 3, HELLO.len()] {
            let mut client = connect(vm.port);
            client.write_all(&[before, handshake, &HELLO[..cut]].concat()).expect("writes");
            if !before.is_empty() {
                let stream = request(&mut vm);
                no_data(&mut vm, stream);
                answer(&mut vm, stream, b"first");
                answered(&mut client, b"first");
            }
            let stream = request(&mut vm);
            vm.command(stream, [tuple([atom("websocket"), list([]), map([])])]);
            expect(&mut client, SWITCHING);
            client.write_all(&HELLO[cut..]).expect("writes");
            client.write_all(HELLO).expect("writes");
            for _ in 0..2 {
                assert_eq!(next(&mut vm, "text"), (stream, vec![binary(b"Hello")]));
            }
        }
    }
}

#[test]
fn a_handshake_is_answered_behind_its_body() {
    let mut vm = Vm::ready(&[]);
    for (field, body) in
        [("Content-Length: 5", &b"ab\r\nc"[..]), ("Transfer-Encoding: chunked", b"2\r\nab\r\n0\r\n\r\n")]
    {
        for cut in 0..body.len() {
            let mut client = connect(vm.port);
            client.write_all(&HANDSHAKE[..HANDSHAKE.len() - 2]).expect("writes");
            client.write_all(&[format!("{field}\r\n\r\n").as_bytes(), &body[..cut]].concat()).expect("writes");
            let stream = request(&mut vm);
            vm.command(stream, [tuple([atom("websocket"), list([]), map([])])]);
            client.set_nonblocking(true).expect("is set");
            let nothing = client.read(&mut [0]).map_err(|e| e.kind());
            client.set_nonblocking(false).expect("is set");
            assert_eq!(nothing, Err(ErrorKind::WouldBlock), "{field}, cut at {cut}");
            client.write_all(&[&body[cut..], HELLO].concat()).expect("writes");
            expect(&mut client, SWITCHING);
            assert_eq!(next(&mut vm, "text"), (stream, vec![binary(b"Hello")]));
        }
    }
}

#[test]
fn a_handshake_whose_body_is_too_long_to_skip_is_refused() {
    let mut vm = Vm::ready(&["--max-skip-body-length", "10"]);
    for (length, is_taken) in [(10, true), (11, false)] {
        let mut client = connect(vm.port);
        client.write_all(&HANDSHAKE[..HANDSHAKE.len() - 2]).expect("writes");
        client.write_all(format!("Content-Length: {length}\r\n\r\n").as_bytes()).expect("writes");
        let stream = request(&mut vm);
        vm.command(stream, [tuple([atom("websocket"), list([]), map([])])]);
        serve_another(&mut vm); // The order has been carried out.
        client.write_all(&vec![b'x'; length]).expect("writes");
        if is_taken {
            expect(&mut client, SWITCHING);
        } else {
            assert_eq!(
                read_all(&mut client),
                b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            );
            assert_eq!(next(&mut vm, "closed"), (stream, vec![tuple([atom("error"), atom("closed")])]));
        }
    }
}

#[test]
fn a_handshake_that_expects_100_gets_it_before_101() {
    let mut vm = Vm::ready(&[]);
    let mut client = connect(vm.port);
    client.write_all(&HANDSHAKE[..HANDSHAKE.len() - 2]).expect("writes");
    client.write_all(b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n").expect("writes");
    let stream = request(&mut vm);
    vm.command(stream, [tuple([atom("websocket"), list([]), map([])])]);
    expect(&mut client, CONTINUE);
    client.write_all(b"ab").expect("writes");
    expect(&mut client, SWITCHING);
}

/// Of a connection that has become a WebSocket nothing is told but its stream's end.
#[test]
fn the_end_of_a_connection_is_told_of_the_stream_that_was_nobodys_before() {
    let mut vm = Vm::ready(&[]);
    let mut client = connect(vm.port);
    for body in [b"1", b"2"] {
        client.write_all(GET).expect("writes");
        let stream = request(&mut vm);
        answer(&mut vm, stream, body);
        assert!(!answered(&mut client, body));
    }
    drop(client);
    assert_eq!(vm.event("gone"), (2, vec![]));

    let mut socket = connect(vm.port);
    socket.write_all(HANDSHAKE).expect("writes");
    let stream = request(&mut vm);
    vm.command(stream, [tuple([atom("websocket"), list([]), map([])])]);
    expect(&mut socket, SWITCHING);
    drop(socket);
    assert_eq!(vm.event("closed").0, stream);
    let mut client = connect(vm.port);
    client.write_all(GET).expect("writes");
    let stream = request(&mut vm);
    answer(&mut vm, stream, b"3");
    assert!(!answered(&mut client, b"3"));
    drop(client);
    assert_eq!(vm.event("gone"), (stream, vec![]));
}
