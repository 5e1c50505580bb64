//! The request line (RFC 9112, 3): method, target, version.

use std::ops::Range;

use super::{BAD_REQUEST, HeadLimits, NOT_IMPLEMENTED, Refusal, URI_TOO_LONG, VERSION_NOT_SUPPORTED, host, is_token};

/// What the header fields are judged by.
#[derive(Debug, Default)]
pub(super) struct RequestLine {
    /// Version 1.1, else 1.0.
    pub http11: bool,
    /// Where the received bytes have the authority of an absolute target.
    pub authority: Option<Range<usize>>,
}

impl RequestLine {
    /// Judges a line without its CRLF, which is not empty and begins at `start` of the received bytes.
    pub fn check(line: &[u8], start: usize, limits: &HeadLimits) -> Result<Self, Refusal> {
        // Not implemented by Cowboy either; the last is the beginning of HTTP/2 without negotiation (RFC 9113, 3.4).
        if line.starts_with(b"CONNECT ") || line.starts_with(b"TRACE ") || line == b"PRI * HTTP/2.0" {
            return Err(NOT_IMPLEMENTED);
        }
        let method = &line[..method_length(line, limits)?];
        let rest = &line[method.len() + 1..];
        let target_length = rest.iter().position(|b| *b == b' ').ok_or(BAD_REQUEST)?;
        let (target, version) = (&rest[..target_length], &rest[target_length + 1..]);
        let authority = if target == b"*" && method == b"OPTIONS" { None } else { check_target(target, limits)? };
        let offset = start + method.len() + 1;
        Ok(Self {
            authority: authority.map(|range| range.start + offset..range.end + offset),
            http11: is_http11(version)?,
        })
    }
}

fn method_length(line: &[u8], limits: &HeadLimits) -> Result<usize, Refusal> {
    let length = line.iter().position(|b| !is_token(*b)).unwrap_or(line.len());
    if length > limits.max_method_length {
        return Err(NOT_IMPLEMENTED);
    }
    if length == 0 || line.get(length) != Some(&b' ') {
        return Err(BAD_REQUEST);
    }
    Ok(length)
}

/// Where in an absolute target the authority is; `None` in one that begins with its path.
fn check_target(target: &[u8], limits: &HeadLimits) -> Result<Option<Range<usize>>, Refusal> {
    if target.starts_with(b"/") {
        check_path_and_query(target)?;
        return Ok(None);
    }
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme)))
        .ok_or(BAD_REQUEST)?;
    let rest = &target[scheme.len()..];
    let length = rest.iter().position(|b| b"/?#".contains(b)).unwrap_or(rest.len());
    let (authority, path_and_query) = rest.split_at(length);
    if length > limits.max_authority_length {
        return Err(URI_TOO_LONG);
    }
    // An empty host is good enough for a Host header, but not for a URI of this scheme (RFC 9110, 4.2.1).
    if authority.is_empty() || authority.starts_with(b":") || !host::is_valid(authority) {
        return Err(BAD_REQUEST);
    }
    check_path_and_query(path_and_query)?;
    Ok(Some(scheme.len()..scheme.len() + length))
}

/// Cowboy takes any bytes here but a fragment and NUL; this is as much of it as fits the type `http::Uri`.
fn check_path_and_query(bytes: &[u8]) -> Result<(), Refusal> {
    let path_length = bytes.iter().position(|b| *b == b'?').unwrap_or(bytes.len());
    let (path, query) = bytes.split_at(path_length);
    let is_visible = |b: &u8| *b > b' ' && *b != 0x7f;
    let good = path.iter().all(|b| is_visible(b) && !b"#<>`".contains(b))
        && query.iter().all(|b| is_visible(b) && !b"#<>\"".contains(b))
        && std::str::from_utf8(bytes).is_ok();
    if good { Ok(()) } else { Err(BAD_REQUEST) }
}

fn is_http11(version: &[u8]) -> Result<bool, Refusal> {
    match version {
        b"HTTP/1.1" => Ok(true),
        b"HTTP/1.0" => Ok(false),
        // A second space before the version, or whitespace behind it.
        [b' ' | b'\t', ..] | [b'H', b'T', b'T', b'P', b'/', b'1', b'.', _, b' ' | b'\t', ..] => Err(BAD_REQUEST),
        _ => Err(VERSION_NOT_SUPPORTED),
    }
}
