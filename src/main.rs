//! The command `outrider`.

use std::time::Duration;

use clap::Parser;
use outrider::config::{Cli, Command};
use outrider::{allocator, run, watchdog};

/// The exit code of a usage error; `run::Failure` has the others.
const USAGE: u8 = 2;

/// How long stderr may take what is said on it at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

fn main() -> std::process::ExitCode {
    allocator::return_large_blocks();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            complain(&format!("{} (see outrider --help)", in_one_line(&error)));
            return USAGE.into();
        }
        Err(help) => help.exit(),
    };
    let result = match cli.command {
        Command::Serve(flags) => run::serve(flags),
        Command::Echo(flags) => run::echo(flags),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => {
            let _ = watchdog::last_words(failure.to_string()).recv_timeout(LAST_WORDS);
            failure.exit_code()
        }
    }
}

/// A usage error; the exit code stands even if nobody takes the words.
fn complain(what: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "outrider: {what}");
}

/// What is wrong with the flags, without clap's advice behind it.
fn in_one_line(error: &clap::Error) -> String {
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing: serve or echo".into();
    }
    let text = error.to_string();
    let lines: Vec<_> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    lines.join(" ").trim_start_matches("error: ").into()
}
