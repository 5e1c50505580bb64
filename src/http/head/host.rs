//! The authority of a URI, which is also the value of a Host header (RFC 9110, 7.2): `host [":" port]`.

use std::net::Ipv6Addr;

/// Whether Cowlib takes this as a host with or without a port. The host may be empty; user information, percent-encoded
/// names, zones of IPv6 addresses and future IP literals are refused.
pub fn is_valid(authority: &[u8]) -> bool {
    let host_length = match authority.strip_prefix(b"[") {
        Some(literal) => match literal.iter().position(|b| *b == b']') {
            Some(length) if is_ipv6(&literal[..length]) => length + 2,
            _ => return false,
        },
        None => authority.iter().position(|b| !is_name(*b)).unwrap_or(authority.len()),
    };
    match &authority[host_length..] {
        [] => true,
        [b':', port @ ..] => is_port(port),
        _ => false,
    }
}

/// A byte of a registered name (RFC 3986, 3.2.2), unreserved or a delimiter, not percent-encoded.
fn is_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&b)
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

fn is_port(text: &[u8]) -> bool {
    let port = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+')).and_then(|text| text.parse().ok());
    port.is_some_and(|port: u16| port > 0)
}
