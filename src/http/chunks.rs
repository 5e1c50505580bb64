//! The chunked transfer coding (RFC 9112, 7.1), as far as it says where a request's body ends: sizes only. Pure; no I/O.
//!
//! hyper decodes the chunks. It must not get one byte of what follows the body, so the end is found here, by the same
//! bytes. Chunk extensions and trailers are left out of what hyper gets: nobody wants them, and their limits are then
//! ours alone.
//!
//! Cowboy takes any byte but a line feed behind a chunk's size, and takes none for a size of 0. Here a size has a digit,
//! only extensions follow it, and neither they nor trailers have control characters in them but tabs.

/// Digits of a chunk's size, leading zeros too: as Cowlib, and as many as 64 bits have.
const MOST_DIGITS: usize = 16;
/// Bytes of one chunk's extensions, the first `;` or blank not counted: as Cowlib.
const MOST_EXTENSION: usize = 128;
/// Bytes of the trailer section, line ends included: as Cowboy 2.17.
const MOST_TRAILERS: usize = 4096;

/// Bytes that no chunked body can have here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

/// How far a chunked body has come. What it says does not depend on how the bytes are cut.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChunkedBody {
    at: At,
    /// Bytes of the chunk, or those still to come of it.
    size: u64,
    /// Bytes so far of what has a limit: digits, extensions, trailers.
    count: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum At {
    /// A digit of a chunk's size, or what ends it.
    #[default]
    Size,
    /// A blank behind the size, or what ends them.
    Blank,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// The first byte of a trailer's line, or the CR of the empty line that ends the body.
    Line,
    Trailer,
    TrailerLf,
    LastLf,
    End,
}

impl ChunkedBody {
    /// Takes bytes up to the end of the body and gives away those that hyper is to have, in order. Says how many it has
    /// taken: all, up to the body's end, or those before the first that cannot be; with that one it fails.
    pub fn take(&mut self, bytes: &[u8], mut give: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        let mut pos = 0;
        let mut given = 0; // Those before it have been given, or are left out.
        while pos < bytes.len() && self.at != At::End {
            if self.at == At::Data {
                let n = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len() - pos);
                pos += n;
                self.size -= n as u64;
                if self.size == 0 {
                    self.at = At::DataCr;
                }
                continue;
            }
            match self.step(bytes[pos]) {
                Some(true) => {}
                Some(false) => {
                    give(&bytes[given..pos]);
                    given = pos + 1;
                }
                None if pos == 0 => return Err(Malformed),
                None => break,
            }
            pos += 1;
        }
        give(&bytes[given..pos]);
        Ok(pos)
    }

    /// Whether the body has come to its end.
    pub fn is_complete(&self) -> bool {
        self.at == At::End
    }

    /// One byte that is not data: whether hyper is to have it, or `None`, and nothing has changed, if it cannot be.
    fn step(&mut self, byte: u8) -> Option<bool> {
        let Self { size, count, .. } = *self;
        let (at, size, count, is_given) = match (self.at, byte) {
            (At::Size, _) if byte.is_ascii_hexdigit() && count < MOST_DIGITS => {
                let digit = char::from(byte).to_digit(16)?;
                (At::Size, size << 4 | u64::from(digit), count + 1, true)
            }
            (At::Size, b' ' | b'\t') if count > 0 => (At::Blank, size, 0, false),
            (At::Size, b';') if count > 0 => (At::Extension, size, 0, false),
            (At::Size, b'\r') if count > 0 => (At::SizeLf, size, 0, true),
            (At::Blank, b' ' | b'\t') if count < MOST_EXTENSION => (At::Blank, size, count + 1, false),
            (At::Blank, b';') if count < MOST_EXTENSION => (At::Extension, size, count + 1, false),
            (At::Blank | At::Extension, b'\r') => (At::SizeLf, size, 0, true),
            (At::Extension, _) if is_text(byte) && count < MOST_EXTENSION => (At::Extension, size, count + 1, false),
            (At::SizeLf, b'\n') => (if size == 0 { At::Line } else { At::Data }, size, 0, true),
            (At::DataCr, b'\r') => (At::DataLf, 0, 0, true),
            (At::DataLf, b'\n') => (At::Size, 0, 0, true),
            (At::Line, b'\r') => (At::LastLf, 0, count, true),
            (At::Line | At::Trailer, _) if is_text(byte) && count < MOST_TRAILERS => (At::Trailer, 0, count + 1, false),
            (At::Trailer, b'\r') if count < MOST_TRAILERS => (At::TrailerLf, 0, count + 1, false),
            (At::TrailerLf, b'\n') if count < MOST_TRAILERS => (At::Line, 0, count + 1, false),
            (At::LastLf, b'\n') => (At::End, 0, 0, true),
            _ => return None,
        };
        *self = Self { at, size, count };
        Some(is_given)
    }
}

