//! What a request does when the VM or the process says so: its part of the table of streams.

use std::time::Duration;

use bytes::Bytes;
use hyper::Version;
use tokio::time::Instant;

use super::{EXTENSIONS, End, Exchange, State, size};
use crate::http::response::{is_interim, is_sendable, switching_protocols};
use crate::port::message::{Command, Headers, Status, Traffic};
use crate::streams::broadcast::Broadcast;
use crate::streams::{Delivered, Stream};
use crate::websocket::Session;

impl Stream for Exchange {
    fn command(&self, command: Command<'_>) -> bool {
        let mut state = self.state.borrow_mut();
        match (command, &mut state.upgrade) {
            (Command::Abort, _) => state.aborted = true,
            (Command::Drain, _) => state.last = true,
            (command, Some(session)) => {
                if session.command(command).is_err() {
                    tracing::error!(stream = self.id, "a command that is not allowed in a WebSocket");
                    state.upgrade = None;
                    state.refusal = Some(500);
                }
            }
            (command, None) => self.http_command(command, &mut state),
        }
        self.wake();
        false
    }

    /// A WebSocket that has no socket yet has its frames already.
    fn deliver(&self, broadcast: &Broadcast) -> Delivered {
        match self.state.borrow_mut().upgrade.as_mut().map(|session| session.deliver(broadcast)) {
            Some(Delivered::TooMuch) => Delivered::TooMuch,
            _ => Delivered::Nothing,
        }
    }

    fn traffic(&self) -> Option<Traffic> {
        self.state.borrow().upgrade.as_ref().map(|session| session.traffic())
    }

    fn take_lazy(&self) -> Option<Vec<u8>> {
        self.state.borrow_mut().upgrade.as_mut()?.take_lazy()
    }

    fn blocked_since(&self) -> Option<Instant> {
        self.blocked.get()
    }

    fn give_up(&self) {
        self.given_up.set(true);
        self.share.set(0);
        self.wake();
    }

    /// An answer that the application has finished still goes out.
    fn go_away(&self) {
        let state = self.state.borrow();
        let is_answered = state.complete || state.end.is_some() || state.upgrade.is_some();
        drop(state);
        if !is_answered {
            self.command(Command::Abort);
        }
    }
}

impl Exchange {
    fn http_command(&self, command: Command<'_>, state: &mut State) {
        match command {
            Command::Inform(status, headers) if !is_interim(&status, &headers) => self.refuse_head(state),
            Command::Websocket(headers, _) if !is_sendable(&headers) => self.refuse_head(state),
            Command::Inform(status, headers) if self.version != Version::HTTP_10 => {
                if status.code == 100 {
                    self.intake.begin();
                }
                state.informs.push_back((status, headers));
            }
            Command::Response(status, headers, body) => {
                state.head = Some((status, headers));
                self.share.add(size(&body));
                state.body.push_back(body);
                state.end = Some(End::Plain);
                state.is_whole = true;
            }
            Command::Headers(status, headers) => state.head = Some((status, headers)),
            Command::Data { fin, body } => {
                self.share.add(size(&body));
                state.body.push_back(body);
                if fin {
                    state.end = Some(End::Plain);
                }
            }
            Command::Trailers(headers) => state.end = Some(End::Trailers(headers)),
            Command::Flow(bytes) => {
                self.intake.allow(bytes);
            }
            Command::SetOptions(options) => {
                let timeout = options.idle_timeout.map(|timeout| timeout.map(Duration::from_millis));
                self.idle_timeout.set(timeout.or(self.idle_timeout.get()));
                self.chunked.set(options.chunked.or(self.chunked.get()));
            }
            Command::Websocket(mut headers, options) => {
                let (mut session, extensions) = Session::new(self.extensions.as_deref(), &options);
                if let Some(extensions) = extensions {
                    let behind = |(name, _): &(Bytes, Bytes)| name.as_ref() > EXTENSIONS.as_bytes();
                    let at = headers.iter().position(behind).unwrap_or(headers.len());
                    headers.insert(at, (EXTENSIONS.into(), extensions.into()));
                }
                if self.version == Version::HTTP_2 {
                    state.head = Some((Status { code: 200, phrase: None }, headers));
                } else {
                    session.begin(switching_protocols(&headers));
                }
                state.upgrade = Some(Box::new(session));
                if self.intake.take_expects_continue() {
                    state.informs.push_back((Status { code: 100, phrase: None }, Headers::new())); // RFC 9110, 7.8.
                }
                self.intake.wake(); // It skips the rest.
            }
            _ => tracing::error!(stream = self.id, "a command that is not allowed in an HTTP request"),
        }
    }

    fn refuse_head(&self, state: &mut State) {
        tracing::error!(stream = self.id, "a response's status or headers cannot be sent");
        state.refusal = Some(500);
    }
}
