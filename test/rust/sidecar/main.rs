//! The sidecar as a process: its command line, its exit codes, its beginning and its end, with a VM that this test plays.

mod deadlines;
mod flow;
mod requests;
mod silence;
mod turns;
mod urgent;
#[allow(dead_code)] // Shared with test/rust/hostile.
mod vm;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::time::Duration;

use vm::{Vm, atom, binary, get, int, list, map, tuple};

const HANDSHAKE: &[u8] =
    b"GET /chat?x=1 HTTP/1.1\r\nHost: Example.org:8080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// "Hello" as a masked text frame (RFC 6455, 5.7).
const HELLO: &[u8] = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";

fn outrider(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outrider")).args(args).output().expect("the binary runs")
}

/// The exit code, and the only line on stderr.
fn complaint(output: &Output) -> (Option<i32>, String) {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    (output.status.code(), stderr)
}

fn connect(port: u16) -> TcpStream {
    let client = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    client.set_read_timeout(Some(Duration::from_secs(20))).expect("sets a timeout");
    client
}

/// What the client gets until the server ends the connection.
fn read_all(client: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).expect("the server ends the connection in time");
    bytes
}

/// A client whose handshake has been answered, and its stream's number.
fn upgraded(vm: &mut Vm) -> (TcpStream, u64) {
    let client = connect(vm.port);
    upgrade(vm, client, map([]))
}

