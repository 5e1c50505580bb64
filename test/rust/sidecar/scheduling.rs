//! How the kernel schedules the sidecar: as a batch, unless somebody has said otherwise.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// The policy of a sidecar that listens and was started through this command: field 41 of /proc/PID/stat, proc(5).
fn policy(prefix: &[&str]) -> String {
    let sidecar = [env!("CARGO_BIN_EXE_outrider"), "echo", "--listen", "127.0.0.1:0"];
    let words = [prefix, &sidecar].concat();
    let mut child =
        Command::new(words[0]).args(&words[1..]).stderr(Stdio::piped()).spawn().expect("the sidecar is started");
    let mut line = String::new();
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe was asked for"));
    stderr.read_line(&mut line).expect("says where it listens");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id()));
    child.kill().expect("is ended");
    child.wait().expect("has ended");
    assert!(line.starts_with("listening on "), "{line}");
    let stat = stat.expect("is there");
    // The fields after the name, which is in parentheses and the second.
    let (_, fields) = stat.rsplit_once(") ").expect("has a name");
    fields.split(' ').nth(41 - 3).expect("has a policy").to_owned()
}

#[test]
fn it_is_scheduled_as_a_batch() {
    assert_eq!(policy(&[]), libc::SCHED_BATCH.to_string());
}

#[test]
fn a_policy_that_it_was_started_with_stays() {
    assert_eq!(policy(&["chrt", "--idle", "0"]), libc::SCHED_IDLE.to_string());
}
