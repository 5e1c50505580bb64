//! Frame headers (RFC 6455, 5.2): read from clients, written to them. The only importer of tungstenite.

use std::ops::RangeInclusive;

pub use tungstenite::handshake::derive_accept_key;
pub use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::Error;

/// Two bytes, the longest length, the mask.
pub const MAX_HEADER: usize = 2 + 8 + 4;

/// The longest payload of a control frame (RFC 6455, 5.5).
pub const MAX_CONTROL: usize = 125;

/// The header of a frame from a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The frame is the last of its message.
    pub fin: bool,
    /// The first reserved bit: the message is compressed.
    pub rsv1: bool,
    /// Never one of the reserved opcodes.
    pub opcode: OpCode,
    /// Bytes of payload: 2^63 - 1 at most, 125 at most in a control frame.
    pub length: u64,
    /// The key of the mask.
    pub mask: [u8; 4],
}

/// What the connection's state makes of a header.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// A compression extension has been negotiated, which gives the first reserved bit a meaning.
    pub deflate: bool,
    /// A fragmented message is open; says whether it is compressed.
    pub message: Option<bool>,
}

impl Header {
    /// Reads the header at the beginning of `bytes` and says how long it is. `None`: more bytes are needed.
    /// A violation is found by the first byte that shows it.
    pub fn parse(bytes: &[u8], context: Context) -> Result<Option<(Header, usize)>, Error> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let (fin, rsv, opcode) = (first & 0x80 != 0, first >> 4 & 7, OpCode::from(first & 0x0f));
        check_first(fin, rsv, opcode, context)?;
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let (masked, short) = (second & 0x80 != 0, second & 0x7f);
        if !masked {
            return Err(Error::Unmasked);
        }
        match opcode {
            OpCode::Control(_) if usize::from(short) > MAX_CONTROL => return Err(Error::LongControl(short)),
            OpCode::Control(Control::Close) if short == 1 => return Err(Error::HalfCloseCode),
            _ => {}
        }
        let (length, at) = match short {
            126 => (read(bytes, 2, 2, 126..=0xffff)?, 4),
            127 => (read(bytes, 2, 8, 0x1_0000..=i64::MAX as u64)?, 10),
            _ => (Some(u64::from(short)), 2),
        };
        let Some(length) = length else { return Ok(None) };
        let Some(&mask) = bytes[at..].first_chunk::<4>() else { return Ok(None) };
        let header = Header { fin, rsv1: rsv & 4 != 0, opcode, length, mask };
        Ok(Some((header, at + 4)))
    }
}

/// The rules for the first byte, in the order in which Cowlib looks at them.
fn check_first(fin: bool, rsv: u8, opcode: OpCode, context: Context) -> Result<(), Error> {
    // RFC 7692, 6: the bit stands on the first frame of a compressed message. Safari's x-webkit-deflate-frame sets it on
    // the other frames too, and Cowboy takes that from everybody.
    let rsv1 = context.deflate
        && match opcode {
            OpCode::Data(Data::Continue) => context.message == Some(true),
            OpCode::Data(_) => true,
            OpCode::Control(_) => false,
        };
    if rsv & 3 != 0 || rsv & 4 != 0 && !rsv1 {
        return Err(Error::ReservedBits(rsv));
    }
    match opcode {
        OpCode::Data(Data::Reserved(opcode)) | OpCode::Control(Control::Reserved(opcode)) => Err(Error::Opcode(opcode)),
        OpCode::Control(_) if !fin => Err(Error::FragmentedControl),
        OpCode::Control(_) => Ok(()),
        OpCode::Data(Data::Continue) if context.message.is_none() => Err(Error::StrayContinuation),
        OpCode::Data(Data::Text | Data::Binary) if context.message.is_some() => Err(Error::MissingContinuation),
        OpCode::Data(_) => Ok(()),
    }
}

/// Reads the extended length of `size` bytes, which must be one that no shorter form could hold.
fn read(bytes: &[u8], at: usize, size: usize, allowed: RangeInclusive<u64>) -> Result<Option<u64>, Error> {
    let Some(bytes) = bytes.get(at..at + size) else { return Ok(None) };
    let length = bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
    if allowed.contains(&length) { Ok(Some(length)) } else { Err(Error::Length(length)) }
}

/// A server's frame header: at most ten bytes, never masked.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    bytes: [u8; 10],
    size: usize,
}

impl Written {
    /// The header of a frame with `length` bytes of payload.
    pub fn new(fin: bool, rsv1: bool, opcode: OpCode, length: u64) -> Written {
        let mut bytes = [0; 10];
        bytes[0] = u8::from(fin) << 7 | u8::from(rsv1) << 6 | u8::from(opcode);
        let size = match length {
            0..=125 => {
                bytes[1] = length as u8;
                2
            }
            126..=0xffff => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&(length as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..].copy_from_slice(&length.to_be_bytes());
                10
            }
        };
        Written { bytes, size }
    }

    /// The header as it goes out.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.size]
    }
}
