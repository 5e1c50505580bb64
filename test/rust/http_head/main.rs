//! The check of request heads keeps its promises: Cowboy's status for every malformed head and every limit, the same
//! verdict however the bytes are cut, and no accepted head that hyper would not take.

mod cases;
mod generate;
mod hyper_takes;

use outrider::http::head::{BodyLength, HeadCheck, HeadLimits, Verdict, refusal};
use outrider::metrics::Limit;
use proptest::prelude::*;

use cases::{ACCEPTED, REFUSED, limits};
use generate::mutated_head;

/// The verdict on bytes that come all at once, under Cowboy's limits.
fn judge(bytes: &[u8]) -> Verdict {
    HeadCheck::default().check(bytes, &HeadLimits::default())
}

/// The status of a refusal, and the limit that it names.
fn refused(verdict: Verdict) -> Option<(u16, Option<&'static str>)> {
    let Verdict::Refused(refusal) = verdict else { return None };
    Some((refusal.status, refusal.limit.map(Limit::name)))
}

/// The last verdict on bytes that come in pieces which end at `cuts` (in ascending order), and at the end.
fn judge_in_pieces(bytes: &[u8], cuts: impl IntoIterator<Item = usize>, limits: &HeadLimits) -> Verdict {
    let mut check = HeadCheck::default();
    for cut in cuts {
        match check.check(&bytes[..cut], limits) {
            Verdict::Partial => {}
            verdict => return verdict,
        }
    }
    check.check(bytes, limits)
}

#[test]
fn a_malformed_head_is_refused_with_cowboys_status() {
    for (what, bytes, status) in REFUSED {
        assert_eq!(refused(judge(bytes)), Some((*status, None)), "{what}");
        let at_every_byte = judge_in_pieces(bytes, 0..bytes.len(), &HeadLimits::default());
        assert_eq!(refused(at_every_byte), Some((*status, None)), "{what}, byte by byte");
    }
}

#[test]
fn an_accepted_head_is_partial_until_its_last_byte() {
    for (what, bytes, body) in ACCEPTED {
        let complete = Verdict::Complete { len: bytes.len(), body: *body };
        let mut byte_by_byte = HeadCheck::default();
        for cut in 0..bytes.len() {
            assert_eq!(judge(&bytes[..cut]), Verdict::Partial, "{what}, first {cut} bytes");
            assert_eq!(byte_by_byte.check(&bytes[..cut], &HeadLimits::default()), Verdict::Partial, "{what}");
            let two_pieces = judge_in_pieces(bytes, [cut], &HeadLimits::default());
            assert_eq!(two_pieces, complete, "{what}, cut at {cut}");
        }
        assert_eq!(byte_by_byte.check(bytes, &HeadLimits::default()), complete, "{what}, byte by byte");
        assert_eq!(judge(&[bytes, &b"\0\n rest"[..]].concat()), complete, "{what}, and more behind it");
    }
}

#[test]
fn the_request_line_counts_as_received_with_its_end() {
    let mut check = HeadCheck::default();
    for (bytes, complete) in
        [(&b"\r\n"[..], false), (b"\r\nGET / HTTP/1.1\r", false), (b"\r\nGET / HTTP/1.1\r\n", true)]
    {
        assert_eq!(check.check(bytes, &HeadLimits::default()), Verdict::Partial);
        assert_eq!(check.request_line_complete(), complete);
    }
}

#[test]
fn a_limit_is_accepted_and_one_more_refused_by_its_name() {
    let defaults = HeadLimits::default();
    for (what, limit, status, name, head) in limits() {
        for n in [limit - 1, limit] {
            let bytes = head(n);
            let complete = Verdict::Complete { len: bytes.len(), body: BodyLength::Exactly(0) };
            assert_eq!(judge(&bytes), complete, "{what}: {n}");
            assert_eq!(judge_in_pieces(&bytes, 0..bytes.len(), &defaults), complete, "{what}: {n}, byte by byte");
        }
        let bytes = head(limit + 1);
        assert_eq!(refused(judge(&bytes)), Some((status, Some(name))), "{what}: {limit} + 1");
        let byte_by_byte = judge_in_pieces(&bytes, 0..bytes.len(), &defaults);
        assert_eq!(refused(byte_by_byte), Some((status, Some(name))), "{what}: {limit} + 1, byte by byte");
    }
}

#[test]
fn what_never_ends_is_refused_at_its_limit() {
    let limits = HeadLimits::default();
    let before_name = "GET / HTTP/1.1\r\n";
    let before_value = "GET / HTTP/1.1\r\nx: ";
    for (before, endless, limit, status, name) in [
        ("", "a", limits.max_request_line_length, 414, "max_request_line_length"),
        (before_name, "a", limits.max_header_name_length, 431, "max_header_name_length"),
        (before_value, "a", limits.max_header_value_length, 431, "max_header_value_length"),
        (before_value, " ", limits.max_header_value_length, 431, "max_header_value_length"),
    ] {
        let bytes = before.to_string() + &endless.repeat(limit + 1);
        assert_eq!(judge(&bytes.as_bytes()[..bytes.len() - 1]), Verdict::Partial);
        assert_eq!(refused(judge(bytes.as_bytes())), Some((status, Some(name))));
    }
}

