//! Sees the frames of one client as they pass, for somebody who has asked. No socket: the bytes come in as they are read and
//! written, and what goes out is each frame's header, its size and the beginning of its payload, as they are on the wire.
//!
//! It is bounded by number and by time, and where the VM is behind, frames pass unseen and are counted.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::port::message::TraceOptions;
use crate::streams::application::{Application, Direction, Seen};

/// Two bytes, the longest length, the mask (RFC 6455, 5.2).
const MAX_HEADER: usize = 14;

/// What is seen of one client.
pub struct Trace {
    /// By which the VM knows it.
    pub number: u64,
    /// Frames that may still be told.
    left: u64,
    until: Instant,
    /// Bytes of each payload that are told.
    content: usize,
    pub missed: u64,
    incoming: Tap,
    outgoing: Tap,
}

/// Where in one direction's bytes the next one stands.
#[derive(Default)]
pub struct Tap {
    /// Bytes before the next header.
    skip: u64,
    /// The beginning of a header that is not complete.
    head: Vec<u8>,
    /// The frame in whose payload it is, until enough of that has come.
    frame: Option<Frame>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    /// Microseconds since 1970.
    time: u64,
    header: Vec<u8>,
    length: u64,
    wanted: usize,
    content: Vec<u8>,
}

impl Tap {
    /// One that begins so many bytes before a header; or with a part of one.
    pub fn new(skip: u64, head: &[u8]) -> Self {
        Self { skip, head: head.to_vec(), frame: None }
    }

    /// Takes the next bytes, of which nothing is told.
    pub fn follow(&mut self, bytes: &[u8]) {
        self.feed(bytes, 0, |_| ());
    }

    /// Takes the next bytes, and gives away each frame of which enough has come.
    fn feed(&mut self, mut bytes: &[u8], content: usize, mut sink: impl FnMut(Frame)) {
        loop {
            let (payload, rest) = bytes.split_at(usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len()));
            self.skip -= payload.len() as u64;
            if let Some(frame) = &mut self.frame {
                let more = payload.len().min(frame.wanted - frame.content.len());
                frame.content.extend_from_slice(&payload[..more]);
            }
            if let Some(frame) = self.frame.take_if(|frame| frame.content.len() == frame.wanted) {
                sink(frame);
            }
            bytes = rest;
            while let Some((&byte, rest)) = bytes.split_first()
                && self.skip == 0
                && self.frame.is_none()
            {
                self.head.push(byte);
                bytes = rest;
                if let Some(length) = length(&self.head) {
                    self.skip = length;
                    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
                    let wanted = content.min(usize::try_from(length).unwrap_or(usize::MAX));
                    let header = std::mem::take(&mut self.head);
                    self.frame = Some(Frame { time, header, length, wanted, content: Vec::new() });
                }
            }
            if bytes.is_empty() && self.frame.as_ref().is_none_or(|frame| frame.wanted > 0) {
                return;
            }
        }
    }
}

/// The length of the payload, once a header is complete.
fn length(header: &[u8]) -> Option<u64> {
    let &second = header.get(1)?;
    let (length, at) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(*header.get(2..)?.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*header.get(2..)?.first_chunk()?), 10),
        short => (u64::from(short), 2),
    };
    let end = at + if second & 0x80 != 0 { 4 } else { 0 };
    debug_assert!(end <= MAX_HEADER);
    (header.len() == end).then_some(length)
}

impl Trace {
    /// The taps begin where the two directions are.
    pub fn new(number: u64, options: &TraceOptions, incoming: Tap, outgoing: Tap) -> Box<Self> {
        Box::new(Self {
            number,
            left: options.frames,
            until: Instant::now() + std::time::Duration::from_millis(options.time),
            content: usize::try_from(options.content).unwrap_or(usize::MAX),
            missed: 0,
            incoming,
            outgoing,
        })
    }

    /// Why it is over, if it is.
    pub fn is_over(&self) -> Option<&'static str> {
        match self.left {
            0 => Some("frames"),
            _ => (Instant::now() >= self.until).then_some("time"),
        }
    }

    /// The next bytes of one direction.
    pub fn pass(&mut self, direction: Direction, bytes: &[u8], app: &dyn Application) {
        let tap = match direction {
            Direction::In => &mut self.incoming,
            Direction::Out => &mut self.outgoing,
        };
        tap.feed(bytes, self.content, |frame| {
            if self.left == 0 {
            } else if app.is_congested() {
                self.missed += 1;
            } else {
                self.left -= 1;
                let Frame { time, header, length, content, .. } = &frame;
                app.seen(self.number, &Seen { direction, time: *time, header, length: *length, content });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header, the length of the payload, the beginning of it.
    type Told = (Vec<u8>, u64, Vec<u8>);

    /// Frames of all lengths of header, and what is to be told of each.
    fn frames(content: usize) -> (Vec<u8>, Vec<Told>) {
        let (mut bytes, mut told) = (Vec::new(), Vec::new());
        let mut add = |header: &[u8], size: usize| {
            let payload: Vec<u8> = (0..size).map(|n| n as u8).collect();
            bytes.extend([header, &payload].concat());
            told.push((header.to_vec(), size as u64, payload[..size.min(content)].to_vec()));
        };
        add(&[0x81, 0], 0);
        add(&[0x81, 5], 5);
        add(&[0x82, 0x83, 1, 2, 3, 4], 3);
        add(&[0x02, 126, 0, 200], 200);
        add(&[0x80, 0xfe, 1, 0, 9, 9, 9, 9], 256);
        add(&[0xc2, 127, 0, 0, 0, 0, 0, 1, 0, 0], 65_536);
        add(&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 7, 7, 7, 7], 65_537);
        add(&[0x8a, 0x80, 1, 1, 1, 1], 0);
        (bytes, told)
    }

    fn fed(tap: &mut Tap, bytes: &[u8], content: usize, told: &mut Vec<Told>) {
        tap.feed(bytes, content, |frame| told.push((frame.header, frame.length, frame.content)));
    }

    #[test]
    fn each_frame_is_told_once_wherever_the_bytes_are_cut() {
        for content in [0, 1, 3, 100, 1_000_000] {
            let (bytes, expected) = frames(content);
            let ends: Vec<usize> = (0..1000).chain(bytes.len() - 100..bytes.len()).collect();
            for end in ends {
                let (mut tap, mut told) = (Tap::default(), Vec::new());
                fed(&mut tap, &bytes[..end], content, &mut told);
                fed(&mut tap, &bytes[end..], content, &mut told);
                assert_eq!(told, expected, "{end}, {content}");
            }
            let (mut tap, mut told) = (Tap::default(), Vec::new());
            bytes.iter().for_each(|byte| fed(&mut tap, &[*byte], content, &mut told));
            assert_eq!(told, expected, "{content}");
        }
    }

    #[test]
    fn one_that_begins_within_a_frame_or_a_header_tells_from_the_next_on() {
        let (bytes, expected) = frames(0);
        let mut told = Vec::new();
        fed(&mut Tap::new(5, &[]), &bytes[4..], 0, &mut told);
        assert_eq!(told, expected[2..]);
        told.clear();
        fed(&mut Tap::new(0, &bytes[9..12]), &bytes[12..], 0, &mut told);
        assert_eq!(told, expected[2..]);
    }
}
