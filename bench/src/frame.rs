//! WebSocket frames as the load generator needs them (RFC 6455 §5.2): client frames made once, before the clock runs,
//! and a reader of the server's frames that looks at headers only.
//!
//! The mask key is one constant. A client must choose it freely (§5.3), but a server cannot tell, and frames made
//! beforehand cost the generator nothing. It is not zero, so that no server can gain by a shortcut for that.
//! No I/O here.

use anyhow::{Result, bail};
use flate2::{Compress, Compression, FlushCompress};

const MASK_KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// `opcode` of a text frame.
pub const TEXT: u8 = 1;
/// `opcode` of a binary frame.
pub const BINARY: u8 = 2;
const CLOSE: u8 = 8;

/// Precomputed client frames, which a connection sends in a circle.
pub struct Script {
    /// The frames, back to back, and once more: so a part of the circle is one piece wherever it begins.
    bytes: Vec<u8>,
    /// Where each begins in `bytes`, and at last where all end.
    starts: Vec<usize>,
    /// What every answer must look like.
    pub expect: Expect,
}

/// What an answer must be; the rest of it is not looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expect {
    /// Its opcode.
    pub opcode: u8,
    /// Whether RSV1 is set: compressed (RFC 7692 §6).
    pub deflated: bool,
    /// The payload's length in bytes; compressed messages have any.
    pub len: Option<u64>,
}

impl Script {
    /// No frames, but an HTTP request, whose response's body has `len` bytes.
    pub fn of_request(request: &str, len: u64) -> Self {
        let expect = Expect { opcode: BINARY, deflated: false, len: Some(len) };
        Self::circle(&[request.as_bytes().to_vec()], expect)
    }

    /// Frames of these messages, each compressed by itself if `deflate`: a message that refers to none before it is
    /// legal with and without context takeover (RFC 7692 §7.2.3).
    pub fn new(opcode: u8, messages: &[Vec<u8>], deflate: bool) -> Self {
        let expect = Expect { opcode, deflated: deflate, len: (!deflate).then(|| messages[0].len() as u64) };
        let frames: Vec<_> = messages.iter().map(|message| frame(opcode, message, deflate)).collect();
        Self::circle(&frames, expect)
    }

    fn circle(frames: &[Vec<u8>], expect: Expect) -> Self {
        let mut script = Self { bytes: Vec::new(), starts: vec![0], expect };
        for frame in frames.iter().chain(frames) {
            script.bytes.extend_from_slice(frame);
            script.starts.push(script.bytes.len());
        }
        script
    }

    /// How many frames there are.
    pub fn frames(&self) -> usize {
        self.starts.len() / 2
    }
}

/// What a connection still has to send of a script.
#[derive(Default)]
pub struct Outbox {
    /// The frame to send next, and how much of it has gone.
    frame: usize,
    written: usize,
    /// How many frames are to be sent.
    due: usize,
}

impl Outbox {
    /// One that begins at this frame.
    pub fn from(frame: usize) -> Self {
        Self { frame, ..Self::default() }
    }

    /// So many frames more are to be sent.
    pub fn add(&mut self, frames: usize) {
        self.due += frames;
    }

    /// What is to be sent now, in one write: all that is due, up to once around the circle. Nothing if nothing is due.
    pub fn next<'a>(&self, script: &'a Script) -> &'a [u8] {
        &script.bytes[script.starts[self.frame] + self.written..script.starts[self.end(script)]]
    }

    /// So many bytes of that have gone.
    pub fn sent(&mut self, count: usize, script: &Script) {
        let position = script.starts[self.frame] + self.written + count;
        let end = self.end(script);
        while self.frame < end && script.starts[self.frame + 1] <= position {
            self.frame += 1;
            self.due -= 1;
        }
        self.written = position - script.starts[self.frame];
        self.frame %= script.frames();
    }

    fn end(&self, script: &Script) -> usize {
        self.frame + self.due.min(script.frames())
    }
}

/// A client's frame of a whole message.
pub fn frame(opcode: u8, message: &[u8], deflate: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if deflate {
        write_frame(&mut out, opcode, true, &deflated(message));
    } else {
        write_frame(&mut out, opcode, false, message);
    }
    out
}

