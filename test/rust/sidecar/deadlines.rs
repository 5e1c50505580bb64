//! Deadlines of many WebSockets at once, which share one timer.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use crate::flow::slow_client;
use crate::vm::{Vm, atom, binary, int, tuple};
use crate::{HELLO, connect, map, upgrade, upgraded};

#[test]
fn each_of_many_times_out_but_those_that_ended_or_have_no_deadline_any_more() {
    let mut vm = Vm::ready(&[]);
    let long = || map([(atom("idle_timeout"), int(3_600_000))]);
    let mut clients: Vec<_> = (0..30)
        .map(|_| {
            let client = connect(vm.port);
            upgrade(&mut vm, client, long())
        })
        .collect();
    let mut late: BTreeSet<_> = clients.iter().map(|(_, stream)| *stream).collect();
    for (after, stream) in (1000..).zip(&late) {
        vm.command(*stream, [tuple([atom("set_options"), map([(atom("idle_timeout"), int(after))])])]);
    }
    let (mut kept, freed) = clients.swap_remove(10);
    let ended = clients[20].1;
    vm.command(ended, [atom("abort")]);
    vm.command(freed, [tuple([atom("set_options"), map([(atom("idle_timeout"), atom("infinity"))])])]);
    assert!(late.remove(&ended) && late.remove(&freed));
    while !late.is_empty() {
        let (stream, event) = vm.any_event().expect("the sidecar runs");
        assert_eq!(event, [atom("closed"), atom("timeout")]);
        assert!(late.remove(&stream), "one that has ended, is free, or was told twice");
    }
    kept.write_all(HELLO).expect("it is open");
    assert_eq!(vm.any_event(), Some((freed, vec![atom("text"), binary(b"Hello")])));
}

#[test]
fn an_idle_timeout_of_nothing_takes_no_turn_from_others() {
    let mut vm = Vm::ready(&["--window", "2000", "--send-timeout", "infinity"]);
    let (mut other, its_stream) = upgraded(&mut vm);
    let (mut slow, stream) = slow_client(&mut vm, map([]));
    // So much waits for the client that it is not read, and so it is spared.
    for _ in 0..4 {
        vm.command(stream, [tuple([atom("binary"), binary(&vec![0; 1 << 20])])]);
    }
    vm.command(stream, [tuple([atom("set_options"), map([(atom("idle_timeout"), int(0))])])]);
    for _ in 0..2 {
        vm.command(its_stream, [tuple([atom("text"), binary(b"Hello")])]);
        other.read_exact(&mut [0; 7]).expect("is served in time");
    }
    slow.read_exact(&mut [0; 1000]).expect("is open");
}
