//! The check of a request's head (RFC 9112, 2 to 6) in front of hyper: bytes in, a verdict out. Pure; no I/O, no time.
//!
//! It judges as Cowboy does, with Cowboy's limits and status codes, so that a client and its tests meet the server they
//! know. hyper gets a head only when it has been accepted here, and accepts it as well: hyper never answers an error
//! of its own. The check keeps no copy of what it accepts; hyper parses it once more. A path and a query that are
//! good for Cowboy, but not for the type `http::Uri`, are kept from hyper and go beside it ([`HeadCheck::hide_target`]).
//!
//! [`line`] judges the request line, [`host`] an authority, [`fields`] the header fields that decide about the message;
//! [`known`] says what a refused head was about.
//!
//! Bodies and trailers are not part of a head and not checked here.
//!
//! # Differences from Cowboy
//!
//! Where versions of Cowboy differ, this follows the newer ones (2.18): header lines are counted and not names, a line
//! ends with CRLF only, and a fragment, a NUL, a bad `connection` header or a `content-length` of more than 17 digits gets
//! 400 at once.
//!
//! Refused with 400 although Cowboy accepts it, because hyper does not take it:
//! - a header with an empty name or with bytes in it that are not of a token; control characters in a value;
//! - an IP literal that is not an IPv6 address;
//! - `transfer-encoding` in HTTP/1.0, several times, or as a list with empty elements around `chunked`;
//! - a `content-length` with a plus sign.
//!
//! Other differences:
//! - A limit is exact. Cowboy forgives what is too long when it comes together with its end, and refuses a method or
//!   an authority of exactly the limit.
//! - One space or tab before a header's value is free, further ones count; Cowboy takes any number.
//! - A plus sign before a port is refused.
//! - The authority of an absolute target is checked for its syntax also in HTTP/1.0 without a Host header.
//! - The preface of HTTP/2 gets 501 also behind other requests.
//! - An empty line is CR and LF; Cowboy 2.12 takes any byte before the LF.

mod fields;
mod host;
mod known;
mod line;
mod rules;

use crate::metrics::Limit;
use fields::Fields;
pub use host::is_valid as is_authority;
pub use known::Known;
use line::RequestLine;
pub(super) use line::split_target;
use rules::{BAD_REQUEST, FIELDS_TOO_LARGE, MOST_NAME, URI_TOO_LONG, is_token};
pub use rules::{BodyLength, HeadLimits, MOST_HEAD, Refusal};

/// What the bytes received so far are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The beginning of a head that may become an acceptable one.
    Partial,
    /// A head that hyper may have: the first `len` bytes, empty lines before and the empty line behind it included.
    Complete { len: usize, body: BodyLength },
    /// Not a head: answer [`refusal`] and close.
    Refused(Refusal),
}

