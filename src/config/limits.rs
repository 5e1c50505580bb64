//! Flags for where to listen and what a client may cost, and which part of the engine each is for.

use std::num::NonZeroU32;
use std::rc::Rc;

use clap::Args;

use super::http2::Http2;
use super::value::{OrInfinity, Protocol, Share, Timeout};
use crate::http::head::HeadLimits;
use crate::transport::listener::{self, ListenAddr};
use crate::transport::tls;
use crate::{gate, http, http2, reception, streams};

/// Where to listen, and what a client may cost.
#[derive(Args, Clone, Debug)]
pub struct Limits {
    /// Where to listen: IP:PORT or unix:PATH; may be given several times.
    #[arg(long, required = true, value_name = "ADDR")]
    pub listen: Vec<ListenAddr>,
    /// Listen on a TCP port together with other processes (SO_REUSEPORT): the kernel divides the clients among them.
    #[arg(long, value_name = "HOW")]
    pub share_port: Option<Share>,
    /// Connections that the kernel may hold for us before we accept them.
    #[arg(long, default_value_t = 1024, value_name = "N")]
    pub backlog: u32,
    /// Send small packets at once (TCP_NODELAY).
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub nodelay: bool,
    /// Let the kernel probe silent peers (SO_KEEPALIVE).
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub keepalive: bool,
    /// Size of the kernel's send buffer in bytes (SO_SNDBUF); the kernel's own choice if not given.
    #[arg(long, value_name = "BYTES")]
    pub sndbuf: Option<usize>,
    /// Size of the kernel's receive buffer in bytes (SO_RCVBUF); the kernel's own choice if not given.
    #[arg(long, value_name = "BYTES")]
    pub recbuf: Option<usize>,
    /// Do not take IPv4 clients on an IPv6 address (IPV6_V6ONLY); the kernel's own choice if not given.
    #[arg(long, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub ipv6_only: Option<bool>,
    /// How long a client may take nothing of what is written to it, in ms or infinity.
    #[arg(long, default_value = "30000", value_name = "MS")]
    pub send_timeout: Timeout,
    /// HTTP connections at a time (a WebSocket is not counted); above it accepting pauses.
    #[arg(long, default_value = "10240", value_name = "N")]
    pub max_connections: OrInfinity<usize>,
    /// Connections of any kind at a time, WebSockets too; above it accepting pauses. If not given, what the limit of file
    /// descriptors leaves room for.
    #[arg(long, value_name = "N")]
    pub max_sockets: Option<OrInfinity<usize>>,
    /// Connections of any kind at a time of one client address (IPv6: one /64); one more is closed at once.
    #[arg(long, default_value = "infinity", value_name = "N")]
    pub max_sockets_per_address: OrInfinity<usize>,
    /// New connections per second, and as many at once; above it accepting pauses.
    #[arg(long, default_value = "infinity", value_name = "N")]
    pub max_accept_rate: OrInfinity<NonZeroU32>,
    /// Bytes that wait for all clients together to take them; above it those are closed that have taken nothing for longest.
    #[arg(long, default_value = "1073741824", value_name = "BYTES")]
    pub max_queued: OrInfinity<usize>,
    /// Frames of one WebSocket message.
    #[arg(long, default_value = "1000000", value_name = "N")]
    pub max_fragments: OrInfinity<u32>,
    /// Topics that one client may have subscribed to.
    #[arg(long, default_value = "100", value_name = "N")]
    pub max_topics_per_client: OrInfinity<usize>,
    /// Topics with a subscriber.
    #[arg(long, default_value = "100000", value_name = "N")]
    pub max_topics: OrInfinity<usize>,
    /// Each connection begins with a header of the PROXY protocol (version 1 or 2).
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub proxy_header: bool,
    /// From the accept, or the header of the PROXY protocol, to the end of the TLS handshake, in ms or infinity.
    #[arg(long, default_value = "5000", value_name = "MS")]
    pub handshake_timeout: Timeout,
    /// From the accept, or the end of the last request, to the end of a request's head, in ms or infinity.
    #[arg(long, default_value = "5000", value_name = "MS")]
    pub request_timeout: Timeout,
    /// How long a client may send nothing while a request is being answered, in ms or infinity.
    #[arg(long, default_value = "60000", value_name = "MS")]
    pub idle_timeout: Timeout,
    /// Bytes sent put `--idle-timeout` off too, not only bytes received.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub reset_idle_timeout_on_send: bool,
    /// How long to read on and discard after the last byte was sent, so that the client gets it, in ms.
    #[arg(long, default_value = "1000", value_name = "MS")]
    pub linger_timeout: Timeout,
    /// Requests on one connection, or infinity.
    #[arg(long, default_value = "1000", value_name = "N")]
    pub max_keepalive: OrInfinity<u64>,
    /// Empty lines before a request line.
    #[arg(long, default_value = "5", value_name = "N")]
    pub max_empty_lines: OrInfinity<usize>,
    /// Length of a request line in bytes.
    #[arg(long, default_value = "8000", value_name = "BYTES")]
    pub max_request_line_length: OrInfinity<usize>,
    /// Length of a method in bytes.
    #[arg(long, default_value = "32", value_name = "BYTES")]
    pub max_method_length: OrInfinity<usize>,
    /// Length of a host with port in bytes.
    #[arg(long, default_value = "255", value_name = "BYTES")]
    pub max_authority_length: OrInfinity<usize>,
    /// Header lines of one request.
    #[arg(long, default_value = "100", value_name = "N")]
    pub max_headers: OrInfinity<usize>,
    /// Length of a header's name in bytes.
    #[arg(long, default_value = "64", value_name = "BYTES")]
    pub max_header_name_length: OrInfinity<usize>,
    /// Length of a header's value in bytes.
    #[arg(long, default_value = "4096", value_name = "BYTES")]
    pub max_header_value_length: OrInfinity<usize>,
    /// Length of the value of `authorization` in bytes; that of any header if not given.
    #[arg(long, value_name = "BYTES")]
    pub max_authorization_header_value_length: Option<OrInfinity<usize>>,
    /// Length of the value of `cookie` in bytes; that of any header if not given.
    #[arg(long, value_name = "BYTES")]
    pub max_cookie_header_value_length: Option<OrInfinity<usize>>,
    /// Bytes of an unread request body to skip for the sake of keep-alive.
    #[arg(long, default_value = "1000000", value_name = "BYTES")]
    pub max_skip_body_length: OrInfinity<u64>,
    /// Bytes of a request's body to pass on before the handler asks for them.
    #[arg(long, default_value = "65535", value_name = "BYTES")]
    pub initial_stream_flow_size: OrInfinity<u64>,
    /// What is spoken without TLS.
    #[arg(long, default_value = "http,http2", value_delimiter = ',', value_name = "PROTOCOLS")]
    pub protocols: Vec<Protocol>,
    /// What is spoken with TLS where the client has not chosen HTTP/2 by ALPN.
    #[arg(long, default_value = "http")]
    pub alpn_default_protocol: Protocol,
    /// Keep HTTP/1.0 connections open when the client asks for it.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub http10_keepalive: bool,
    /// Send a response of unknown length in chunks; if not, its body ends with the connection.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub chunked: bool,
    #[command(flatten)]
    pub http2: Http2,
}

