//! Packets of the VM: any bytes decode to commands or are undecodable.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrider::port::decode;

fuzz_target!(|packet: &[u8]| {
    let _ = decode::hello(packet);
    let mut count = 0;
    let _ = decode::commands(packet, |_, _| count += 1);
    // A command takes two bytes at least.
    assert!(count <= packet.len() / 2);
});
