//! A response's head on its way to the client: the VM's status and headers in, hyper's or bytes out. Pure.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::ext::ReasonPhrase;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

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

/// A response's head, checked.
pub fn head(status: Status, headers: Headers) -> Result<(ResponseStatus, HeaderMap), Invalid> {
    let code = StatusCode::from_u16(status.code).map_err(|_| Invalid)?;
    let phrase = status.phrase.or_else(|| phrase(status.code).map(|text| Bytes::from_static(text.as_bytes())));
    let phrase = phrase.map(ReasonPhrase::try_from).transpose().map_err(|_| Invalid)?;
    Ok((ResponseStatus { code, phrase }, header_map(headers)?))
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

/// Whether these headers are safe to write as they are.
pub fn is_sendable(headers: &Headers) -> bool {
    let name = |name| HeaderName::from_bytes(name).is_ok();
    headers.iter().all(|(n, value)| name(n) && HeaderValue::from_bytes(value).is_ok())
}

/// The same for hyper.
pub fn header_map(headers: Headers) -> Result<HeaderMap, Invalid> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let name = HeaderName::from_bytes(&name).map_err(|_| Invalid)?;
        map.append(name, HeaderValue::from_maybe_shared(value).map_err(|_| Invalid)?);
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
