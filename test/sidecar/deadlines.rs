//! Deadlines of many WebSockets at once, which share one timer.

use std::collections::BTreeSet;
use std::io::Write;

use crate::vm::{Vm, atom, binary, int, tuple};
use crate::{HELLO, connect, map, upgrade};

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
