//! Who is accepted, and when: from the hello on, while it is suspended, drains or is full, on a port that others share, behind a proxy.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::vm::{self, Vm, atom, binary, get, int, list, tuple};
use crate::{HELLO, connect, read_all, shown, upgraded};

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