fn write_frame(out: &mut Vec<u8>, opcode: u8, rsv1: bool, payload: &[u8]) {
    out.push(0x80 | u8::from(rsv1) << 6 | opcode);
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK_KEY);
    out.extend(payload.iter().zip(MASK_KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
}

fn deflated(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 64);
    Compress::new(Compression::default(), false)
        .compress_vec(message, &mut out, FlushCompress::Sync)
        .expect("compressing into a buffer with room for incompressible data");
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]), "a sync flush ends so (RFC 7692 §7.2.1)");
    out.truncate(out.len() - 4);
    out
}

/// The first bytes of a message's payload that are kept: two numbers of 64 bits, for the rows that send some.
pub const HEAD: usize = 16;

/// A message of the server, without its payload.
#[derive(Clone, Copy)]
pub struct Message {
    opcode: u8,
    deflated: bool,
    /// The payload's length in bytes, as it came.
    pub len: u64,
    /// The first bytes of the payload, zeros where it is shorter.
    pub head: [u8; HEAD],
}

impl Message {
    /// An HTTP response's body counts as a binary message.
    pub fn of_body(len: u64) -> Self {
        Self { opcode: BINARY, len, ..NO_MESSAGE }
    }

    /// Says how the message is not what was expected.
    pub fn check(&self, expect: &Expect) -> Result<()> {
        if self.opcode == CLOSE {
            bail!("the server closed a WebSocket with code {}", u16::from_be_bytes([self.head[0], self.head[1]]));
        }
        let len_is_right = expect.len.is_none_or(|len| len == self.len);
        if self.opcode != expect.opcode || self.deflated != expect.deflated || !len_is_right {
            let Self { opcode, deflated, len, .. } = self;
            bail!("expected {expect:?}, got opcode {opcode}, deflated {deflated}, {len} bytes");
        }
        Ok(())
    }
}

/// Reads one connection's frames, cut anywhere, and finds the messages in them.
pub struct Reader {
    header: [u8; 10],
    /// How many bytes of `header` are there.
    have: usize,
    /// How many bytes of the present frame's payload are still to come; `None` while its header is not complete.
    payload_left: Option<u64>,
    message: Message,
}

impl Default for Reader {
    fn default() -> Self {
        Self { header: [0; 10], have: 0, payload_left: None, message: NO_MESSAGE }
    }
}

const NO_MESSAGE: Message = Message { opcode: 0, deflated: false, len: 0, head: [0; HEAD] };

impl Reader {
    /// Takes the next bytes and hands each complete message to `found`.
    pub fn read(&mut self, mut bytes: &[u8], mut found: impl FnMut(&Message) -> Result<()>) -> Result<()> {
        loop {
            let left = match self.payload_left {
                Some(left) => left,
                None => match self.read_header(&mut bytes)? {
                    Some(len) => len,
                    None => return Ok(()),
                },
            };
            let here = left.min(bytes.len() as u64) as usize;
            self.keep_head(&bytes[..here]);
            self.message.len += here as u64;
            bytes = &bytes[here..];
            if here as u64 != left {
                self.payload_left = Some(left - here as u64);
                return Ok(());
            }
            let is_last = self.header[0] & 0x80 != 0;
            self.have = 0;
            self.payload_left = None;
            if is_last {
                found(&self.message)?;
                self.message = NO_MESSAGE;
            }
        }
    }

    /// The length of the frame's payload, once its header is there.
    fn read_header(&mut self, bytes: &mut &[u8]) -> Result<Option<u64>> {
        loop {
            let need = match (self.have, self.header[1] & 0x7f) {
                (0 | 1, _) => 2,
                (_, 126) => 4,
                (_, 127) => 10,
                _ => 2,
            };
            if self.have == need {
                break;
            }
            let here = (need - self.have).min(bytes.len());
            if here == 0 {
                return Ok(None);
            }
            self.header[self.have..self.have + here].copy_from_slice(&bytes[..here]);
            self.have += here;
            *bytes = &bytes[here..];
        }
        let [first, second, ..] = self.header;
        if first & 0x30 != 0 || second & 0x80 != 0 {
            bail!("not a server's frame: it begins with {first:#04x} {second:#04x}");
        }
        if first & 0x0f != 0 {
            self.message.opcode = first & 0x0f;
            self.message.deflated = first & 0x40 != 0;
        }
        Ok(Some(match self.have {
            2 => u64::from(second & 0x7f),
            4 => u64::from(u16::from_be_bytes([self.header[2], self.header[3]])),
            _ => u64::from_be_bytes(self.header[2..10].try_into().expect("eight bytes")),
        }))
    }

