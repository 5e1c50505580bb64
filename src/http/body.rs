//! A response on its way to the client: its head and the VM's further commands in, hyper's response out.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue};
use hyper::{Response, Version};

use super::exchange::{End, Next};
use super::files::Part;
use super::ongoing::Ongoing;
use super::response::{Invalid, ResponseStatus, header_map};
use crate::port::message::Body;

/// hyper's response, whose body the exchange's further commands are. A body of unknown length is `chunked`, or it ends with
/// the connection.
pub fn response(
    status: ResponseStatus,
    headers: HeaderMap,
    exchange: Ongoing,
    chunked: bool,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::new(exchange, &headers));
    *response.status_mut() = status.code;
    *response.headers_mut() = headers;
    if let Some(phrase) = status.phrase {
        response.extensions_mut().insert(phrase);
    }
    if !chunked && hyper::body::Body::size_hint(response.body()).exact().is_none() {
        *response.version_mut() = Version::HTTP_10; // Only there does hyper send it so.
        response.headers_mut().append(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A block of a file, and what is left of the file's part, as soon as it has been read.
type Read = Pin<Box<dyn Future<Output = io::Result<(Bytes, Part)>>>>;

/// The response's body: hyper asks, the exchange's commands answer.
pub struct ResponseBody {
    exchange: Ongoing,
    /// The whole body where it came in one piece: its length is then known to hyper.
    whole: Option<Bytes>,
    /// What the `content-length` header promises; more is an error, less as well.
    left: Option<u64>,
    file: Option<Read>,
    ended: bool,
}

impl ResponseBody {
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
