//! What the command line says: flags in, the typed options of each part out.
//!
//! `outrider serve` is how the VM starts a sidecar, `outrider echo` runs the same engine without a VM. Both share
//! [`Limits`]. Times are milliseconds on the command line and [`Duration`]s in the options; `infinity` is `None`. The
//! defaults are Cowboy's and Ranch's.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;

use crate::http::head::HeadLimits;
use crate::rights::User;
use crate::transport::line::frames;
use crate::transport::listener::{self, ListenAddr};
use crate::transport::tls;
use crate::{gate, http, http2, reception, rights, streams, version};

/// The largest window of HTTP/2 (RFC 9113, 6.9.1).
const WINDOW: i64 = 0x7fff_ffff;

/// HTTP and WebSocket I/O for an Erlang VM, in a process beside it.
#[derive(Debug, Parser)]
#[command(name = "outrider", version = version::text(), propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The ways in which the engine runs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Relay between clients and the Erlang VM that opened this process as a port (stdin and stdout).
    Serve(Serve),
    /// Echo every WebSocket message, without a VM: to test and measure the engine by itself.
    Echo(Echo),
}

/// Flags of `outrider serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// The listener's name: for people who read `ps` and logs.
    #[arg(long, default_value = "")]
    pub name: String,
    #[command(flatten)]
    pub limits: Limits,
    /// Bytes of payload on their way, for each stream and direction, before the sender waits for credit.
    #[arg(long, default_value_t = 262_144, value_name = "BYTES")]
    pub window: usize,
    /// Listen only when the VM orders it.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub suspended: bool,
    /// How long the VM may be silent before clients are no longer read, in ms or infinity.
    #[arg(long, default_value = "10000", value_name = "MS")]
    pub watchdog: Timeout,
    /// How long the VM may be silent before clients are sent away and this process ends, in ms or infinity.
    #[arg(long, default_value = "300000", value_name = "MS")]
    pub vm_timeout: Timeout,
    /// Encrypt connections; nobody is accepted before the VM has sent the certificates.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub tls: bool,
    /// The least level of what is logged through the VM.
    #[arg(long, default_value = "info")]
    pub log_level: LogLevel,
    #[command(flatten)]
    pub rights: Rights,
}

/// What the process may do and use, beyond what the VM's user may.
#[derive(Args, Clone, Debug)]
pub struct Rights {
    /// Memory of its own in bytes, or infinity; the process ends when it needs more.
    #[arg(long, default_value = "infinity", value_name = "BYTES")]
    pub memory_limit: OrInfinity<u64>,
    /// Who to become when the addresses are bound: a name in /etc/passwd, or UID:GID.
    #[arg(long, value_name = "USER")]
    pub user: Option<User>,
}

impl Rights {
    /// The options of the part that gives rights up.
    pub fn options(&self) -> rights::Options {
        rights::Options { memory_limit: self.memory_limit.0, user: self.user }
    }
}

