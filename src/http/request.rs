//! A request's head as Cowboy's handlers see it: hyper's request, or h2's, in, the event's `Head` out. Pure.
//!
//! The rules are those of the manual of `cowboy_req`: the host is in lower case and without its port, the port is what
//! the client named and not the one on which we listen, repeated headers are joined. `head/` has already refused what
//! Cowboy refuses, so that nothing can fail here.

use std::rc::Rc;

use hyper::Version;
use hyper::header::{CONTENT_LENGTH, COOKIE, HOST, TRANSFER_ENCODING, UPGRADE};
use hyper::http::request::Parts;

use super::head::split_target;
use crate::port::{TermWriter, endpoint_term};
use crate::streams::application::Head;
use crate::streams::client::Peer;
use crate::transport::Endpoint;

/// What all requests of one connection share.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// The client's end.
    pub peer: Endpoint,
    /// The same, or behind a proxy the one that the proxy names.
    pub client: Peer,
    /// Our end.
    pub sock: Endpoint,
    /// TLS is spoken.
    pub secure: bool,
    /// The client's own certificate, in DER.
    pub cert: Option<Box<[u8]>>,
    /// The PROXY protocol's header as it came, where the listener expects one.
    pub proxy_header: Option<Box<[u8]>>,
}

/// One request's head.
#[derive(Debug)]
pub struct RequestHead {
    parts: Parts,
    /// Path and query, where hyper was not given them.
    target: Option<Box<[u8]>>,
    connection: Rc<ConnectionInfo>,
    /// Requests of this connection, from 1; of HTTP/2 the stream's number.
    number: u64,
    /// Of HTTP/2.
    stream: Option<Http2>,
}

/// What a head of HTTP/2 has of its own.
#[derive(Debug)]
pub struct Http2 {
    /// A body follows: the stream has not ended with the head.
    pub has_body: bool,
    /// `:protocol` (RFC 8441).
    pub protocol: Option<Box<[u8]>>,
}

impl RequestHead {
    pub fn new(parts: Parts, target: Option<Box<[u8]>>, connection: Rc<ConnectionInfo>, number: u64) -> Self {
        Self { parts, target, connection, number, stream: None }
    }

    /// The head of a stream of HTTP/2, by its number.
    pub fn of_stream(parts: Parts, connection: Rc<ConnectionInfo>, number: u32, stream: Http2) -> Self {
        Self { parts, target: None, connection, number: number.into(), stream: Some(stream) }
    }

    /// Whether a body follows the head, in Cowboy's reading: any length but the literal `0`.
    pub fn has_body(&self) -> bool {
        match &self.stream {
            Some(stream) => stream.has_body,
            None => {
                self.parts.headers.contains_key(TRANSFER_ENCODING)
                    || self.parts.headers.get(CONTENT_LENGTH).is_some_and(|value| value != "0")
            }
        }
    }

    /// The length that the client states; `None` for a body that ends when it ends.
    fn body_length(&self) -> Option<u64> {
        let headers = &self.parts.headers;
        let is_open = match &self.stream {
            Some(stream) => stream.has_body && !headers.contains_key(CONTENT_LENGTH),
            None => headers.contains_key(TRANSFER_ENCODING),
        };
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if is_open { None } else { Some(length.unwrap_or(0)) }
    }

    /// Of HTTP.
    pub fn version(&self) -> Version {
        self.parts.version
    }

    /// Whether the client waits for `100 Continue` before it sends the body; HTTP/1.0 does not know that.
    pub fn expects_continue(&self) -> bool {
        let expect = self.parts.headers.get(hyper::header::EXPECT);
        !self.is_http10() && expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    }

    /// Whether the client wants to speak WebSocket from here on (RFC 6455, 4.1; RFC 8441, 5).
    pub fn wants_websocket(&self) -> bool {
        if let Some(stream) = &self.stream {
            return stream.protocol.as_deref() == Some(b"websocket");
        }
        let upgrade = self.parts.headers.get(hyper::header::UPGRADE);
        upgrade.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
    }

    pub fn is_http10(&self) -> bool {
        self.parts.version == Version::HTTP_10
    }

    pub fn method(&self) -> &hyper::Method {
        &self.parts.method
    }

