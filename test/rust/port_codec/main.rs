//! The port's own codec against a general one (the crate `eetf`): what we write it can read, what it writes we can read.

mod events;
mod http;

use std::ops::Range;

use bytes::Bytes;
use eetf::{Atom, BigInteger, Binary, FixInteger, List, Map, Term, Tuple};
use outrider::port::decode;
use outrider::port::message::{Body, Command, Frame, Member, Pid, Status, Undecodable};
use outrider::ws::Kind;
use proptest::prelude::*;

fn atom(name: &str) -> Term {
    Term::from(Atom::from(name))
}

fn binary(bytes: &[u8]) -> Term {
    Term::from(Binary::from(bytes.to_vec()))
}

fn tuple<const N: usize>(terms: [Term; N]) -> Term {
    Term::from(Tuple::from(terms.to_vec()))
}

fn integer(value: u64) -> Term {
    match i32::try_from(value) {
        Ok(value) => Term::from(FixInteger::from(value)),
        Err(_) => Term::from(BigInteger::from(value)),
    }
}

/// A packet down, by the general encoder.
fn packet(bundles: Vec<(u64, Vec<Term>)>) -> Vec<u8> {
    let bundle = |(stream, commands)| tuple([integer(stream), Term::from(List::from(commands))]);
    let mut bytes = Vec::new();
    Term::from(List::from(bundles.into_iter().map(bundle).collect::<Vec<_>>())).encode(&mut bytes).expect("encodes");
    bytes
}

fn packet_of_one(stream: u64, commands: Vec<Term>) -> Vec<u8> {
    packet(vec![(stream, commands)])
}

/// What our decoder makes of a packet, as text: commands borrow from it.
fn decoded(packet: &[u8]) -> Result<Vec<(u64, String)>, Undecodable> {
    let mut commands = Vec::new();
    decode::commands(packet, |stream, command| commands.push((stream, format!("{command:?}"))))?;
    Ok(commands)
}

/// A process, as the VM names it, and by its number.
fn pid() -> impl Strategy<Value = (Term, Pid)> {
    (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(id, serial, creation)| {
        let pid = eetf::Pid { node: Atom::from("outrider@127.0.0.1"), id, serial, creation };
        (Term::from(pid), Pid((u64::from(id) << 32) | u64::from(serial)))
    })
}

/// What is sent to many, as terms and as text.
fn frames() -> impl Strategy<Value = (Term, String)> {
    let frame = (0..6u8, prop::collection::vec(any::<u8>(), 1..100)).prop_map(|(kind, p)| match kind {
        0 => (tuple([atom("text"), binary(&p)]), format!("{:?}", Frame::Message(Kind::Text, &p))),
        1 => (tuple([atom("binary"), binary(&p)]), format!("{:?}", Frame::Message(Kind::Binary, &p))),
        2 => (tuple([atom("ping"), binary(&p)]), format!("{:?}", Frame::Ping(&p))),
        3 => (tuple([atom("pong"), binary(&p)]), format!("{:?}", Frame::Pong(&p))),
        4 => (atom("ping"), format!("{:?}", Frame::Ping(b""))),
        _ => (atom("pong"), format!("{:?}", Frame::Pong(b""))),
    });
    prop::collection::vec(frame, 0..4).prop_map(|frames| {
        let (terms, texts): (Vec<_>, Vec<_>) = frames.into_iter().unzip();
        (Term::from(List::from(terms)), format!("[{}]", texts.join(", ")))
    })
}

