//! The request line (RFC 9112, 3): method, target, version.

use std::ops::Range;

use super::host;
use super::rules::{
    BAD_REQUEST, HeadLimits, MOST_TARGET, NOT_IMPLEMENTED, Refusal, URI_TOO_LONG, VERSION_NOT_SUPPORTED, is_token,
};
use crate::metrics::Limit;

/// What the header fields are judged by, and the application is told.
#[derive(Debug, Default)]
pub(super) struct RequestLine {
    /// Version 1.1, else 1.0.
    pub http11: bool,
    /// Where the received bytes have the authority of an absolute target.
    pub authority: Option<Range<usize>>,
    /// Where they have path and query, or the asterisk.
    pub path: Range<usize>,
    /// Hyper would not take path and query.
    pub hidden: bool,
}

/// What a target consists of, by places in it.
struct Target {
    authority: Option<Range<usize>>,
    /// Where path and query begin.
    path: usize,
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
        let offset = start + method.len() + 1;
        if target == b"*" && method == b"OPTIONS" {
            return Ok(Self { http11: is_http11(version)?, path: offset..offset + 1, ..Self::default() });
        }
        let Target { authority, path } = check_target(target, limits)?;
        let fits = target.len() <= MOST_TARGET && fits_uri(&target[path..]);
        Ok(Self {
            http11: is_http11(version)?,
            authority: authority.map(|range| range.start + offset..range.end + offset),
            path: path + offset..target.len() + offset,
            hidden: !fits,
        })
    }
}

/// Path and query of a target without its authority. An absolute one may have no path: that is `/` (RFC 9110, 4.2.3).
pub fn split_target(target: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = target.splitn(2, |b| *b == b'?');
    let path = parts.next().filter(|path| !path.is_empty()).unwrap_or(b"/");
    (path, parts.next().unwrap_or(b""))
}

fn method_length(line: &[u8], limits: &HeadLimits) -> Result<usize, Refusal> {
    let length = line.iter().position(|b| !is_token(*b)).unwrap_or(line.len());
    if length > limits.max_method_length {
        return Err(NOT_IMPLEMENTED.by(Limit::MaxMethodLength));
    }
    if length == 0 || line.get(length) != Some(&b' ') {
        return Err(BAD_REQUEST);
    }
    Ok(length)
}

fn check_target(target: &[u8], limits: &HeadLimits) -> Result<Target, Refusal> {
    // Cowboy takes any bytes else in a path and a query. In an authority they are not valid either.
    if target.iter().any(|b| b"#\0\r".contains(b)) {
        return Err(BAD_REQUEST);
    }
    if target.starts_with(b"/") {
        return Ok(Target { authority: None, path: 0 });
    }
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme)))
        .ok_or(BAD_REQUEST)?;
    let rest = &target[scheme.len()..];
    let length = rest.iter().position(|b| b"/?".contains(b)).unwrap_or(rest.len());
    let authority = &rest[..length];
    if length > limits.max_authority() {
        return Err(URI_TOO_LONG.by(Limit::MaxAuthorityLength));
    }
    // An empty host is good enough for a Host header, but not for a URI of this scheme (RFC 9110, 4.2.1).
    if authority.is_empty() || authority.starts_with(b":") || !host::is_valid(authority) {
        return Err(BAD_REQUEST);
    }
    let path = scheme.len() + length;
    Ok(Target { authority: Some(scheme.len()..path), path })
}

/// Whether path and query are such as the type `http::Uri` takes.
fn fits_uri(bytes: &[u8]) -> bool {
    let path_length = bytes.iter().position(|b| *b == b'?').unwrap_or(bytes.len());
    let (path, query) = bytes.split_at(path_length);
    let is_visible = |b: &u8| *b > b' ' && *b != 0x7f;
    path.iter().all(|b| is_visible(b) && !b"<>`".contains(b))
        && query.iter().all(|b| is_visible(b) && !b"<>\"".contains(b))
        && std::str::from_utf8(bytes).is_ok()
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