impl Limits {
    /// Where to listen.
    pub fn listener(&self) -> listener::Options {
        listener::Options {
            addresses: self.listen.clone(),
            share_port: self.share_port.map(listener::Share::from),
            backlog: self.backlog,
            nodelay: self.nodelay,
            keepalive: self.keepalive,
            sndbuf: self.sndbuf,
            recbuf: self.recbuf,
            ipv6_only: self.ipv6_only,
        }
    }

    /// How many may come in.
    pub fn gate(&self) -> gate::Options {
        gate::Options {
            max_connections: self.max_connections.0,
            max_sockets: self.max_sockets.map(|OrInfinity(max)| max),
            max_sockets_per_address: self.max_sockets_per_address.0,
            max_accept_rate: self.max_accept_rate.0,
        }
    }

    /// What holds for all streams. `window` in bytes.
    pub fn streams(&self, window: usize) -> streams::Options {
        streams::Options {
            window,
            max_queued: self.max_queued.0,
            send_timeout: self.send_timeout.0,
            linger_timeout: self.linger_timeout.0,
            topics: streams::topics::Limits {
                per_stream: self.max_topics_per_client.0.unwrap_or(usize::MAX),
                topics: self.max_topics.0.unwrap_or(usize::MAX),
            },
        }
    }

    /// How HTTP is spoken.
    pub fn http(&self) -> http::Options {
        http::Options {
            head: Rc::new(self.head()),
            request_timeout: self.request_timeout.0,
            idle_timeout: self.idle_timeout.0,
            reset_idle_timeout_on_send: self.reset_idle_timeout_on_send,
            max_keepalive: self.max_keepalive.0,
            max_skip_body_length: self.max_skip_body_length.0,
            initial_stream_flow_size: self.initial_stream_flow_size.0,
            http10_keepalive: self.http10_keepalive,
            chunked: self.chunked,
            max_fragments: self.max_fragments.0,
        }
    }

    /// How clients are met.
    pub fn reception(&self) -> reception::Options {
        reception::Options {
            proxy_header: self.proxy_header,
            protocols: self.protocols.iter().map(|protocol| (*protocol).into()).collect(),
            alpn_default_protocol: self.alpn_default_protocol.into(),
        }
    }

    /// How HTTP/2 is spoken.
    pub fn http2(&self) -> http2::Options {
        let head = self.head();
        self.http2.options(head.max_headers(), head.max_authority_length)
    }

    /// How clients are met where connections are encrypted. `ask` puts the name of a host to the application.
    pub fn tls(&self, ask: impl Fn(&str) + 'static) -> tls::Acceptor {
        tls::Acceptor::new(self.handshake_timeout.0, self.linger_timeout.0, ask)
    }

    fn head(&self) -> HeadLimits {
        let max_value =
            |own: Option<OrInfinity<usize>>| own.unwrap_or(self.max_header_value_length).0.unwrap_or(usize::MAX);
        HeadLimits {
            max_empty_lines: self.max_empty_lines.0.unwrap_or(usize::MAX),
            max_request_line_length: self.max_request_line_length.0.unwrap_or(usize::MAX),
            max_method_length: self.max_method_length.0.unwrap_or(usize::MAX),
            max_authority_length: self.max_authority_length.0.unwrap_or(usize::MAX),
            max_headers: self.max_headers.0.unwrap_or(usize::MAX),
            max_header_name_length: self.max_header_name_length.0.unwrap_or(usize::MAX),
            max_header_value_length: max_value(None),
            max_authorization_header_value_length: max_value(self.max_authorization_header_value_length),
            max_cookie_header_value_length: max_value(self.max_cookie_header_value_length),
        }
    }
}