/// A command that is for many clients, as the term that the VM sends and as what we should make of it.
fn broadcast_command() -> impl Strategy<Value = (Term, String)> {
    let topic = || prop::collection::vec(any::<u8>(), 0..256);
    prop_oneof![
        (any::<bool>(), topic(), prop::option::of(pid())).prop_map(|(is_subscribe, topic, pid)| {
            let name = atom(if is_subscribe { "subscribe" } else { "unsubscribe" });
            let (term, member) = match pid {
                Some((term, pid)) => (tuple([name, term, binary(&topic)]), Member::Process(pid)),
                None => (tuple([name, binary(&topic)]), Member::Itself),
            };
            let command = match is_subscribe {
                true => Command::Subscribe(member, &topic),
                false => Command::Unsubscribe(member, &topic),
            };
            (term, format!("{command:?}"))
        }),
        (topic(), frames()).prop_map(|(topic, (terms, frames))| {
            let except = Some(Member::Itself);
            (
                tuple([atom("publish"), binary(&topic), terms]),
                format!("Publish(Publish {{ topic: {topic:?}, except: {except:?}, frames: {frames} }})"),
            )
        }),
        (topic(), prop::option::of(pid()), frames()).prop_map(|(topic, pid, (terms, frames))| {
            let (term, except) = match pid {
                Some((term, pid)) => (term, Some(Member::Process(pid))),
                None => (atom("none"), None),
            };
            (
                tuple([atom("publish"), binary(&topic), term, terms]),
                format!("Publish(Publish {{ topic: {topic:?}, except: {except:?}, frames: {frames} }})"),
            )
        }),
        (prop::collection::vec(pid(), 0..5), frames()).prop_map(|(pids, (terms, frames))| {
            let (names, pids): (Vec<_>, Vec<_>) = pids.into_iter().unzip();
            (
                tuple([atom("send_many"), Term::from(List::from(names)), terms]),
                format!("SendMany(SendMany {{ pids: {pids:?}, frames: {frames} }})"),
            )
        }),
        (any::<u64>(), topic()).prop_map(|(question, topic)| {
            let command = Command::Subscribers(question, &topic);
            (tuple([atom("subscribers"), integer(question), binary(&topic)]), format!("{command:?}"))
        }),
        any::<u64>().prop_map(|question| {
            (tuple([atom("topics"), integer(question)]), format!("{:?}", Command::Topics(question)))
        }),
    ]
}

/// A WebSocket command, as the term that the VM sends and as what we should make of it.
fn websocket_command() -> impl Strategy<Value = (Term, String)> {
    let payload = |range: Range<usize>| prop::collection::vec(any::<u8>(), range);
    let kind = prop_oneof![Just((Kind::Text, "text")), Just((Kind::Binary, "binary"))];
    let debug = |command: Command<'_>| format!("{command:?}");
    prop_oneof![
        (kind.clone(), payload(0..300))
            .prop_map(move |((kind, name), p)| (tuple([atom(name), binary(&p)]), debug(Command::Message(kind, &p)))),
        (kind, any::<u64>()).prop_map(move |((kind, name), size)| {
            (tuple([atom("open"), atom(name), integer(size)]), debug(Command::Open(kind, size)))
        }),
        payload(0..300).prop_map(move |p| (tuple([atom("part"), binary(&p)]), debug(Command::Part(&p)))),
        payload(1..126).prop_map(move |p| (tuple([atom("ping"), binary(&p)]), debug(Command::Ping(&p)))),
        payload(1..126).prop_map(move |p| (tuple([atom("pong"), binary(&p)]), debug(Command::Pong(&p)))),
        Just((atom("ping"), debug(Command::Ping(b"")))),
        Just((atom("pong"), debug(Command::Pong(b"")))),
        Just((atom("close"), debug(Command::Close(None)))),
        Just((atom("finish"), debug(Command::Finish))),
        Just((atom("abort"), debug(Command::Abort))),
        (any::<u16>(), payload(0..124)).prop_map(move |(code, p)| {
            (tuple([atom("close"), integer(code.into()), binary(&p)]), debug(Command::Close(Some((code, &p)))))
        }),
        any::<u16>().prop_map(move |code| (tuple([atom("cut"), integer(code.into())]), debug(Command::Cut(code)))),
        any::<bool>().prop_map(move |b| (tuple([atom("active"), atom(&b.to_string())]), debug(Command::Active(b)))),
        any::<bool>().prop_map(move |b| (tuple([atom("deflate"), atom(&b.to_string())]), debug(Command::Deflate(b)))),
        any::<u64>().prop_map(move |n| (tuple([atom("credit"), integer(n)]), debug(Command::Credit(n)))),
        pid().prop_map(move |(term, pid)| (tuple([atom("pid"), term]), debug(Command::Pid(pid)))),
        (any::<u64>(), any::<u64>()).prop_map(move |(n, stream)| {
            (tuple([atom("wake"), integer(n), integer(stream)]), debug(Command::Wake(n, stream)))
        }),
    ]
}

