//! Clients that send urgent data (TCP's URG): a read stops there, and the kernel does not say again that there is more.

use std::io::Write;
use std::net::TcpStream;

use socket2::SockRef;

use crate::vm::{Vm, atom, int};
use crate::{connect, map, read_all, upgrade};

/// Sends both while the sidecar is stopped, so that it reads up to the urgent byte, the last of `before`, and no further.
fn send(vm: &Vm, client: &mut TcpStream, before: &[u8], behind: &[u8]) {
    vm.signal("STOP");
    while vm.state() != 'T' {}
    SockRef::from(&*client).send_out_of_band(before).expect("the kernel takes it");
    client.write_all(behind).expect("the kernel takes it");
    vm.signal("CONT");
}

#[test]
fn a_head_that_stops_at_urgent_data_times_out() {
    let vm = Vm::ready(&["--request-timeout", "1000"]);
    let mut client = connect(vm.port);
    send(&vm, &mut client, b"GET / HTTP/1.1\r\n!", b"host");
    assert!(read_all(&mut client).starts_with(b"HTTP/1.1 408 "));
}

#[test]
fn a_connection_of_http2_that_stops_at_urgent_data_times_out() {
    let vm = Vm::ready(&["--idle-timeout", "1000"]);
    let mut client = connect(vm.port);
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("the kernel takes it");
    // The latter is the beginning of a frame.
    send(&vm, &mut client, b"\0\0\0\x04\x01\0\0\0\0\0\0!", b"\x08");
    // GOAWAY, without an error.
    assert!(read_all(&mut client).ends_with(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0"));
}

#[test]
fn a_websocket_that_stops_at_urgent_data_times_out() {
    let mut vm = Vm::ready(&[]);
    let client = connect(vm.port);
    let (mut client, stream) = upgrade(&mut vm, client, map([(atom("idle_timeout"), int(1000))]));
    send(&vm, &mut client, b"\x81\x85\x37!", b"\xfa\x21");
    assert_eq!(vm.event("closed"), (stream, vec![atom("timeout")]));
    vm.command(stream, [atom("finish")]);
    assert_eq!(read_all(&mut client), b"\x88\x02\x03\xe8");
}
