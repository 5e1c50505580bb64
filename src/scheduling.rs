//! How the kernel schedules the event loop among what else wants a core.

use std::io;

/// As a batch (`SCHED_BATCH`, sched(7)): what has come for us does not interrupt whoever has a core. While a core is idle nothing
/// changes. While none is, more has come by our turn, and its system calls, wake-ups and packets are shared by that.
///
/// For the calling thread and those that it starts. Another policy than the usual one is somebody's wish, and stays. To be called
/// before anything else, and nothing depends on it: where the kernel refuses, all is as before.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "rustix has no such call, and those of musl do nothing")]
pub fn as_batch() -> io::Result<()> {
    const THIS_THREAD: libc::c_int = 0;
    /// The only one that these policies have.
    const PRIORITY: libc::c_int = 0;
    // SAFETY: the first call takes an integer, and the second one a pointer to one (`struct sched_param`), which it reads.
    let result = unsafe {
        match libc::syscall(libc::SYS_sched_getscheduler, THIS_THREAD) {
            policy if policy == libc::SCHED_OTHER.into() => {
                libc::syscall(libc::SYS_sched_setscheduler, THIS_THREAD, libc::SCHED_BATCH, &PRIORITY)
            }
            other => other,
        }
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(not(target_os = "linux"))]
pub fn as_batch() -> io::Result<()> {
    Ok(())
}
