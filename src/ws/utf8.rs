//! UTF-8 validation of text that arrives in pieces (RFC 6455, 8.1).
//!
//! A wrong byte is found in the piece that brings it, even in the middle of a character. What a piece leaves unfinished,
//! three bytes at most, is kept for the next one.

use simdutf8::compat::from_utf8;

/// The text is not UTF-8.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Invalid;

/// The validator of one text.
#[derive(Debug, Default)]
pub struct Utf8 {
    /// The beginning of an unfinished character: valid so far, and `size` bytes long.
    pending: [u8; 4],
    size: u8,
}

impl Utf8 {
    /// Validates the next piece of the text.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), Invalid> {
        while self.size > 0 {
            let Some((&byte, rest)) = piece.split_first() else { return Ok(()) };
            piece = rest;
            self.finish_character(byte)?;
        }
        let Err(error) = from_utf8(piece) else { return Ok(()) };
        if error.error_len().is_some() {
            return Err(Invalid);
        }
        // Without an error length, what is left is a valid beginning of a character: one to three bytes.
        let tail = &piece[error.valid_up_to()..];
        self.pending[..tail.len()].copy_from_slice(tail);
        self.size = tail.len() as u8;
        Ok(())
    }

    /// Says whether the text may end here.
    pub fn finish(&self) -> Result<(), Invalid> {
        if self.size == 0 { Ok(()) } else { Err(Invalid) }
    }

    /// Adds one byte to the unfinished character. A character has four bytes at most, so `pending` has room.
    fn finish_character(&mut self, byte: u8) -> Result<(), Invalid> {
        self.pending[usize::from(self.size)] = byte;
        self.size += 1;
        match std::str::from_utf8(&self.pending[..usize::from(self.size)]) {
            Ok(_) => self.size = 0,
            Err(error) if error.error_len().is_some() => return Err(Invalid),
            Err(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validate(pieces: &[&[u8]]) -> Result<(), Invalid> {
        let mut utf8 = Utf8::default();
        for piece in pieces {
            utf8.push(piece)?;
        }
        utf8.finish()
    }

    #[test]
    fn text_cut_anywhere_is_valid() {
        let text = "κόσμε, 水, \u{10ffff}\u{0}".as_bytes();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                assert_eq!(validate(&[&text[..first], &text[first..second], &text[second..]]), Ok(()));
            }
        }
    }

    #[test]
    fn a_wrong_byte_is_found_in_the_piece_that_brings_it() {
        // A surrogate, a value above U+10FFFF, two overlong forms, a lone continuation, a byte that never occurs.
        for (begin, wrong) in [
            (&b"\xed"[..], 0xa0),
            (b"\xf4", 0x90),
            (b"\xe0", 0x9f),
            (b"\xf0", 0x8f),
            (b"", 0x80),
            (b"", 0xff),
            (b"\xce", 0x41),
        ] {
            let mut utf8 = Utf8::default();
            assert_eq!(utf8.push(begin), Ok(()));
            assert_eq!(utf8.push(&[wrong]), Err(Invalid));
        }
    }

    #[test]
    fn text_may_not_end_inside_a_character() {
        for unfinished in [
            &b"\xce"[..],
            b"\xe6\xb0",
            b"\xf4\x8f\xbf",
            b"long enough for the vector code: 0123456789 0123456789 0123456789\xf4",
        ] {
            assert_eq!(validate(&[unfinished]), Err(Invalid));
        }
    }
}
