//! What is known of a head that was refused or is late: its lines before the one at which that happened.

use std::collections::BTreeMap;
use std::ops::Range;

use super::line::{RequestLine, split_target};

/// Bytes of a head that are looked at: there may be many heads that are refused.
const MOST_KNOWN: usize = 16_384;

/// The beginning of a request.
#[derive(Debug, Eq, PartialEq)]
pub struct Known<'a> {
    pub method: &'a [u8],
    pub path: &'a [u8],
    pub query: &'a [u8],
    /// Version 1.1, else 1.0.
    pub http11: bool,
    /// By name in lower case, values of one name joined.
    pub headers: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl<'a> Known<'a> {
    /// Reads those lines of the received bytes, which have been accepted; the first is the request line, of which `line` says
    /// what it has where. `None` if that is very long.
    pub(super) fn read(buf: &'a [u8], lines: Range<usize>, line: &RequestLine) -> Option<Self> {
        let lines = &buf[lines];
        let mut lines = lines[..lines.len().min(MOST_KNOWN)].split_inclusive(|b| *b == b'\n');
        let method = lines.next()?.strip_suffix(b"\r\n")?.split(|b| *b == b' ').next()?;
        let (path, query) = split_target(&buf[line.path.clone()]);
        let mut headers: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for line in lines.filter_map(|line| line.strip_suffix(b"\r\n")) {
            let colon = line.iter().position(|b| *b == b':')?;
            let (name, value) = (line[..colon].to_ascii_lowercase(), line[colon + 1..].trim_ascii());
            let separator: &[u8] = if name == b"cookie" { b"; " } else { b", " };
            headers
                .entry(name)
                .and_modify(|known| known.extend_from_slice(&[separator, value].concat()))
                .or_insert_with(|| value.to_vec());
        }
        Some(Self { method, path, query, http11: line.http11, headers })
    }
}