/// A byte that may stand in a line.
fn is_text(byte: u8) -> bool {
    !byte.is_ascii_control() || byte == b'\t'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What hyper gets, how many bytes are left, and whether the body is complete, of bytes that come in pieces that end
    /// at these places, and at the end; up to the first that cannot be.
    fn take(bytes: &[u8], cuts: impl IntoIterator<Item = usize>) -> (Vec<u8>, usize, Result<bool, Malformed>) {
        let (mut body, mut given, mut taken) = (ChunkedBody::default(), Vec::new(), 0);
        for cut in cuts.into_iter().chain([bytes.len()]) {
            while taken < cut && !body.is_complete() {
                match body.take(&bytes[taken..cut], |piece| given.extend_from_slice(piece)) {
                    Ok(n) => taken += n,
                    Err(Malformed) => return (given, bytes.len() - taken, Err(Malformed)),
                }
            }
        }
        (given, bytes.len() - taken, Ok(body.is_complete()))
    }

    /// The same at once, held against one byte at a time.
    fn take_all(bytes: &[u8]) -> (String, usize, Result<bool, Malformed>) {
        let all = take(bytes, []);
        assert_eq!(take(bytes, 0..bytes.len()), all, "{}", String::from_utf8_lossy(bytes));
        for cut in 0..bytes.len() {
            assert_eq!(take(bytes, [cut]), all, "{}, cut at {cut}", String::from_utf8_lossy(bytes));
        }
        (String::from_utf8_lossy(&all.0).into_owned(), all.1, all.2)
    }

    #[test]
    fn a_body_ends_where_its_last_chunk_says() {
        for body in [
            "0\r\n\r\n",
            "00\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "A\r\n0\r\n\r\n0\r\n\r\n\r\n000\r\n\r\n",
            "0000000000000001\r\na\r\nF\r\n0123456789abcde\r\na\r\n0123456789\r\n0\r\n\r\n",
        ] {
            let behind = "GET / HTTP/1.1\r\n";
            assert_eq!(take_all(&[body, behind].concat().into_bytes()), (body.into(), behind.len(), Ok(true)));
        }
    }

    #[test]
    fn extensions_and_trailers_are_left_out() {
        for (body, given) in [
            ("3;a=\"b;c\"\r\nabc\r\n0 ; d\t\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"),
            ("3 \t\r\nabc\r\n0;\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"),
            ("0\r\nx: y\r\n\r\n", "0\r\n\r\n"),
            ("1\r\na\r\n0;e\r\nx: y\r\nContent-Length: 7\r\n:\r\n\r\n", "1\r\na\r\n0\r\n\r\n"),
        ] {
            assert_eq!(take_all(body.as_bytes()), (given.into(), 0, Ok(true)));
        }
    }

    #[test]
    fn what_cannot_be_fails_at_its_byte() {
        for (good, bad) in [
            ("", "\r\n"),
            ("", ";a\r\n"),
            ("", " 1\r\n"),
            ("", "-1\r\n"),
            ("", "+1\r\n"),
            ("0", "x1\r\n"),
            ("1", "x\r\na\r\n"),
            ("1 ", "1\r\na\r\n"),
            ("1 ", "\n"),
            ("1", "\na\r\n"),
            ("1;a", "\n"),
            ("1;a", "\0\r\n"),
            ("1;a\r", "\r\n"),
            ("1\r", "a\r\n"),
            ("1\r\na", "b\r\n"),
            ("1\r\na\r", "0\r\n"),
            ("1\r\na", "\n"),
            ("0\r\n", "\n"),
            ("0\r\n\r", "a"),
            ("0\r\nx: y", "\n"),
            ("0\r\nx: ", "\0\r\n"),
            ("0\r\nx: y\r", "\r\n\n"),
        ] {
            let (_, left, end) = take_all(&[good, bad].concat().into_bytes());
            assert_eq!((left, end), (bad.len(), Err(Malformed)), "{good:?}{bad:?}");
        }
    }

    #[test]
    fn a_limit_is_taken_and_one_more_is_not() {
        for (most, body) in [
            (MOST_DIGITS, (|n| format!("{}1\r\na\r\n0\r\n\r\n", "0".repeat(n - 1))) as fn(usize) -> String),
            (MOST_EXTENSION, |n| format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(n))),
            (MOST_EXTENSION, |n| format!("1 {};e\r\na\r\n0\r\n\r\n", " ".repeat(n - 2))),
            (MOST_TRAILERS, |n| format!("0\r\nx:{}\r\n\r\n", "y".repeat(n - 4))),
            (MOST_TRAILERS, |n| format!("0\r\na:b\r\n{}\r\n\r\n", "y".repeat(n - 7))),
        ] {
            for n in [most - 1, most] {
                assert_eq!(take(body(n).as_bytes(), []).2, Ok(true), "{n}");
            }
            assert_eq!(take(body(most + 1).as_bytes(), []).2, Err(Malformed), "{most} + 1");
        }
    }

    #[test]
    fn extensions_are_limited_for_each_chunk() {
        let chunk = format!("1;{}\r\na\r\n", "e".repeat(MOST_EXTENSION));
        let body = chunk.repeat(1000) + "0\r\n\r\n";
        assert_eq!(take(body.as_bytes(), []).2, Ok(true));
    }

    proptest! {
        #[test]
        fn nothing_depends_on_the_cuts(
            pieces in prop::collection::vec(
                prop::sample::select(vec!["0", "1", "a", "F", "\r\n", "\r", "\n", ";", " ", "x: y", "\t", "\0", "0\r\n\r\n"]), 0..24,
            ),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let bytes = pieces.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let whole = take(&bytes, []);
            prop_assert_eq!(take(&bytes, cuts), whole.clone());
            prop_assert_eq!(take(&bytes, 0..bytes.len()), whole);
        }
    }
}