fn any_command() -> impl Strategy<Value = (Term, String)> {
    prop_oneof![websocket_command(), broadcast_command(), http::http_command()]
}

proptest! {
    #[test]
    fn every_command_that_we_read_ourselves_is_read_as_it_was_written(
        bundles in prop::collection::vec((any::<u64>(), prop::collection::vec(any_command(), 0..4)), 0..4),
    ) {
        let expected: Vec<_> = bundles
            .iter()
            .flat_map(|(stream, commands)| commands.iter().map(|(_, command)| (*stream, command.clone())))
            .collect();
        let terms = |commands: Vec<(Term, String)>| commands.into_iter().map(|(term, _)| term).collect();
        let packet = packet(bundles.into_iter().map(|(stream, commands)| (stream, terms(commands))).collect());
        prop_assert_eq!(decoded(&packet), Ok(expected));
    }

    #[test]
    fn a_packet_cut_short_is_refused(commands in prop::collection::vec(any_command(), 1..4)) {
        let packet = packet_of_one(7, commands.into_iter().map(|(term, _)| term).collect());
        for end in 0..packet.len() {
            prop_assert_eq!(decoded(&packet[..end]), Err(Undecodable), "cut at {}", end);
        }
    }

    #[test]
    fn any_bytes_are_commands_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decoded(&bytes);
        let _ = decode::hello(&bytes);
    }

    #[test]
    fn a_damaged_packet_is_commands_or_refused(
        commands in prop::collection::vec(any_command(), 1..4),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut packet = packet_of_one(7, commands.into_iter().map(|(term, _)| term).collect());
        let at = at.index(packet.len());
        packet[at] = byte;
        let _ = decoded(&packet);
    }
}

#[test]
fn the_hello_is_its_version() {
    let mut bytes = Vec::new();
    tuple([atom("hello"), integer(1)]).encode(&mut bytes).expect("encodes");
    assert_eq!(decode::hello(&bytes), Ok(1));
    bytes.push(0);
    assert_eq!(decode::hello(&bytes), Err(Undecodable));
}

#[test]
fn a_response_is_read_with_its_headers_and_body() {
    let headers = Term::from(List::from(vec![tuple([binary(b"content-length"), binary(b"2")])]));
    let phrase = tuple([atom("response"), binary(b"200 Fine"), headers.clone(), binary(b"hi")]);
    let sendfile = tuple([atom("sendfile"), integer(3), integer(5_000_000_000), binary(b"/srv/file")]);
    let file = tuple([atom("response"), integer(404), headers, sendfile]);
    let headers = vec![(Bytes::from("content-length"), Bytes::from("2"))];
    let expected = [
        Command::Response(
            Status { code: 200, phrase: Some("Fine".into()) },
            headers.clone(),
            Body::Bytes(Bytes::from("hi")),
        ),
        Command::Response(
            Status { code: 404, phrase: None },
            headers,
            Body::File { path: "/srv/file".into(), offset: 3, length: 5_000_000_000 },
        ),
    ];
    let expected = expected.iter().map(|command| (1, format!("{command:?}"))).collect();
    assert_eq!(decoded(&packet_of_one(1, vec![phrase, file])), Ok(expected));
}

