//! Events, up: what we write can be read by the general decoder.

use std::net::IpAddr;

use eetf::{List, Map, Term, Tuple};
use outrider::port::Port;
use outrider::port::message::Reason;
use outrider::streams::application::Application;
use outrider::transport::Endpoint;
use outrider::ws::Kind;
use proptest::prelude::*;

use super::{atom, binary, integer, tuple};

/// The events of the packets that are waiting in a port, by the general decoder.
fn events(port: &Port) -> Vec<Term> {
    let mut bytes = Vec::new();
    port.take(&mut bytes);
    let mut rest = bytes.as_slice();
    let mut events = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk() {
        let (packet, tail) = tail.split_at(u32::from_be_bytes(*head) as usize);
        let Term::List(list) = Term::decode(packet).expect("decodes") else { panic!("not a list") };
        events.extend(list.elements);
        rest = tail;
    }
    events
}

proptest! {
    #[test]
    fn every_event_of_a_stream_can_be_read_by_a_general_decoder(
        stream in any::<u64>(),
        payload in prop::collection::vec(any::<u8>(), 0..2000),
        code in any::<u16>(),
        credit in any::<u32>(),
        dropped in any::<u64>(),
    ) {
        let port = Port::default();
        port.message(stream, Kind::Text, &payload);
        port.message(stream, Kind::Binary, &payload);
        port.part(stream, &payload);
        port.ping(stream, &payload);
        port.pong(stream, &payload);
        port.data(stream, true, &payload);
        port.credit(stream, credit as usize);
        port.dropped(stream, dropped);
        port.not_subscribed(stream, &payload, "max_topics");
        port.lazy(stream, &payload);
        for reason in [
            Reason::Remote(Some((code, payload.clone().into()))),
            Reason::Remote(None),
            Reason::Timeout,
            Reason::Protocol(outrider::ws::Reason::Badsize),
            Reason::Socket("econnreset"),
        ] {
            port.closed(stream, &reason);
        }
        let control = |name| if payload.is_empty() { atom(name) } else { tuple([atom(name), binary(&payload)]) };
        let expected = [
            tuple([atom("text"), binary(&payload)]),
            tuple([atom("binary"), binary(&payload)]),
            tuple([atom("part"), binary(&payload)]),
            control("ping"),
            control("pong"),
            tuple([atom("data"), atom("fin"), binary(&payload)]),
            tuple([atom("credit"), integer(credit.into())]),
            tuple([atom("dropped"), integer(dropped)]),
            tuple([atom("not_subscribed"), binary(&payload), atom("max_topics")]),
            tuple([atom("lazy"), binary(&payload)]),
            tuple([atom("closed"), tuple([atom("remote"), integer(code.into()), binary(&payload)])]),
            tuple([atom("closed"), atom("remote")]),
            tuple([atom("closed"), atom("timeout")]),
            tuple([atom("closed"), tuple([atom("error"), atom("badsize")])]),
            tuple([atom("closed"), tuple([atom("error"), atom("econnreset")])]),
        ];
        let expected: Vec<_> = expected.into_iter().map(|event| tuple([integer(stream), event])).collect();
        prop_assert_eq!(events(&port), expected);
    }

    #[test]
    fn every_event_of_the_sidecar_can_be_read_by_a_general_decoder(
        number in any::<u64>(),
        text in ".*",
        names in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..256), 0..300),
        address in any::<(u32, u16)>(),
        long_address in any::<(u128, u16)>(),
    ) {
        let port = Port::default();
        let local = Endpoint::Local("/run/outrider".into());
        let (ipv4, ipv6) = (IpAddr::from(address.0.to_be_bytes()), IpAddr::from(long_address.0.to_be_bytes()));
        port.listening(&[(ipv4, address.1).into(), (ipv6, long_address.1).into()].map(Endpoint::Ip));
        port.listening(&[local]);
        port.listening(&[]);
        port.relisten_error(&text, "eaddrinuse");
        port.tls(number, &Ok(()));
        port.tls(number, &Err(text.clone()));
        port.host(&text);
        port.refused(number, 431, &|w| {
            w.map(1).atom("streamid").integer(number);
        });
        port.subscribers(number, names.len());
        port.woken(number, Some(number));
        port.woken(number, None);
        port.topics(number, &names.iter().map(|name| name.as_slice().into()).collect::<Vec<_>>());
        port.log("info", &text, &text);

        let list = |terms: Vec<Term>| Term::from(List::from(terms));
        let end = |ip: Vec<u64>, port: u16| {
            tuple([Term::from(Tuple::from(ip.into_iter().map(integer).collect::<Vec<_>>())), integer(port.into())])
        };
        let ipv4 = end(address.0.to_be_bytes().map(u64::from).into(), address.1);
        let ipv6 = end(std::net::Ipv6Addr::from(long_address.0).segments().map(u64::from).into(), long_address.1);
        let mut expected = vec![
            tuple([atom("listening"), list(vec![ipv4, ipv6])]),
            tuple([atom("listening"), list(vec![tuple([atom("local"), binary(b"/run/outrider")])])]),
            tuple([atom("listening"), list(Vec::new())]),
            tuple([atom("listen_error"), binary(text.as_bytes()), atom("eaddrinuse")]),
            tuple([atom("tls"), integer(number), atom("ok")]),
            tuple([atom("tls"), integer(number), tuple([atom("error"), binary(text.as_bytes())])]),
            tuple([atom("host"), binary(text.as_bytes())]),
            tuple([
                atom("refused"),
                integer(number),
                integer(431),
                Term::from(Map::from([(atom("streamid"), integer(number))])),
            ]),
            tuple([atom("subscribers"), integer(number), integer(names.len() as u64)]),
            tuple([atom("woken"), integer(number), integer(number)]),
            tuple([atom("woken"), integer(number), atom("undefined")]),
        ];
        // Some at once, and an empty list behind the last.
        let topics = names.chunks(256).map(|names| names.iter().map(|name| binary(name)).collect()).chain([Vec::new()]);
        expected.extend(topics.map(|names| tuple([atom("topics"), integer(number), list(names)])));
        expected.push(tuple([atom("log"), atom("info"), binary(text.as_bytes()), binary(text.as_bytes())]));
        let expected: Vec<_> = expected.into_iter().map(|event| tuple([integer(0), event])).collect();
        prop_assert_eq!(events(&port), expected);
    }
}

#[test]
fn many_events_are_several_packets_in_order() {
    let port = Port::default();
    let payload = vec![7; 60_000];
    (1..=20).for_each(|stream| port.message(stream, Kind::Binary, &payload));
    let expected: Vec<_> =
        (1..=20).map(|stream| tuple([integer(stream), tuple([atom("binary"), binary(&payload)])])).collect();
    assert_eq!(events(&port), expected);
}
