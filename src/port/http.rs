//! The commands of a request: what is answered, and how it becomes a WebSocket. Every request has some, so they are read by hand.
//!
//! Comes in: the bytes of one term, whose structure `reader.rs` has checked. Goes out: a command with its own data, which is one
//! copy of these bytes: headers and body are parts of it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use bytes::Bytes;

use super::etf::{BINARY, SMALL_TUPLE};
use super::message::{Body, Command, Headers, OnBacklog, Status, Undecodable, WebsocketOptions};
use super::reader::Reader;
use crate::ws::DeflateOpts;

/// Decodes one command; `None` for one of another kind. `term` is complete.
pub fn command(term: &[u8]) -> Result<Option<Command<'static>>, Undecodable> {
    let is_of_http =
        |name: &str| matches!(name, "response" | "headers" | "data" | "flow" | "websocket" | "inform" | "trailers");
    let mut name = Reader { rest: term };
    if term.first() != Some(&SMALL_TUPLE) || name.tuple()? == 0 || !name.atom().is_ok_and(is_of_http) {
        return Ok(None);
    }
    let owned = Bytes::copy_from_slice(term);
    let mut read = Owned { bytes: &owned, reader: Reader { rest: &owned } };
    let arity = read.reader.tuple()?;
    let command = match (read.reader.atom()?, arity) {
        ("response", 4) => Command::Response(read.status()?, read.headers()?, read.body()?),
        ("headers", 3) => Command::Headers(read.status()?, read.headers()?),
        ("data", 3) => {
            let fin = match read.reader.atom()? {
                "fin" => true,
                "nofin" => false,
                _ => return Err(Undecodable),
            };
            Command::Data { fin, body: read.body()? }
        }
        ("flow", 2) => Command::Flow(read.reader.integer()?),
        ("websocket", 3) => Command::Websocket(read.headers()?, Box::new(read.websocket_options()?)),
        ("inform", 3) => Command::Inform(read.status()?, read.headers()?),
        ("trailers", 2) => Command::Trailers(read.headers()?),
        _ => return Err(Undecodable),
    };
    Ok(Some(command))
}

/// A term whose binaries are parts of `bytes`.
struct Owned<'a> {
    bytes: &'a Bytes,
    reader: Reader<'a>,
}

impl Owned<'_> {
    fn binary(&mut self) -> Result<Bytes, Undecodable> {
        Ok(self.bytes.slice_ref(self.reader.binary()?))
    }

    fn status(&mut self) -> Result<Status, Undecodable> {
        if self.reader.rest.first() != Some(&BINARY) {
            let code = u16::try_from(self.reader.integer()?).map_err(|_| Undecodable)?;
            return Ok(Status { code, phrase: None });
        }
        let mut line = self.binary()?;
        if line.len() < 3 {
            return Err(Undecodable);
        }
        let phrase = line.split_off(3);
        let code = std::str::from_utf8(&line).ok().and_then(|code| code.parse().ok()).ok_or(Undecodable)?;
        let space = usize::from(phrase.starts_with(b" "));
        Ok(Status { code, phrase: Some(phrase.slice(space..)) })
    }

    fn headers(&mut self) -> Result<Headers, Undecodable> {
        let bytes = self.bytes;
        self.reader.elements(|reader| match reader.tuple()? {
            2 => Ok((bytes.slice_ref(reader.binary()?), bytes.slice_ref(reader.binary()?))),
            _ => Err(Undecodable),
        })
    }

    fn body(&mut self) -> Result<Body, Undecodable> {
        if self.reader.rest.first() == Some(&BINARY) {
            return self.binary().map(Body::Bytes);
        }
        match (self.reader.tuple()?, self.reader.atom()?) {
            (4, "sendfile") => {
                let (offset, length) = (self.reader.integer()?, self.reader.integer()?);
                let path = OsString::from_vec(self.reader.binary()?.to_vec()).into();
                Ok(Body::File { path, offset, length })
            }
            _ => Err(Undecodable),
        }
    }

    fn websocket_options(&mut self) -> Result<WebsocketOptions, Undecodable> {
        let mut options = WebsocketOptions::default();
        let mut compress = false;
        let mut deflate = DeflateOpts::default();
        let Self { bytes, reader: term } = self;
        for _ in 0..term.map()? {
            match term.atom()? {
                "idle_timeout" => options.idle_timeout = term.or_infinity()?,
                "max_frame_size" => options.max_frame_size = term.or_infinity()?,
                "validate_utf8" => options.validate_utf8 = term.bool()?,
                "active" => options.active = term.bool()?,
                "max_backlog" => options.max_backlog = Some(term.integer()?),
                "on_backlog" => options.on_backlog = on_backlog(term.atom()?)?,
                "ping_interval" => options.ping_interval = term.or_infinity()?,
                "pong_timeout" => options.pong_timeout = term.integer()?,
                "pid" => options.pid = Some(term.pid()?),
                "stats" => options.stats = term.bool()?,
                "lazy" => options.lazy = bytes.slice_ref(term.binary()?),
                "compress" => compress = term.bool()?,
                "deflate_opts" => deflate = deflate_options(term)?,
                _ => return Err(Undecodable),
            }
        }
        options.deflate = compress.then_some(deflate);
        Ok(options)
    }
}

fn on_backlog(name: &str) -> Result<OnBacklog, Undecodable> {
    Ok(match name {
        "block" => OnBacklog::Block,
        "close" => OnBacklog::Close,
        "drop" => OnBacklog::Drop,
        _ => return Err(Undecodable),
    })
}

/// Cowboy's `deflate_opts`.
fn deflate_options(term: &mut Reader<'_>) -> Result<DeflateOpts, Undecodable> {
    let mut options = DeflateOpts::default();
    for _ in 0..term.map()? {
        let key = term.atom()?;
        let set = match term.is_atom() {
            true => options.set(key, term.atom()?),
            false => options.set(key, &term.integer()?.to_string()),
        };
        set.map_err(|_| Undecodable)?;
    }
    Ok(options)
}
