//! What comes from the client: read when it may be, decoded, and told to the application.

use std::io;
use std::ops::ControlFlow;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::session::{NO_CODE, Phase, Session};
use super::traffic::{received, sent};
use super::{Websocket, oversize};
use crate::metrics::{Limit, Opcode, Side, count, reached};
use crate::port::message::{OVERHEAD, Reason};
use crate::streams::application::Direction;
use crate::streams::moment::Moment;
use crate::streams::status::End;
use crate::transport::scratch;
use crate::ws::{Error, Event};

impl Websocket {
    /// Decodes what was left, or reads once. Says whether something has changed.
    pub(super) fn read(&self, state: &mut Session, cx: &mut Context<'_>) -> bool {
        if std::mem::take(&mut state.paused) {
            let mut unread = state.unread.take();
            let used = self.decode(state, &mut unread);
            unread.drain(..used);
            state.unread = unread.into();
            return true;
        }
        let result = scratch::with(|buffer| {
            let read = self.socket.borrow_mut().poll_read(cx, buffer);
            if let Poll::Ready(Ok(n)) = read {
                if let Some(trace) = &mut state.trace {
                    trace.pass(Direction::In, &buffer[..n], &*self.streams.app);
                    self.look_at_trace(state);
                }
                let used = self.decode(state, &mut buffer[..n]);
                state.unread.extend_from_slice(&buffer[used..n]);
            }
            read
        });
        match result {
            Poll::Pending => {
                if self.socket.borrow().is_readable() {
                    self.wake(); // What TLS has read has brought nothing, and there is more.
                }
                return false;
            }
            Poll::Ready(Ok(0)) => self.lost(state, &io::ErrorKind::ConnectionReset.into()),
            Poll::Ready(Ok(_)) => {
                state.received = Moment::now();
                state.spared = false;
            }
            Poll::Ready(Err(e)) => self.lost(state, &e),
        }
        true
    }

    /// Decodes, tells the application, and says how much of `input` was used: all, unless the window is full.
    fn decode(&self, state: &mut Session, input: &mut [u8]) -> usize {
        let Session { decoder, encoder, out, unused, aside, phase, paused, keepalive, traffic, ended, .. } = state;
        let window = self.streams.options.window;
        let result = decoder.decode(input, &mut |event| {
            received(traffic, &event);
            match event {
                Event::Ping(payload) if encoder.is_within_frame() => aside.put_pong(payload),
                Event::Ping(payload) => {
                    sent(traffic, Opcode::Pong, payload.len() as u64);
                    encoder.pong(payload, out.own(0));
                }
                // The handler has not asked for it.
                Event::Pong(payload) => {
                    if let Some(took) = keepalive.as_mut().and_then(|k| k.answers(payload, Instant::now())) {
                        count(|metrics| took.iter().for_each(|took| metrics.round_trips.add(*took)));
                        return ControlFlow::Continue(());
                    }
                }
                _ => {}
            }
            if aside.is_lazy() {
                match event {
                    // Answered, and no reason to begin.
                    Event::Ping(_) | Event::Pong(_) => {
                        *paused = out.waiting() >= window;
                        return if *paused { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
                    }
                    Event::Close(_) => {}
                    _ => self.streams.app.lazy(self.id, &aside.take_lazy()),
                }
            }
            let cost = OVERHEAD + payload(&event).len();
            *unused += cost;
            count(|metrics| metrics.credit_received_bytes.add(cost as u64));
            match event {
                Event::Close(close) => {
                    let code = close.map(|(code, _)| code);
                    phase.leave(Phase::Closing(code), ended, (Side::Client, code.unwrap_or(NO_CODE)));
                    let close = close.map(|(code, text)| (code, text.into()));
                    self.streams.app.closed(self.id, &Reason::Remote(close));
                }
                event => self.streams.app.event(self.id, event),
            }
            *paused = *unused >= window || out.waiting() >= window;
            if *paused || *phase != Phase::Open { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match result {
            Ok(used) => {
                if let Phase::Closing(code) = state.phase {
                    self.note(state, End::Remote(code));
                    state.finish_if_lazy();
                }
                used
            }
            Err(error) => {
                tracing::debug!(stream = self.id, %error, "the client broke the protocol");
                match error {
                    Error::LongFrame { .. } | Error::LongMessage { .. } => reached(Limit::MaxFrameSize),
                    Error::ManyFragments(_) => reached(Limit::MaxFragments),
                    _ => {}
                }
                oversize::warn(&self.socket.borrow(), &error);
                self.end(state, Reason::Protocol(error.reason()), Some(error.close_code()));
                input.len()
            }
        }
    }
}

fn payload<'a>(event: &Event<'a>) -> &'a [u8] {
    match *event {
        Event::Part(_, bytes) | Event::Message(_, bytes) | Event::Ping(bytes) | Event::Pong(bytes) => bytes,
        Event::Close(_) => &[],
    }
}
