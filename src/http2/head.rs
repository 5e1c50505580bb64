//! Whether a request's head is one that Cowboy would take, where h2 has taken it. Pure.

use h2::Reason;
use h2::ext::Protocol;
use hyper::Method;
use hyper::header::HOST;
use hyper::http::request::Parts;

use super::options::Options;
use crate::http::head::is_authority;

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    /// It is answered with this status.
    Refused(u16),
    /// Its stream is reset.
    Reset(Reason),
    /// Its stream is reset, too: the authority has more than `max_authority_length` bytes.
    LongAuthority,
    /// The connection is closed: it has more than `max_headers`.
    ManyHeaders,
}

/// Judges a head.
pub fn judge(parts: &Parts, options: &Options) -> Verdict {
    if parts.headers.len() > options.max_headers {
        return Verdict::ManyHeaders;
    }
    let is_plain_connect = parts.method == Method::CONNECT && parts.extensions.get::<Protocol>().is_none();
    if is_plain_connect || parts.method == Method::TRACE {
        return Verdict::Refused(501);
    }
    let mut hosts = parts.headers.get_all(HOST).iter().map(|host| host.as_bytes());
    let stated = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let Some(authority) = stated.or_else(|| hosts.next()) else { return Verdict::Reset(Reason::PROTOCOL_ERROR) };
    // Whoever is between us and the client may have looked at the other one (RFC 9113, 8.3.1).
    let is_one = hosts.all(|host| host == authority);
    if authority.len() > options.max_authority_length {
        Verdict::LongAuthority
    } else if is_one && is_authority(authority) {
        Verdict::Accepted
    } else {
        Verdict::Reset(Reason::PROTOCOL_ERROR)
    }
}
