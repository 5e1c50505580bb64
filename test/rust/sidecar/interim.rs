//! Interim answers, those that a client expects and those of the application's own, and the final one behind them.

use std::io::Write;

use crate::flow::slow_client_of_http;
use crate::requests::{GET, answer, answered, expect, next, request, serve_another};
use crate::vm::{Vm, atom, binary, get, int, list, tuple};
use crate::{connect, read_all};

pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[test]
fn an_interim_answer_does_not_overtake_the_answer_before() {
    let mut vm = Vm::ready(&["--sndbuf", "4096"]);
    let mut client = slow_client_of_http(&vm);
    client.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n").expect("writes");
    let stream = request(&mut vm);
    let body = vec![b'x'; 60_000];
    answer(&mut vm, stream, &body);
    serve_another(&mut vm);
    client.write_all(b"a").expect("writes");
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        .expect("writes");
    // Another client's request comes up when the first one's second could have, too. Whichever comes is told 100.
    let mut other = connect(vm.port);
    other.write_all(GET).expect("writes");
    let inform = |vm: &mut Vm| {
        let (stream, head) = next(vm, "request");
        vm.command(stream, [tuple([atom("inform"), int(100), list([])])]);
        (stream, get(&head[0], "method") == &binary(b"POST"))
    };
    let early = inform(&mut vm);
    answered(&mut client, &body);
    let (stream, _) = [early]
        .into_iter()
        .chain(std::iter::repeat_with(|| inform(&mut vm)))
        .find(|(_, is_post)| *is_post)
        .expect("comes");
    expect(&mut client, CONTINUE);
    client.write_all(b"a").expect("writes");
    assert_eq!(next(&mut vm, "data"), (stream, vec![atom("fin"), binary(b"a")]));
}

#[test]
fn a_final_answer_to_an_expectation_closes_unless_the_body_has_begun() {
    let mut vm = Vm::ready(&[]);
    for (framing, body) in [("Content-Length: 1", "a"), ("Transfer-Encoding: chunked", "1\r\na\r\n0\r\n\r\n")] {
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n{framing}\r\n\r\n");
        let mut client = connect(vm.port);
        client.write_all(head.as_bytes()).expect("writes");
        let stream = request(&mut vm);
        answer(&mut vm, stream, b"no");
        assert!(answered(&mut client, b"no"), "{framing}");
        assert_eq!(read_all(&mut client), b"");

        let mut client = connect(vm.port);
        client.write_all(&[head.as_bytes(), body.as_bytes()].concat()).expect("writes");
        let stream = request(&mut vm);
        while next(&mut vm, "data").1[0] != atom("fin") {}
        answer(&mut vm, stream, b"yes");
        assert!(!answered(&mut client, b"yes"), "{framing}");
    }
    let mut client = connect(vm.port);
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n")
        .expect("writes");
    let stream = request(&mut vm);
    answer(&mut vm, stream, b"no body");
    assert!(!answered(&mut client, b"no body"));
}

#[test]
fn the_applications_100_is_sent_with_its_headers() {
    let mut vm = Vm::ready(&[]);
    for expect_field in ["", "Expect: 100-continue\r\n"] {
        let mut client = connect(vm.port);
        client
            .write_all(format!("POST / HTTP/1.1\r\nHost: x\r\n{expect_field}Content-Length: 1\r\n\r\n").as_bytes())
            .expect("writes");
        let stream = request(&mut vm);
        vm.command(stream, [tuple([atom("inform"), int(100), list([tuple([binary(b"a"), binary(b"b")])])])]);
        expect(&mut client, b"HTTP/1.1 100 Continue\r\na: b\r\n\r\n");
        client.write_all(b"a").expect("writes");
        assert_eq!(next(&mut vm, "data"), (stream, vec![atom("fin"), binary(b"a")]));
        answer(&mut vm, stream, b"ok");
        assert!(!answered(&mut client, b"ok"));
    }
    let mut client = connect(vm.port);
    client.write_all(GET).expect("writes");
    let stream = request(&mut vm);
    vm.command(stream, [tuple([atom("inform"), int(100), list([tuple([binary(b"a"), binary(b"b\nc")])])])]);
    assert!(read_all(&mut client).starts_with(b"HTTP/1.1 500 "));
}

#[test]
fn a_body_that_looks_like_an_interim_answer_is_sent() {
    let mut vm = Vm::ready(&[]);
    let mut client = connect(vm.port);
    client.write_all(GET).expect("writes");
    let stream = request(&mut vm);
    let length = tuple([binary(b"content-length"), binary(CONTINUE.len().to_string().as_bytes())]);
    vm.command(stream, [tuple([atom("headers"), int(200), list([length])])]);
    expect(&mut client, format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", CONTINUE.len()).as_bytes());
    vm.command(stream, [tuple([atom("data"), atom("fin"), binary(CONTINUE)])]);
    expect(&mut client, CONTINUE);
}
