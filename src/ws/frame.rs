//! Frame headers (RFC 6455, 5.2): read from clients, written to them.

use std::ops::RangeInclusive;

use super::names::{Control, Data, OpCode};
use super::{Error, mask};

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
    /// A fragmented message is open; says whether its frames may have the bit.
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

    /// The payload that follows.
    pub fn payload(&self) -> Payload {
        Payload { fin: self.fin, left: self.length, mask: self.mask }
    }
}

/// What is left of a frame's payload.
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    /// Of the frame.
    pub fin: bool,
    /// Bytes that are still to come.
    pub left: u64,
    /// The key of the mask, turned so that it begins with the next byte's.
    mask: [u8; 4],
}

impl Payload {
    /// Takes as much of `input` as belongs to the frame, and unmasks it.
    pub fn unmask<'a>(&mut self, input: &'a mut [u8]) -> &'a mut [u8] {
        let size = self.left.min(input.len() as u64) as usize;
        let piece = &mut input[..size];
        mask::apply(piece, self.mask);
        self.mask = mask::advance(self.mask, size);
        self.left -= size as u64;
        piece
    }

    /// Undoes `unmask` for the end of its piece, which could not be used yet.
    pub fn give_back(&mut self, piece: &mut [u8]) {
        self.mask = mask::retreat(self.mask, piece.len());
        self.left += piece.len() as u64;
        mask::apply(piece, self.mask);
    }
}

/// The rules for the first byte, in the order in which Cowlib looks at them.
fn check_first(fin: bool, rsv: u8, opcode: OpCode, context: Context) -> Result<(), Error> {
    // RFC 7692, 6: the bit stands on the first frame of a compressed message. In x-webkit-deflate-frame
    // every frame has its own, and Cowboy takes that from everybody.
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

/// How long the frame is, header included, whose header [`Written`] wrote at the beginning of `bytes`.
pub fn frame_size(bytes: &[u8]) -> usize {
    match *bytes {
        [_, 126, high, low, ..] => 4 + usize::from(u16::from_be_bytes([high, low])),
        [_, 127, a, b, c, d, e, f, g, h, ..] => usize::try_from(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            .map_or(usize::MAX, |size| size.saturating_add(10)),
        [_, size, ..] => 2 + usize::from(size),
        _ => bytes.len(),
    }
}

/// Whether the next frame of data goes on with a message, after a frame with this first byte; `within` says so before it.
pub fn is_within_message(within: bool, first: u8) -> bool {
    const FIN: u8 = 0x80;
    const CONTROL: u8 = 0x08;
    if first & CONTROL != 0 { within } else { first & FIN == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_written_frame_is_that_of_its_header_and_payload() {
        for length in [0, 1, 125, 126, 127, 128, 0xffff, 0x1_0000, 1 << 40] {
            let header = Written::new(true, false, OpCode::Data(Data::Binary), length);
            let mut bytes = header.as_bytes().to_vec();
            bytes.extend_from_slice(&[0xff; 16][..length.min(16) as usize]);
            assert_eq!(frame_size(&bytes), header.as_bytes().len() + length as usize);
        }
    }

    const PLAIN: Context = Context { deflate: false, message: None };

    fn error(bytes: &[u8], context: Context) -> Option<Error> {
        Header::parse(bytes, context).err()
    }

    #[test]
    fn a_wrong_first_byte_is_refused_alone() {
        for opcode in (3..=7).chain(11..=15) {
            assert_eq!(error(&[0x80 | opcode], PLAIN), Some(Error::Opcode(opcode)));
        }
        for opcode in 8..=10 {
            assert_eq!(error(&[opcode], PLAIN), Some(Error::FragmentedControl));
        }
        assert_eq!(error(&[0x80], PLAIN), Some(Error::StrayContinuation));
        let within = Context { message: Some(false), ..PLAIN };
        assert_eq!(error(&[0x81], within), Some(Error::MissingContinuation));
        assert_eq!(error(&[0x80], within), None);
    }

    #[test]
    fn the_reserved_bits_mean_nothing_without_compression() {
        for bits in 1..=7 {
            assert_eq!(error(&[0x81 | bits << 4], PLAIN), Some(Error::ReservedBits(bits)));
        }
    }

    #[test]
    fn the_first_reserved_bit_means_a_compressed_message() {
        let (idle, within) =
            (Context { deflate: true, ..PLAIN }, |compressed| Context { deflate: true, message: Some(compressed) });
        assert_eq!(error(&[0xc1], idle), None);
        assert_eq!(error(&[0xc0], within(true)), None);
        for (byte, context) in [(0xc0, within(false)), (0xc0, idle), (0xc8, idle), (0xc9, within(true)), (0xca, idle)] {
            assert_eq!(error(&[byte], context), Some(Error::ReservedBits(4)));
        }
        assert_eq!(error(&[0xe1], idle), Some(Error::ReservedBits(6)));
    }

    #[test]
    fn a_length_is_refused_in_a_form_that_is_not_its_shortest() {
        for (bytes, length) in [
            (&[0x82, 0xfe, 0, 125][..], 125),
            (&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 255, 255], 65535),
            (&[0x82, 0xff, 128, 0, 0, 0, 0, 0, 0, 0], 1 << 63),
        ] {
            assert_eq!(error(bytes, PLAIN), Some(Error::Length(length)));
        }
        for (bytes, length) in [
            (&[0x82, 0x80 | 125][..], 125),
            (&[0x82, 0xfe, 0, 126], 126),
            (&[0x82, 0xfe, 255, 255], 65535),
            (&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0], 65536),
            (&[0x82, 0xff, 127, 255, 255, 255, 255, 255, 255, 255], i64::MAX as u64),
        ] {
            assert_eq!(Header::parse(bytes, PLAIN), Ok(None));
            let (header, size) = Header::parse(&[bytes, &[1, 2, 3, 4, 5]].concat(), PLAIN).unwrap().unwrap();
            assert_eq!((header.length, header.mask, size), (length, [1, 2, 3, 4], bytes.len() + 4));
        }
    }

    #[test]
    fn a_frame_is_masked_and_a_control_frame_is_short() {
        assert_eq!(error(&[0x81, 0x05], PLAIN), Some(Error::Unmasked));
        assert_eq!(error(&[0x89, 0xfe], PLAIN), Some(Error::LongControl(126)));
        assert_eq!(error(&[0x88, 0x81], PLAIN), Some(Error::HalfCloseCode));
        assert_eq!(error(&[0x89, 0x80 | 125], PLAIN), None);
    }
}
