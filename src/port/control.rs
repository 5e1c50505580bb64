//! The control plane's commands: options, questions, settings; those of TLS are read by `tls.rs`.
//! The only users of the crate `eetf`.
//!
//! Comes in: the bytes of one term, whose structure `reader.rs` has checked. Goes out: a command with its own data.

use eetf::Term;

use super::message::{Command, Kick, SetOptions, Undecodable};
use super::terms::{atom, binary, boolean, integer, map, or_infinity};
use super::{query, tls};
use crate::transport::tls::Answer;

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

fn kick(streams: Term, code: Term, text: Term) -> Result<Kick, Undecodable> {
    let code = u16::try_from(integer(&code)?).map_err(|_| Undecodable)?;
    Ok(Kick { streams: query::streams(streams)?, code, text: binary(text)? })
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
