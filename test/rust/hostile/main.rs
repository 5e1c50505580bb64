//! What a hostile or broken client can cost: the real sidecar under each load, its memory, and whether others are served.
//!
//! Every test has a sidecar of its own. Memory is the peak of the process's resident set, which the kernel keeps, so that
//! no moment can be missed; it is held against what the process had before the first client.

mod frames;
mod heads;
mod limits;
mod responses;
mod support;
#[allow(dead_code)] // Shared with test/rust/sidecar.
#[path = "../sidecar/vm.rs"]
mod vm;
