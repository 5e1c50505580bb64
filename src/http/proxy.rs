//! Where a PROXY protocol header ends (versions 1 and 2, as HAProxy's specification has them). Pure.
//!
//! Only its length is found here; the VM parses it, with Ranch's own code, and puts it into `Req` as `proxy_header`.

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// More bytes are needed.
    Partial,
    /// A header of so many bytes.
    Complete(usize),
    /// Something else.
    Invalid,
}

/// The longest header of version 1, with its CR LF (section 2.1).
const V1_MAX: usize = 107;
const V1_START: &[u8] = b"PROXY ";
/// What a header of version 2 begins with (section 2.2); then come 2 bytes, and the length of the rest in 2.
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;

/// Looks for the header's end; `bytes` are all that came so far.
pub fn header(bytes: &[u8]) -> Header {
    let begins_as = |start: &[u8]| start.starts_with(&bytes[..bytes.len().min(start.len())]);
    if begins_as(V2_START) {
        return match bytes.get(..V2_FIXED) {
            Some(fixed) => {
                let length = V2_FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
                if bytes.len() < length { Header::Partial } else { Header::Complete(length) }
            }
            None => Header::Partial,
        };
    }
    if !begins_as(V1_START) {
        return Header::Invalid;
    }
    let line = &bytes[..bytes.len().min(V1_MAX)];
    match line.windows(2).position(|pair| pair == b"\r\n") {
        Some(at) => Header::Complete(at + 2),
        None if bytes.len() >= V1_MAX => Header::Invalid,
        None => Header::Partial,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 80\r\n";
    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x0f\xa0\0\x50";

    #[test]
    fn a_header_ends_where_it_says_wherever_it_is_cut() {
        for header_bytes in [V1, V2] {
            let with_more = [header_bytes, b"GET / HTTP/1.1\r\n"].concat();
            for end in 1..with_more.len() {
                let expected =
                    if end < header_bytes.len() { Header::Partial } else { Header::Complete(header_bytes.len()) };
                assert_eq!(header(&with_more[..end]), expected, "{end}");
            }
        }
    }

    #[test]
    fn something_else_is_refused_at_its_first_wrong_byte() {
        assert_eq!(header(b"G"), Header::Invalid);
        assert_eq!(header(b"PROXX"), Header::Invalid);
        assert_eq!(header(b"\r\n\r\n\0\r\nQUIT\r"), Header::Invalid);
    }

    #[test]
    fn a_line_of_more_than_107_bytes_is_refused() {
        let line = |length: usize| [b"PROXY ".as_slice(), &vec![b'x'; length - 8], b"\r\n"].concat();
        assert_eq!(header(&line(106)), Header::Complete(106));
        assert_eq!(header(&line(107)), Header::Complete(107));
        assert_eq!(header(&line(108)), Header::Invalid);
    }
}