/// The same for a client that is connected, with options.
fn upgrade(vm: &mut Vm, mut client: TcpStream, options: vm::Term) -> (TcpStream, u64) {
    client.write_all(HANDSHAKE).expect("writes");
    let (stream, _) = vm.event("request");
    vm.command(stream, [tuple([atom("websocket"), list([]), options])]);
    let mut answer = [0; b"HTTP/1.1 101 Switching Protocols\r\n\r\n".len()];
    client.read_exact(&mut answer).expect("is answered");
    assert_eq!(&answer, b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
    (client, stream)
}

/// A binary as text.
fn shown(binary: &vm::Term) -> String {
    let vm::Term::Binary(binary) = binary else { panic!("no binary: {binary}") };
    String::from_utf8(binary.bytes.clone()).expect("is text")
}

#[test]
fn a_usage_error_is_one_line_and_exit_code_2() {
    for (args, word) in [
        (&[][..], "serve or echo"),
        (&["serve"], "--listen"),
        (&["serve", "--listen", "localhost"], "localhost"),
        (&["serve", "--listen", "127.0.0.1:0", "--idle-timeout", "1s"], "1s"),
        (&["serve", "--listen", "127.0.0.1:0", "--user", "0:no"], "0:no"),
        (&["ride"], "ride"),
    ] {
        let (code, line) = complaint(&outrider(args));
        assert_eq!(code, Some(2), "{args:?}");
        assert!(line.contains(word), "{line}");
    }
}

#[test]
fn the_exit_code_is_right_even_if_stderr_takes_nothing() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("opens");
    let status =
        Command::new(env!("CARGO_BIN_EXE_outrider")).arg("ride").stderr(full).status().expect("the binary runs");
    assert_eq!(status.code(), Some(2));

    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let full = std::fs::File::options().write(true).open("/dev/full").expect("opens");
    let output = Command::new(env!("CARGO_BIN_EXE_outrider"))
        .args(["serve", "--listen", &taken.local_addr().expect("is bound").to_string()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(full)
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn help_and_version_go_to_stdout() {
    for (flag, word) in [("--help", "serve"), ("--version", env!("CARGO_PKG_VERSION"))] {
        let output = outrider(&[flag]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains(word));
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn an_address_in_use_is_named_with_exit_code_3() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("is bound").to_string();
    let (code, line) = complaint(&outrider(&["echo", "--listen", &address]));
    assert_eq!(code, Some(3));
    assert!(line.contains(&address), "{line}");

    let (first, mut vm) = Vm::start(&["--listen", &address]);
    assert_eq!(first, tuple([atom("listen_error"), binary(address.as_bytes()), atom("eaddrinuse")]));
    assert_eq!(vm.exit_code(), Some(3));
}

#[test]
fn another_version_is_refused_naming_both_with_exit_code_4() {
    let (_, mut vm) = Vm::start(&["--listen", "127.0.0.1:0"]);
    vm.send(&tuple([atom("hello"), int(7)]));
    assert_eq!(vm.exit_code(), Some(4));
    let line = vm.stderr();
    assert!(line.contains("version 7") && line.contains("version 1"), "{line}");
}

#[test]
fn a_packet_that_does_not_decode_is_shown_with_exit_code_5() {
    let mut vm = Vm::ready(&[]);
    vm.command(1, [tuple([atom("fly"), binary(b"secret")])]);
    assert_eq!(vm.exit_code(), Some(5));
    let line = vm.stderr();
    assert!(line.contains("66, 6c, 79"), "the packet's bytes, with f, l, y: {line}");
    assert!(!line.contains("73, 65, 63"), "and without s, e, c, which may be a client's: {line}");
}

#[test]
fn nobody_is_accepted_before_the_hello_is_answered() {
    let (hello, mut vm) = Vm::start(&["--listen", "127.0.0.1:0"]);
    let mut client = connect(vm::port_of(&hello));
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").expect("the kernel takes it");
    vm.send(&tuple([atom("hello"), int(1)]));
    let (stream, request) = vm.event("request");
    assert_eq!(stream, 1);
    assert_eq!(get(&request[0], "path"), &binary(b"/"));
}

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
fn stdins_end_says_1001_to_every_client_and_exits_with_0() {
    let mut vm = Vm::ready(&[]);
    let mut clients: Vec<_> = (0..10).map(|_| upgraded(&mut vm).0).collect();
    vm.close_stdin();
    for client in &mut clients {
        assert_eq!(read_all(client), b"\x88\x02\x03\xe9");
    }
    assert_eq!(vm.exit_code(), Some(0));
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
fn a_missing_proxy_header_is_said_once_a_minute_with_the_peers_address() {
    let mut vm = Vm::ready(&["--proxy-header", "true"]);
    // Somebody who looks whether it listens.
    drop(connect(vm.port));
    let refused: Vec<_> = [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"PROX", b""]
        .into_iter()
        .map(|bytes| {
            let mut client = connect(vm.port);
            client.write_all(bytes).expect("writes");
            let address = client.local_addr().expect("has one");
            // Closed with a reset where bytes are left unread.
            let _ = client.read_to_end(&mut Vec::new());
            address
        })
        .collect();
    vm.close_stdin();
    let logs: Vec<_> = std::iter::from_fn(|| vm.any_event()).collect();
    let [(0, log)] = &logs[..] else { panic!("{logs:?}") };
    assert_eq!(log[..2], [atom("log"), atom("warning")]);
    let text = shown(&log[3]);
    assert!(text.contains("PROXY") && text.contains(&refused[0].to_string()), "{text}");
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
fn suspending_refuses_new_clients_and_keeps_the_old() {
    let mut vm = Vm::ready(&[]);
    let (mut client, stream) = upgraded(&mut vm);
    vm.command(0, [atom("suspend")]);
    assert_eq!(vm.event("listening"), (0, vec![list([])]));
    vm.command(0, [atom("suspend")]); // Each order is answered.
    assert_eq!(vm.event("listening"), (0, vec![list([])]));
    TcpStream::connect(("127.0.0.1", vm.port)).expect_err("nobody listens");
    client.write_all(HELLO).expect("writes");
    assert_eq!(vm.event("text").0, stream);

    vm.command(0, [atom("resume")]);
    let (_, listening) = vm.event("listening");
    vm.command(0, [atom("resume")]);
    assert_eq!(vm.event("listening").1, listening);
    vm.port = vm::port_in(&listening[0]);
    upgraded(&mut vm);
}

#[test]
fn draining_closes_idle_connections_and_others_with_their_answer() {
    let mut vm = Vm::ready(&[]);
    let mut answered = connect(vm.port);
    let response = |vm: &mut Vm, stream| {
        vm.command(stream, [tuple([atom("response"), int(200), list([]), binary(b"done")])]);
    };
    answered.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").expect("writes");
    let (stream, _) = vm.event("request");
    response(&mut vm, stream);
    let mut busy = connect(vm.port);
    busy.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").expect("writes");
    let (stream, _) = vm.event("request");

    vm.command(0, [atom("drain")]);
    assert!(read_all(&mut answered).ends_with(b"done"));
    response(&mut vm, stream);
    let answer = String::from_utf8(read_all(&mut busy)).expect("is text");
    assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("done"), "{answer}");

    // Until it is resumed.
    vm.command(0, [atom("suspend"), atom("resume")]);
    vm.event("listening");
    let mut next = connect(vm.port);
    for _ in 0..2 {
        next.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").expect("writes");
        let (stream, _) = vm.event("request");
        response(&mut vm, stream);
    }
}

#[test]
fn a_shared_port_is_taken_once_and_joined_by_others() {
    let (first, mut vm) = Vm::start(&["--listen", "127.0.0.1:0", "--share-port", "take"]);
    let address = format!("127.0.0.1:{}", vm::port_of(&first));
    let (second, _other) = Vm::start(&["--listen", &address, "--share-port", "join"]);
    assert_eq!(vm::port_of(&second), vm::port_of(&first));
    let (third, _) = Vm::start(&["--listen", &address, "--share-port", "take"]);
    assert_eq!(third, tuple([atom("listen_error"), binary(address.as_bytes()), atom("eaddrinuse")]));

    // Who has taken it comes back to it, although another is there and the flag said port 0.
    vm.send(&tuple([atom("hello"), int(1)]));
    vm.command(0, [atom("suspend")]);
    assert_eq!(vm.event("listening"), (0, vec![list([])]));
    vm.command(0, [atom("resume")]);
    assert_eq!(vm::port_in(&vm.event("listening").1[0]), vm::port_of(&first));
}

#[test]
fn a_suspended_sidecar_listens_when_it_is_resumed() {
    let (hello, mut vm) = Vm::start(&["--listen", "127.0.0.1:0", "--suspended", "true"]);
    let vm::Term::Tuple(hello) = &hello else { panic!("not a tuple") };
    assert_eq!(get(&hello.elements[2], "listening"), &list([]));
    vm.send(&tuple([atom("hello"), int(1)]));
    vm.command(0, [atom("resume")]);
    vm.port = vm::port_in(&vm.event("listening").1[0]);
    upgraded(&mut vm);
}

#[test]
fn accepting_pauses_at_max_sockets_websockets_included() {
    let mut vm = Vm::ready(&["--max-sockets", "2"]);
    let (first, _) = upgraded(&mut vm);
    let (_second, second_stream) = upgraded(&mut vm);
    let mut third = connect(vm.port); // The kernel takes it.
    third.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").expect("writes");
    drop(first);
    // The first event is the first client's end, not the third one's request.
    let (ended, _) = vm.event("closed");
    assert_ne!(ended, second_stream);
    assert_eq!(vm.event("request").0, 3);
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

#[test]
fn a_unix_socket_is_served_and_removed_at_the_end() {
    let path = std::env::temp_dir().join(format!("outrider-test-{}.sock", std::process::id()));
    let address = format!("unix:{}", path.display());
    let (hello, mut vm) = Vm::start(&["--listen", &address]);
    let vm::Term::Tuple(hello) = &hello else { panic!("not a tuple") };
    let local = tuple([atom("local"), binary(path.as_os_str().as_encoded_bytes())]);
    assert_eq!(get(&hello.elements[2], "listening"), &list([local]));
    vm.send(&tuple([atom("hello"), int(1)]));
    let mut client = std::os::unix::net::UnixStream::connect(&path).expect("connects");
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").expect("writes");
    let (_, request) = vm.event("request");
    assert_eq!(get(&request[0], "peer"), &tuple([atom("local"), binary(b"")]));
    vm.close_stdin();
    assert_eq!(vm.exit_code(), Some(0));
    assert!(!path.exists());
}
