//! What the process gives back to the machine: a test of its own, since it looks at the memory of the whole process.

#![cfg(target_env = "gnu")]

use outrider::allocator;

/// What the process has, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("is told");
    line.trim().trim_end_matches(" kB").parse().expect("is a number")
}

#[test]
fn pages_between_blocks_that_stay_go_back() {
    const KIB: usize = 16;
    const BLOCKS: usize = 4096;
    let mut blocks: Vec<_> = (0..BLOCKS).map(|_| vec![1u8; KIB * 1024].into_boxed_slice()).collect();
    let mut number = 0;
    blocks.retain(|_| {
        number += 1;
        number % 16 == 0
    });
    let before = resident();
    allocator::return_free_pages();
    let after = resident();
    assert!(after + BLOCKS * KIB / 2 < before, "{before} and {after} KiB");
    assert!(blocks.iter().all(|block| block.iter().all(|byte| *byte == 1)));
}
