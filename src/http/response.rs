//! A response's head on its way to the client: the VM's status and headers in, hyper's or bytes out. Pure.

use hyper::StatusCode;
use hyper::ext::ReasonPhrase;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};

use crate::port::message::{Headers, Status};

/// What a response may not be made of: an invalid status, or a header that would break the message.
#[derive(Debug)]
pub struct Invalid;

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a response's status or headers cannot be sent")
    }
}

impl std::error::Error for Invalid {}

/// A final response's head, checked. What hyper would refuse, and what it would make something else of, is refused here.
pub fn head(status: Status, headers: Headers) -> Result<(ResponseStatus, HeaderMap), Invalid> {
    let code = StatusCode::from_u16(status.code).ok().filter(|code| !code.is_informational()).ok_or(Invalid)?;
    let phrase = match (status.phrase, phrase(status.code), code.canonical_reason()) {
        (Some(phrase), _, _) => Some(ReasonPhrase::try_from(phrase).map_err(|_| Invalid)?),
        (None, Some(phrase), _) => Some(ReasonPhrase::from_static(phrase.as_bytes())),
        (None, None, Some(_)) => None,
        (None, None, None) => Some(ReasonPhrase::from_static(b"")), // Where hyper would write a word of its own.
    };
    let mut headers = header_map(headers)?;
    check_framing(&mut headers)?;
    Ok((ResponseStatus { code, phrase }, headers))
}

/// Where the body ends must be said once (RFC 9112, 6.3). Which coding it is sent in is hyper's to say.
fn check_framing(headers: &mut HeaderMap) -> Result<(), Invalid> {
    let coding = headers.remove(TRANSFER_ENCODING);
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(()) };
    let is_number = length.to_str().is_ok_and(|text| !text.starts_with('+') && text.parse::<u64>().is_ok());
    if is_number && coding.is_none() && lengths.all(|other| other == length) { Ok(()) } else { Err(Invalid) }
}

/// The status line's content.
pub struct ResponseStatus {
    pub code: StatusCode,
    /// Only where it is not hyper's.
    pub phrase: Option<ReasonPhrase>,
}

/// A response's head as it goes over the wire: for those that hyper does not write, interim responses and the 101.
pub fn head_bytes(status: &Status, headers: &Headers) -> Vec<u8> {
    let phrase = match &status.phrase {
        Some(phrase) => phrase,
        None => phrase(status.code)
            .or_else(|| StatusCode::from_u16(status.code).ok()?.canonical_reason())
            .unwrap_or("")
            .as_bytes(),
    };
    let mut bytes = format!("HTTP/1.1 {} ", status.code).into_bytes();
    bytes.extend_from_slice(phrase);
    bytes.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// The answer to an upgrade, ready to be written.
pub fn switching_protocols(headers: &Headers) -> Vec<u8> {
    head_bytes(&Status { code: 101, phrase: None }, headers)
}

/// Whether this is an interim response, other than the one that ends HTTP, and safe to write as it is.
pub fn is_interim(status: &Status, headers: &Headers) -> bool {
    let phrase_is_good = status.phrase.as_deref().is_none_or(|phrase| ReasonPhrase::try_from(phrase).is_ok());
    matches!(status.code, 100 | 102..=199) && phrase_is_good && is_sendable(headers)
}

/// Whether these headers are safe to write as they are.
pub fn is_sendable(headers: &Headers) -> bool {
    let name = |name| HeaderName::from_bytes(name).is_ok();
    headers.iter().all(|(n, value)| name(n) && HeaderValue::from_bytes(value).is_ok())
}

/// The same for hyper.
pub fn header_map(headers: Headers) -> Result<HeaderMap, Invalid> {
    let mut map = HeaderMap::try_with_capacity(headers.len()).map_err(|_| Invalid)?;
    for (name, value) in headers {
        let name = HeaderName::from_bytes(&name).map_err(|_| Invalid)?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| Invalid)?;
        map.try_append(name, value).map_err(|_| Invalid)?;
    }
    Ok(map)
}

/// The reason phrases of Cowboy (Cowlib's `cow_http`) that are not those of the crate `http`.
fn phrase(code: u16) -> Option<&'static str> {
    Some(match code {
        203 => "Non-Authoritative Information",
        306 => "Switch Proxy",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        416 => "Requested Range Not Satisfiable",
        425 => "Unordered Collection",
        _ => return None,
    })
}
