//! Many clients that are to be written to at once: the event loop writes to a share of them, and looks at the rest of its
//! work.

use std::io::{Read, Write};
use std::net::TcpStream;

use eetf::List;

use crate::vm::{Term, Vm, atom, binary, int, list, tuple};
use crate::{HELLO, read_all, upgraded};

/// The share: `FLUSHED_AT_ONCE` in src/run.rs.
const AT_ONCE: usize = 128;

fn message(text: &[u8]) -> Term {
    tuple([atom("text"), binary(text)])
}

fn bundle<const N: usize>(stream: u64, commands: [Term; N]) -> Term {
    tuple([int(stream), list(commands)])
}

fn packet(bundles: Vec<Term>) -> Term {
    Term::from(List::from(bundles))
}

fn hears(client: &mut TcpStream, text: &[u8]) {
    let mut frame = vec![0; 2 + text.len()];
    client.read_exact(&mut frame).expect("hears it");
    assert_eq!(&frame[2..], text);
}

#[test]
fn a_packet_for_many_clients_reaches_each() {
    let mut vm = Vm::ready(&[]);
    let mut clients: Vec<_> = (0..3 * AT_ONCE).map(|_| upgraded(&mut vm)).collect();
    for count in [1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE] {
        let bundles = clients[..count].iter().map(|(_, stream)| bundle(*stream, [message(b"all")])).collect();
        vm.send(&packet(bundles));
        clients[..count].iter_mut().for_each(|(client, _)| hears(client, b"all"));
    }
    // And the loop turns.
    let (client, stream) = &mut clients[3];
    client.write_all(HELLO).expect("writes");
    assert_eq!(vm.event("text").0, *stream);
}

#[test]
fn clients_get_what_comes_before_their_turn_in_order() {
    let mut vm = Vm::ready(&[]);
    let mut clients: Vec<_> = (0..3 * AT_ONCE).map(|_| upgraded(&mut vm)).collect();
    for text in [b"1", b"2", b"3"] {
        vm.send(&packet(clients.iter().map(|(_, stream)| bundle(*stream, [message(text)])).collect()));
    }
    for (client, _) in &mut clients {
        [b"1", b"2", b"3"].iter().for_each(|text| hears(client, *text));
    }
}

#[test]
fn a_stream_that_ends_before_its_turn_ends_as_at_any_time() {
    let mut vm = Vm::ready(&[]);
    let mut clients: Vec<_> = (0..2 * AT_ONCE).map(|_| upgraded(&mut vm)).collect();
    let (mut closed, mut aborted) = (clients.pop().expect("is there"), clients.pop().expect("is there"));
    let mut bundles: Vec<_> = clients.iter().map(|(_, stream)| bundle(*stream, [message(b"all")])).collect();
    bundles.push(bundle(closed.1, [message(b"last"), atom("close")]));
    bundles.push(bundle(aborted.1, [message(b"last"), atom("abort")]));
    // What the client has sent meanwhile is there, too, and its task looks at it before the turn.
    vm.signal("STOP");
    closed.0.write_all(HELLO).expect("writes");
    vm.send(&packet(bundles));
    vm.signal("CONT");
    assert_eq!(read_all(&mut closed.0), b"\x81\x04last\x88\x00");
    assert_eq!(read_all(&mut aborted.0), b"\x81\x04last");
    clients.iter_mut().for_each(|(client, _)| hears(client, b"all"));
}

#[test]
fn what_came_before_the_end_of_the_vm_is_written_to_all() {
    let mut vm = Vm::ready(&[]);
    let mut clients: Vec<_> = (0..3 * AT_ONCE).map(|_| upgraded(&mut vm)).collect();
    let (open, closed) = clients.split_at_mut(AT_ONCE);
    let mut bundles: Vec<_> = open.iter().map(|(_, stream)| bundle(*stream, [message(b"last")])).collect();
    bundles.extend(closed.iter().map(|(_, stream)| bundle(*stream, [message(b"last"), atom("close")])));
    bundles.reverse();
    vm.signal("STOP");
    vm.send(&packet(bundles));
    vm.close_stdin();
    vm.signal("CONT");
    for (client, _) in open {
        assert_eq!(read_all(client), b"\x81\x04last\x88\x02\x03\xe9");
    }
    for (client, _) in closed {
        assert_eq!(read_all(client), b"\x81\x04last\x88\x00");
    }
    assert_eq!(vm.exit_code(), Some(0));
}
