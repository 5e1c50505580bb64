//! Which WebSockets are meant by whoever asks about them: the terms of `connections`, `streams` and `trace` (docs/port-protocol.md).

use std::net::IpAddr;

use eetf::Term;

use super::message::{Filter, MOST_TOLD, Query, Sort, State, StreamId, TraceOptions, Undecodable, Who};
use super::terms::{atom, binary, boolean, integer, map, pid};

/// A question's map.
pub fn query(term: Term) -> Result<Query, Undecodable> {
    let mut query = Query { closed: false, sort: Sort::Backlog, limit: 0, filter: Filter::default() };
    for (key, value) in map(term)? {
        match key.as_str() {
            "closed" => query.closed = boolean(&value)?,
            "sort" => query.sort = sort(&value)?,
            "limit" => query.limit = usize::try_from(integer(&value)?).unwrap_or(usize::MAX).min(MOST_TOLD),
            "filter" => query.filter = filter(value)?,
            _ => return Err(Undecodable),
        }
    }
    Ok(query)
}

fn sort(term: &Term) -> Result<Sort, Undecodable> {
    Ok(match atom(term)? {
        "backlog" => Sort::Backlog,
        "bytes_in" => Sort::BytesIn,
        "bytes_out" => Sort::BytesOut,
        "messages" => Sort::Messages,
        "idle" => Sort::Idle,
        "age" => Sort::Age,
        "round_trip" => Sort::RoundTrip,
        "credit_in" => Sort::CreditIn,
        "closed" => Sort::Closed,
        _ => return Err(Undecodable),
    })
}

/// A filter's map.
pub fn filter(term: Term) -> Result<Filter, Undecodable> {
    let mut filter = Filter::default();
    for (key, value) in map(term)? {
        match key.as_str() {
            "stream" => filter.who = Some(Who::Stream(integer(&value)?)),
            "pid" => filter.who = Some(Who::Process(pid(&value)?)),
            "state" => filter.state = Some(state(&value)?),
            "peer" => filter.peer = Some(network(value)?),
            "path" => filter.path = Some(binary(value)?),
            "min_backlog" => filter.min_backlog = integer(&value)?,
            "min_idle" => filter.min_idle = integer(&value)?,
            "min_age" => filter.min_age = integer(&value)?,
            _ => return Err(Undecodable),
        }
    }
    Ok(filter)
}

fn state(term: &Term) -> Result<State, Undecodable> {
    Ok(match atom(term)? {
        "open" => State::Open,
        "lazy" => State::Lazy,
        "blocked" => State::Blocked,
        "closing" => State::Closing,
        _ => return Err(Undecodable),
    })
}

/// `{Address, Bits}`, the address as its 4 or 16 bytes.
fn network(term: Term) -> Result<(IpAddr, u8), Undecodable> {
    let Term::Tuple(tuple) = term else { return Err(Undecodable) };
    let Ok([address, bits]) = <[Term; 2]>::try_from(tuple.elements) else { return Err(Undecodable) };
    let address = binary(address)?;
    let address: IpAddr = match (<[u8; 4]>::try_from(&address[..]), <[u8; 16]>::try_from(&address[..])) {
        (Ok(v4), _) => v4.into(),
        (_, Ok(v6)) => v6.into(),
        _ => return Err(Undecodable),
    };
    Ok((address, u8::try_from(integer(&bits)?).map_err(|_| Undecodable)?))
}

/// A trace's map.
pub fn trace_options(term: Term) -> Result<TraceOptions, Undecodable> {
    let mut options = TraceOptions { frames: 0, time: 0, content: 0 };
    for (key, value) in map(term)? {
        match key.as_str() {
            "frames" => options.frames = integer(&value)?,
            "time" => options.time = integer(&value)?,
            "content" => options.content = integer(&value)?,
            _ => return Err(Undecodable),
        }
    }
    Ok(options)
}

/// All elements of a list of numbers.
pub fn streams(term: Term) -> Result<Vec<StreamId>, Undecodable> {
    match term {
        Term::List(list) => list.elements.iter().map(integer).collect(),
        // Of small numbers the VM makes a string.
        Term::ByteList(list) => Ok(list.bytes.into_iter().map(u64::from).collect()),
        _ => Err(Undecodable),
    }
}
