//! What a client gets does not depend on how TCP cuts what it sends, nor on how far it sends ahead: any sequence of requests
//! has the answers that the same requests have one after the other.

mod harness;

use harness::talk;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Requests that leave the connection open, by how their bodies are framed.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let method = select(vec!["GET", "POST", "PUT"]);
    let path = select(vec!["/", "/late", "/stream", "/early", "/?q"]);
    let data = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40),
        2 => select(vec![&b"\r\n\r\n"[..], b"0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
            .prop_map(<[u8]>::to_vec),
        1 => (60_000..140_000_usize).prop_map(|n| vec![b'x'; n]),
    ];
    let framing = prop_oneof![
        2 => Just((String::new(), Vec::new())),
        3 => data.clone().prop_map(|data| (format!("Content-Length: {}\r\n", data.len()), data)),
        5 => chunked(data).prop_map(|body| ("Transfer-Encoding: chunked\r\n".into(), body)),
    ];
    let expect = prop_oneof![4 => Just(""), 1 => Just("Expect: 100-continue\r\n")];
    (0..3_usize, method, path, framing, expect).prop_map(|(empty_lines, method, path, (framing, body), expect)| {
        let head =
            format!("{}{method} {path} HTTP/1.1\r\nHost: x\r\n{expect}{framing}\r\n", "\r\n".repeat(empty_lines));
        [head.as_bytes(), &body].concat()
    })
}

/// Such data in chunks, with extensions and trailers.
fn chunked(data: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let extension = || prop_oneof![4 => Just(""), 1 => select(vec![";", " ;a=\"b\"", "\t", ";a;b"])];
    let trailers = prop_oneof![3 => Just(""), 1 => select(vec!["x: y\r\n", "a: 0\r\nContent-Length: 5\r\n"])];
    (data, 1..100_usize, extension(), extension(), trailers).prop_map(|(data, size, extension, last, trailers)| {
        let size = size.max(data.len() / 8);
        let mut body: Vec<u8> = data
            .chunks(size)
            .flat_map(|piece| [format!("{:x}{extension}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat())
            .collect();
        body.extend_from_slice(format!("0{last}\r\n{trailers}\r\n").as_bytes());
        body
    })
}

/// What may come last: a request that ends HTTP on the connection, or that nobody understands, and what is behind it.
fn last() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let body = select(vec![
        ("", ""),
        ("Content-Length: 5\r\n", "ab\r\nc"),
        ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "3;e\r\n\x01\x02\r\n0\r\nt: u\r\n\r\n"),
        ("Expect: 100-continue\r\nContent-Length: 2\r\n", "\n\n"),
    ]);
    let handshake = body
        .prop_map(move |(field, body)| format!("GET / HTTP/1.1\r\nHost: x\r\n{upgrade}{field}\r\n{body}").into_bytes());
    let frame = select(vec![
        &b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"[..],
        b"\x89\x80\0\0\0\0",
        b"\x81\x82\0\0\0\0\r\n",
    ]);
    let frames = prop::collection::vec(frame.prop_map(<[u8]>::to_vec), 0..4);
    let refused = select(vec![
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b/c\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET /#f HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\0\xff",
    ]);
    let close = select(vec![&b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"[..], b"GET / HTTP/1.0\r\n\r\n"]);
    prop_oneof![
        1 => Just(Vec::new()),
        4 => (handshake, frames).prop_map(|(handshake, frames)| [vec![handshake], frames].concat()),
        3 => refused.prop_map(|bytes| vec![bytes.to_vec()]),
        1 => close.prop_map(|bytes| vec![bytes.to_vec()]),
    ]
}

/// `bytes` in pieces that end at these places.
fn cut<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let mut from = 0;
    cuts.iter().chain([&bytes.len()]).map(|&to| &bytes[std::mem::replace(&mut from, to)..to]).collect()
}

#[test]
fn a_refusal_waits_until_the_client_has_taken_the_response_before_it() {
    let refused = &b"GET / HTTP/1.1\r\n\r\n"[..];
    // At one of these lengths the response fills the socket's buffer.
    for length in (190_000..240_000).step_by(2_000) {
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        let request = [head.as_bytes(), &vec![b'x'; length]].concat();
        let one_by_one = talk([request.as_slice(), refused]);
        assert!(one_by_one.received.contains("xHTTP/1.1 400 "), "{one_by_one:?}");
        assert_eq!(talk([[&request, refused].concat().as_slice()]), one_by_one);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn requests_sent_ahead_and_cut_anywhere_are_answered_as_those_sent_one_by_one(
        requests in prop::collection::vec(request(), 0..5),
        last in last(),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        let messages = [requests, last].concat();
        let bytes = messages.concat();
        let one_by_one = talk(messages.iter().map(Vec::as_slice));
        prop_assert_eq!(&talk([bytes.as_slice()]), &one_by_one);
        prop_assert_eq!(&talk(cut(&bytes, &cuts)), &one_by_one);
    }

    #[test]
    fn any_bytes_cut_anywhere_get_what_they_get_uncut(
        requests in prop::collection::vec(request(), 0..3),
        changes in prop::collection::vec((any::<Index>(), any::<u8>(), 0..3_u8), 1..4),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        let mut bytes = [requests.concat(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()].concat();
        for (at, byte, kind) in changes {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        prop_assert_eq!(talk(cut(&bytes, &cuts)), talk([bytes.as_slice()]));
    }
}

/// Else the comparisons above would say nothing of what comes behind an upgrade.
#[test]
fn what_a_websocket_says_is_heard() {
    let handshake = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let outcome = talk([handshake.as_bytes(), b"\x81\x82\0\0\0\0hi"]);
    assert!(!outcome.heard.is_empty(), "{outcome:?}");
}
