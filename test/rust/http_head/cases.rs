//! The heads that are refused and those that are accepted, row by row, and the limits.

use outrider::http::head::{BodyLength, HeadLimits};

/// What is wrong, the head, the status.
pub const REFUSED: &[(&str, &[u8], u16)] = &[
    // The request line.
    ("LF-only request line", b"GET / HTTP/1.1\nhost: a\r\n\r\n", 400),
    ("empty line as LF", b"\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("empty line as LF behind a good one", b"\r\n\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("CR without LF as empty line", b"\rGET / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("leading space", b" GET / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("leading tab", b"\tGET / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("method that is not a token", b"GE:T / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("method of bytes above 127", b"G\xc3\x8bT / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("method alone", b"GET\r\nhost: a\r\n\r\n", 400),
    ("missing target", b"GET  HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("missing target and version", b"GET \r\nhost: a\r\n\r\n", 400),
    ("missing version", b"GET /\r\nhost: a\r\n\r\n", 400),
    ("empty version", b"GET / \r\nhost: a\r\n\r\n", 505),
    ("target without leading slash", b"GET index HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("target of another scheme", b"GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("tab behind the method", b"GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("tab behind the target", b"GET /\tHTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("two spaces behind the method", b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("two spaces behind the target", b"GET /  HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("space and tab behind the target", b"GET / \tHTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("space after the version", b"GET / HTTP/1.1 \r\nhost: a\r\n\r\n", 400),
    ("tab after the version", b"GET / HTTP/1.1\t\r\nhost: a\r\n\r\n", 400),
    ("GET *", b"GET * HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("OPTIONS of more than *", b"OPTIONS *a HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("CONNECT", b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", 501),
    ("TRACE", b"TRACE / HTTP/1.1\r\nhost: a\r\n\r\n", 501),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 501),
    ("version 0.9", b"GET / HTTP/0.9\r\nhost: a\r\n\r\n", 505),
    ("version 1.2", b"GET / HTTP/1.2\r\nhost: a\r\n\r\n", 505),
    ("version 2.0", b"GET / HTTP/2.0\r\nhost: a\r\n\r\n", 505),
    ("version 11", b"GET / HTTP/11\r\nhost: a\r\n\r\n", 505),
    ("version in lower case", b"GET / http/1.1\r\nhost: a\r\n\r\n", 505),
    ("something behind the version", b"GET / HTTP/1.1x\r\nhost: a\r\n\r\n", 505),
    // The target.
    ("absolute target with user information", b"GET http://me@a/ HTTP/1.1\r\nhost: me@a\r\n\r\n", 400),
    ("absolute target without a host", b"GET http:/// HTTP/1.1\r\nhost:\r\n\r\n", 400),
    ("absolute target with a port alone", b"GET http://:80/ HTTP/1.1\r\nhost: :80\r\n\r\n", 400),
    ("absolute target that is not the Host", b"GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n", 400),
    ("absolute target with another port", b"GET http://a:80/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("absolute target in another case", b"GET http://A/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("absolute target with a bad host", b"GET http://a%20b/ HTTP/1.1\r\nhost: a%20b\r\n\r\n", 400),
    ("absolute target with a bad host in 1.0", b"GET http://a%20b/ HTTP/1.0\r\n\r\n", 400),
    ("fragment", b"GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("fragment of a query", b"GET /a?b#c HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("fragment of an absolute target", b"GET http://a#b HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("NUL in the path", b"GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("NUL in the query", b"GET /?\0 HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("CR in the path", b"GET /\ra HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("fragment behind a strange character", b"GET /<#b HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("CR in the query behind a strange character", b"GET /?<\ra HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    // The shape of header lines.
    ("LF-only header line", b"GET / HTTP/1.1\r\nhost: a\n\r\n", 400),
    ("LF-only empty line", b"GET / HTTP/1.1\r\nhost: a\r\n\n", 400),
    ("CR without LF as the end", b"GET / HTTP/1.1\r\nhost: a\r\n\ra", 400),
    ("CR in a value", b"GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n", 400),
    ("NUL in a value", b"GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n", 400),
    ("DEL in a value", b"GET / HTTP/1.1\r\nhost: a\r\nx: \x7f\r\n\r\n", 400),
    ("space before the colon", b"GET / HTTP/1.1\r\nhost: a\r\nx : b\r\n\r\n", 400),
    ("tab before the colon", b"GET / HTTP/1.1\r\nhost: a\r\nx\t: b\r\n\r\n", 400),
    ("space before the first name", b"GET / HTTP/1.1\r\n host: a\r\n\r\n", 400),
    ("folded line", b"GET / HTTP/1.1\r\nhost: a\r\nx: b\r\n c\r\n\r\n", 400),
    ("folded line with a tab", b"GET / HTTP/1.1\r\nhost: a\r\nx: b\r\n\tc: d\r\n\r\n", 400),
    ("line without a colon", b"GET / HTTP/1.1\r\nhost: a\r\nx\r\n\r\n", 400),
    ("line without a colon before one with", b"GET / HTTP/1.1\r\nx\r\nhost: a\r\n\r\n", 400),
    ("empty header name", b"GET / HTTP/1.1\r\nhost: a\r\n: x\r\n\r\n", 400),
    ("parenthesis in a header name", b"GET / HTTP/1.1\r\nhost: a\r\n(x): y\r\n\r\n", 400),
    ("header name of bytes above 127", b"GET / HTTP/1.1\r\nhost: a\r\n\xc3\xa4: y\r\n\r\n", 400),
    // Host.
    ("no Host in 1.1", b"GET / HTTP/1.1\r\n\r\n", 400),
    ("no Host in 1.1, absolute target", b"GET http://a/ HTTP/1.1\r\n\r\n", 400),
    ("Host twice", b"GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400),
    ("Host twice in different case", b"GET / HTTP/1.1\r\nhost:\r\nHost: a\r\n\r\n", 400),
    ("Host with user information", b"GET / HTTP/1.1\r\nhost: me@a\r\n\r\n", 400),
    ("Host with a path", b"GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", 400),
    ("Host with a space", b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n", 400),
    ("Host with an open bracket", b"GET / HTTP/1.1\r\nhost: [::1\r\n\r\n", 400),
    ("Host with bytes behind the bracket", b"GET / HTTP/1.1\r\nhost: [::1]a\r\n\r\n", 400),
    ("Host with an IPv6 zone", b"GET / HTTP/1.1\r\nhost: [fe80::1%25lo]\r\n\r\n", 400),
    ("Host with an address that is none", b"GET / HTTP/1.1\r\nhost: [:::]\r\n\r\n", 400),
    ("Host with an empty port", b"GET / HTTP/1.1\r\nhost: a:\r\n\r\n", 400),
    ("Host with port 0", b"GET / HTTP/1.1\r\nhost: a:0\r\n\r\n", 400),
    ("Host with port 65536", b"GET / HTTP/1.1\r\nhost: a:65536\r\n\r\n", 400),
    ("Host with a negative port", b"GET / HTTP/1.1\r\nhost: a:-1\r\n\r\n", 400),
    ("Host with a signed port", b"GET / HTTP/1.1\r\nhost: a:+1\r\n\r\n", 400),
    ("Host with a named port", b"GET / HTTP/1.1\r\nhost: a:http\r\n\r\n", 400),
    ("Host with two ports", b"GET / HTTP/1.1\r\nhost: a:1:2\r\n\r\n", 400),
    // The body's length.
    (
        "both lengths",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "both lengths, the other way round",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("coding before chunked", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 400),
    ("coding behind chunked", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n", 400),
    ("identity", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n", 400),
    ("no coding", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n\r\n", 400),
    ("chunked with a parameter", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked;a\r\n\r\n", 400),
    (
        "chunked twice",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
        400,
    ),
    ("chunked with an empty element", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked,\r\n\r\n", 400),
    ("chunked in 1.0", b"POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("length that is no number", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n", 400),
    ("no length", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length:\r\n\r\n", 400),
    ("negative length", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", 400),
    ("signed length", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\n", 400),
    ("length with a fraction", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1.0\r\n\r\n", 400),
    ("list of lengths", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 1\r\n\r\n", 400),
    ("length twice", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n", 400),
    ("length of 18 digits", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000000000000\r\n\r\n", 400),
    ("small length of 18 digits", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 000000000000000001\r\n\r\n", 400),
    ("length of 2^64", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551616\r\n\r\n", 400),
    // Connection.
    ("empty connection header", b"GET / HTTP/1.1\r\nhost: a\r\nconnection:\r\n\r\n", 400),
    ("connection header of commas", b"GET / HTTP/1.1\r\nhost: a\r\nconnection: , ,\r\n\r\n", 400),
    ("connection header of more than tokens", b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close;x\r\n\r\n", 400),
    ("connection header without a comma", b"GET / HTTP/1.1\r\nhost: a\r\nconnection: keep alive\r\n\r\n", 400),
];

/// What is unusual, the head, its body.
pub const ACCEPTED: &[(&str, &[u8], BodyLength)] = &[
    ("nothing", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", BodyLength::Exactly(0)),
    (
        "a handshake",
        b"GET /ws?room=1 HTTP/1.1\r\nHost: a.example:8080\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        BodyLength::Exactly(0),
    ),
    ("five empty lines", b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", BodyLength::Exactly(0)),
    ("method in lower case", b"get / HTTP/1.1\r\nhost: a\r\n\r\n", BodyLength::Exactly(0)),
    ("method of all token characters", b"!#$%&'*+-.^_`|~09azAZ / HTTP/1.1\r\nhost: a\r\n\r\n", BodyLength::Exactly(0)),
    ("methods that begin like refused ones", b"CONNECTS / HTTP/1.1\r\nhost: a\r\n\r\n", BodyLength::Exactly(0)),
    ("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", BodyLength::Exactly(0)),
    ("double slash", b"GET //a//b HTTP/1.1\r\nhost: a\r\n\r\n", BodyLength::Exactly(0)),
    ("bad percent-encoding", b"GET /%zz%?%%= HTTP/1.1\r\nhost: a\r\n\r\n", BodyLength::Exactly(0)),
    ("two question marks", b"GET /?a?b HTTP/1.1\r\nhost: a\r\n\r\n", BodyLength::Exactly(0)),
    ("target with JSON", b"GET /{\"a\":[1]}|\\^ HTTP/1.1\r\nhost: a\r\n\r\n", BodyLength::Exactly(0)),
    ("target of UTF-8", b"GET /\xc3\xa4?\xc3\xb6 HTTP/1.1\r\nhost: a\r\n\r\n", BodyLength::Exactly(0)),
    ("control characters in the target", b"GET /\x01\t?\x1b\x7f HTTP/1.1\r\nhost: a\r\n\r\n", BodyLength::Exactly(0)),
    ("signs that are no URI's in the path", b"GET /<\">` HTTP/1.1\r\nhost: a\r\n\r\n", BodyLength::Exactly(0)),
    ("signs that are no URI's in the query", b"GET /?<\">` HTTP/1.1\r\nhost: a\r\n\r\n", BodyLength::Exactly(0)),
    ("target that is not UTF-8", b"GET /\xff?\xc3 HTTP/1.1\r\nhost: a\r\n\r\n", BodyLength::Exactly(0)),
    ("absolute target with strange signs", b"GET http://a?<> HTTP/1.1\r\nhost: a\r\n\r\n", BodyLength::Exactly(0)),
    ("absolute target", b"GET http://a:80/b?c HTTP/1.1\r\nhost: a:80\r\n\r\n", BodyLength::Exactly(0)),
    ("absolute target without a path", b"GET hTTps://a HTTP/1.1\r\nhost: a\r\n\r\n", BodyLength::Exactly(0)),
    ("absolute target with a query alone", b"GET http://a?b HTTP/1.1\r\nhost: a\r\n\r\n", BodyLength::Exactly(0)),
    ("absolute target with IPv6", b"GET http://[::1]:80/ HTTP/1.1\r\nhost: [::1]:80\r\n\r\n", BodyLength::Exactly(0)),
    ("absolute target in 1.0 without Host", b"GET http://a/ HTTP/1.0\r\n\r\n", BodyLength::Exactly(0)),
    ("1.0 without Host", b"GET / HTTP/1.0\r\n\r\n", BodyLength::Exactly(0)),
    ("empty Host", b"GET / HTTP/1.1\r\nhost:\r\n\r\n", BodyLength::Exactly(0)),
    ("Host of a port", b"GET / HTTP/1.1\r\nhost: :1\r\n\r\n", BodyLength::Exactly(0)),
    ("Host with port 65535", b"GET / HTTP/1.1\r\nhost: a:65535\r\n\r\n", BodyLength::Exactly(0)),
    ("Host with zeros before the port", b"GET / HTTP/1.1\r\nhost: a:000001\r\n\r\n", BodyLength::Exactly(0)),
    ("Host of all its characters", b"GET / HTTP/1.1\r\nhost: aZ0-._~!$&'()*+,;=\r\n\r\n", BodyLength::Exactly(0)),
    ("Host of an IPv4 in IPv6", b"GET / HTTP/1.1\r\nhost: [::FFFF:192.0.2.1]\r\n\r\n", BodyLength::Exactly(0)),
    ("no whitespace before a value", b"GET / HTTP/1.1\r\nhost:a\r\nx:y\r\n\r\n", BodyLength::Exactly(0)),
    ("whitespace around a value", b"GET / HTTP/1.1\r\nhost: \t a \t\r\nx: \t\r\n\r\n", BodyLength::Exactly(0)),
    ("value above 127", b"GET / HTTP/1.1\r\nhost: a\r\nx: \xff\t\x80\r\n\r\n", BodyLength::Exactly(0)),
    ("length", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n", BodyLength::Exactly(3)),
    ("length of zeros", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 00\r\n\r\n", BodyLength::Exactly(0)),
    (
        "length of 17 digits",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999\r\n\r\n",
        BodyLength::Exactly(99_999_999_999_999_999),
    ),
    ("chunked", b"POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", BodyLength::Chunked),
    ("connection list", b"GET / HTTP/1.1\r\nhost: a\r\nconnection: ,a ,\tb,\r\n\r\n", BodyLength::Exactly(0)),
    (
        "connection lines that are a list together",
        b"GET / HTTP/1.1\r\nhost: a\r\nconnection:\r\nconnection: close\r\n\r\n",
        BodyLength::Exactly(0),
    ),
];

/// A limit: of what, how much, the status of its violation, its option, and a head that has `n` of it.
pub type Limit = (&'static str, usize, u16, &'static str, fn(usize) -> Vec<u8>);

/// Every limit at Cowboy's default.
pub fn limits() -> [Limit; 11] {
    fn head(text: String) -> Vec<u8> {
        text.into_bytes()
    }
    let limits = HeadLimits::default();
    [
        ("empty lines", limits.max_empty_lines, 400, "max_empty_lines", |n| {
            head("\r\n".repeat(n) + "GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        }),
        ("request line", limits.max_request_line_length, 414, "max_request_line_length", |n| {
            head(format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(n - "GET / HTTP/1.1".len())))
        }),
        ("method", limits.max_method_length, 501, "max_method_length", |n| {
            head(format!("{} / HTTP/1.1\r\nhost: a\r\n\r\n", "A".repeat(n)))
        }),
        ("authority of an absolute target", limits.max_authority_length, 414, "max_authority_length", |n| {
            head(format!("GET http://{0}/ HTTP/1.1\r\nhost: {0}\r\n\r\n", "a".repeat(n)))
        }),
        ("authority in the Host header", limits.max_authority_length, 414, "max_authority_length", |n| {
            head(format!("GET / HTTP/1.1\r\nhost: {}:80\r\n\r\n", "a".repeat(n - 3)))
        }),
        ("headers", limits.max_headers, 431, "max_headers", |n| {
            head(format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(n - 1)))
        }),
        ("header name", limits.max_header_name_length, 431, "max_header_name_length", |n| {
            head(format!("GET / HTTP/1.1\r\nhost: a\r\n{}: y\r\n\r\n", "x".repeat(n)))
        }),
        ("header value", limits.max_header_value_length, 431, "max_header_value_length", |n| {
            head(format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(n)))
        }),
        ("cookie", limits.max_cookie_header_value_length, 431, "max_cookie_header_value_length", |n| {
            head(format!("GET / HTTP/1.1\r\nhost: a\r\nCookie: {}\r\n\r\n", "y".repeat(n)))
        }),
        (
            "authorization",
            limits.max_authorization_header_value_length,
            431,
            "max_authorization_header_value_length",
            |n| head(format!("GET / HTTP/1.1\r\nhost: a\r\nAuthorization: {}\r\n\r\n", "y".repeat(n))),
        ),
        ("whitespace around a header value", limits.max_header_value_length, 431, "max_header_value_length", |n| {
            head(format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "\t".repeat(n)))
        }),
    ]
}