#[test]
fn an_unknown_option_is_refused_and_not_ignored() {
    let options = Term::from(Map::from([(atom("idle_timeuot"), integer(1))]));
    assert_eq!(decoded(&packet_of_one(1, vec![tuple([atom("set_options"), options.clone()])])), Err(Undecodable));
    let websocket = tuple([atom("websocket"), Term::from(List::from(vec![])), options]);
    assert_eq!(decoded(&packet_of_one(1, vec![websocket])), Err(Undecodable));
}

#[test]
fn a_command_of_a_request_has_its_arity() {
    let headers = || Term::from(List::from(vec![]));
    for command in [
        tuple([atom("response"), integer(200), headers()]),
        tuple([atom("headers"), integer(200), headers(), binary(b"")]),
        tuple([atom("data"), atom("fin")]),
        tuple([atom("data"), atom("last"), binary(b"")]),
        tuple([atom("flow"), integer(1), integer(1)]),
        tuple([atom("trailers"), headers(), headers()]),
        tuple([atom("response"), binary(b"20"), headers(), binary(b"")]),
        tuple([atom("response"), integer(65_536), headers(), binary(b"")]),
        tuple([atom("data"), atom("fin"), tuple([atom("sendfile"), integer(0), integer(1)])]),
    ] {
        assert_eq!(decoded(&packet_of_one(1, vec![command.clone()])), Err(Undecodable), "{command}");
    }
}

#[test]
fn a_lying_length_allocates_nothing() {
    // {1, [{response, …}]} whose list of headers claims four thousand million elements.
    let lying = b"\x83\x68\x02\x61\x01\x6c\x00\x00\x00\x01\x68\x04\x77\x08response\x61\xc8\x6c\xff\xff\xff\xff";
    assert_eq!(decoded(lying), Err(Undecodable));
}

#[test]
fn a_broadcast_that_is_none_is_refused() {
    let topic = || binary(b"topic");
    let list = |terms: Vec<Term>| Term::from(List::from(terms));
    let ping = || list(vec![atom("ping")]);
    for command in [
        tuple([atom("subscribe"), atom("topic")]),
        tuple([atom("subscribe"), integer(1), topic()]),
        tuple([atom("unsubscribe"), atom("none"), topic()]),
        tuple([atom("publish"), topic(), atom("ping")]),
        tuple([atom("publish"), atom("topic"), ping()]),
        tuple([atom("publish"), topic(), atom("all"), ping()]),
        tuple([atom("publish"), topic(), integer(1), ping()]),
        tuple([atom("publish"), topic(), list(vec![atom("close")])]),
        tuple([atom("publish"), topic(), list(vec![tuple([atom("close"), integer(1000), binary(b"")])])]),
        tuple([atom("publish"), topic(), list(vec![tuple([atom("text"), integer(1)])])]),
        tuple([atom("send_many"), list(vec![integer(1)]), ping()]),
        tuple([atom("send_many"), list(Vec::new()), list(vec![tuple([atom("part"), binary(b"x")])])]),
        tuple([atom("subscribers"), integer(1), atom("topic")]),
        tuple([atom("topics"), atom("all")]),
    ] {
        assert_eq!(decoded(&packet_of_one(7, vec![command.clone()])), Err(Undecodable), "{command}");
    }
}

#[test]
fn a_lying_number_of_processes_or_frames_allocates_nothing() {
    let begin = b"\x83\x6c\x00\x00\x00\x01\x68\x02\x61\x00\x6c\x00\x00\x00\x01";
    let pids = [&begin[..], b"\x68\x03\x77\x09send_many\x6c\xff\xff\xff\xff"].concat();
    let frames = [&begin[..], b"\x68\x03\x77\x07publish\x6d\x00\x00\x00\x01t\x6c\xff\xff\xff\xff\x77\x04ping"].concat();
    assert_eq!(decoded(&pids), Err(Undecodable));
    assert_eq!(decoded(&frames), Err(Undecodable));
}
