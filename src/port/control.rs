//! The control plane's commands: HTTP responses, the upgrade, options; those of TLS are read by `tls.rs`.
//! The only users of the crate `eetf`.
//!
//! Comes in: the bytes of one term, whose structure `decode.rs` has checked. Goes out: a command with its own data.

use bytes::Bytes;
use eetf::Term;

use super::message::{Body, Command, Headers, Kick, OnBacklog, SetOptions, Status, Undecodable, WebsocketOptions};
use super::terms::{atom, binary, boolean, integer, map, or_infinity, pid};
use super::{query, tls};
use crate::transport::tls::Answer;
use crate::ws::DeflateOpts;

/// Decodes one command. `term` is one term of integers, atoms, binaries, tuples, lists and maps, complete.
pub fn command(term: &[u8]) -> Result<Command<'static>, Undecodable> {
    let mut versioned = Vec::with_capacity(term.len() + 1);
    versioned.push(super::etf::VERSION);
    versioned.extend_from_slice(term);
    let term = Term::decode(versioned.as_slice()).map_err(|_| Undecodable)?;
    let Term::Tuple(tuple) = term else { return Err(Undecodable) };
    let mut args = tuple.elements.into_iter();
    let name = atom(&args.next().ok_or(Undecodable)?)?.to_owned();
    let mut next = || args.next().ok_or(Undecodable);
    let command = match name.as_str() {
        "inform" => Command::Inform(status(next()?)?, headers(next()?)?),
        "response" => Command::Response(status(next()?)?, headers(next()?)?, body(next()?)?),
        "headers" => Command::Headers(status(next()?)?, headers(next()?)?),
        "data" => Command::Data { fin: fin(&next()?)?, body: body(next()?)? },
        "trailers" => Command::Trailers(headers(next()?)?),
        "flow" => Command::Flow(integer(&next()?)?),
        "websocket" => Command::Websocket(headers(next()?)?, Box::new(websocket_options(next()?)?)),
        "max_connections" => Command::MaxConnections(or_infinity(&next()?)?),
        "set_options" => set_options(next()?)?,
        "connections" => Command::Connections(integer(&next()?)?, Box::new(query::query(next()?)?)),
        "streams" => Command::Streams(integer(&next()?)?, Box::new(query::filter(next()?)?)),
        "kick" => Command::Kick(integer(&next()?)?, Box::new(kick(next()?, next()?, next()?)?)),
        "trace" => Command::Trace(integer(&next()?)?, integer(&next()?)?, Box::new(query::trace_options(next()?)?)),
        "untrace" => Command::Untrace(integer(&next()?)?, integer(&next()?)?),
        "tls" => Command::Tls(integer(&next()?)?, Box::new(tls::settings(next()?)?)),
        "host" => Command::Host(tls::text(next()?)?, host(next()?)?),
        _ => return Err(Undecodable),
    };
    if args.next().is_some() { Err(Undecodable) } else { Ok(command) }
}

/// Options, `undefined` or `refused`.
fn host(term: Term) -> Result<Answer, Undecodable> {
    match term {
        Term::Atom(atom) if atom.name == "undefined" => Ok(Answer::Default),
        Term::Atom(atom) if atom.name == "refused" => Ok(Answer::Refused),
        term => tls::options(term).map(|options| Answer::Options(Box::new(options))),
    }
}

fn status(term: Term) -> Result<Status, Undecodable> {
    if let Term::Binary(line) = &term {
        let (code, phrase) = line.bytes.split_at_checked(3).ok_or(Undecodable)?;
        let code = std::str::from_utf8(code).ok().and_then(|code| code.parse().ok()).ok_or(Undecodable)?;
        let phrase = phrase.strip_prefix(b" ").unwrap_or(phrase);
        return Ok(Status { code, phrase: Some(Bytes::copy_from_slice(phrase)) });
    }
    Ok(Status { code: u16::try_from(integer(&term)?).map_err(|_| Undecodable)?, phrase: None })
}

