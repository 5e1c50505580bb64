//! Reads HTTP/1.1 responses with a `content-length`, for the row that measures plain requests.

use anyhow::{Context, Result, bail};

use crate::frame::Message;

/// A head that is longer is refused.
const MAX_HEAD: usize = 8 * 1024;

/// One connection's responses, cut anywhere.
#[derive(Default)]
pub struct Responses {
    /// A head that is not complete yet.
    head: Vec<u8>,
    /// The present body's length, and how much of it is still to come.
    body: Option<(usize, usize)>,
}

impl Responses {
    /// Takes the next bytes and hands each complete response's body, as a message, to `found`.
    pub fn read(&mut self, mut bytes: &[u8], mut found: impl FnMut(&Message) -> Result<()>) -> Result<()> {
        loop {
            if let Some((len, left)) = self.body {
                let here = left.min(bytes.len());
                bytes = &bytes[here..];
                if here < left {
                    self.body = Some((len, left - here));
                    return Ok(());
                }
                self.body = None;
                found(&Message::of_body(len as u64))?;
            }
            let kept = self.head.len();
            self.head.extend_from_slice(bytes);
            let Some(end) = memchr::memmem::find(&self.head, b"\r\n\r\n") else {
                if self.head.len() > MAX_HEAD {
                    bail!("a response's head is longer than {MAX_HEAD} bytes");
                }
                return Ok(());
            };
            // What was kept before holds no end, so the head ends in `bytes`.
            bytes = &bytes[end + 4 - kept..];
            let len = body_length(&self.head[..end])?;
            self.body = Some((len, len));
            self.head.clear();
        }
    }
}

fn body_length(head: &[u8]) -> Result<usize> {
    let head = std::str::from_utf8(head).context("a response's head")?;
    if !head.starts_with("HTTP/1.1 200 ") {
        bail!("not the answer that was asked for: {head}");
    }
    let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    let length = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).map(|(_, value)| value).next();
    length.context("a response without content-length")?.trim().parse().context("content-length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_found_wherever_the_bytes_are_cut() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        for cut in 0..bytes.len() {
            let mut lengths = Vec::new();
            let mut responses = Responses::default();
            for part in [&bytes[..cut], &bytes[cut..]] {
                let found = |message: &Message| {
                    lengths.push(message.len);
                    Ok(())
                };
                responses.read(part, found).expect("valid responses");
            }
            assert_eq!(lengths, [3, 5], "cut at {cut}");
        }
    }

    #[test]
    fn another_status_is_an_error() {
        let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
        assert!(Responses::default().read(answer, |_| Ok(())).is_err());
    }
}
