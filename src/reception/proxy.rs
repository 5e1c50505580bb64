//! Where a PROXY protocol header ends (versions 1 and 2, as HAProxy's specification has them).
//!
//! Its length is found here, and the client's address, by which connections are counted. The VM parses the header itself,
//! with Ranch's own code, and puts it into `Req` as `proxy_header`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Poll, ready};

use crate::transport::{Plain, TimeLimit, scratch};

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

/// Reads the header with which the connection begins, before TLS if there is TLS; the inner `None` if it begins with something
/// else, the outer if it takes too long. What came behind it is left in `received`.
pub async fn read(socket: &mut Plain, received: &mut Vec<u8>, mut limit: TimeLimit) -> Option<Option<Box<[u8]>>> {
    loop {
        match header(received) {
            Header::Complete(length) => return Some(Some(received.drain(..length).collect())),
            Header::Invalid => return Some(None),
            Header::Partial => {}
        }
        let read = limit.client(socket, |socket, cx| {
            scratch::with(|buffer| {
                let n = ready!(socket.poll_read(cx, buffer)).unwrap_or(0);
                received.extend_from_slice(&buffer[..n]);
                Poll::Ready(n)
            })
        });
        if read.await? == 0 {
            return Some(None);
        }
    }
}

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

/// The client's address, if the header, which must be complete, names one. A proxy names none for its own connections,
/// nor for one from a Unix socket.
pub fn source(header: &[u8]) -> Option<SocketAddr> {
    if header.starts_with(V1_START) {
        let mut words = std::str::from_utf8(header).ok()?.trim_end().split(' ').skip(1);
        let ("TCP4" | "TCP6") = words.next()? else { return None };
        let ip: IpAddr = words.next()?.parse().ok()?;
        let port = words.nth(1)?.parse().ok()?; // Behind our own address.
        return Some((ip, port).into());
    }
    const PROXY: u8 = 0x21; // Version 2, and a connection on somebody's behalf.
    let port = |addresses: &[u8], at: usize| Some(u16::from_be_bytes(*addresses.get(at..)?.first_chunk::<2>()?));
    match (*header.get(12)?, header.get(13)? >> 4, header.get(V2_FIXED..)?) {
        (PROXY, 1, addresses) => Some((Ipv4Addr::from(*addresses.first_chunk::<4>()?), port(addresses, 8)?).into()),
        (PROXY, 2, addresses) => Some((Ipv6Addr::from(*addresses.first_chunk::<16>()?), port(addresses, 32)?).into()),
        _ => None,
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
    fn the_source_is_the_client_s_address_where_the_header_names_one() {
        let ip = |text: &str| Some((text.parse::<IpAddr>().expect("an address"), 4000).into());
        assert_eq!(source(V1), ip("192.0.2.1"));
        assert_eq!(source(V2), ip("192.0.2.1"));
        assert_eq!(source(b"PROXY TCP6 2001:db8::1 2001:db8::2 4000 80\r\n"), ip("2001:db8::1"));
        let v6 =
            [&V2[..12], b"\x21\x21\0\x24\x20\x01\x0d\xb8", &[0; 11], b"\x01", &[0; 16], b"\x0f\xa0\0\x50"].concat();
        assert_eq!(source(&v6), ip("2001:db8::1"));
        let local = [&V2[..12], b"\x20\x11", &V2[14..]].concat();
        for nobody in [&local, &b"PROXY UNKNOWN\r\n"[..], b"PROXY TCP4 x y 1 2\r\n", &V2[..15], &V2[..18]] {
            assert_eq!(source(nobody), None, "{nobody:?}");
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
