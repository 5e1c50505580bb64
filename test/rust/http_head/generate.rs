//! Heads by chance.

use proptest::prelude::*;
use proptest::sample::select;

use crate::cases::{ACCEPTED, REFUSED};

/// A head from the words that matter, good more often than not.
fn head() -> impl Strategy<Value = Vec<u8>> {
    let blank = || select(vec!["", " ", "\t", " \t "]);
    let method =
        prop_oneof![6 => select(vec!["GET", "POST", "OPTIONS", "get"]).prop_map(String::from), 1 => "[!-~]{1,33}"];
    let authority = prop_oneof![
        4 => select(vec!["a", "a.example:80", "[::1]", "[1:2:3:4:5:6:7::]:1", "A"]).prop_map(String::from),
        1 => select(vec!["", ":1", "a:+1", "[::::::::::]"]).prop_map(String::from),
        1 => "[a-z.,:\\[\\]%!$&'()*+;=~_@-]{0,12}",
    ];
    let path_and_query = prop_oneof![
        3 => select(vec!["/", "/a", "/?", "//", "/\u{e4}"]).prop_map(String::from),
        1 => select(vec!["", "*", "?", "/?a#b"]).prop_map(String::from),
        1 => "/[ -~]{0,8}",
        2 => "/[!-~\u{80}-\u{ffff}]{0,8}(\\?[!-~\u{80}-\u{ffff}]{0,8})?",
    ];
    let version = prop_oneof![8 => Just("HTTP/1.1"), 3 => Just("HTTP/1.0"), 1 => Just("HTTP/2.0")];
    let names = ["Transfer-Encoding", "content-length", "Connection", "expect", "upgrade", "x"];
    let values = ["chunked", "3", "keep-alive, Upgrade", "100-continue", "websocket", "", "0", "+3", "gzip, chunked"];
    let field = prop_oneof![
        6 => (0..names.len()).prop_map(move |n| (names[n].to_string(), values[n].to_string())),
        1 => (select(names.to_vec()), select(values.to_vec())).prop_map(|(n, v)| (n.to_string(), v.to_string())),
        1 => ("[!-9;-~]{0,8}", "[ -~\t\u{80}-\u{ffff}]{0,8}"),
    ];
    let fields = prop::collection::vec((field, blank(), blank()), 0..4);
    let (absolute, with_host) = (prop::bool::weighted(0.3), prop::bool::weighted(0.9));
    (0..3_usize, method, (authority, absolute, path_and_query), version, with_host, fields).prop_map(
        |(empty_lines, method, (authority, absolute, path_and_query), version, with_host, fields)| {
            let before = if absolute { format!("http://{authority}") } else { String::new() };
            let mut head = "\r\n".repeat(empty_lines);
            head += &format!("{method} {before}{path_and_query} {version}\r\n");
            if with_host {
                head += &format!("Host: {authority}\r\n");
            }
            for ((name, value), blank_before, blank_behind) in fields {
                head += &format!("{name}:{blank_before}{value}{blank_behind}\r\n");
            }
            (head + "\r\n").into_bytes()
        },
    )
}

/// Such a head, or one of the tables', with some bytes replaced, doubled or left out.
pub fn mutated_head() -> impl Strategy<Value = Vec<u8>> {
    let tables = ACCEPTED.iter().map(|row| row.1).chain(REFUSED.iter().map(|row| row.1));
    let tables: Vec<Vec<u8>> = tables.map(<[u8]>::to_vec).collect();
    let byte = prop_oneof![any::<u8>(), select(b"\r\n\t :,/?#*@[]%0\0\x7f\"<>`".to_vec())];
    let mutation = (any::<prop::sample::Index>(), byte, 0..3_u8);
    let mutations = prop_oneof![Just(Vec::new()), prop::collection::vec(mutation, 1..3)];
    (prop_oneof![2 => head(), 1 => select(tables)], mutations).prop_map(|(mut head, mutations)| {
        for (at, byte, kind) in mutations {
            let at = at.index(head.len());
            match kind {
                0 => head[at] = byte,
                1 => head.insert(at, byte),
                _ => drop(head.remove(at)),
            }
        }
        head
    })
}