#[test]
fn the_longest_head_has_the_stated_length() {
    let limits = HeadLimits::default();
    let name = "n".repeat(limits.max_header_name_length);
    let host_name_is_shorter = name.len() - "host".len();
    let value = "v".repeat(limits.max_header_value_length);
    let host_is_shorter = value.len() - limits.max_authority_length;
    let host = &value[..limits.max_authority_length];
    let target = "t".repeat(limits.max_request_line_length - "GET / HTTP/1.1".len());
    let fields = format!("{name}: {value}\r\n").repeat(limits.max_headers - 1);
    let empty_lines = "\r\n".repeat(limits.max_empty_lines);
    let head = format!("{empty_lines}GET /{target} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n");
    assert_eq!(head.len() + host_name_is_shorter + host_is_shorter, limits.max_head_length());
    assert!(matches!(judge(head.as_bytes()), Verdict::Complete { .. }));
}

#[test]
fn a_refusal_is_written_as_cowboy_writes_it() {
    for (status, line) in [
        (400, "400 Bad Request"),
        (408, "408 Request Timeout"),
        (414, "414 Request-URI Too Long"),
        (431, "431 Request Header Fields Too Large"),
        (501, "501 Not Implemented"),
        (505, "505 HTTP Version Not Supported"),
    ] {
        let expected = format!("HTTP/1.1 {line}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(String::from_utf8(refusal(status)), Ok(expected));
    }
}

#[test]
fn what_is_known_of_a_refused_head_are_its_lines_before_the_bad_one() {
    let known = |head: &[u8]| {
        let mut check = HeadCheck::default();
        check.check(head, &HeadLimits::default());
        check.known(head).map(|known| {
            let fields = known.headers.iter().map(|(name, value)| [&name[..], &value[..]].concat());
            let fields = fields.collect::<Vec<_>>().join(&b' ');
            let line = [known.method, known.path, known.query, if known.http11 { b"1.1" } else { b"1.0" }].join(&b' ');
            String::from_utf8([line, fields].join(&b'|')).expect("is text")
        })
    };
    assert_eq!(known(b"GET /"), None);
    assert_eq!(known(b"GET /\r\n"), None);
    assert_eq!(known(b"\r\n\r\nGET / HTTP/1.1\r\n").as_deref(), Some("GET /  1.1|"));
    assert_eq!(known(b"A http://h?a?b HTTP/1.0\r\nx(\r\n").as_deref(), Some("A / a?b 1.0|"));
    assert_eq!(known(b"A http://h/a://b HTTP/1.0\r\n").as_deref(), Some("A /a://b  1.0|"));
    assert_eq!(known(b"A /a://b/c HTTP/1.0\r\n").as_deref(), Some("A /a://b/c  1.0|"));
    assert_eq!(known(b"OPTIONS * HTTP/1.1\r\n\r\n").as_deref(), Some("OPTIONS *  1.1|"));
    let joined = b"GET / HTTP/1.1\r\nX: 1\r\nCookie: a\r\nx:2\r\ncookie: b\r\nhost: h\r\nhost: h\r\n";
    assert_eq!(known(joined).as_deref(), Some("GET /  1.1|cookiea; b hosth x1, 2"));
    let long = format!("GET / HTTP/1.1\r\n{}(", "x: y\r\n".repeat(99));
    assert_eq!(known(long.as_bytes()).map(|known| known.len()), Some("GET /  1.1|x".len() + 99 * 3 - 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn something_is_known_of_every_head_that_has_a_good_request_line(
        bytes in prop_oneof![3 => mutated_head(), 1 => prop::collection::vec(any::<u8>(), 0..64)],
    ) {
        let mut check = HeadCheck::default();
        for cut in 0..=bytes.len() {
            let verdict = check.check(&bytes[..cut], &HeadLimits::default());
            prop_assert_eq!(check.known(&bytes[..cut]).is_some(), check.request_line_complete());
            if verdict != Verdict::Partial {
                break;
            }
        }
    }

    #[test]
    fn the_verdict_does_not_depend_on_the_cuts(
        bytes in prop_oneof![3 => mutated_head(), 1 => prop::collection::vec(any::<u8>(), 0..64)],
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        line in 10..40_usize, word in 1..8_usize, count in 0..4_usize,
    ) {
        let small = HeadLimits {
            max_empty_lines: count,
            max_request_line_length: line,
            max_method_length: word,
            max_authority_length: word,
            max_headers: count,
            max_header_name_length: 2 * word,
            max_header_value_length: 2 * word,
            max_authorization_header_value_length: 3 * word,
            max_cookie_header_value_length: 3 * word,
        };
        let mut cuts: Vec<usize> = cuts.drain(..).map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        for limits in [small, HeadLimits::default()] {
            let at_once = HeadCheck::default().check(&bytes, &limits);
            prop_assert_eq!(judge_in_pieces(&bytes, cuts.clone(), &limits), at_once);
            prop_assert_eq!(judge_in_pieces(&bytes, 0..bytes.len(), &limits), at_once);
        }
    }
}
