//! A stream, from its request to its end: what comes up, what goes down, and how it ends without the others.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use crate::vm::{Vm, atom, binary, get, int, list, map, tuple};
use crate::{HANDSHAKE, HELLO, connect, read_all, upgraded};

#[test]
fn a_request_comes_up_with_what_cowboys_map_has() {
    let mut vm = Vm::ready(&[]);
    let mut client = connect(vm.port);
    client
        .write_all(
            b"POST /a%20b?c=d HTTP/1.1\r\nHost: EXAMPLE.org:81\r\nX-A: 1\r\nx-a:  2 \r\nCookie: a=b\r\nCookie: c=d\r\n\
              Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        )
        .expect("writes");
    let (_, request) = vm.event("request");
    let expected = [
        ("method", binary(b"POST")),
        ("version", int(11)),
        ("scheme", binary(b"http")),
        ("host", binary(b"example.org")),
        ("port", int(81)),
        ("path", binary(b"/a%20b")),
        ("qs", binary(b"c=d")),
        ("cert", list([])),
        ("has_body", atom("true")),
        ("body_length", list([])),
        ("streamid", int(1)),
        (
            "headers",
            map([
                (binary(b"host"), binary(b"EXAMPLE.org:81")),
                (binary(b"x-a"), binary(b"1, 2")),
                (binary(b"cookie"), binary(b"a=b; c=d")),
            ]),
        ),
    ];
    for (key, value) in &expected {
        assert_eq!(get(&request[0], key), value, "{key}");
    }
    let local = tuple([tuple([int(127), int(0), int(0), int(1)]), int(vm.port.into())]);
    assert_eq!(get(&request[0], "sock"), &local);
    let (_, data) = vm.event("data");
    assert_eq!(data, [atom("fin"), binary(b"")]);
}

#[test]
fn a_message_goes_up_and_comes_back() {
    let mut vm = Vm::ready(&[]);
    let (mut client, stream) = upgraded(&mut vm);
    client.write_all(HELLO).expect("writes");
    assert_eq!(vm.event("text"), (stream, vec![binary(b"Hello")]));
    vm.command(stream, [tuple([atom("text"), binary(b"Hello")]), tuple([atom("close"), int(1000), binary(b"")])]);
    assert_eq!(read_all(&mut client), b"\x81\x05Hello\x88\x02\x03\xe8");
}

#[test]
fn frames_sent_together_with_the_handshake_are_kept() {
    let mut vm = Vm::ready(&[]);
    let mut client = connect(vm.port);
    client.write_all(&[HANDSHAKE, HELLO].concat()).expect("writes");
    let (stream, _) = vm.event("request");
    vm.command(stream, [tuple([atom("websocket"), list([]), map([])]), tuple([atom("text"), binary(b"first")])]);
    assert_eq!(vm.event("text"), (stream, vec![binary(b"Hello")]));
    vm.command(stream, [atom("close")]);
    let answer = read_all(&mut client);
    assert!(answer.ends_with(b"\r\n\r\n\x81\x05first\x88\x00"), "{answer:?}");
}

#[test]
fn a_client_that_sends_without_end_is_stopped_at_the_window() {
    let window = 65_536;
    let mut vm = Vm::ready(&["--window", &window.to_string()]);
    let (mut client, stream) = upgraded(&mut vm);
    let frame = [&b"\x82\xfe\x03\xe8\0\0\0\0"[..], &[b'x'; 1000]].concat();
    client.set_write_timeout(Some(Duration::from_secs(2))).expect("sets a timeout");
    while client.write_all(&frame).is_ok() {} // Until the kernel's buffers are full as well.

    let cost = 1000 + 64;
    let allowed = window / cost + 1;
    for _ in 0..allowed {
        assert_eq!(vm.event("binary").0, stream);
    }
    // A second client is served: its event is the next one, nothing of the first has come before it.
    let (_second, _) = upgraded(&mut vm);
    assert_eq!(vm.unread_events(), 0);
    vm.command(stream, [tuple([atom("credit"), int((allowed * cost) as u64)])]);
    assert_eq!(vm.event("binary").0, stream);
}

/// More of them than there are threads that read files.
#[test]
fn what_is_no_regular_file_is_not_read_and_keeps_nobody_waiting() {
    let folder = std::env::temp_dir().join(format!("outrider-files-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("creates it");
    let (fifo, file) = (folder.join("fifo"), folder.join("file"));
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
    std::fs::write(&file, b"read").expect("writes");
    let mut vm = Vm::ready(&[]);
    let ask = |vm: &mut Vm, path: &std::path::Path| {
        let mut client = connect(vm.port);
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("writes");
        let (stream, _) = loop {
            let (stream, event) = vm.any_event().expect("the sidecar runs");
            if event[0] == atom("request") {
                break (stream, event);
            }
        };
        let path = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
        let body = tuple([atom("sendfile"), int(0), int(4), binary(path)]);
        let headers = list([tuple([binary(b"content-length"), binary(b"4")])]);
        vm.command(stream, [tuple([atom("response"), int(200), headers, body])]);
        client
    };
    let mut others: Vec<_> = (0..300).map(|_| ask(&mut vm, &fifo)).collect();
    others.extend([folder.as_path(), "/dev/zero".as_ref(), "/dev/null".as_ref()].map(|path| ask(&mut vm, path)));
    assert!(read_all(&mut ask(&mut vm, &file)).ends_with(b"read"));
    for mut other in others {
        assert!(!read_all(&mut other).ends_with(b"\0\0\0\0"));
    }
    std::fs::remove_dir_all(&folder).expect("removes it");
}

#[test]
fn an_aborted_stream_ends_alone() {
    let mut vm = Vm::ready(&[]);
    let (mut aborted, stream) = upgraded(&mut vm);
    let (mut other, other_stream) = upgraded(&mut vm);
    vm.command(stream, [atom("abort")]);
    assert_eq!(read_all(&mut aborted), b"");
    other.write_all(HELLO).expect("writes");
    assert_eq!(vm.event("text").0, other_stream);
}

#[test]
fn a_misplaced_command_ends_its_stream_alone_and_is_logged() {
    let mut vm = Vm::ready(&[]);
    let (mut client, stream) = upgraded(&mut vm);
    let (mut other, other_stream) = upgraded(&mut vm);
    vm.command(stream, [tuple([atom("part"), binary(b"of what?")])]);
    let (zero, log) = vm.event("log");
    assert_eq!((zero, &log[0]), (0, &atom("error")));
    assert_eq!(vm.event("closed"), (stream, vec![tuple([atom("error"), atom("closed")])]));
    assert_eq!(read_all(&mut client), b"");
    other.write_all(HELLO).expect("writes");
    assert_eq!(vm.event("text").0, other_stream);
}

#[test]
fn stdins_end_says_1001_to_every_client_and_exits_with_0() {
    let mut vm = Vm::ready(&[]);
    let mut clients: Vec<_> = (0..10).map(|_| upgraded(&mut vm).0).collect();
    vm.close_stdin();
    for client in &mut clients {
        assert_eq!(read_all(client), b"\x88\x02\x03\xe9");
    }
    assert_eq!(vm.exit_code(), Some(0));
}
