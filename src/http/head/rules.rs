//! What a head is judged by: limits, those of Cowboy's options and those of hyper, and the status codes of a refusal.

use crate::metrics::Limit;

/// The longest head, whatever the limits say.
pub const MOST_HEAD: usize = 64 << 20;
/// The longest target that hyper takes.
pub const MOST_TARGET: usize = 65_534;
/// The longest authority, which with its scheme must be such a target.
pub const MOST_AUTHORITY: usize = 65_000;
/// The longest name that hyper takes.
pub const MOST_NAME: usize = 65_535;
/// The most headers that hyper can take without a panic: what `http::HeaderMap` can reserve room for.
pub const MOST_HEADERS: usize = 24_576;

/// With what status, and because of which limit, a head is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    pub status: u16,
    /// `None` where it is malformed, or beyond what no option allows.
    pub limit: Option<Limit>,
}

impl Refusal {
    pub const fn new(status: u16) -> Self {
        Self { status, limit: None }
    }

    /// The same because of a limit.
    pub const fn by(self, limit: Limit) -> Self {
        Self { limit: Some(limit), ..self }
    }
}

pub const BAD_REQUEST: Refusal = Refusal::new(400);
pub const URI_TOO_LONG: Refusal = Refusal::new(414);
pub const FIELDS_TOO_LARGE: Refusal = Refusal::new(431);
pub const NOT_IMPLEMENTED: Refusal = Refusal::new(501);
pub const VERSION_NOT_SUPPORTED: Refusal = Refusal::new(505);

/// The limits of one head, named as Cowboy's options. A length of exactly the limit is accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeadLimits {
    /// Empty lines before the request line; more: 400.
    pub max_empty_lines: usize,
    /// Bytes of the request line without its CRLF; more: 414.
    pub max_request_line_length: usize,
    /// Bytes of the method; more: 501.
    pub max_method_length: usize,
    /// Bytes of a Host header or of the authority in an absolute target, with the port; more: 414.
    pub max_authority_length: usize,
    /// Header lines; more: 431.
    pub max_headers: usize,
    /// Bytes of a header's name; more: 431.
    pub max_header_name_length: usize,
    /// Bytes of a header's value, without one leading space or tab; more: 431.
    pub max_header_value_length: usize,
    /// The same for `authorization`.
    pub max_authorization_header_value_length: usize,
    /// The same for each `cookie`.
    pub max_cookie_header_value_length: usize,
}

impl Default for HeadLimits {
    /// Cowboy's.
    fn default() -> Self {
        Self {
            max_empty_lines: 5,
            max_request_line_length: 8000,
            max_method_length: 32,
            max_authority_length: 255,
            max_headers: 100,
            max_header_name_length: 64,
            max_header_value_length: 4096,
            max_authorization_header_value_length: 4096,
            max_cookie_header_value_length: 4096,
        }
    }
}

impl HeadLimits {
    /// The most bytes that an accepted head can have: hyper's read buffer must be larger.
    pub fn max_head_length(&self) -> usize {
        let colon_space_crlf = 4;
        let of_two = self.max_authorization_header_value_length.max(self.max_cookie_header_value_length);
        let value = self.max_header_value_length.max(of_two);
        let field = self.max_header_name_length.min(MOST_NAME).saturating_add(value);
        let fields = self.max_headers().saturating_mul(field.saturating_add(colon_space_crlf));
        let empty_lines = self.max_empty_lines.saturating_mul(2);
        let line = self.max_request_line_length.saturating_add(2);
        empty_lines.saturating_add(line).saturating_add(fields).saturating_add(2).min(MOST_HEAD)
    }

    /// Header lines at most: what hyper's `max_headers` is to be set to.
    pub fn max_headers(&self) -> usize {
        self.max_headers.min(MOST_HEADERS)
    }

    /// Bytes of a value of the header of this name, and which limit that is.
    pub fn max_value(&self, name: &[u8]) -> (usize, Limit) {
        if name.eq_ignore_ascii_case(b"cookie") {
            (self.max_cookie_header_value_length, Limit::MaxCookieHeaderValueLength)
        } else if name.eq_ignore_ascii_case(b"authorization") {
            (self.max_authorization_header_value_length, Limit::MaxAuthorizationHeaderValueLength)
        } else {
            (self.max_header_value_length, Limit::MaxHeaderValueLength)
        }
    }

    pub fn max_authority(&self) -> usize {
        self.max_authority_length.min(MOST_AUTHORITY)
    }
}

/// What follows an accepted head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyLength {
    /// A body of so many bytes; 0 also where the head does not speak of one.
    Exactly(u64),
    /// A body in the chunked transfer coding.
    Chunked,
}

/// A byte of a token (RFC 9110, 5.6.2).
pub fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(b, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}
