//! The header fields that decide about the message itself: where it is for, where it ends, what becomes of the
//! connection. All others are the application's.

use std::ops::Range;

use super::host;
use super::line::RequestLine;
use super::rules::{BAD_REQUEST, BodyLength, HeadLimits, Refusal, URI_TOO_LONG, is_token};
use crate::metrics::Limit;

/// The most digits of a number, as in Cowboy 2.18; hyper can count that far.
const MOST_DIGITS: usize = 17;

/// What the lines so far have said.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// Where the received bytes have the value of the Host header.
    host: Option<Range<usize>>,
    content_length: Option<u64>,
    chunked: bool,
    connection: Connection,
}

/// The Connection headers, whose lines add up to one list.
#[derive(Debug, Default, PartialEq)]
enum Connection {
    #[default]
    Absent,
    Empty,
    Options,
}

impl Fields {
    /// Takes one line in: the places of its name and of its value without the whitespace around.
    pub fn add(
        &mut self,
        buf: &[u8],
        name: Range<usize>,
        value: Range<usize>,
        line: &RequestLine,
        limits: &HeadLimits,
    ) -> Result<(), Refusal> {
        let is = |expected: &[u8]| buf[name.clone()].eq_ignore_ascii_case(expected);
        let text = &buf[value.clone()];
        if is(b"host") {
            if self.host.is_some() {
                return Err(BAD_REQUEST);
            }
            if text.len() > limits.max_authority() {
                return Err(URI_TOO_LONG.by(Limit::MaxAuthorityLength));
            }
            if !host::is_valid(text) {
                return Err(BAD_REQUEST);
            }
            self.host = Some(value);
        } else if is(b"content-length") {
            // More than one statement about the length is how requests are smuggled (RFC 9112, 11.2).
            if self.chunked || self.content_length.is_some() {
                return Err(BAD_REQUEST);
            }
            self.content_length = Some(parse_length(text).ok_or(BAD_REQUEST)?);
        } else if is(b"transfer-encoding") {
            let alone = !self.chunked && self.content_length.is_none();
            if !alone || !line.http11 || !text.eq_ignore_ascii_case(b"chunked") {
                return Err(BAD_REQUEST);
            }
            self.chunked = true;
        } else if is(b"connection") {
            self.add_connection(text)?;
        }
        Ok(())
    }

    fn add_connection(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.connection == Connection::Absent {
            self.connection = Connection::Empty;
        }
        for option in value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|option| !option.is_empty()) {
            if !option.iter().all(|b| is_token(*b)) {
                return Err(BAD_REQUEST);
            }
            self.connection = Connection::Options;
        }
        Ok(())
    }

    /// The head is complete: what it must have is there and agrees.
    pub fn finish(&self, buf: &[u8], line: &RequestLine) -> Result<BodyLength, Refusal> {
        let host_is_good = match (&self.host, &line.authority) {
            (Some(host), Some(authority)) => buf[host.clone()] == buf[authority.clone()],
            (Some(_), None) => true,
            (None, _) => !line.http11,
        };
        if !host_is_good || self.connection == Connection::Empty {
            return Err(BAD_REQUEST);
        }
        Ok(if self.chunked { BodyLength::Chunked } else { BodyLength::Exactly(self.content_length.unwrap_or(0)) })
    }
}

fn parse_length(text: &[u8]) -> Option<u64> {
    let is_number = text.len() <= MOST_DIGITS && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}
