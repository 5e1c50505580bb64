//! The payload of close frames (RFC 6455, 5.5.1 and 7.4).

use super::Error;
use super::utf8::Utf8;

/// Reads a close frame's payload, or the beginning of one when it is not yet `complete`: the code and the reason.
/// A payload of one byte has been refused with the header.
pub fn parse(payload: &[u8], complete: bool, validate_utf8: bool) -> Result<Option<(u16, &[u8])>, Error> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else { return Ok(None) };
    let code = u16::from_be_bytes(*code);
    if !is_accepted(code) {
        return Err(Error::CloseCode(code));
    }
    if validate_utf8 {
        let mut utf8 = Utf8::default();
        utf8.push(reason).map_err(|_| Error::Utf8)?;
        if complete {
            utf8.finish().map_err(|_| Error::Utf8)?;
        }
    }
    Ok(Some((code, reason)))
}

/// The codes that a client may send: those of RFC 6455, 7.4.1 and the ranges for libraries and applications.
///
/// IANA has since registered 1012 (service restart), 1013 (try again later) and 1014 (bad gateway) for servers; Cowboy
/// refuses them from clients, and so do we.
fn is_accepted(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1011 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_accepted_as_cowboy_accepts_them() {
        let accepted: Vec<u16> = (0..=u16::MAX).filter(|code| is_accepted(*code)).collect();
        let expected: Vec<u16> = (1000..=1003).chain(1007..=1011).chain(3000..=4999).collect();
        assert_eq!(accepted, expected);
    }

    #[test]
    fn a_wrong_code_is_found_before_a_wrong_reason() {
        assert_eq!(parse(b"\x03\xec\xff", true, true), Err(Error::CloseCode(1004)));
    }

    #[test]
    fn a_reason_is_utf8() {
        assert_eq!(parse(b"\x03\xe8\xce\xba", true, true), Ok(Some((1000, "κ".as_bytes()))));
        assert_eq!(parse(b"\x03\xe8\xce", false, true), Ok(Some((1000, &b"\xce"[..]))));
        assert_eq!(parse(b"\x03\xe8\xce", true, true), Err(Error::Utf8));
        assert_eq!(parse(b"\x03\xe8\xff", false, true), Err(Error::Utf8));
        assert_eq!(parse(b"\x03\xe8\xff", true, false), Ok(Some((1000, &b"\xff"[..]))));
    }

    #[test]
    fn an_empty_payload_has_no_code() {
        assert_eq!(parse(b"", true, true), Ok(None));
    }
}
