//! Where one request ends and the next begins, and which clock runs meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::flow::slow_client_of_http;
use crate::vm::{Term, Vm, atom, binary, int, list, tuple};
use crate::{connect, read_all};

pub const FIRST: &[u8] = b"POST /first HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
pub const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// The next event of this name; those before it are of clients that are no longer of interest, or of no interest here.
pub fn next(vm: &mut Vm, name: &str) -> (u64, Vec<Term>) {
    let mut events = std::iter::from_fn(|| vm.any_event());
    let (stream, mut event) = events.find(|(_, event)| event[0] == atom(name)).expect("the sidecar runs");
    event.remove(0);
    (stream, event)
}

/// The next request: its stream.
pub fn request(vm: &mut Vm) -> u64 {
    next(vm, "request").0
}

/// The end of its body, which is empty.
pub fn no_data(vm: &mut Vm, stream: u64) {
    assert_eq!(next(vm, "data"), (stream, vec![atom("fin"), binary(b"")]));
}

pub fn answer(vm: &mut Vm, stream: u64, body: &[u8]) {
    vm.command(stream, [tuple([atom("response"), int(200), list([]), binary(body)])]);
}

/// Reads an answer, whose body is this; says whether the connection is to be closed.
pub fn answered(client: &mut TcpStream, body: &[u8]) -> bool {
    let (mut all, mut byte) = (Vec::new(), [0]);
    while !all.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).expect("a whole head");
        all.push(byte[0]);
    }
    let head = String::from_utf8(all).expect("is text");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let mut all = vec![0; body.len()];
    client.read_exact(&mut all).expect("the body");
    assert_eq!(all, body);
    head.contains("connection: close\r\n")
}

pub fn expect(client: &mut TcpStream, bytes: &[u8]) {
    let mut all = vec![0; bytes.len()];
    client.read_exact(&mut all).expect("bytes");
    assert_eq!(String::from_utf8_lossy(&all), String::from_utf8_lossy(bytes));
}

/// Waits for as long as `request_timeout` is, by a client that is closed for it.
fn request_timeout_passes(vm: &Vm) {
    assert_eq!(read_all(&mut connect(vm.port)), b"");
}

/// Serves another client: what the VM has ordered before has then been carried out. Its request is the next event.
pub fn serve_another(vm: &mut Vm) {
    let mut other = connect(vm.port);
    other.write_all(GET).expect("writes");
    let (stream, _) = vm.event("request");
    answer(vm, stream, b"ok");
    answered(&mut other, b"ok");
}

#[test]
fn what_follows_a_chunked_body_is_judged_like_any_head() {
    let mut vm = Vm::ready(&[]);
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\na: {}\r\n\r\n", "a".repeat(4097));
    for (second, status) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b/c\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"GET /#f HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (long.as_bytes(), 431),
    ] {
        let mut client = connect(vm.port);
        client.write_all(&[FIRST, second].concat()).expect("writes");
        let stream = request(&mut vm);
        no_data(&mut vm, stream);
        answer(&mut vm, stream, b"first");
        answered(&mut client, b"first");
        let refusal = String::from_utf8(read_all(&mut client)).expect("is text");
        let what = String::from_utf8_lossy(second);
        assert!(refusal.starts_with(&format!("HTTP/1.1 {status} ")), "{what} got {refusal}");
    }
}

#[test]
fn a_request_behind_a_chunked_body_may_be_cut_anywhere() {
    let mut vm = Vm::ready(&[]);
    let second = b"POST /2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    for cut in 0..=second.len() {
        let mut client = connect(vm.port);
        client.write_all(&[FIRST, &second[..cut]].concat()).expect("writes");
        let stream = request(&mut vm);
        no_data(&mut vm, stream);
        answer(&mut vm, stream, b"first");
        answered(&mut client, b"first");
        client.write_all(&second[cut..]).expect("writes");
        let stream = request(&mut vm);
        let mut body = Vec::new();
        loop {
            let (_, data) = next(&mut vm, "data");
            let Term::Binary(piece) = &data[1] else { panic!("not a binary") };
            body.extend_from_slice(&piece.bytes);
            if data[0] == atom("fin") {
                break;
            }
        }
        assert_eq!(body, b"a", "cut at {cut}");
        answer(&mut vm, stream, b"second");
        assert!(!answered(&mut client, b"second"));
    }
}

