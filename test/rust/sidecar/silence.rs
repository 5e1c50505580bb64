//! A VM that is there and says nothing, as one that was stopped.

use std::io::{Read, Write};
use std::process::Stdio;

use crate::vm::{Vm, atom, binary, int, tuple};
use crate::{HELLO, connect, read_all, upgraded};

/// A short watchdog, and a VM that is never given up.
const WATCHED: [&str; 4] = ["--watchdog", "1000", "--vm-timeout", "infinity"];

#[test]
fn a_ping_is_answered() {
    let mut vm = Vm::ready(&[]);
    vm.command(0, [atom("ping")]);
    assert_eq!(vm.event("pong"), (0, vec![]));
}

#[test]
fn while_the_vm_is_silent_no_client_is_read_and_none_is_accepted() {
    let mut vm = Vm::ready(&WATCHED);
    let (mut client, stream) = upgraded(&mut vm);
    let line = vm.line();
    assert!(line.contains("1000 ms"), "{line}");
    client.write_all(HELLO).expect("the kernel takes it");
    // One may have been about to be accepted; its request is not read.
    let mut others: Vec<_> = (0..3).map(|_| connect(vm.port)).collect();
    for other in &mut others {
        other.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").expect("the kernel takes it");
    }
    // A second period of silence is not said again: the next line, if there were one, would come before the pong.
    vm.command(0, [atom("ping")]);
    assert_eq!(vm.event("pong").0, 0, "nothing of a client's has come before it");
    let mut texts = 0;
    let mut requests = 0;
    while texts < 1 || requests < others.len() {
        let (from, event) = vm.any_event().expect("the sidecar runs");
        texts += usize::from(from == stream && event == [atom("text"), binary(b"Hello")]);
        requests += usize::from(event[0] == atom("request"));
    }
}

#[test]
fn a_client_that_is_not_read_is_not_idle() {
    let mut vm = Vm::ready(&WATCHED);
    let client = connect(vm.port);
    let options = crate::map([(atom("idle_timeout"), int(3000))]);
    let (mut client, stream) = crate::upgrade(&mut vm, client, options);
    vm.line();
    client.write_all(HELLO).expect("the kernel takes it");
    // Longer than the idle timeout: another listener's silence of that length has been said.
    Vm::ready(&["--watchdog", "4000", "--vm-timeout", "infinity"]).line();
    vm.command(0, [atom("ping")]);
    assert_eq!(vm.event("pong").0, 0);
    loop {
        let (from, event) = vm.any_event().expect("the sidecar runs");
        if from == stream {
            assert_eq!(event, [atom("text"), binary(b"Hello")]);
            return;
        }
    }
}

#[test]
fn a_client_of_http2_that_is_not_read_is_not_late_with_its_settings() {
    let mut vm = Vm::ready(&["--watchdog", "1000", "--vm-timeout", "infinity", "--preface-timeout", "3000"]);
    let mut client = connect(vm.port);
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("the kernel takes it");
    // Its connection has begun: our settings come.
    assert_ne!(frame(&mut client), SETTINGS_ACK);
    vm.line();
    // Longer than the timeout: another listener's silence of that length has been said.
    Vm::ready(&["--watchdog", "4000", "--vm-timeout", "infinity"]).line();
    vm.command(0, [atom("ping")]);
    assert_eq!(vm.event("pong").0, 0);
    client.write_all(b"\0\0\0\x04\0\0\0\0\0").expect("the kernel takes it");
    while frame(&mut client) != SETTINGS_ACK {}
}

#[test]
fn frames_of_http2_that_came_while_the_sidecar_stood_still_came_in_time() {
    let flags = ["--preface-timeout", "2000", "--settings-timeout", "2000", "--idle-timeout", "2000"];
    let vm = Vm::ready(&flags);
    let mut client = connect(vm.port);
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("the kernel takes it");
    assert_ne!(frame(&mut client), SETTINGS_ACK);
    for (sent, answer) in [(&b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0"[..], SETTINGS_ACK), (PING, [6, 1])] {
        vm.signal("STOP");
        while vm.state() != 'T' {}
        client.write_all(sent).expect("the kernel takes it");
        std::thread::sleep(std::time::Duration::from_millis(2500));
        vm.signal("CONT");
        while frame(&mut client) != answer {}
    }
}

#[test]
fn bodies_that_came_while_the_sidecar_stood_still_came_in_time() {
    let mut vm = Vm::ready(&["--idle-timeout", "2000"]);
    let mut clients: Vec<_> = (0..20).map(|_| connect(vm.port)).collect();
    for client in &mut clients {
        client.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n").expect("the kernel takes it");
        vm.event("request");
    }
    vm.signal("STOP");
    while vm.state() != 'T' {}
    for client in &mut clients {
        client.write_all(b"Hello").expect("the kernel takes it");
    }
    std::thread::sleep(std::time::Duration::from_millis(2500));
    vm.signal("CONT");
    for _ in &clients {
        vm.event("data");
    }
}

const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0begin...";

/// The kind of a frame of HTTP/2 and its flags.
const SETTINGS_ACK: [u8; 2] = [4, 1];

fn frame(client: &mut impl Read) -> [u8; 2] {
    let mut head = [0; 9];
    client.read_exact(&mut head).expect("a frame");
    let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
    client.read_exact(&mut vec![0; length]).expect("its payload");
    [head[3], head[4]]
}

#[test]
fn a_vm_that_is_silent_for_too_long_is_given_up_with_exit_code_7() {
    let mut vm = Vm::ready(&["--watchdog", "1000", "--vm-timeout", "2000"]);
    let (mut client, _) = upgraded(&mut vm);
    assert_eq!(read_all(&mut client), b"\x88\x02\x03\xe9");
    assert_eq!(vm.exit_code(), Some(7));
    let lines = vm.stderr();
    assert_eq!(lines.lines().count(), 2, "{lines}");
}

#[test]
fn a_vm_that_pings_is_not_given_up() {
    let mut vm = Vm::ready(&["--watchdog", "1000", "--vm-timeout", "1000"]);
    let (mut client, stream) = upgraded(&mut vm);
    // Until one that nobody pings has been given up three times over.
    let (gone, is_gone) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for _ in 0..3 {
            Vm::ready(&["--watchdog", "1000", "--vm-timeout", "1000"]).exit_code();
        }
        gone.send(()).expect("is waited for");
    });
    while is_gone.recv_timeout(std::time::Duration::from_millis(50)).is_err() {
        vm.command(0, [atom("ping")]);
        while vm.any_event().expect("the sidecar runs").1 != [atom("pong")] {}
    }
    vm.command(stream, [tuple([atom("text"), binary(b"alive")])]);
    let mut frame = [0; 7];
    client.read_exact(&mut frame).expect("is there");
    assert_eq!(&frame, b"\x81\x05alive");
}

#[test]
fn a_stderr_that_nobody_reads_does_not_keep_it() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    rustix::io::ioctl_fionbio(&writer, true).expect("is non-blocking");
    while (&writer).write(&[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).expect("blocks");
    let flags = ["--listen", "127.0.0.1:0", "--watchdog", "1000", "--vm-timeout", "2000"];
    let (hello, mut vm) = Vm::start_with(&flags, Stdio::from(writer));
    vm.port = crate::vm::port_of(&hello);
    vm.send(&tuple([atom("hello"), int(1)]));
    let (mut client, _) = upgraded(&mut vm);
    assert_eq!(read_all(&mut client), b"\x88\x02\x03\xe9");
    assert_eq!(vm.exit_code(), Some(7));
    drop(reader);
}
