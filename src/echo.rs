//! The application of `outrider echo`: accepts every WebSocket and sends each message back.
//!
//! It takes the VM's place in tests and measurements of the engine alone. As from the VM its commands come in turns of their
//! own: [`answer`] carries out what the events of a turn have asked for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::task::Context;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::port::message::{Body, Command, Headers, OVERHEAD, Reason, Status, StreamId, WebsocketOptions};
use crate::streams::Streams;
use crate::streams::application::{Application, Head};
use crate::ws::{DeflateOpts, Event, Kind, derive_accept_key};

/// What to echo, and how.
pub struct Echo {
    options: WebsocketOptions,
    /// Messages of which pieces have come, bounded by `max_frame_size`.
    pieces: RefCell<HashMap<StreamId, Vec<u8>>>,
    /// Answers that no turn has carried out. Of each WebSocket no more than its window.
    answers: RefCell<Vec<(StreamId, Answer)>>,
    answered: Notify,
}

/// What is owed for an event.
enum Answer {
    Response(Status, Headers),
    Websocket(Headers),
    /// The event has been used up, at this cost.
    Used(usize),
    Message(Kind, Vec<u8>),
    Finish,
}

impl Echo {
    /// `max_frame_size` in bytes, `idle_timeout` in milliseconds; `None` is infinity.
    pub fn new(max_frame_size: Option<u64>, compress: bool, idle_timeout: Option<u64>) -> Self {
        let deflate = compress.then(DeflateOpts::default);
        let options = WebsocketOptions { max_frame_size, idle_timeout, deflate, ..WebsocketOptions::default() };
        Self { options, pieces: RefCell::default(), answers: RefCell::default(), answered: Notify::new() }
    }

    fn owe(&self, stream: StreamId, answer: Answer) {
        self.answers.borrow_mut().push((stream, answer));
        self.answered.notify_one();
    }
}

/// Carries out for ever what the application says, and has at most `flushed_at_once` clients written to in a turn.
pub async fn answer(echo: Rc<Echo>, streams: Rc<Streams>, flushed_at_once: usize) {
    loop {
        echo.answered.notified().await;
        for (stream, answer) in echo.answers.take() {
            let command = match &answer {
                Answer::Message(kind, message) => Command::Message(*kind, message),
                Answer::Used(cost) => Command::Credit(*cost as u64),
                Answer::Finish => Command::Finish,
                Answer::Websocket(headers) => Command::Websocket(headers.clone(), Box::new(echo.options.clone())),
                Answer::Response(status, headers) => {
                    Command::Response(status.clone(), headers.clone(), Body::Bytes(Bytes::new()))
                }
            };
            streams.command(stream, command);
        }
        while streams.flush(flushed_at_once) {
            tokio::task::yield_now().await;
        }
    }
}

impl Application for Echo {
    /// Answers with 101 for a WebSocket, 426 for all others.
    fn request(&self, stream: StreamId, head: &dyn Head, _before: StreamId) {
        let has = |name: &str, token: &str| {
            head.header(name).is_some_and(|value| {
                String::from_utf8_lossy(&value).split(',').any(|word| word.trim().eq_ignore_ascii_case(token))
            })
        };
        let versions = ["7", "8", "13"];
        let known = versions.iter().any(|version| has("sec-websocket-version", version));
        let key = head
            .header("sec-websocket-key")
            .filter(|_| known && has("connection", "upgrade") && has("upgrade", "websocket"));
        let header = |name: &'static str, value: String| (Bytes::from_static(name.as_bytes()), Bytes::from(value));
        let mut headers: Headers = vec![header("connection", "Upgrade".into())];
        match key {
            Some(key) => {
                headers.push(header("sec-websocket-accept", derive_accept_key(&key)));
                headers.push(header("upgrade", "websocket".into()));
                self.owe(stream, Answer::Websocket(headers));
            }
            None => {
                headers.push(header("content-length", "0".into()));
                headers.push(header("upgrade", "websocket".into()));
                self.owe(stream, Answer::Response(Status { code: 426, phrase: None }, headers));
            }
        }
    }

    /// Nobody wants the body.
    fn data(&self, _: StreamId, _: bool, _: &[u8]) {}

    /// Sends a message back when it is whole.
    fn event(&self, stream: StreamId, event: Event<'_>) {
        let payload = match event {
            Event::Part(_, piece) => {
                self.pieces.borrow_mut().entry(stream).or_default().extend_from_slice(piece);
                piece
            }
            Event::Message(kind, last) => {
                let mut message = self.pieces.borrow_mut().remove(&stream).unwrap_or_default();
                message.extend_from_slice(last);
                self.owe(stream, Answer::Message(kind, message));
                last
            }
            Event::Ping(payload) | Event::Pong(payload) => payload,
            Event::Close(_) => &[],
        };
        self.owe(stream, Answer::Used(OVERHEAD + payload.len()));
    }

    fn credit(&self, _: StreamId, _: usize) {}

    fn not_subscribed(&self, _: StreamId, _: &[u8], _: &'static str) {}

    fn dropped(&self, _: StreamId, _: u64) {}

    /// Forgets what had come of a message, and lets the close frame go.
    fn closed(&self, stream: StreamId, _: &Reason) {
        self.pieces.borrow_mut().remove(&stream);
        self.owe(stream, Answer::Finish);
    }

    fn poll_congested(&self, _: &mut Context<'_>) -> bool {
        false
    }

    fn is_congested(&self) -> bool {
        false
    }
}
