//! What goes to standard output.

use std::io::{ErrorKind, Result, Write, stdout};

/// Prints, as far as anybody reads it: no error where nobody does any more, as behind `list | head -1`.
pub fn print(text: &str) -> Result<()> {
    let mut out = stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