/// Flags of `outrider echo`.
#[derive(Debug, Args)]
pub struct Echo {
    #[command(flatten)]
    pub limits: Limits,
    /// Negotiate permessage-deflate and x-webkit-deflate-frame.
    #[arg(long)]
    pub compress: bool,
    /// Encrypt connections, with the certificate in this file (PEM).
    #[arg(long, requires = "keyfile", value_name = "PATH")]
    pub certfile: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, requires = "certfile", value_name = "PATH")]
    pub keyfile: Option<PathBuf>,
    /// The largest frame and message taken from a client, in bytes, or infinity.
    #[arg(long, default_value = "1000000", value_name = "BYTES")]
    pub max_frame_size: OrInfinity<u64>,
}

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
    /// HTTP/2: take extended CONNECT, by which a stream becomes a WebSocket (RFC 8441).
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub enable_connect_protocol: bool,
    /// HTTP/2: streams of one connection at a time.
    #[arg(long, default_value = "100", value_name = "N")]
    pub max_concurrent_streams: OrInfinity<u32>,
    /// HTTP/2: bytes that a client may send on one stream before they are used up.
    #[arg(long, default_value_t = 65_535, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(..=WINDOW))]
    pub initial_stream_window_size: u32,
    /// HTTP/2: the same on all streams of a connection, at least.
    #[arg(long, default_value_t = 65_535, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(65_535..=WINDOW))]
    pub initial_connection_window_size: u32,
    /// HTTP/2: the same, at most.
    #[arg(long, default_value_t = 8_388_608, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(..=WINDOW))]
    pub max_connection_window_size: u32,
    /// HTTP/2: bytes of a frame's payload.
    #[arg(long, default_value_t = 16_384, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(16_384..=16_777_215))]
    pub max_frame_size_received: u32,
    /// HTTP/2: bytes of the table by which a client compresses header fields.
    #[arg(long, default_value_t = 4096, value_name = "BYTES")]
    pub max_decode_table_size: u32,
    /// HTTP/2: bytes of a request's header fields, compressed; uncompressed they may be twice as many.
    #[arg(long, default_value_t = 32_768, value_name = "BYTES")]
    pub max_fragmented_header_block_size: usize,
    /// HTTP/2: frames of one client, as N:MS: fewer than N in so many ms, or N:infinity.
    #[arg(long, default_value = "10000:10000", value_name = "N:MS")]
    pub max_received_frame_rate: Rate,
    /// HTTP/2: streams that are reset for a client's errors, likewise.
    #[arg(long, default_value = "10:10000", value_name = "N:MS")]
    pub max_reset_stream_rate: Rate,
    /// HTTP/2: streams that a client resets, likewise.
    #[arg(long, default_value = "500:10000", value_name = "N:MS")]
    pub max_cancel_stream_rate: Rate,
    /// HTTP/2: from the beginning to the client's settings, in ms or infinity.
    #[arg(long, default_value = "5000", value_name = "MS")]
    pub preface_timeout: Timeout,
    /// HTTP/2: from the beginning to the client's word that it has our settings, in ms or infinity.
    #[arg(long, default_value = "5000", value_name = "MS")]
    pub settings_timeout: Timeout,
    /// Keep HTTP/1.0 connections open when the client asks for it.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub http10_keepalive: bool,
    /// Send a response of unknown length in chunks; if not, its body ends with the connection.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub chunked: bool,
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
        http2::Options {
            max_concurrent_streams: self.max_concurrent_streams.0,
            initial_stream_window_size: self.initial_stream_window_size,
            initial_connection_window_size: self.initial_connection_window_size,
            max_connection_window_size: self.max_connection_window_size,
            max_frame_size_received: self.max_frame_size_received,
            max_decode_table_size: self.max_decode_table_size,
            enable_connect_protocol: self.enable_connect_protocol,
            max_headers: head.max_headers(),
            max_authority_length: head.max_authority_length,
            preface_timeout: self.preface_timeout.0,
            settings_timeout: self.settings_timeout.0,
            limits: frames::Limits {
                received: self.max_received_frame_rate.0,
                cancelled: self.max_cancel_stream_rate.0,
                reset: self.max_reset_stream_rate.0,
                header_block: self.max_fragmented_header_block_size,
            },
        }
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

/// How a port is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Share {
    /// Nobody may listen there yet; others may join.
    Take,
    /// Others may listen there already.
    Join,
}

impl From<Share> for listener::Share {
    fn from(share: Share) -> Self {
        match share {
            Share::Take => Self::Take,
            Share::Join => Self::Join,
        }
    }
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    Http,
    Http2,
}

impl From<Protocol> for reception::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http => Self::Http,
            Protocol::Http2 => Self::Http2,
        }
    }
}

/// How often something may happen: `N:MS`, or `N:infinity`.
#[derive(Clone, Copy, Debug)]
pub struct Rate(pub frames::Rate);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (count, period) = text.split_once(':').ok_or("not N:MS")?;
        let count = count.parse().map_err(|_| "not N:MS")?;
        Ok(Self(frames::Rate { count, period: period.parse::<Timeout>()?.0 }))
    }
}

/// A number, or `infinity` (`None`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrInfinity<T>(pub Option<T>);

impl<T: FromStr> FromStr for OrInfinity<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "infinity" => Ok(Self(None)),
            number => number.parse().map(|n| Self(Some(n))).map_err(|_| "neither a number nor infinity".into()),
        }
    }
}

/// A time in milliseconds, or `infinity` (`None`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(pub Option<Duration>);

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let OrInfinity(ms) = text.parse::<OrInfinity<u64>>()?;
        Ok(Self(ms.map(Duration::from_millis)))
    }
}

/// Levels of a log event, least important last.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogLevel {
    Error,
    Warning,
    Info,
    Debug,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warning => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_time_is_milliseconds_or_infinity() {
        assert_eq!("0".parse(), Ok(Timeout(Some(Duration::ZERO))));
        assert_eq!("infinity".parse(), Ok(Timeout(None)));
        assert!("-1".parse::<Timeout>().is_err());
        assert!("1s".parse::<Timeout>().is_err());
    }
}
