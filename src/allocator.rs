//! Tells the C library's allocator to give large blocks back to the system as soon as they are freed, and small ones not at once.
//!
//! The parts of a compression context are such blocks, and contexts come and go with their connections' traffic. glibc
//! raises its threshold for separate mappings with each large block that is freed, after which their pages stay with the
//! process: 323 KB for each connection that ever compressed something were measured, 4 KB with a fixed threshold
//! (docs/decisions/0003-allocator.md).
//!
//! A fixed threshold for these fixes another, too: from how many bytes on that are free at the heap's end they go back. What many clients'
//! messages need for one turn of the event loop is more than that, so that each turn had them back from the system, page by page.

/// Blocks from this size on are mappings of their own: glibc's initial value, in bytes.
#[cfg(target_env = "gnu")]
const MMAP_THRESHOLD: libc::c_int = 128 * 1024;

/// Bytes that stay at the heap's end for the next turn.
#[cfg(target_env = "gnu")]
const TRIM_THRESHOLD: libc::c_int = 2 * 1024 * 1024;

/// To be called before anything else runs.
#[cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "no safe crate has this call"))]
pub fn return_large_blocks() {
    // SAFETY: mallopt takes two integers and changes the allocator's parameters under the allocator's own lock; there is
    // no memory that the call could invalidate. Its result only says whether the parameter is known.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
        libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD);
    }
}

/// Gives the pages back in which nothing is left: what many clients' requests have needed lies between what stays of them, where
/// glibc keeps it for ever. It looks at each free block, so it is for times when there is nothing else to do.
#[cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "no safe crate has this call"))]
pub fn return_free_pages() {
    // SAFETY: malloc_trim takes an integer, how many bytes stay at the heap's end, and gives back pages of free blocks under the
    // allocator's own locks; no memory that anybody has is touched.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
