//! The command line, the exit codes and what is said with them, to somebody at a terminal and to the VM.

use std::net::TcpListener;
use std::process::{Command, Output};

use crate::vm::{Vm, atom, binary, int, tuple};

fn outrider(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outrider")).args(args).output().expect("the binary runs")
}

/// The exit code, and the only line on stderr.
fn complaint(output: &Output) -> (Option<i32>, String) {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    (output.status.code(), stderr)
}

#[test]
fn a_usage_error_is_one_line_and_exit_code_2() {
    for (args, word) in [
        (&[][..], "serve or echo"),
        (&["serve"], "--listen"),
        (&["serve", "--listen", "localhost"], "localhost"),
        (&["serve", "--listen", "127.0.0.1:0", "--idle-timeout", "1s"], "1s"),
        (&["serve", "--listen", "127.0.0.1:0", "--user", "0:no"], "0:no"),
        (&["ride"], "ride"),
    ] {
        let (code, line) = complaint(&outrider(args));
        assert_eq!(code, Some(2), "{args:?}");
        assert!(line.contains(word), "{line}");
    }
}

#[test]
fn the_exit_code_is_right_even_if_stderr_takes_nothing() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("opens");
    let status =
        Command::new(env!("CARGO_BIN_EXE_outrider")).arg("ride").stderr(full).status().expect("the binary runs");
    assert_eq!(status.code(), Some(2));

    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let full = std::fs::File::options().write(true).open("/dev/full").expect("opens");
    let output = Command::new(env!("CARGO_BIN_EXE_outrider"))
        .args(["serve", "--listen", &taken.local_addr().expect("is bound").to_string()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(full)
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn help_and_version_go_to_stdout() {
    for (flag, word) in [("--help", "serve"), ("--version", env!("CARGO_PKG_VERSION"))] {
        let output = outrider(&[flag]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains(word));
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn an_address_in_use_is_named_with_exit_code_3() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("is bound").to_string();
    let (code, line) = complaint(&outrider(&["echo", "--listen", &address]));
    assert_eq!(code, Some(3));
    assert!(line.contains(&address), "{line}");

    let (first, mut vm) = Vm::start(&["--listen", &address]);
    assert_eq!(first, tuple([atom("listen_error"), binary(address.as_bytes()), atom("eaddrinuse")]));
    assert_eq!(vm.exit_code(), Some(3));
}

#[test]
fn another_version_is_refused_naming_both_with_exit_code_4() {
    let (_, mut vm) = Vm::start(&["--listen", "127.0.0.1:0"]);
    vm.send(&tuple([atom("hello"), int(7)]));
    assert_eq!(vm.exit_code(), Some(4));
    let line = vm.stderr();
    assert!(line.contains("version 7") && line.contains("version 1"), "{line}");
}

#[test]
fn a_packet_that_does_not_decode_is_shown_with_exit_code_5() {
    let mut vm = Vm::ready(&[]);
    vm.command(1, [tuple([atom("fly"), binary(b"secret")])]);
    assert_eq!(vm.exit_code(), Some(5));
    let line = vm.stderr();
    assert!(line.contains("66, 6c, 79"), "the packet's bytes, with f, l, y: {line}");
    assert!(!line.contains("73, 65, 63"), "and without s, e, c, which may be a client's: {line}");
}
