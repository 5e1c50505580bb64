//! What is known of a head that was refused or is late: its lines before the one at which that happened.

use std::collections::BTreeMap;

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
    /// Reads lines that have been accepted, the request line first. `None` if that is very long.
    pub(super) fn read(lines: &'a [u8]) -> Option<Self> {
        let mut lines = lines[..lines.len().min(MOST_KNOWN)].split_inclusive(|b| *b == b'\n');
        let mut line = lines.next()?.strip_suffix(b"\r\n")?.split(|b| *b == b' ');
        let (method, target, version) = (line.next()?, line.next()?, line.next()?);
        let (path, query) = path_and_query(target);
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
        Some(Self { method, path, query, http11: version == b"HTTP/1.1", headers })
    }
}

/// Of an absolute target without its authority.
fn path_and_query(target: &[u8]) -> (&[u8], &[u8]) {
    let scheme = if target.starts_with(b"/") { None } else { target.windows(3).position(|bytes| bytes == b"://") };
    let behind_scheme = scheme.map_or(0, |length| length + 3);
    let from =
        target[behind_scheme..].iter().position(|b| b"/?".contains(b)).map_or(target.len(), |n| behind_scheme + n);
    let from = if scheme.is_none() { 0 } else { from };
    let mut parts = target[from..].splitn(2, |b| *b == b'?');
    let path = parts.next().filter(|path| !path.is_empty()).unwrap_or(b"/");
    (path, parts.next().unwrap_or(b""))
}
