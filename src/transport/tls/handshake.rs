//! From a client's first byte to the end of its handshake.
//!
//! A handshake costs as much as a thousand messages. So there is one step at a time, and between two steps everything else
//! that waits has its turn: however many come, those who are in do not notice much.

use std::future::poll_fn;
use std::io;
use std::task::{Poll, ready};

use rustls::Error;
use rustls::server::Acceptor as HelloReader;

use super::session::Session;
use super::stream::{Failed, Stream};
use super::{Acceptor, LEAST_BUFFER};
use crate::metrics::{Limit, TlsFailure, count, reached};
use crate::transport::plain::Plain;
use crate::transport::{TimeLimit, scratch};

/// What a record of a handshake begins with (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// The answer to HTTP where TLS is spoken.
const HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\
    content-length: 37\r\n\r\nThis port speaks TLS: https:, wss:.\r\n";

/// What a ClientHello may have, with its records, before it is known to be one.
const HELLO: usize = LEAST_BUFFER / 2;

/// Why there is no connection.
enum Refused {
    /// The client has not been ready in time.
    Late,
    /// The socket has failed, or the client has gone.
    Lost,
    /// The handshake has failed; the alert is in the stream.
    Handshake(Error, Option<Box<Stream>>),
    /// The client speaks something else; what it is told, if it is something known.
    NotTls(&'static [u8], Plain),
    /// The alert that a bad ClientHello is answered with.
    Hello(Error, Vec<u8>, Plain),
    /// Nobody has a certificate for that name.
    Name(Plain),
}

impl Acceptor {
    /// Makes a client's socket a TLS one. `received` has come of the client already. What it sent with the end of its
    /// handshake comes out beside the stream. `None`: it has been turned away.
    pub async fn accept(&self, socket: Plain, received: Vec<u8>) -> Option<(Box<Stream>, Vec<u8>)> {
        let refused = match self.handshake(socket, received).await {
            Ok(accepted) => {
                if let Some(version) = accepted.0.version() {
                    count(|metrics| metrics.tls_handshakes.add(version as usize, 1));
                }
                return Some(accepted);
            }
            Err(refused) => refused,
        };
        count(|metrics| metrics.tls_handshakes_failed.add(refused.counts_as() as usize, 1));
        match refused {
            Refused::Late => reached(Limit::HandshakeTimeout),
            Refused::Lost => {}
            Refused::Handshake(error, stream) => {
                self.alerts.log(&error);
                if let Some(stream) = stream {
                    crate::transport::Socket::Tls(stream).linger(self.linger).await;
                }
            }
            Refused::NotTls(answer, socket) => {
                self.alerts.log(&"the client does not speak TLS");
                turn_away(socket, answer, self).await;
            }
            Refused::Hello(error, alert, socket) => {
                self.alerts.log(&error);
                turn_away(socket, &alert, self).await;
            }
            Refused::Name(socket) => {
                self.alerts.log(&"there is no certificate for the name that the client wants");
                turn_away(socket, &UNRECOGNIZED_NAME, self).await;
            }
        }
        None
    }

