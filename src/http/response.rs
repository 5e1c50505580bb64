//! A response on its way to the client: the VM's commands in, hyper's response out.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use hyper::ext::ReasonPhrase;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::exchange::{End, Next};
use super::service::Ongoing;
use crate::files::Part;
use crate::port::message::{Body, Headers, Status};

/// What a response may not be made of: an invalid status, or a header that would break the message.
#[derive(Debug)]
pub struct Invalid;

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a response's status or headers cannot be sent")
    }
}

impl std::error::Error for Invalid {}

/// A response's head, checked.
pub fn head(status: Status, headers: Headers) -> Result<(ResponseStatus, HeaderMap), Invalid> {
    let code = StatusCode::from_u16(status.code).map_err(|_| Invalid)?;
    let phrase = status.phrase.or_else(|| phrase(status.code).map(|text| Bytes::from_static(text.as_bytes())));
    let phrase = phrase.map(ReasonPhrase::try_from).transpose().map_err(|_| Invalid)?;
    Ok((ResponseStatus { code, phrase }, header_map(headers)?))
}

/// The status line's content.
pub struct ResponseStatus {
    code: StatusCode,
    /// Only where it is not hyper's.
    phrase: Option<ReasonPhrase>,
}

/// hyper's response, whose body the exchange's further commands are.
pub fn response(status: ResponseStatus, headers: HeaderMap, exchange: Ongoing) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::new(exchange, &headers));
    *response.status_mut() = status.code;
    *response.headers_mut() = headers;
    if let Some(phrase) = status.phrase {
        response.extensions_mut().insert(phrase);
    }
    response
}

/// A response's head as it goes over the wire: for those that hyper does not write, interim responses and the 101.
pub fn head_bytes(status: &Status, headers: &Headers) -> Vec<u8> {
    let phrase = match &status.phrase {
        Some(phrase) => phrase,
        None => phrase(status.code)
            .or_else(|| StatusCode::from_u16(status.code).ok()?.canonical_reason())
            .unwrap_or("")
            .as_bytes(),
    };
    let mut bytes = format!("HTTP/1.1 {} ", status.code).into_bytes();
    bytes.extend_from_slice(phrase);
    bytes.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Whether these headers are safe to write as they are.
pub fn is_sendable(headers: &Headers) -> bool {
    let name = |name| HeaderName::from_bytes(name).is_ok();
    headers.iter().all(|(n, value)| name(n) && HeaderValue::from_bytes(value).is_ok())
}

fn header_map(headers: Headers) -> Result<HeaderMap, Invalid> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let name = HeaderName::from_bytes(&name).map_err(|_| Invalid)?;
        map.append(name, HeaderValue::from_maybe_shared(value).map_err(|_| Invalid)?);
    }
    Ok(map)
}

/// The reason phrases of Cowboy (Cowlib's `cow_http`) that are not those of the crate `http`.
fn phrase(code: u16) -> Option<&'static str> {
    Some(match code {
        203 => "Non-Authoritative Information",
        306 => "Switch Proxy",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        416 => "Requested Range Not Satisfiable",
        425 => "Unordered Collection",
        _ => return None,
    })
}

/// The response's body: hyper asks, the exchange's commands answer.
pub struct ResponseBody {
    exchange: Ongoing,
    /// The whole body where it came in one piece: its length is then known to hyper.
    whole: Option<Bytes>,
    /// What the `content-length` header promises; more is an error, less as well.
    left: Option<u64>,
    file: Option<Pin<Box<dyn Future<Output = io::Result<(Bytes, Part)>>>>>,
    ended: bool,
}

impl ResponseBody {
    #[allow(missing_docs)]
    pub fn new(exchange: Ongoing, headers: &HeaderMap) -> Self {
        let left = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Self { whole: exchange.take_whole_body(left), left, exchange, file: None, ended: false }
    }

    fn take(&mut self, bytes: Bytes) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(left) = &mut self.left {
            let Some(rest) = left.checked_sub(bytes.len() as u64) else {
                return Poll::Ready(Some(Err(io::Error::other("the body is longer than its content-length"))));
            };
            *left = rest;
            if rest == 0 {
                self.exchange.mark_sent(); // hyper asks for no more, though the VM may have its end still to say.
            }
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

impl hyper::body::Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(bytes) = self.whole.take() {
            self.ended = true;
            return self.take(bytes);
        }
        loop {
            if self.file.is_some() {
                ready!(self.exchange.poll_room(cx));
            }
            if let Some(read) = &mut self.file {
                let (block, part) = ready!(read.as_mut().poll(cx))?;
                self.file = (!part.is_over()).then(|| Box::pin(next_block(part)) as _);
                self.exchange.hand(block.len());
                return self.take(block);
            }
            if self.ended {
                return Poll::Ready(None);
            }
            ready!(self.exchange.poll_room(cx));
            match ready!(self.exchange.poll_body(cx)) {
                Next::Piece(Body::Bytes(bytes), cost) => {
                    self.exchange.taken(cost);
                    if !bytes.is_empty() {
                        return self.take(bytes);
                    }
                }
                Next::Piece(Body::File { length: 0, .. }, cost) => self.exchange.taken(cost),
                Next::Piece(Body::File { path, offset, length }, cost) => {
                    self.exchange.taken(cost);
                    self.file =
                        Some(Box::pin(async move { next_block(Part::open(path, offset, length).await?).await }));
                }
                Next::End(End::Plain) => self.ended = true,
                Next::End(End::Trailers(headers)) => {
                    self.ended = true;
                    let trailers = header_map(headers).map_err(|Invalid| io::Error::other("an invalid trailer"))?;
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.whole.is_none() && self.ended && self.file.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.whole, self.left) {
            (Some(bytes), _) => SizeHint::with_exact(bytes.len() as u64),
            (None, Some(left)) => SizeHint::with_exact(left),
            (None, None) => SizeHint::default(),
        }
    }
}

/// Reads the next block of a file.
async fn next_block(mut part: Part) -> io::Result<(Bytes, Part)> {
    Ok((part.read().await?, part))
}
