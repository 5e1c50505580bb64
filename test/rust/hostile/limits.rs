//! The limits of a listener that count clients, and what happens at each: n - 1, n, n + 1.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{
    HANDSHAKE, MIB, Served, connect, connect_narrow, frame, head, resident, rest, until_idle, upgraded,
};
use crate::vm::{Vm, atom, binary, int, list, tuple};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// A client from an address of its own: all of 127.0.0.0/8 is this machine.
fn connect_from(last: u8, port: u16) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, last], 0)).into()).expect("binds");
    socket.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("connects");
    let client = TcpStream::from(socket);
    client.set_read_timeout(Some(crate::support::PATIENCE)).expect("sets a timeout");
    client
}

#[test]
fn an_address_has_max_sockets_per_address_and_one_more_is_closed() {
    let mut vm = Vm::ready(&["--max-sockets-per-address", "2"]);
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let client = connect_from(2, vm.port);
            upgraded(&mut vm, client).0
        })
        .collect();
    assert_eq!(rest(&mut connect_from(2, vm.port)), b"");
    let other = connect_from(3, vm.port);
    let _other = upgraded(&mut vm, other);
    drop(clients);
    vm.event("closed");
    vm.event("closed");
    let again = connect_from(2, vm.port);
    upgraded(&mut vm, again);
}

#[test]
fn behind_a_proxy_the_address_that_it_names_counts() {
    let mut vm = Vm::ready(&["--max-sockets-per-address", "1", "--proxy-header", "true"]);
    let from = |address: &str| {
        let mut client = connect(vm.port);
        client.write_all(format!("PROXY TCP4 {address} 192.0.2.100 4000 80\r\n").as_bytes()).expect("writes");
        client
    };
    let (one, mut same, other) = (from("192.0.2.1"), from("192.0.2.1"), from("192.0.2.2"));
    // The proxy's own connections have no address.
    let checks: Vec<_> = (0..3).map(|_| connect(vm.port)).collect();
    let _one = upgraded(&mut vm, one);
    assert_eq!(rest(&mut same), b"");
    let _other = upgraded(&mut vm, other);
    let mut clients = Vec::new();
    for mut check in checks {
        check.write_all(b"PROXY UNKNOWN\r\n").expect("writes");
        clients.push(upgraded(&mut vm, check));
    }
}

#[test]
fn no_more_than_max_accept_rate_are_accepted_in_a_second_and_nobody_is_lost() {
    let server = Served::start(&["--max-accept-rate", "50"]);
    let begin = std::time::Instant::now();
    let mut clients: Vec<_> = (0..150).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(GET).expect("writes");
    }
    for client in &mut clients {
        assert!(head(client).starts_with("HTTP/1.1 200"));
    }
    // A second's worth may come at once. That it does not take shorter is the promise; how long it takes is not.
    assert!(begin.elapsed() >= Duration::from_millis(1900), "{:?}", begin.elapsed());
}

#[test]
fn clients_that_have_taken_nothing_for_longest_go_when_max_queued_is_exceeded() {
    let mut vm = Vm::ready(&["--max-queued", "1000000", "--sndbuf", "16384"]);
    let message = tuple([atom("binary"), binary(&[b'x'; 65_536])]);
    let four = || [message.clone(), message.clone(), message.clone(), message.clone()];
    let mut clients = Vec::new();
    for _ in 0..5 {
        let client = connect_narrow(vm.port);
        clients.push(upgraded(&mut vm, client));
    }
    // Four windows fit, less what the kernel takes.
    for (_, stream) in &clients[..4] {
        vm.command(*stream, four());
    }
    // All but the first take something, and get as much again.
    for (client, stream) in &mut clients[1..4] {
        let mut frames = vec![0; 2 * (10 + 65_536)];
        client.read_exact(&mut frames).expect("is served");
        assert_eq!(vm.event("credit").0, *stream);
        vm.command(*stream, [message.clone(), message.clone()]);
    }
    // The fifth is one too many: the first client goes.
    vm.command(clients[4].1, four());
    assert_eq!(vm.event("closed"), (clients[0].1, vec![tuple([atom("error"), atom("timeout")])]));
    // The others get all that was sent to them.
    for (client, _) in &mut clients[1..] {
        let mut frames = vec![0; 4 * (10 + 65_536)];
        client.read_exact(&mut frames).expect("is served");
    }
}