    async fn handshake(&self, mut socket: Plain, mut received: Vec<u8>) -> Result<(Box<Stream>, Vec<u8>), Refused> {
        let mut limit = TimeLimit::new(self.timeout);
        if received.is_empty() {
            fill(&mut socket, &mut received, &mut limit).await?;
        }
        if received[0] != HANDSHAKE {
            let answer = if received[0].is_ascii_uppercase() { HTTP } else { b"" };
            return Err(Refused::NotTls(answer, socket));
        }
        let config = match self.hosts.only() {
            Some(config) => config,
            None => match wanted(&mut socket, &mut received, &mut limit).await? {
                Ok(name) => match limit.ours(self.hosts.find(name.as_deref())).await.ok_or(Refused::Late)? {
                    Some(config) => config,
                    None => return Err(Refused::Name(socket)),
                },
                Err((error, alert)) => return Err(Refused::Hello(error, alert, socket)),
            },
        };
        let session = Session::new(config, received).map_err(|error| Refused::Handshake(error, None))?;
        let mut stream = Box::new(Stream::new(socket, session));
        let mut early = Vec::new();
        let mut read = false;
        while stream.is_handshaking() {
            if read {
                let readable = limit.client(&mut *stream, |stream, cx| stream.plain().poll_read_ready(cx));
                readable.await.ok_or(Refused::Late)??;
            }
            let turn = limit.ours(self.turns.acquire()).await.ok_or(Refused::Late)?;
            let step = poll_fn(|cx| match stream.poll_handshake(cx, read, &mut early) {
                Poll::Pending => Poll::Ready(None), // The loop was wrong about it.
                Poll::Ready(result) => Poll::Ready(Some(result)),
            });
            let result = step.await;
            limit.ours(tokio::task::yield_now()).await.ok_or(Refused::Late)?;
            drop(turn);
            read = true;
            match result {
                None | Some(Ok(())) => {}
                Some(Err(Failed::Socket(error))) => return Err(error.into()),
                Some(Err(Failed::Tls(error))) => return Err(Refused::Handshake(error, Some(stream))),
            }
            limit.client(&mut *stream, Stream::poll_flush).await.ok_or(Refused::Late)??;
        }
        Ok((stream, early))
    }
}

impl Refused {
    fn counts_as(&self) -> TlsFailure {
        match self {
            Self::Late => TlsFailure::Timeout,
            Self::Lost => TlsFailure::Lost,
            Self::NotTls(..) => TlsFailure::NotTls,
            Self::Name(_) => TlsFailure::UnknownName,
            Self::Handshake(error, _) | Self::Hello(error, ..) => match error {
                Error::PeerIncompatible(_) => TlsFailure::Incompatible,
                Error::InvalidCertificate(_) | Error::NoCertificatesPresented => TlsFailure::Certificate,
                Error::AlertReceived(_) => TlsFailure::Alert,
                _ => TlsFailure::Protocol,
            },
        }
    }
}

impl From<io::Error> for Refused {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

/// A fatal alert, in the clear: unrecognized_name (RFC 6066, section 3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Reads once.
async fn fill(socket: &mut Plain, received: &mut Vec<u8>, limit: &mut TimeLimit) -> Result<(), Refused> {
    let read = limit.client(socket, |socket, cx| {
        scratch::with(|buffer| match ready!(socket.poll_read(cx, buffer))? {
            0 => Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof))),
            n => {
                received.extend_from_slice(&buffer[..n]);
                Poll::Ready(Ok(()))
            }
        })
    });
    Ok(read.await.ok_or(Refused::Late)??)
}

/// The name that the client wants, once its ClientHello is there; the inner error is with the alert for the client.
async fn wanted(
    socket: &mut Plain,
    received: &mut Vec<u8>,
    limit: &mut TimeLimit,
) -> Result<Result<Option<String>, (Error, Vec<u8>)>, Refused> {
    let mut reader = HelloReader::default();
    let mut shown = 0;
    loop {
        while shown < received.len() {
            match reader.read_tls(&mut &received[shown..]) {
                Ok(0) | Err(_) => return Err(Refused::Lost),
                Ok(n) => shown += n,
            }
        }
        match reader.accept() {
            Ok(Some(accepted)) => return Ok(Ok(accepted.client_hello().server_name().map(str::to_owned))),
            Ok(None) if received.len() < HELLO => fill(socket, received, limit).await?,
            Ok(None) => return Err(Refused::Lost),
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                let _ = alert.write_all(&mut bytes); // Into memory: cannot fail.
                return Ok(Err((error, bytes)));
            }
        }
    }
}

/// Says why, and gives the client time to read it.
async fn turn_away(socket: Plain, answer: &[u8], acceptor: &Acceptor) {
    let mut socket = crate::transport::Socket::Plain(socket);
    let _ = socket.try_write(answer); // Fits every socket's buffer; nothing else is in it.
    socket.linger(acceptor.linger).await;
}
