use std::sync::{Arc, Mutex};
use std::task::Wake;

use super::*;

/// A task that writes its number down when it is woken.
struct Task(usize, Arc<Mutex<Vec<usize>>>);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.1.lock().expect("is not poisoned").push(self.0);
    }
}

/// Fills the port, and gives the bytes to the VM when all of `turns` have found it full, one after the other.
fn woken(port: &Port, turns: impl Iterator<Item = usize>, tasks: &[Waker], woken: &Mutex<Vec<usize>>) -> Vec<usize> {
    while !port.is_congested() {
        port.part(1, &[0; 65_536]);
    }
    turns.for_each(|task| assert!(port.poll_congested(&mut Context::from_waker(&tasks[task]))));
    let mut buffer = Vec::new();
    port.take(&mut buffer);
    port.written(buffer.len());
    std::mem::take(&mut woken.lock().expect("is not poisoned"))
}

#[test]
fn who_has_waited_longest_for_the_vm_reads_first() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..100).map(|number| Arc::new(Task(number, Arc::clone(&order))).into()).collect();
    let port = Port::default();
    assert_eq!(woken(&port, 0..100, &tasks, &order), Vec::from_iter(0..100));
    // The first ten have read; the others found no room, and now come before them.
    let turns = || (10..100).chain(0..10);
    assert_eq!(woken(&port, turns(), &tasks, &order), Vec::from_iter(turns()));
    // Asking again does not cost the place.
    assert_eq!(woken(&port, (0..100).rev().chain(0..100), &tasks, &order), Vec::from_iter((0..100).rev()));
}