#[test]
fn responses_that_are_not_taken_count_for_max_queued() {
    let mut vm = Vm::ready(&["--max-queued", "500000", "--sndbuf", "16384"]);
    let mut clients: Vec<_> = (0..3).map(|_| connect_narrow(vm.port)).collect();
    let mut streams = Vec::new();
    let piece = tuple([atom("data"), atom("nofin"), binary(&[b'x'; 65_536])]);
    for client in &mut clients {
        client.write_all(GET).expect("writes");
        let (stream, _) = vm.event("request");
        vm.command(stream, [tuple([atom("headers"), int(200), list([])])]);
        head(client);
        for _ in 0..4 {
            vm.command(stream, [piece.clone()]);
        }
        streams.push(stream);
    }
    assert_eq!(vm.event("closed"), (streams[0], vec![tuple([atom("error"), atom("timeout")])]));
    vm.command(streams[2], [tuple([atom("data"), atom("fin"), binary(b"the end")])]);
    let mut body = vec![0; 4 * 65_536];
    clients[2].read_exact(&mut body).expect("is served");
}

/// A sidecar that may open so many files.
fn with_files(files: u32, flags: &str) -> Vm {
    let outrider = env!("CARGO_BIN_EXE_outrider");
    let script = format!("ulimit -n {files}; exec {outrider} serve --listen 127.0.0.1:0 {flags}");
    let (hello, vm) = Vm::spawn(Command::new("sh").args(["-c", &script]).stderr(Stdio::piped()));
    vm.greet(&hello)
}

/// Opens clients until those that cannot be accepted are served because others leave.
fn is_served_when_others_leave(server: &Served) {
    let mut clients: Vec<_> = (0..150).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(GET).expect("writes");
    }
    // In the order in which they came: those before make room for those behind.
    for mut client in clients {
        assert!(head(&mut client).starts_with("HTTP/1.1 200"));
    }
    server.serves();
}

#[test]
fn without_file_descriptors_accepting_pauses_and_says_so_once() {
    let server = Served::by(with_files(100, "--max-sockets infinity"));
    is_served_when_others_leave(&server);
    is_served_when_others_leave(&server);
    let log = server.log();
    assert_eq!(log.len(), 1, "{log:?}");
    assert_eq!(log[0][1], atom("warning"));
}

#[test]
fn by_default_max_sockets_leaves_file_descriptors_for_what_else_needs_them() {
    let server = Served::by(with_files(128, ""));
    is_served_when_others_leave(&server);
    assert!(server.log().is_empty());
}

#[test]
fn while_the_vm_reads_nothing_nobody_is_accepted_and_what_waits_for_it_is_bounded() {
    let mut vm = Vm::ready(&["--max-header-value-length", "100000"]);
    let before = resident(vm.pid());
    let request = [b"GET / HTTP/1.1\r\nHost: x\r\na: ", &[b'x'; 90_000][..], b"\r\n\r\n"].concat();
    let mut clients = Vec::new();
    let answered = || tuple([atom("response"), int(200), list([]), binary(b"ok")]);
    for _ in 0..400 {
        let mut client = connect(vm.port);
        client.set_write_timeout(Some(Duration::from_millis(50))).expect("sets a timeout");
        let _ = client.write_all(&request); // Nobody may read it yet.
        clients.push(client);
    }
    until_idle(vm.pid());
    let more = resident(vm.pid()) - before;
    assert!(more < 24 * MIB, "{more} bytes");
    // It reads again, and everybody whose request is whole is served.
    let (first, _) = vm.event("request");
    vm.command(first, [answered()]);
    assert!(head(&mut clients[0]).starts_with("HTTP/1.1 200"));
    drop(clients);
    let mut late = connect(vm.port);
    late.write_all(HANDSHAKE.as_bytes()).expect("writes");
    late.write_all(b"\r\n").expect("writes");
    loop {
        let (stream, event) = vm.any_event().expect("it runs");
        if event[0] == atom("request") && crate::vm::get(&event[1], "path") == &binary(b"/echo") {
            vm.command(stream, [tuple([atom("websocket"), list([]), crate::vm::map([])])]);
            break;
        }
    }
    assert!(head(&mut late).starts_with("HTTP/1.1 101"));
    late.write_all(&frame(0x88, b"\x03\xe8")).expect("writes");
}
