//! Reads the VM's packets: bytes in, commands out.
//!
//! The commands of a running WebSocket and the short ones of stream 0 are read here by hand, their payloads stay in the
//! packet. Those of a request are read by `http.rs`, everything else (options, settings) by `control.rs`.

use super::etf::{BINARY, NEW_PID, SMALL_TUPLE, STRING};
use super::message::{Command, Frame, Member, Publish, SendMany, StreamId, Undecodable};
use super::reader::Reader;
use super::{control, http};
use crate::ws::Kind;

/// The tags of what can hold a client's bytes, or a handler's.
pub const CONTENT: [u8; 2] = [BINARY, STRING];

/// The VM's first packet: the version that it speaks.
pub fn hello(packet: &[u8]) -> Result<u64, Undecodable> {
    let mut term = Reader::new(packet)?;
    match (term.tuple()?, term.atom()?) {
        (2, "hello") => {
            let version = term.integer()?;
            term.end()?;
            Ok(version)
        }
        _ => Err(Undecodable),
    }
}

/// Decodes `[{Stream, [Command]}]`, and gives each command to `sink` as it is read.
pub fn commands<'a>(packet: &'a [u8], mut sink: impl FnMut(StreamId, Command<'a>)) -> Result<(), Undecodable> {
    let mut term = Reader::new(packet)?;
    for _ in 0..term.list()? {
        if term.tuple()? != 2 {
            return Err(Undecodable);
        }
        let stream = term.integer()?;
        for _ in 0..term.list()? {
            let start = term.rest;
            let command = match term.hot()? {
                Some(command) => command,
                None => {
                    term.rest = start;
                    let whole = term.term(0)?;
                    match http::command(whole)? {
                        Some(command) => command,
                        None => control::command(whole)?,
                    }
                }
            };
            sink(stream, command);
        }
        term.tail()?;
    }
    term.tail()?;
    term.end()
}

impl<'a> Reader<'a> {
    /// A command of a running WebSocket, or of stream 0 without options; `None` for all others.
    fn hot(&mut self) -> Result<Option<Command<'a>>, Undecodable> {
        let arity = match self.rest.first() {
            Some(&SMALL_TUPLE) => self.tuple()?,
            _ => 0,
        };
        let Ok(name) = self.atom() else { return Ok(None) };
        Ok(Some(match (name, arity) {
            ("text", 2) => Command::Message(Kind::Text, self.binary()?),
            ("binary", 2) => Command::Message(Kind::Binary, self.binary()?),
            ("part", 2) => Command::Part(self.binary()?),
            ("credit", 2) => Command::Credit(self.integer()?),
            ("open", 3) => {
                let kind = match self.atom()? {
                    "text" => Kind::Text,
                    "binary" => Kind::Binary,
                    _ => return Err(Undecodable),
                };
                Command::Open(kind, self.integer()?)
            }
            ("ping", 0) => Command::Ping(&[]),
            ("pong", 0) => Command::Pong(&[]),
            ("ping", 2) => Command::Ping(self.binary()?),
            ("pong", 2) => Command::Pong(self.binary()?),
            ("close", 0) => Command::Close(None),
            ("close", 3) => {
                let code = u16::try_from(self.integer()?).map_err(|_| Undecodable)?;
                Command::Close(Some((code, self.binary()?)))
            }
            ("cut", 2) => Command::Cut(u16::try_from(self.integer()?).map_err(|_| Undecodable)?),
            ("deflate", 2) => Command::Deflate(self.bool()?),
            ("active", 2) => Command::Active(self.bool()?),
            ("finish", 0) => Command::Finish,
            ("pid", 2) => Command::Pid(self.pid()?),
            ("wake", 3) => Command::Wake(self.integer()?, self.integer()?),
            ("abort", 0) => Command::Abort,
            ("suspend", 0) => Command::Suspend,
            ("resume", 0) => Command::Resume,
            ("drain", 0) => Command::Drain,
            ("subscribe", 2) => Command::Subscribe(Member::Itself, self.binary()?),
            ("subscribe", 3) => Command::Subscribe(Member::Process(self.pid()?), self.binary()?),
            ("unsubscribe", 2) => Command::Unsubscribe(Member::Itself, self.binary()?),
            ("unsubscribe", 3) => Command::Unsubscribe(Member::Process(self.pid()?), self.binary()?),
            ("publish", 3) => {
                let topic = self.binary()?;
                let except = Some(Member::Itself);
                Command::Publish(Box::new(Publish { topic, except, frames: self.frames()? }))
            }
            ("publish", 4) => {
                let topic = self.binary()?;
                let except = match self.rest.first() {
                    Some(&NEW_PID) => Some(Member::Process(self.pid()?)),
                    _ if self.atom()? == "none" => None,
                    _ => return Err(Undecodable),
                };
                Command::Publish(Box::new(Publish { topic, except, frames: self.frames()? }))
            }
            ("send_many", 3) => {
                let pids = self.elements(Self::pid)?;
                Command::SendMany(Box::new(SendMany { pids, frames: self.frames()? }))
            }
            ("subscribers", 3) => Command::Subscribers(self.integer()?, self.binary()?),
            ("topics", 2) => Command::Topics(self.integer()?),
            ("stats", 3) => Command::StatsOf(self.integer()?, self.pid()?),
            ("metrics", 2) => Command::Metrics(self.integer()?),
            _ => return Ok(None),
        }))
    }

    fn frames(&mut self) -> Result<Vec<Frame<'a>>, Undecodable> {
        self.elements(Self::frame)
    }

    fn frame(&mut self) -> Result<Frame<'a>, Undecodable> {
        let arity = match self.rest.first() {
            Some(&SMALL_TUPLE) => self.tuple()?,
            _ => 0,
        };
        Ok(match (self.atom()?, arity) {
            ("text", 2) => Frame::Message(Kind::Text, self.binary()?),
            ("binary", 2) => Frame::Message(Kind::Binary, self.binary()?),
            ("ping", 0) => Frame::Ping(&[]),
            ("pong", 0) => Frame::Pong(&[]),
            ("ping", 2) => Frame::Ping(self.binary()?),
            ("pong", 2) => Frame::Pong(self.binary()?),
            _ => return Err(Undecodable),
        })
    }
}