#[test]
fn a_request_behind_a_chunked_body_has_the_time_of_its_handler() {
    let mut vm = Vm::ready(&["--request-timeout", "300"]);
    let mut client = connect(vm.port);
    client.write_all(&[FIRST, GET].concat()).expect("writes");
    let stream = request(&mut vm);
    no_data(&mut vm, stream);
    answer(&mut vm, stream, b"first");
    let stream = request(&mut vm);
    request_timeout_passes(&vm);
    answer(&mut vm, stream, b"second");
    answered(&mut client, b"first");
    answered(&mut client, b"second");
}

#[test]
fn trailers_are_skipped_up_to_a_limit() {
    let mut vm = Vm::ready(&[]);
    let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    for (length, is_taken) in [(6, true), (4096, true), (4097, false)] {
        let mut client = connect(vm.port);
        client.write_all(format!("{head}x: {}\r\n\r\n", "y".repeat(length - 5)).as_bytes()).expect("writes");
        let stream = request(&mut vm);
        if is_taken {
            no_data(&mut vm, stream);
            answer(&mut vm, stream, b"ok");
            assert!(!answered(&mut client, b"ok"));
            client.write_all(GET).expect("writes");
            request(&mut vm);
        } else {
            assert!(read_all(&mut client).starts_with(b"HTTP/1.1 400 "));
            assert_eq!(next(&mut vm, "closed").0, stream);
        }
    }
}

#[test]
fn a_body_is_skipped_for_as_long_as_it_comes() {
    let mut vm = Vm::ready(&["--request-timeout", "300"]);
    let mut client = connect(vm.port);
    client.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n").expect("writes");
    let stream = request(&mut vm);
    answer(&mut vm, stream, b"early");
    for byte in [b"a", b"b", b"c"] {
        request_timeout_passes(&vm);
        client.write_all(byte).expect("writes");
    }
    assert!(!answered(&mut client, b"early"));
    client.write_all(GET).expect("writes");
    let stream = request(&mut vm);
    answer(&mut vm, stream, b"next");
    answered(&mut client, b"next");
    assert_eq!(read_all(&mut client), b"", "and request_timeout runs again");
}

#[test]
fn a_body_to_be_skipped_that_does_not_come_has_idle_timeout() {
    let mut vm = Vm::ready(&["--request-timeout", "infinity", "--idle-timeout", "300"]);
    let mut client = connect(vm.port);
    client.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na").expect("writes");
    let stream = request(&mut vm);
    answer(&mut vm, stream, b"early");
    answered(&mut client, b"early");
    assert_eq!(read_all(&mut client), b"");
}

#[test]
fn a_body_ahead_of_its_handler_has_no_byte_more_than_the_flow() {
    let flow = 65_535;
    for framing in ["Content-Length: 200000", "Transfer-Encoding: chunked"] {
        let mut vm = Vm::ready(&[]);
        let mut client = connect(vm.port);
        client.write_all(format!("POST / HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n").as_bytes()).expect("writes");
        let chunk = if framing.ends_with("chunked") { "30d40\r\n" } else { "" };
        client.write_all(&[chunk.as_bytes(), &[b'x'; 200_000]].concat()).expect("writes");
        let stream = request(&mut vm);
        let (mut came, mut allowed) = (0, flow);
        for more in [10, 100_000, 1] {
            while came < allowed {
                let (of, data) = vm.event("data");
                let Term::Binary(piece) = &data[1] else { panic!("not a binary") };
                assert_eq!((of, &data[0]), (stream, &atom("nofin")));
                came += piece.bytes.len();
            }
            assert_eq!(came, allowed);
            serve_another(&mut vm);
            vm.command(stream, [tuple([atom("flow"), int(more as u64)])]);
            allowed += more;
        }
    }
}

#[test]
fn the_wait_for_a_request_begins_when_the_client_has_its_answer() {
    let mut vm = Vm::ready(&["--request-timeout", "300", "--sndbuf", "4096"]);
    let mut client = slow_client_of_http(&vm);
    client.write_all(GET).expect("writes");
    let stream = request(&mut vm);
    let body = vec![b'x'; 60_000];
    answer(&mut vm, stream, &body);
    request_timeout_passes(&vm);
    request_timeout_passes(&vm);
    answered(&mut client, &body);
}
