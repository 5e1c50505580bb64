//! What a sidecar gives up: it starts with all that the VM may do, and keeps what it needs.
//!
//! In: [`Options`]. Out: limits of this process that it cannot raise again. [`limit`] is called before
//! anything else, [`settle`] when the addresses are bound. Both run while the process has one thread: the kernel keeps
//! users, groups and `no_new_privs` for each thread, and later threads inherit them.
//!
//! `PR_SET_DUMPABLE` is left alone. Whoever may look into this process may look into the VM, which has the same data; and
//! when the user changes the kernel takes that right away by itself.

use std::io;
use std::str::FromStr;

use rustix::process::{Gid, Resource, Rlimit, Signal, Uid, getrlimit, set_parent_process_death_signal, setrlimit};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// No core file is that small, and a program that takes core dumps from the kernel gets none either: 1 is the kernel's
/// sign for "not even to a pipe", for which 0 is no limit (fs/coredump.c).
const NO_CORE: u64 = 1;

/// What the process may do and use, beyond what the VM's user may.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Memory of its own in bytes; the process ends when it needs more.
    pub memory_limit: Option<u64>,
    /// Who to become when the addresses are bound.
    pub user: Option<User>,
}

/// Nothing that is started from here gains rights, no memory of clients goes to disk, and no more of it is taken than
/// allowed.
///
/// The memory limit counts what is private and writable (`VmData` of /proc/PID/status). The size of the address space
/// would be the wrong measure: for threads that read files the allocator reserves a gigabyte of it, and uses next to none.
pub fn limit(options: &Options) -> io::Result<()> {
    set_no_new_privs(true)?;
    lower(Resource::Core, NO_CORE)?;
    if let Some(bytes) = options.memory_limit {
        lower(Resource::Data, bytes)?;
    }
    Ok(())
}

/// Becomes the user that was asked for, and asks to be woken if the VM dies.
///
/// A sidecar leaves when its stdin ends, which needs no signal; but one that was stopped (SIGSTOP) would not see it, and
/// would hold its addresses. SIGCONT wakes it and is nothing to one that runs. A signal that kills would cut short the
/// farewell to the clients. The parent is `erl_child_setup`, a helper of the VM with one thread, which ends right after
/// the VM, however the VM ends. The kernel forgets the wish when the user changes, so it comes last.
pub fn settle(options: &Options) -> io::Result<()> {
    if let Some(User { uid, gid }) = options.user {
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
    }
    Ok(set_parent_process_death_signal(Some(Signal::CONT))?)
}

/// Sets both the limit and how far it may be raised, unless they are lower already.
fn lower(resource: Resource, to: u64) -> io::Result<()> {
    let to = getrlimit(resource).maximum.map_or(to, |maximum| maximum.min(to));
    Ok(setrlimit(resource, Rlimit { current: Some(to), maximum: Some(to) })?)
}

/// Who to be. Further groups are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    uid: Uid,
    gid: Gid,
}

impl User {
    /// `None` for the one number that means "no change" to the kernel.
    fn from_raw(uid: u32, gid: u32) -> Option<Self> {
        let valid = uid != u32::MAX && gid != u32::MAX;
        valid.then(|| Self { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) })
    }

    /// The user of this name in the text of a file like /etc/passwd: `NAME:PASSWORD:UID:GID:…`.
    fn named(name: &str, passwd: &str) -> Option<Self> {
        let mut fields = passwd.lines().map(|line| line.split(':')).find_map(|mut fields| {
            let found = fields.next() == Some(name);
            found.then_some(fields)
        })?;
        Self::from_raw(fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?)
    }
}

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((uid, gid)) = text.split_once(':') {
            let ids = uid.parse().ok().zip(gid.parse().ok());
            return ids.and_then(|(uid, gid)| Self::from_raw(uid, gid)).ok_or_else(|| "not UID:GID".into());
        }
        let passwd = std::fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
        Self::named(text, &passwd).ok_or_else(|| "no user of this name in /etc/passwd".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nweb2:x:12:13::/:\nbad:x:-1:1::/:\nshort:x:7\nweb:x:10:11::/:\n";

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        assert_eq!(User::named("web", PASSWD), User::from_raw(10, 11));
        for stranger in ["we", "", "x", "bad", "short", "web:x"] {
            assert_eq!(User::named(stranger, PASSWD), None, "{stranger}");
        }
    }

    #[test]
    fn a_user_is_two_numbers() {
        assert_eq!("10:11".parse::<User>().ok(), User::from_raw(10, 11));
        for bad in ["10:", ":11", "10:-1", "10:4294967295", "4294967295:11", "10:11:12", "no such user"] {
            assert!(bad.parse::<User>().is_err(), "{bad}");
        }
    }
}
