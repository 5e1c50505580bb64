//! What a client can do wrong, and what it is told.

use std::fmt;

use super::names::CloseCode;

/// A violation of the protocol or of a limit by the client. The WebSocket is over: the decoder ignores what follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    /// A reserved bit is set that no extension gives a meaning here (RFC 6455, 5.2). The three bits as a number.
    ReservedBits(u8),
    /// An opcode without a meaning: 3 to 7 or 11 to 15 (RFC 6455, 5.2).
    Opcode(u8),
    /// A control frame without FIN (RFC 6455, 5.5).
    FragmentedControl,
    /// A control frame with a length above 125 (RFC 6455, 5.5). The seven bits of the length: 126 or 127.
    LongControl(u8),
    /// A continuation frame where no message is open (RFC 6455, 5.4).
    StrayContinuation,
    /// A text or binary frame inside a fragmented message (RFC 6455, 5.4).
    MissingContinuation,
    /// A frame without a mask (RFC 6455, 5.1).
    Unmasked,
    /// A length in more bytes than it needs, or above 2^63 - 1 (RFC 6455, 5.2).
    Length(u64),
    /// A close frame with a payload of one byte (RFC 6455, 5.5.1).
    HalfCloseCode,
    /// A close code that a client may not send (RFC 6455, 7.4).
    CloseCode(u16),
    /// A compressed message that does not inflate (RFC 7692, 7.2.2).
    Deflate,
    /// Text or the reason of a close frame that is not UTF-8 (RFC 6455, 8.1).
    Utf8,
    /// A frame above `max_frame_size`.
    LongFrame {
        /// Bytes on the wire.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// A fragmented or inflated message above `max_frame_size`.
    LongMessage {
        /// Bytes known so far; the message may be longer.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// A message of more frames than `max_fragments`.
    ManyFragments(u32),
}

/// An error as Cowboy names it to `terminate/3`, in `{error, Reason}`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// `badframe`: closed with 1002.
    Badframe,
    /// `badencoding`: closed with 1007.
    Badencoding,
    /// `badsize`: closed with 1009.
    Badsize,
}

impl Error {
    /// What `terminate/3` is told.
    pub fn reason(&self) -> Reason {
        match self {
            Error::Utf8 => Reason::Badencoding,
            Error::LongFrame { .. } | Error::LongMessage { .. } | Error::ManyFragments(_) => Reason::Badsize,
            _ => Reason::Badframe,
        }
    }

    /// The close code that the client is sent (RFC 6455, 7.4.1).
    pub fn close_code(&self) -> u16 {
        self.reason().close_code()
    }
}

impl Reason {
    /// The atom that Cowboy names it by.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Badframe => "badframe",
            Reason::Badencoding => "badencoding",
            Reason::Badsize => "badsize",
        }
    }

    /// The close code that the client is sent (RFC 6455, 7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Reason::Badframe => CloseCode::Protocol,
            Reason::Badencoding => CloseCode::Invalid,
            Reason::Badsize => CloseCode::Size,
        }
        .into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::ReservedBits(bits) => write!(f, "reserved bits {bits:03b} without a meaning"),
            Error::Opcode(opcode) => write!(f, "unknown opcode {opcode}"),
            Error::FragmentedControl => write!(f, "fragmented control frame"),
            Error::LongControl(length) => write!(f, "control frame with length {length}"),
            Error::StrayContinuation => write!(f, "continuation without a message"),
            Error::MissingContinuation => write!(f, "new message inside a fragmented one"),
            Error::Unmasked => write!(f, "frame without a mask"),
            Error::Length(length) => write!(f, "length {length} in a form that is not its shortest"),
            Error::HalfCloseCode => write!(f, "close frame with one byte of payload"),
            Error::CloseCode(code) => write!(f, "close code {code} is not for clients"),
            Error::Deflate => write!(f, "compressed message does not inflate"),
            Error::Utf8 => write!(f, "invalid UTF-8"),
            Error::LongFrame { size, max } => write!(f, "frame of {size} bytes, at most {max} allowed"),
            Error::LongMessage { size, max } => write!(f, "message of {size} bytes or more, at most {max} allowed"),
            Error::ManyFragments(max) => write!(f, "message of more than {max} frames"),
        }
    }
}

impl std::error::Error for Error {}
