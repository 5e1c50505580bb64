//! The commands of a request: what the general encoder writes, ours reads.

use std::collections::HashMap;

use bytes::Bytes;
use eetf::{List, Map, Term};
use outrider::port::message::{Body, Command, OnBacklog, Status, WebsocketOptions};
use outrider::ws::DeflateOpts;
use proptest::prelude::*;

use super::{atom, binary, integer, pid, tuple};

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..40)
}

fn headers() -> impl Strategy<Value = (Term, Vec<(Bytes, Bytes)>)> {
    prop::collection::vec((bytes(), bytes()), 0..4).prop_map(|headers| {
        let terms: Vec<_> = headers.iter().map(|(name, value)| tuple([binary(name), binary(value)])).collect();
        (Term::from(List::from(terms)), headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    })
}

/// A number, or a status line, with a space before its phrase or without.
fn status() -> impl Strategy<Value = (Term, Status)> {
    (100..1000u16, prop::option::of(("[a-z]{0,9}", any::<bool>()))).prop_map(|(code, phrase)| match phrase {
        None => (integer(code.into()), Status { code, phrase: None }),
        Some((phrase, space)) => {
            let line = format!("{code}{}{phrase}", if space { " " } else { "" });
            (binary(line.as_bytes()), Status { code, phrase: Some(phrase.into()) })
        }
    })
}

fn body() -> impl Strategy<Value = (Term, Body)> {
    prop_oneof![
        bytes().prop_map(|bytes| (binary(&bytes), Body::Bytes(bytes.into()))),
        (any::<u64>(), any::<u64>(), "/[a-z/]{0,30}").prop_map(|(offset, length, path)| {
            let term = tuple([atom("sendfile"), integer(offset), integer(length), binary(path.as_bytes())]);
            (term, Body::File { path: path.into(), offset, length })
        }),
    ]
}

/// All of a WebSocket's options, of which each may be left out.
fn options() -> impl Strategy<Value = (Term, WebsocketOptions)> {
    let times = (prop::option::of(any::<u64>()), prop::option::of(any::<u64>()), any::<u64>(), any::<u64>());
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), 0..10u64);
    (times, flags, pid(), prop::bits::u16::masked(0x1fff)).prop_map(|(times, flags, (pid_term, pid), given)| {
        let (idle, frame, pong, backlog) = times;
        let (utf8, active, stats, compress, level) = flags;
        let or_infinity = |value: Option<u64>| value.map_or(atom("infinity"), integer);
        let boolean = |value: bool| atom(&value.to_string());
        let deflate = Term::from(Map::from([
            (atom("level"), integer(level)),
            (atom("client_context_takeover"), atom("no_takeover")),
        ]));
        let all = [
            ("idle_timeout", or_infinity(idle)),
            ("max_frame_size", or_infinity(frame)),
            ("validate_utf8", boolean(utf8)),
            ("active", boolean(active)),
            ("max_backlog", integer(backlog)),
            ("on_backlog", atom("drop")),
            ("ping_interval", or_infinity(idle)),
            ("pong_timeout", integer(pong)),
            ("pid", pid_term),
            ("stats", boolean(stats)),
            ("lazy", binary(b"bytes")),
            ("compress", boolean(compress)),
            ("deflate_opts", deflate),
        ];
        let given = all.into_iter().enumerate().filter(|(at, _)| given & (1 << at) != 0).map(|(_, pair)| pair);
        let given: Vec<_> = given.collect();
        let has = |name: &str| given.iter().any(|(key, _)| *key == name);
        let mut options = WebsocketOptions::default();
        let mut opts = DeflateOpts::default();
        if has("idle_timeout") {
            options.idle_timeout = idle;
        }
        if has("max_frame_size") {
            options.max_frame_size = frame;
        }
        if has("validate_utf8") {
            options.validate_utf8 = utf8;
        }
        if has("active") {
            options.active = active;
        }
        if has("max_backlog") {
            options.max_backlog = Some(backlog);
        }
        if has("on_backlog") {
            options.on_backlog = OnBacklog::Drop;
        }
        if has("ping_interval") {
            options.ping_interval = idle;
        }
        if has("pong_timeout") {
            options.pong_timeout = pong;
        }
        options.pid = has("pid").then_some(pid);
        options.stats = has("stats") && stats;
        if has("lazy") {
            options.lazy = Bytes::from_static(b"bytes");
        }
        if has("deflate_opts") {
            opts.set("level", &level.to_string()).expect("is an option");
            opts.set("client_context_takeover", "no_takeover").expect("is an option");
        }
        options.deflate = (has("compress") && compress).then_some(opts);
        let given: HashMap<_, _> = given.into_iter().map(|(key, value)| (atom(key), value)).collect();
        (Term::from(Map::from(given)), options)
    })
}

/// A command of a request, as the term that the VM sends and as what we should make of it.
pub fn http_command() -> impl Strategy<Value = (Term, String)> {
    let debug = |command: Command<'_>| format!("{command:?}");
    prop_oneof![
        (status(), headers(), body()).prop_map(move |((s, status), (h, headers), (b, body))| {
            (tuple([atom("response"), s, h, b]), debug(Command::Response(status, headers, body)))
        }),
        (status(), headers()).prop_map(move |((s, status), (h, headers))| {
            (tuple([atom("headers"), s, h]), debug(Command::Headers(status, headers)))
        }),
        (status(), headers()).prop_map(move |((s, status), (h, headers))| {
            (tuple([atom("inform"), s, h]), debug(Command::Inform(status, headers)))
        }),
        (any::<bool>(), body()).prop_map(move |(fin, (b, body))| {
            (tuple([atom("data"), atom(if fin { "fin" } else { "nofin" }), b]), debug(Command::Data { fin, body }))
        }),
        headers().prop_map(move |(h, headers)| (tuple([atom("trailers"), h]), debug(Command::Trailers(headers)))),
        any::<u64>().prop_map(move |n| (tuple([atom("flow"), integer(n)]), debug(Command::Flow(n)))),
        (headers(), options()).prop_map(move |((h, headers), (o, options))| {
            (tuple([atom("websocket"), h, o]), debug(Command::Websocket(headers, Box::new(options))))
        }),
    ]
}
