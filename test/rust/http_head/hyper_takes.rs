//! hyper is the oracle: it must take every head that is accepted, with the same end and the same body.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use http_body_util::Empty;
use hyper::body::{Body, Bytes, Incoming};
use hyper::rt::ReadBufCursor;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use outrider::http::head::{BodyLength, HeadCheck, HeadLimits, MOST_HEAD, Verdict};
use proptest::prelude::*;

use crate::cases::{ACCEPTED, limits};
use crate::generate::mutated_head;
use crate::judge;

#[test]
fn hyper_takes_what_is_accepted() {
    for (what, bytes, body) in ACCEPTED {
        assert_eq!(hyper_takes(bytes, &HeadLimits::default()), Ok(*body), "{what}");
    }
    for (what, limit, _, _, head) in limits() {
        let taken = hyper_takes(&head(limit), &HeadLimits::default());
        assert_eq!(taken, Ok(BodyLength::Exactly(0)), "{what}: {limit}");
    }
}

#[test]
fn a_limit_beyond_what_hyper_holds_is_lowered_to_that() {
    let limits = HeadLimits {
        max_request_line_length: usize::MAX,
        max_authority_length: usize::MAX,
        max_headers: usize::MAX,
        max_header_name_length: usize::MAX,
        max_header_value_length: usize::MAX,
        max_cookie_header_value_length: usize::MAX,
        ..HeadLimits::default()
    };
    assert_eq!(limits.max_head_length(), MOST_HEAD);
    for (n, head) in [
        (65_535, (|n| format!("GET / HTTP/1.1\r\nhost: a\r\n{}: y\r\n\r\n", "x".repeat(n))) as fn(usize) -> String),
        (65_000, |n| format!("GET http://{0}/ HTTP/1.1\r\nhost: {0}\r\n\r\n", "a".repeat(n))),
        (24_576, |n| format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(n - 1))),
    ] {
        let (good, bad) = (head(n), head(n + 1));
        let verdict = HeadCheck::default().check(good.as_bytes(), &limits);
        assert_eq!(verdict, Verdict::Complete { len: good.len(), body: BodyLength::Exactly(0) }, "{n}");
        assert_eq!(hyper_takes(good.as_bytes(), &limits), Ok(BodyLength::Exactly(0)), "{n}");
        assert!(matches!(HeadCheck::default().check(bad.as_bytes(), &limits), Verdict::Refused(_)), "{n} + 1");
    }
}

#[test]
fn a_target_that_is_too_long_for_hyper_is_kept_from_it() {
    let limits = HeadLimits { max_request_line_length: usize::MAX, ..HeadLimits::default() };
    for n in [65_534, 65_535, 200_000] {
        let head = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(n - 1));
        assert_eq!(hyper_takes(head.as_bytes(), &limits), Ok(BodyLength::Exactly(0)), "{n}");
    }
}

#[test]
fn no_head_is_longer_than_64_mib() {
    let limits = HeadLimits { max_request_line_length: usize::MAX, ..HeadLimits::default() };
    let mut check = HeadCheck::default();
    let mut bytes = b"GET /".to_vec();
    bytes.resize(MOST_HEAD, b'a');
    assert_eq!(check.check(&bytes, &limits), Verdict::Partial);
    bytes.push(b'a');
    assert_eq!(crate::refused(check.check(&bytes, &limits)), Some((431, None)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn hyper_takes_every_head_that_is_accepted(bytes in mutated_head()) {
        if let Verdict::Complete { len, body } = judge(&bytes) {
            prop_assert_eq!(hyper_takes(&bytes[..len], &HeadLimits::default()), Ok(body));
        }
    }
}

/// What hyper makes of a head, when it is set up for these limits: the body that it expects. It is an error also if
/// hyper finds the head's end at another byte.
fn hyper_takes(head: &[u8], limits: &HeadLimits) -> Result<BodyLength, String> {
    let mut check = HeadCheck::default();
    check.check(head, limits);
    let mut head = head.to_vec();
    let (_, length) = check.hide_target(&mut head);
    assert_eq!(length, head.len());
    const BEHIND: &[u8] = b"behind the head";
    let (taken, request) = mpsc::channel();
    let service = service_fn(move |request: Request<Incoming>| {
        taken.send(request).expect("the test waits for it");
        pending::<Result<Response<Empty<Bytes>>, Infallible>>()
    });
    let mut connection = http1::Builder::new()
        .max_headers(limits.max_headers())
        .max_buf_size(limits.max_head_length().max(8192) + 1)
        .serve_connection(Client([&head, BEHIND].concat()), service);
    let polled = connection.poll_without_shutdown(&mut Context::from_waker(Waker::noop()));
    let request = request.try_recv().map_err(|_| format!("{polled:?}"))?;
    let body = match request.body().size_hint().exact() {
        Some(length) => BodyLength::Exactly(length),
        None => BodyLength::Chunked,
    };
    let parts = connection.into_parts();
    let behind = [&parts.read_buf[..], &parts.io.0].concat();
    // Of a body hyper may have taken the first bytes.
    let complete = behind == BEHIND || (body != BodyLength::Exactly(0) && BEHIND.ends_with(&behind));
    if complete { Ok(body) } else { Err(format!("hyper leaves {:?}", String::from_utf8_lossy(&behind))) }
}

/// A client that has sent these bytes, and waits.
struct Client(Vec<u8>);

impl hyper::rt::Read for Client {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.0.is_empty() {
            return Poll::Pending;
        }
        let n = buf.remaining().min(self.0.len());
        buf.put_slice(&self.0[..n]);
        self.0.drain(..n);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Client {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
