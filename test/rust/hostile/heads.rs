//! Heads and bodies of requests that never end, or lie.

use std::io::Write;
use std::net::TcpStream;

use crate::support::{MIB, Served, flood, frame, head, rest};

/// How long what a refused client still sends is discarded, in ms: less than by default, for the tests' sake.
const LINGER: &[&str] = &["--linger-timeout", "50"];

/// What a client gets that begins with `start` and then sends `more` without end.
fn endless(server: &Served, start: &[u8], more: &[u8]) -> String {
    let mut client = server.connect();
    client.write_all(start).expect("writes");
    flood(&mut client, more, 64 * MIB);
    let answer = String::from_utf8(rest(&mut client)).expect("is text");
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn slow_heads_are_ended_in_time_and_cost_what_they_sent() {
    let server = Served::start(&["--request-timeout", "1500"]);
    let mut clients: Vec<TcpStream> = (0..300).map(|_| server.connect()).collect();
    for byte in b"GET / HTTP/1.1\r\nx: yyyyyyyyyyyyyyyyy" {
        clients.iter_mut().for_each(|client| client.write_all(&[*byte]).expect("writes"));
    }
    server.serves();
    for client in &mut clients {
        assert!(rest(client).starts_with(b"HTTP/1.1 408"));
    }
    server.never_more_than(16 * MIB);
}

#[test]
fn endless_heads_are_refused_at_their_limits() {
    let server = Served::start(LINGER);
    for _ in 0..3 {
        assert_eq!(
            endless(&server, b"GET / HTTP/1.1\r\n", b"a: b\r\n"),
            "HTTP/1.1 431 Request Header Fields Too Large"
        );
        assert_eq!(endless(&server, b"GET / HTTP/1.1\r\na: ", b"x"), "HTTP/1.1 431 Request Header Fields Too Large");
        assert_eq!(endless(&server, b"GET / HTTP/1.1\r\n", b"x"), "HTTP/1.1 431 Request Header Fields Too Large");
        assert_eq!(endless(&server, b"GET /", b"x"), "HTTP/1.1 414 Request-URI Too Long");
        assert_eq!(endless(&server, b"", b"\r\n"), "HTTP/1.1 400 Bad Request");
    }
    server.serves();
    server.never_more_than(16 * MIB);
}

#[test]
fn a_thousand_half_open_handshakes_cost_little_and_others_are_served() {
    let server = Served::start(&[]);
    let half = b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upg";
    let clients: Vec<TcpStream> = (0..1000)
        .map(|n| {
            let mut client = server.connect();
            client.write_all(&half[..n % half.len()]).expect("writes");
            client
        })
        .collect();
    server.serves();
    server.never_more_than(clients.len() * 32 * 1024);
}

#[test]
fn chunks_with_endless_extensions_or_trailers_are_refused() {
    let server = Served::start(LINGER);
    let post =
        |rest: &str| format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{rest}").into_bytes();
    for _ in 0..3 {
        endless(&server, &post("1;"), b"x=y;");
        endless(&server, &post("0\r\n"), b"a: b\r\n");
        endless(&server, &post("0\r\na:"), b"x");
        endless(&server, &post(""), b"0");
    }
    server.serves();
    server.never_more_than(16 * MIB);
}

#[test]
fn a_body_that_says_it_is_huge_costs_what_the_handler_takes() {
    let server = Served::start(&["--max-skip-body-length", "0"]);
    let lengths =
        ["Content-Length: 9223372036854775807\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n"];
    let mut clients = Vec::new();
    for length in lengths.iter().cycle().take(50) {
        let mut client = server.connect();
        client.write_all(format!("POST / HTTP/1.1\r\nHost: x\r\n{length}").as_bytes()).expect("writes");
        flood(&mut client, &[b'x'; 65_536], 8 * MIB);
        clients.push(client);
    }
    server.serves();
    server.never_more_than(50 * MIB / 2);
}

#[test]
fn requests_without_end_wait_in_the_kernel_while_their_answers_are_not_read() {
    let server = Served::start(&[]);
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for client in &mut clients {
        let taken = flood(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 4 * MIB);
        assert!(taken > 0);
    }
    server.serves();
    server.never_more_than(20 * MIB);
}

#[test]
fn garbage_behind_an_upgrade_is_held_until_it_can_be_refused() {
    let server = Served::start(LINGER);
    for _ in 0..10 {
        let mut client = server.connect();
        client.write_all(format!("{}\r\n", crate::support::HANDSHAKE).as_bytes()).expect("writes");
        flood(&mut client, b"\xff\xfe\xfd", MIB);
        assert!(head(&mut client).starts_with("HTTP/1.1 101"));
        let close = rest(&mut client);
        assert!(close.is_empty() || close == b"\x88\x02\x03\xea", "1002, unless a reset overtook it: {close:?}");
    }
    server.serves();
    server.never_more_than(16 * MIB);
}

#[test]
fn a_proxy_header_that_lies_about_its_length_costs_what_it_sends() {
    let vm = crate::vm::Vm::ready(&["--proxy-header", "true"]);
    let (port, pid) = (vm.port, vm.pid());
    let before = crate::support::resident(pid);
    let mut clients: Vec<_> = (0..500)
        .map(|_| {
            let mut client = crate::support::connect(port);
            client.write_all(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff").expect("writes");
            client
        })
        .collect();
    assert!(crate::support::resident(pid) - before < 8 * MIB);
    for client in &mut clients {
        assert_eq!(rest(client), b""); // It may take a second.
    }
    // Where a header should be and is none, nothing is read on.
    let mut client = crate::support::connect(port);
    client.write_all(&frame(0x82, b"no header")).expect("writes");
    assert_eq!(rest(&mut client), b"");
}
