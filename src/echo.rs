//! The application of `outrider echo`: accepts every WebSocket and sends each message back.
//!
//! It takes the VM's place in tests and measurements of the engine alone.

use std::cell::RefCell;
use std::collections::HashMap;

use bytes::Bytes;
use hyper::header::{CONNECTION, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};

use crate::http::exchange::Exchange;
use crate::http::request::RequestHead;
use crate::port::message::{Body, Command, Headers, Status, StreamId, WebsocketOptions};
use crate::ws::{DeflateOpts, Encoder, Event, derive_accept_key};

/// What to echo, and how.
pub struct Echo {
    options: WebsocketOptions,
    /// Messages of which pieces have come, bounded by `max_frame_size`.
    pieces: RefCell<HashMap<StreamId, Vec<u8>>>,
}

impl Echo {
    /// `max_frame_size` in bytes; `None` is infinity.
    pub fn new(max_frame_size: Option<u64>, compress: bool, idle_timeout: Option<u64>) -> Self {
        let deflate = compress.then(DeflateOpts::default);
        let options = WebsocketOptions { max_frame_size, idle_timeout, deflate, ..WebsocketOptions::default() };
        Self { options, pieces: RefCell::default() }
    }

    /// Answers a request: 101 for a WebSocket's, 426 for all others.
    pub fn answer(&self, head: &RequestHead, exchange: &Exchange) {
        let has = |name: HeaderName, token: &str| {
            head.header(name).is_some_and(|value| {
                String::from_utf8_lossy(&value).split(',').any(|word| word.trim().eq_ignore_ascii_case(token))
            })
        };
        let versions = ["7", "8", "13"];
        let known = versions.iter().any(|version| has(SEC_WEBSOCKET_VERSION, version));
        let key =
            head.header(SEC_WEBSOCKET_KEY).filter(|_| known && has(CONNECTION, "upgrade") && has(UPGRADE, "websocket"));
        let header = |name: &'static str, value: String| (Bytes::from_static(name.as_bytes()), Bytes::from(value));
        let mut headers: Headers = vec![header("connection", "Upgrade".into())];
        match key {
            Some(key) => {
                headers.push(header("sec-websocket-accept", derive_accept_key(&key)));
                headers.push(header("upgrade", "websocket".into()));
                exchange.command(Command::Websocket(headers, Box::new(self.options.clone())));
            }
            None => {
                headers.push(header("content-length", "0".into()));
                headers.push(header("upgrade", "websocket".into()));
                let status = Status { code: 426, phrase: None };
                exchange.command(Command::Response(status, headers, Body::Bytes(Bytes::new())));
            }
        }
    }

    /// Sends a message back when it is whole. A ping has already been answered.
    pub fn message(&self, stream: StreamId, event: Event<'_>, encoder: &mut Encoder, out: &mut Vec<u8>) {
        match event {
            Event::Part(piece) => {
                self.pieces.borrow_mut().entry(stream).or_default().extend_from_slice(piece);
            }
            Event::Message(kind, last) => match self.pieces.borrow_mut().remove(&stream) {
                Some(mut message) => {
                    message.extend_from_slice(last);
                    encoder.message(kind, &message, out);
                }
                None => encoder.message(kind, last, out),
            },
            Event::Ping(_) | Event::Pong(_) | Event::Close(_) => {}
        }
    }

    /// The stream is over: forgets what it had sent of a message.
    pub fn forget(&self, stream: StreamId) {
        self.pieces.borrow_mut().remove(&stream);
    }
}
