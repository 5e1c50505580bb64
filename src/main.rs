//! The command `outrider`.

use clap::Parser;
use outrider::config::{Cli, Command};
use outrider::run;

fn main() -> std::process::ExitCode {
    let cli = Cli::parse(); // Says what is wrong with the flags, and exits with 2.
    let result = match cli.command {
        Command::Serve(flags) => run::serve(flags),
        Command::Echo(flags) => run::echo(flags),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("outrider: {failure}");
            failure.exit_code()
        }
    }
}
