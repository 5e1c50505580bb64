//! The sidecar as a process, with a VM that this test plays: its command line, its listener, its streams.

mod command_line;
mod deadlines;
mod flow;
mod handshakes;
mod interim;
mod listener;
mod requests;
mod silence;
mod streams;
mod turns;
mod urgent;
#[allow(dead_code)] // Shared with test/rust/hostile.
mod vm;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use vm::{Vm, atom, list, map, tuple};

const HANDSHAKE: &[u8] =
    b"GET /chat?x=1 HTTP/1.1\r\nHost: Example.org:8080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// "Hello" as a masked text frame (RFC 6455, 5.7).
const HELLO: &[u8] = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";

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
