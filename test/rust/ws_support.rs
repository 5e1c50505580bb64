//! What the tests of the WebSocket engine share: a client's frames, and a caller of the decoder that keeps its contract.

#![allow(dead_code, reason = "each of its users needs a part of it")]

use std::ops::ControlFlow;

use outrider::ws::{Decoder, Error, Event, Kind};

/// FIN and the first reserved bit.
pub const FIN: u8 = 0x80;
pub const RSV1: u8 = 0x40;

/// A frame as a client sends it. `first` is its first byte.
pub fn client_frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        size @ 0..=125 => frame.push(0x80 | size as u8),
        size @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((size as u16).to_be_bytes());
        }
        size => {
            frame.push(0x80 | 127);
            frame.extend((size as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// The first frame of what a server sends: its first byte, its payload, and what follows it.
pub fn server_frame(bytes: &[u8]) -> (u8, &[u8], &[u8]) {
    let (size, at) = match bytes[1] {
        126 => (u64::from(u16::from_be_bytes(bytes[2..4].try_into().unwrap())), 4),
        127 => (u64::from_be_bytes(bytes[2..10].try_into().unwrap()), 10),
        size => (u64::from(size), 2),
    };
    let minimal = match at {
        2 => size <= 125,
        4 => (126..=0xffff).contains(&size),
        _ => size > 0xffff,
    };
    assert!(minimal, "a masked frame or a length in {} bytes for {size}", at - 2);
    let end = at + size as usize;
    (bytes[0], &bytes[at..end], &bytes[end..])
}

/// An event with its payload, and a message with its pieces joined.
#[derive(Clone, Debug, PartialEq)]
pub enum Whole {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, Vec<u8>)>),
}

/// A decoder, and what it has given.
pub struct Receiver {
    decoder: Decoder,
    unread: Vec<u8>,
    pieces: Vec<u8>,
    pub events: Vec<Whole>,
    pub error: Option<Error>,
    /// Sizes of the events that carried messages.
    pub sizes: Vec<usize>,
}

impl Receiver {
    pub fn new(decoder: Decoder) -> Receiver {
        Receiver { decoder, unread: vec![], pieces: vec![], events: vec![], error: None, sizes: vec![] }
    }

    /// Gives the decoder `bytes`, and goes on where `breaks` makes the sink break.
    pub fn receive(&mut self, bytes: &[u8], breaks: &mut impl FnMut() -> bool) {
        self.unread.extend_from_slice(bytes);
        // An error or a sink that takes everything ends the loop: then nothing is left, in here or in the decoder.
        while self.error.is_none() {
            let (before, mut broke) = (self.unread.clone(), false);
            let Receiver { decoder, unread, pieces, events, sizes, .. } = self;
            let result = decoder.decode(unread, &mut |event| {
                assert!(!broke, "an event after a break");
                whole(event, pieces, events, sizes);
                broke = breaks();
                if broke { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            match result {
                Ok(used) => {
                    assert_eq!(unread[used..], before[used..], "what is not used stays as it was");
                    unread.drain(..used);
                }
                Err(error) => self.error = Some(error),
            }
            if !broke {
                assert!(self.error.is_some() || self.unread.is_empty());
                break;
            }
        }
    }
}

fn whole(event: Event<'_>, pieces: &mut Vec<u8>, events: &mut Vec<Whole>, sizes: &mut Vec<usize>) {
    match event {
        Event::Part(_, piece) => {
            sizes.push(piece.len());
            pieces.extend_from_slice(piece);
        }
        Event::Message(kind, piece) => {
            sizes.push(piece.len());
            pieces.extend_from_slice(piece);
            events.push(Whole::Message(kind, std::mem::take(pieces)));
        }
        Event::Ping(payload) => events.push(Whole::Ping(payload.to_vec())),
        Event::Pong(payload) => events.push(Whole::Pong(payload.to_vec())),
        Event::Close(close) => events.push(Whole::Close(close.map(|(code, reason)| (code, reason.to_vec())))),
    }
}
