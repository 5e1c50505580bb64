//! Reads the VM's packets: bytes in, commands out.
//!
//! The commands of a running WebSocket and the short ones of stream 0 are read here by hand, their payloads stay in the
//! packet. Everything else (HTTP responses, options, settings) goes to `control.rs`. Input comes from our own VM, yet nothing here trusts a length:
//! a packet that does not decode is an [`Undecodable`], never a panic.

use super::control;
use super::etf::{
    ATOM, ATOM_UTF8, BINARY, INTEGER, LARGE_TUPLE, LIST, MAP, NEW_PID, NIL, SMALL_ATOM, SMALL_ATOM_UTF8, SMALL_BIG,
    SMALL_INTEGER, SMALL_TUPLE, STRING, VERSION,
};
use super::message::{Command, Frame, Member, Pid, Publish, SendMany, StreamId, Undecodable};
use crate::ws::Kind;

/// Terms inside terms, so that no packet fills the stack. Our own deepest, 8, is a certificate of an identity of a host in `tls`.
const MAX_DEPTH: usize = 12;

/// Elements of a list for which room is made before they are read.
const MOST_AT_ONCE: usize = 4096;

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
                    control::command(term.term(0)?)?
                }
            };
            sink(stream, command);
        }
        term.tail()?;
    }
    term.tail()?;
    term.end()
}

/// What is left of a packet.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(packet: &'a [u8]) -> Result<Self, Undecodable> {
        match packet.split_first() {
            Some((&VERSION, rest)) => Ok(Self { rest }),
            _ => Err(Undecodable),
        }
    }

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

    fn tuple(&mut self) -> Result<u8, Undecodable> {
        let [tag, arity] = self.take()?;
        if tag == SMALL_TUPLE { Ok(arity) } else { Err(Undecodable) }
    }

    /// The head of a list: how many elements follow.
    fn list(&mut self) -> Result<u32, Undecodable> {
        match self.rest.first() {
            Some(&NIL) => Ok(0),
            Some(&LIST) => {
                self.rest = &self.rest[1..];
                Ok(u32::from_be_bytes(self.take()?))
            }
            _ => Err(Undecodable),
        }
    }

    /// The end of a proper list.
    fn tail(&mut self) -> Result<(), Undecodable> {
        let [tag] = self.take()?;
        if tag == NIL { Ok(()) } else { Err(Undecodable) }
    }

    fn atom(&mut self) -> Result<&'a str, Undecodable> {
        let [tag] = self.take()?;
        let len = match tag {
            SMALL_ATOM_UTF8 | SMALL_ATOM => self.take().map(|[len]| usize::from(len))?,
            ATOM_UTF8 | ATOM => usize::from(u16::from_be_bytes(self.take()?)),
            _ => return Err(Undecodable),
        };
        std::str::from_utf8(self.bytes(len)?).map_err(|_| Undecodable)
    }

    /// One whole term of the kinds that the protocol has, as the bytes that it occupies. What comes out is safe for a
    /// decoder that allocates by declared lengths and panics on tags that it does not know.
    fn term(&mut self, depth: usize) -> Result<&'a [u8], Undecodable> {
        let start = self.rest;
        match *start.first().ok_or(Undecodable)? {
            _ if depth > MAX_DEPTH => return Err(Undecodable),
            SMALL_INTEGER | INTEGER | SMALL_BIG => drop(self.signed()?),
            SMALL_ATOM_UTF8 | SMALL_ATOM | ATOM_UTF8 | ATOM => drop(self.atom()?),
            BINARY => drop(self.binary()?),
            NEW_PID => drop(self.pid()?),
            NIL => self.tail()?,
            STRING => {
                let [_, high, low] = self.take()?;
                self.bytes(usize::from(u16::from_be_bytes([high, low])))?;
            }
            SMALL_TUPLE => {
                for _ in 0..self.tuple()? {
                    self.term(depth + 1)?;
                }
            }
            LIST => {
                for _ in 0..self.list()? {
                    self.term(depth + 1)?;
                }
                self.tail()?;
            }
            MAP | LARGE_TUPLE => {
                let [tag, a, b, c, d] = self.take()?;
                let terms = u64::from(u32::from_be_bytes([a, b, c, d])) * if tag == MAP { 2 } else { 1 };
                for _ in 0..terms {
                    self.term(depth + 1)?;
                }
            }
            _ => return Err(Undecodable),
        }
        Ok(&start[..start.len() - self.rest.len()])
    }

    /// All elements of a proper list.
    fn elements<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, Undecodable>,
    ) -> Result<Vec<T>, Undecodable> {
        let length = self.list()?;
        let mut elements = Vec::with_capacity(MOST_AT_ONCE.min(length as usize)); // Whatever it says of its length.
        for _ in 0..length {
            elements.push(element(self)?);
        }
        self.tail().map(|()| elements)
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

    /// A process of this node: its number and serial; its node and the node's incarnation are the VM's own.
    fn pid(&mut self) -> Result<Pid, Undecodable> {
        let [tag] = self.take()?;
        if tag != NEW_PID {
            return Err(Undecodable);
        }
        self.atom()?;
        let number = u64::from_be_bytes(self.take()?);
        let _incarnation: [u8; 4] = self.take()?;
        Ok(Pid(number))
    }

    fn bool(&mut self) -> Result<bool, Undecodable> {
        match self.atom()? {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Undecodable),
        }
    }

    fn binary(&mut self) -> Result<&'a [u8], Undecodable> {
        let [tag] = self.take()?;
        if tag != BINARY {
            return Err(Undecodable);
        }
        let len = u32::from_be_bytes(self.take()?);
        self.bytes(len as usize)
    }

    fn integer(&mut self) -> Result<u64, Undecodable> {
        u64::try_from(self.signed()?).map_err(|_| Undecodable)
    }

    /// An integer of up to 64 bits.
    fn signed(&mut self) -> Result<i128, Undecodable> {
        let [tag] = self.take()?;
        match tag {
            SMALL_INTEGER => self.take().map(|[byte]| i128::from(byte)),
            INTEGER => Ok(i128::from(i32::from_be_bytes(self.take()?))),
            SMALL_BIG => {
                let [len @ 1..=8, sign @ 0..=1] = self.take()? else { return Err(Undecodable) };
                let mut bytes = [0; 8];
                bytes[..usize::from(len)].copy_from_slice(self.bytes(usize::from(len))?);
                let value = i128::from(u64::from_le_bytes(bytes));
                Ok(if sign == 0 { value } else { -value })
            }
            _ => Err(Undecodable),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Undecodable> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Undecodable)?;
        self.rest = rest;
        Ok(*head)
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Undecodable> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Undecodable)?;
        self.rest = rest;
        Ok(head)
    }

    fn end(&self) -> Result<(), Undecodable> {
        if self.rest.is_empty() { Ok(()) } else { Err(Undecodable) }
    }
}