fn headers(term: Term) -> Result<Headers, Undecodable> {
    let Term::List(list) = term else { return Err(Undecodable) };
    let pair = |term| match term {
        Term::Tuple(pair) => match <[Term; 2]>::try_from(pair.elements) {
            Ok([name, value]) => Ok((binary(name)?, binary(value)?)),
            Err(_) => Err(Undecodable),
        },
        _ => Err(Undecodable),
    };
    list.elements.into_iter().map(pair).collect()
}

fn body(term: Term) -> Result<Body, Undecodable> {
    use std::os::unix::ffi::OsStringExt;
    let Term::Tuple(file) = term else { return binary(term).map(Body::Bytes) };
    let Ok([name, offset, length, path]) = <[Term; 4]>::try_from(file.elements) else { return Err(Undecodable) };
    if atom(&name)? != "sendfile" {
        return Err(Undecodable);
    }
    let path = std::ffi::OsString::from_vec(binary(path)?.into()).into();
    Ok(Body::File { path, offset: integer(&offset)?, length: integer(&length)? })
}

fn websocket_options(term: Term) -> Result<WebsocketOptions, Undecodable> {
    let mut options = WebsocketOptions::default();
    let mut compress = false;
    let mut deflate = DeflateOpts::default();
    for (key, value) in map(term)? {
        match key.as_str() {
            "idle_timeout" => options.idle_timeout = or_infinity(&value)?,
            "max_frame_size" => options.max_frame_size = or_infinity(&value)?,
            "validate_utf8" => options.validate_utf8 = boolean(&value)?,
            "active" => options.active = boolean(&value)?,
            "max_backlog" => options.max_backlog = Some(integer(&value)?),
            "on_backlog" => options.on_backlog = on_backlog(&value)?,
            "ping_interval" => options.ping_interval = or_infinity(&value)?,
            "pong_timeout" => options.pong_timeout = integer(&value)?,
            "pid" => options.pid = Some(pid(&value)?),
            "stats" => options.stats = boolean(&value)?,
            "compress" => compress = boolean(&value)?,
            "deflate_opts" => deflate = deflate_options(value)?,
            _ => return Err(Undecodable),
        }
    }
    options.deflate = compress.then_some(deflate);
    Ok(options)
}

fn kick(streams: Term, code: Term, text: Term) -> Result<Kick, Undecodable> {
    let code = u16::try_from(integer(&code)?).map_err(|_| Undecodable)?;
    Ok(Kick { streams: query::streams(streams)?, code, text: binary(text)? })
}

fn on_backlog(term: &Term) -> Result<OnBacklog, Undecodable> {
    Ok(match atom(term)? {
        "block" => OnBacklog::Block,
        "close" => OnBacklog::Close,
        "drop" => OnBacklog::Drop,
        _ => return Err(Undecodable),
    })
}

/// Cowboy's `deflate_opts`.
fn deflate_options(term: Term) -> Result<DeflateOpts, Undecodable> {
    let mut options = DeflateOpts::default();
    for (key, value) in map(term)? {
        let value = match value {
            Term::Atom(atom) => atom.name,
            number => integer(&number)?.to_string(),
        };
        options.set(&key, &value).map_err(|_| Undecodable)?;
    }
    Ok(options)
}

fn set_options(term: Term) -> Result<Command<'static>, Undecodable> {
    let mut options = SetOptions::default();
    for (key, value) in map(term)? {
        match key.as_str() {
            "idle_timeout" => options.idle_timeout = Some(or_infinity(&value)?),
            "max_frame_size" => options.max_frame_size = Some(or_infinity(&value)?),
            "ping_interval" => options.ping_interval = Some(or_infinity(&value)?),
            "pong_timeout" => options.pong_timeout = Some(integer(&value)?),
            "chunked" => options.chunked = Some(boolean(&value)?),
            _ => return Err(Undecodable),
        }
    }
    Ok(Command::SetOptions(Box::new(options)))
}

fn fin(term: &Term) -> Result<bool, Undecodable> {
    match atom(term)? {
        "fin" => Ok(true),
        "nofin" => Ok(false),
        _ => Err(Undecodable),
    }
}
