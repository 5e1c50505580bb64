//! Why the process ends before its time, in words and as an exit code.

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::acceptor::ListenError;
use crate::port::decode;
use crate::port::message::VERSION;

/// Why the process ends before its time.
#[derive(Debug)]
pub enum Failure {
    /// The event loop, or stdin and stdout, cannot be set up.
    Io(io::Error),
    Listen(ListenError),
    /// The VM speaks another version of the port protocol.
    Version(u64),
    /// The VM has stopped.
    Silent,
    /// The VM sent a packet that does not decode: its beginning and its length.
    Packet(Vec<u8>, usize),
    /// The process cannot give up its rights.
    Rights(io::Error),
}

impl Failure {
    /// docs/port-protocol.md, "Beginning and end"; 2 is a usage error.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Io(_) => 1,
            Self::Listen(_) => 3,
            Self::Version(_) => 4,
            Self::Packet(..) => 5,
            Self::Rights(_) => 6,
            Self::Silent => 7,
        })
    }

    /// What is shown ends before the first string or binary, whose content may be a client's.
    pub(super) fn packet(bytes: &[u8]) -> Self {
        let head = &bytes[..bytes.len().min(64)];
        let shown = head.iter().position(|byte| decode::CONTENT.contains(byte)).unwrap_or(head.len());
        Self::Packet(head[..shown].to_vec(), bytes.len())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Listen(ListenError { address, error }) => write!(f, "cannot listen on {address}: {error}"),
            Self::Version(theirs) => {
                write!(f, "the VM speaks version {theirs} of the port protocol, this process version {VERSION}")
            }
            Self::Silent => write!(f, "the VM is silent: its clients are sent away"),
            Self::Packet(head, length) => {
                write!(f, "a packet of {length} bytes is not of the port protocol; it begins with {head:02x?}")
            }
            Self::Rights(error) => write!(f, "cannot give up rights: {error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