/// The answer to a refused head, as Cowboy writes it. The status is one of a [`Verdict`], 408 for a head that has not
/// come in time, or 500 for an interim response that cannot be sent.
pub fn refusal(status: u16) -> Vec<u8> {
    // The words are Cowlib's, some of them older than RFC 9110.
    let phrase = match status {
        400 => "Bad Request",
        408 => "Request Timeout",
        414 => "Request-URI Too Long",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        505 => "HTTP Version Not Supported",
        _ => "",
    };
    format!("HTTP/1.1 {status} {phrase}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

/// The check of one head, which may come in any number of pieces. What it says does not depend on how they are cut.
/// After `Complete` or `Refused` it has done its work: the next head needs a new one.
#[derive(Debug, Default)]
pub struct HeadCheck {
    at: At,
    /// Where the line begins that `at` speaks of.
    start: usize,
    /// No byte before this one is looked at again, which is what makes the work linear; `start <= pos`.
    pos: usize,
    empty_lines: usize,
    headers: usize,
    line: RequestLine,
    fields: Fields,
}

/// What is being read at `pos`.
#[derive(Clone, Copy, Debug, Default)]
enum At {
    /// The request line, or an empty line before it.
    #[default]
    Line,
    /// The name of a header, or the empty line behind the last one.
    Name,
    /// The value of a header, with the whitespace around it.
    Value {
        /// Where the name has ended.
        colon: usize,
    },
}

/// What a step of the check has come to, if it is not a refusal.
enum Step {
    /// More bytes are needed.
    Wait,
    /// An element is complete; another follows.
    Next,
    /// The head is complete.
    Done,
}

impl HeadCheck {
    /// Judges `buf`: everything received since the end of the previous request. Call again with more after `Partial`;
    /// the bytes seen before must be the same, and so must the limits.
    pub fn check(&mut self, buf: &[u8], limits: &HeadLimits) -> Verdict {
        match self.advance(buf, limits) {
            Ok(body) if body.map_or(buf.len(), |_| self.pos) > MOST_HEAD => Verdict::Refused(FIELDS_TOO_LARGE),
            Ok(Some(body)) => Verdict::Complete { len: self.pos, body },
            Ok(None) => Verdict::Partial,
            Err(refusal) => Verdict::Refused(refusal),
        }
    }

    /// Takes path and query out of the accepted head at the beginning of `buf`, if hyper would not take them, and puts
    /// `/` in their place: says what they were, and the head's new length.
    pub fn hide_target(&self, buf: &mut Vec<u8>) -> (Option<Box<[u8]>>, usize) {
        let RequestLine { path, hidden: true, .. } = &self.line else { return (None, self.pos) };
        let length = self.pos - path.len() + 1;
        (Some(buf.splice(path.clone(), *b"/").collect()), length)
    }

    /// What `buf`, of which this check has said that it is refused or partial, has told of a request; nothing before the end
    /// of its request line.
    pub fn known<'a>(&self, buf: &'a [u8]) -> Option<Known<'a>> {
        let lines = 2 * self.empty_lines..self.start;
        if self.request_line_complete() { Known::read(buf, lines, &self.line) } else { None }
    }

    /// Whether a request line has come: a head that is late gets 408 only then.
    pub fn request_line_complete(&self) -> bool {
        !matches!(self.at, At::Line)
    }

    fn advance(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<Option<BodyLength>, Refusal> {
        loop {
            let step = match self.at {
                At::Line => self.line(buf, limits)?,
                At::Name => self.name(buf, limits)?,
                At::Value { colon } => self.value(buf, colon, limits)?,
            };
            match step {
                Step::Wait => return Ok(None),
                Step::Next => {}
                Step::Done => return self.fields.finish(buf, &self.line).map(Some),
            }
        }
    }

    fn line(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<Step, Refusal> {
        match buf.get(self.start) {
            None => return Ok(Step::Wait),
            Some(b'\n' | b' ') => return Err(BAD_REQUEST),
            Some(_) => {}
        }
        let lf = buf[self.pos..].iter().position(|b| *b == b'\n').map(|n| self.pos + n);
        let received = &buf[self.start..lf.unwrap_or(buf.len())];
        // A CR at the end may be the one that belongs to the LF; it is not counted, whether the LF is here or not.
        let line = received.strip_suffix(b"\r");
        if line.unwrap_or(received).len() > limits.max_request_line_length {
            return Err(URI_TOO_LONG.by(Limit::MaxRequestLineLength));
        }
        let Some(lf) = lf else {
            self.pos = buf.len();
            return Ok(Step::Wait);
        };
        let line = line.ok_or(BAD_REQUEST)?;
        if line.is_empty() {
            self.empty_lines += 1;
            if self.empty_lines > limits.max_empty_lines {
                return Err(BAD_REQUEST.by(Limit::MaxEmptyLines));
            }
        } else {
            self.line = RequestLine::check(line, self.start, limits)?;
            self.at = At::Name;
        }
        Ok(self.next_line(lf))
    }

    fn name(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<Step, Refusal> {
        match buf.get(self.start) {
            None => return Ok(Step::Wait),
            Some(b'\r') => {
                let Some(lf) = line_end(buf, self.start)? else { return Ok(Step::Wait) };
                self.pos = lf + 1;
                return Ok(Step::Done);
            }
            Some(_) if self.headers >= limits.max_headers() => return Err(FIELDS_TOO_LARGE.by(Limit::MaxHeaders)),
            Some(_) => {}
        }
        let longest = self.start + limits.max_header_name_length.min(MOST_NAME);
        let limit = Limit::MaxHeaderNameLength;
        let Some(colon) = self.find(buf, longest, limit, |b| !is_token(b))? else { return Ok(Step::Wait) };
        // No whitespace before, in or after a name; no line without a colon; no name of no bytes.
        if buf[colon] != b':' || colon == self.start {
            return Err(BAD_REQUEST);
        }
        self.headers += 1;
        self.at = At::Value { colon };
        self.pos = colon + 1;
        Ok(Step::Next)
    }

    fn value(&mut self, buf: &[u8], colon: usize, limits: &HeadLimits) -> Result<Step, Refusal> {
        let begin = colon + 1;
        let free = usize::from(matches!(buf.get(begin), Some(b' ' | b'\t')));
        let (longest, limit) = limits.max_value(&buf[self.start..colon]);
        let longest = (begin + free).saturating_add(longest);
        let Some(end) = self.find(buf, longest, limit, is_control)? else { return Ok(Step::Wait) };
        let Some(lf) = line_end(buf, end)? else { return Ok(Step::Wait) };
        self.fields.add(buf, self.start..colon, trim(buf, begin, end), &self.line, limits)?;
        self.at = At::Name;
        Ok(self.next_line(lf))
    }

    /// Looks from `pos` on for the byte that ends an element, which must be at `longest` at the latest.
    fn find(
        &mut self,
        buf: &[u8],
        longest: usize,
        limit: Limit,
        ends: impl Fn(u8) -> bool,
    ) -> Result<Option<usize>, Refusal> {
        let window = longest.saturating_add(1).min(buf.len());
        let found = buf[self.pos..window].iter().position(|b| ends(*b)).map(|n| self.pos + n);
        self.pos = found.unwrap_or(window);
        match found {
            None if window > longest => Err(FIELDS_TOO_LARGE.by(limit)),
            found => Ok(found),
        }
    }

    fn next_line(&mut self, lf: usize) -> Step {
        self.start = lf + 1;
        self.pos = lf + 1;
        Step::Next
    }
}

/// The place of the LF behind the CR that must be at `cr`, if it has come.
fn line_end(buf: &[u8], cr: usize) -> Result<Option<usize>, Refusal> {
    match &buf[cr..] {
        [b'\r'] => Ok(None),
        [b'\r', b'\n', ..] => Ok(Some(cr + 1)),
        _ => Err(BAD_REQUEST),
    }
}

/// `buf[start..end]` without the whitespace around it.
fn trim(buf: &[u8], start: usize, end: usize) -> std::ops::Range<usize> {
    let is_text = |b: &u8| !matches!(b, b' ' | b'\t');
    let value = &buf[start..end];
    match (value.iter().position(is_text), value.iter().rposition(is_text)) {
        (Some(first), Some(last)) => start + first..start + last + 1,
        _ => end..end,
    }
}

/// A byte that cannot stand in a header's value.
fn is_control(b: u8) -> bool {
    b.is_ascii_control() && b != b'\t'
}