    /// Repeated headers become one value, joined with `, ` (cookies with `; `); `transfer-encoding` is ours to know.
    fn encode_headers(&self, w: &mut TermWriter<'_>) {
        let headers = &self.parts.headers;
        w.map(headers.keys_len() - usize::from(headers.contains_key(TRANSFER_ENCODING)));
        let mut joined = Vec::new();
        for name in headers.keys().filter(|name| *name != TRANSFER_ENCODING) {
            w.binary(name.as_str().as_bytes());
            let mut values = headers.get_all(name).iter().map(|value| value.as_bytes());
            let first = values.next().unwrap_or(b"");
            joined.clear();
            for value in values {
                if joined.is_empty() {
                    joined.extend_from_slice(first);
                }
                joined.extend_from_slice(if name == COOKIE { b"; " } else { b", " });
                joined.extend_from_slice(value);
            }
            w.binary(if joined.is_empty() { first } else { &joined });
        }
    }

    /// Whether the client asks for another protocol.
    pub fn wants_upgrade(&self) -> bool {
        self.parts.headers.contains_key(UPGRADE) || self.stream.as_ref().is_some_and(|stream| stream.protocol.is_some())
    }

    /// The path, without the query.
    pub fn path(&self) -> &[u8] {
        self.path_and_query().0
    }

    fn path_and_query(&self) -> (&[u8], &[u8]) {
        let uri = &self.parts.uri;
        let Some(target) = &self.target else {
            return (uri.path().as_bytes(), uri.query().unwrap_or("").as_bytes());
        };
        split_target(target)
    }

    /// Whether TLS is spoken; in HTTP/2 what the client says.
    fn scheme(&self) -> &str {
        let stated = self.stream.as_ref().and_then(|_| self.parts.uri.scheme_str());
        stated.unwrap_or(if self.connection.secure { "https" } else { "http" })
    }

    /// From an absolute request target, else the Host header; empty and 80, or 443 with TLS, where neither says.
    fn host_and_port(&self) -> (&str, u16) {
        let authority = match self.parts.uri.authority() {
            Some(authority) if !self.is_http10() || self.parts.headers.contains_key(HOST) => authority.as_str(),
            _ => self.parts.headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or(""),
        };
        // An IPv6 address has colons of its own, inside brackets.
        let port_at = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
        let default = if self.scheme() == "https" { 443 } else { 80 };
        match port_at {
            Some(at) => (&authority[..at], authority[at + 1..].parse().unwrap_or(default)),
            None => (authority, default),
        }
    }
}

impl Head for RequestHead {
    fn header(&self, name: &str) -> Option<Box<[u8]>> {
        let values: Vec<&[u8]> = self.parts.headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
        if values.is_empty() { None } else { Some(values.join(&b", "[..]).into()) }
    }

    fn encode(&self, w: &mut TermWriter<'_>) {
        let (host, port) = self.host_and_port();
        let (path, query) = self.path_and_query();
        let connection = &*self.connection;
        w.tuple(15).integer(match self.parts.version {
            Version::HTTP_10 => 10,
            Version::HTTP_2 => 20,
            _ => 11,
        });
        w.binary(self.parts.method.as_str().as_bytes());
        w.binary(self.scheme().as_bytes());
        w.binary(host.to_ascii_lowercase().as_bytes());
        w.integer(u64::from(port));
        w.binary(path);
        w.binary(query);
        self.encode_headers(w);
        endpoint_term(w, &connection.peer);
        endpoint_term(w, &connection.sock);
        match &connection.cert {
            Some(der) => w.binary(der),
            None => w.nil(),
        };
        w.bool(self.has_body());
        match self.body_length() {
            Some(length) => w.integer(length),
            None => w.nil(),
        };
        w.integer(self.number);
        let protocol = self.stream.as_ref().and_then(|stream| stream.protocol.as_deref());
        w.map(usize::from(connection.proxy_header.is_some()) + usize::from(protocol.is_some()));
        if let Some(protocol) = protocol {
            w.atom("protocol").binary(protocol);
        }
        if let Some(header) = &connection.proxy_header {
            w.atom("proxy_header").binary(header);
        }
    }
}
