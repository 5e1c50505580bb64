//! From a client's first byte to the protocol that it speaks: the header of a proxy, TLS, HTTP/1.1 or HTTP/2.
//!
//! With TLS the client chooses by ALPN. Without it HTTP/2 begins with a preface that is no request of HTTP/1.1 (RFC 9113, 3.3): the
//! connection speaks HTTP/1.1 until that comes.

pub mod proxy;

use std::rc::Rc;
use std::time::Duration;

use tracing::debug;

use crate::gate::Full;
use crate::http::request::ConnectionInfo;
use crate::http::{self, Permits, Preface};
use crate::http2;
use crate::metrics::{During, Limit, reached};
use crate::streams::client::Peer;
use crate::transport::{Plain, Socket, TimeLimit, tls};

/// How long a PROXY header may take (Cowboy's constant).
const PROXY_TIMEOUT: Duration = Duration::from_millis(1000);

/// ALPN's name of HTTP/2.
const H2: &[u8] = b"h2";

/// What is spoken, by Cowboy's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Http2,
}

/// How clients are met.
#[derive(Clone, Debug)]
pub struct Options {
    /// Each connection begins with a header of the PROXY protocol (version 1 or 2).
    pub proxy_header: bool,
    /// What is spoken without TLS.
    pub protocols: Vec<Protocol>,
    /// What is spoken with TLS where ALPN has not chosen HTTP/2.
    pub alpn_default_protocol: Protocol,
}

/// Receives clients.
pub struct Reception {
    pub options: Options,
    pub http: Rc<http::Server>,
    pub http2: Rc<http2::Options>,
    /// Where connections are encrypted.
    pub tls: Option<Rc<tls::Acceptor>>,
}

/// Serves a client until it leaves.
pub async fn serve(reception: Rc<Reception>, mut socket: Plain, mut permits: Permits) {
    let Ok((peer, sock)) = socket.endpoints() else { return };
    let Reception { options, http, http2, tls } = &*reception;
    let mut received = Vec::new();
    let mut proxy_header = None;
    if options.proxy_header {
        let read = proxy::read(&mut socket, &mut received, TimeLimit::new(Some(PROXY_TIMEOUT))).await;
        let is_late = read.is_none();
        proxy_header = read.flatten();
        if proxy_header.is_none() {
            // A load balancer that looks whether somebody listens connects, and leaves without a byte.
            if is_late || !received.is_empty() {
                reached(Limit::ProxyHeader);
                http.gate.warn_unproxied(&peer);
            }
            return;
        }
    }
    // Behind a proxy all clients have the proxy's address: then the one that it names counts.
    let source = proxy_header.as_deref().map(proxy::source);
    let address = match source {
        Some(source) => source.map(|source| source.ip()),
        None => peer.ip(),
    };
    let client = source.flatten().map_or((&peer).into(), Peer::from);
    match http.gate.addresses.enter(address) {
        Ok(visit) => permits.socket.visit = visit,
        Err(Full) => {
            reached(Limit::MaxSocketsPerAddress);
            debug!("a client's address has as many connections as it may");
            return;
        }
    }
    let (socket, received) = match tls {
        None => (Socket::Plain(socket), received),
        Some(tls) => match shaken(tls, socket, received).await {
            Some((stream, early)) => (Socket::Tls(stream), early),
            None => return,
        },
    };
    let secure = socket.is_secure();
    let cert = socket.certificate().map(Into::into);
    let info = Rc::new(ConnectionInfo { peer, client, sock, secure, cert, proxy_header });
    let (first, may_change) = match (secure, options.protocols.contains(&Protocol::Http2)) {
        (true, _) if socket.alpn() == Some(H2) => (Protocol::Http2, false),
        (true, _) => (options.alpn_default_protocol, false),
        (false, http2) if options.protocols.contains(&Protocol::Http) => (Protocol::Http, http2),
        (false, _) => (Protocol::Http2, false),
    };
    let (http, http2) = (Rc::clone(http), Rc::clone(http2));
    drop(reception);
    if first == Protocol::Http2 {
        return Box::pin(http2::serve(http, http2, info, socket, received, permits)).await; // The larger by far.
    }
    let served = http::serve(Rc::clone(&http), Rc::clone(&info), socket, received, permits, may_change).await;
    if let Some(Preface { socket, received, permits }) = served {
        Box::pin(http2::serve(http, http2, info, socket, received, permits)).await;
    }
}

/// The client's socket with TLS. While its handshake goes on it counts as one that does that.
async fn shaken(tls: &tls::Acceptor, socket: Plain, received: Vec<u8>) -> Option<(Box<tls::Stream>, Vec<u8>)> {
    let _handshaking = During::new(|metrics| &metrics.tls_handshaking);
    Box::pin(tls.accept(socket, received)).await
}