    fn keep_head(&mut self, payload: &[u8]) {
        let have = self.message.len.min(HEAD as u64) as usize;
        let here = (HEAD - have).min(payload.len());
        self.message.head[have..have + here].copy_from_slice(&payload[..here]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(chunks: &[&[u8]]) -> Vec<(u8, bool, u64, [u8; HEAD])> {
        let mut reader = Reader::default();
        let mut all = Vec::new();
        for chunk in chunks {
            let found = |m: &Message| {
                all.push((m.opcode, m.deflated, m.len, m.head));
                Ok(())
            };
            reader.read(chunk, found).expect("valid frames");
        }
        all
    }

    #[test]
    fn the_reader_finds_the_same_messages_wherever_the_bytes_are_cut() {
        let mut bytes = vec![0x81, 5];
        bytes.extend_from_slice(b"hello");
        bytes.extend_from_slice(&[0xc2, 126, 0, 200]);
        bytes.extend_from_slice(&[7; 200]);
        bytes.extend_from_slice(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        bytes.extend_from_slice(&vec![9; 65536]);
        bytes.extend_from_slice(&[0x01, 2, b'a', b'b', 0x80, 1, b'c', 0x81, 0]);
        let whole = messages(&[&bytes]);
        let lengths: Vec<_> = whole.iter().map(|(opcode, deflated, len, _)| (*opcode, *deflated, *len)).collect();
        assert_eq!(lengths, [(1, false, 5), (2, true, 200), (2, false, 65536), (1, false, 3), (1, false, 0)]);
        assert_eq!(&whole[3].3[..4], b"abc\0");
        for cut in (0..300).chain(bytes.len() - 60..bytes.len()) {
            assert_eq!(messages(&[&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_client_frame_unmasks_to_its_message() {
        let script = Script::new(TEXT, &[b"hello".to_vec()], false);
        assert_eq!(script.bytes[..2], [0x81, 0x85]);
        let unmasked: Vec<u8> = script.bytes[6..11].iter().zip(MASK_KEY.iter().cycle()).map(|(b, k)| b ^ k).collect();
        assert_eq!(unmasked, b"hello");
    }

    #[test]
    fn all_that_is_due_is_one_piece_wherever_in_the_circle_it_begins() {
        let messages = [b"a".to_vec(), b"bc".to_vec(), b"d".to_vec()];
        let script = Script::new(TEXT, &messages, false);
        let frames = |first, count| {
            let circle = messages.iter().cycle().skip(first).take(count);
            circle.flat_map(|message| frame(TEXT, message, false)).collect::<Vec<u8>>()
        };
        for first in 0..3 {
            for due in 0..=3 {
                let mut outbox = Outbox::from(first);
                outbox.add(due);
                let all = frames(first, due);
                assert_eq!(outbox.next(&script), all, "{due} from {first}");
                for cut in 0..=all.len() {
                    let mut outbox = Outbox::from(first);
                    outbox.add(due);
                    outbox.sent(cut, &script);
                    assert_eq!(outbox.next(&script), &all[cut..], "{due} from {first}, of which {cut} bytes have gone");
                    outbox.sent(all.len() - cut, &script);
                    assert_eq!(outbox.next(&script), b"");
                }
            }
        }
        let mut outbox = Outbox::from(1);
        outbox.add(4);
        assert_eq!(outbox.next(&script), frames(1, 3), "once around");
        outbox.sent(frames(1, 3).len(), &script);
        assert_eq!(outbox.next(&script), frames(1, 1));
    }

    #[test]
    fn a_close_frame_is_an_error_that_names_its_code() {
        let mut reader = Reader::default();
        let expect = Expect { opcode: TEXT, deflated: false, len: None };
        let error = reader.read(&[0x88, 2, 0x03, 0xf0], |m| m.check(&expect)).expect_err("a close frame");
        assert!(error.to_string().contains("1008"), "{error}");
    }
}
