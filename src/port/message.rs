//! The port protocol's words: what a stream is called, how it ends, what the VM can order.
//!
//! docs/port-protocol.md says what each means. Decoding is in `decode.rs`, encoding in `mod.rs`.

use bytes::Bytes;

use crate::transport::tls;
use crate::ws::Kind;

/// The version that both sides state in their first packet.
pub const VERSION: u64 = 1;

/// A stream's number: 1, 2, 3, …, never used twice.
pub type StreamId = u64;

/// The stream that is the sidecar itself.
pub const SIDECAR: StreamId = 0;

/// What an event or command costs of its stream's window beside its payload, in bytes.
pub const OVERHEAD: usize = 64;

/// The largest payload of one event or command; larger messages cross in pieces.
pub const CHUNK: usize = 65_536;

/// Why a stream is over, as `terminate/3` gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client's close frame, with code and text if it had them.
    Remote(Option<(u16, Box<[u8]>)>),
    /// Nothing was received for `idle_timeout`.
    Timeout,
    /// The client broke the protocol: `badframe`, `badencoding` or `badsize`.
    Protocol(crate::ws::Reason),
    /// The socket failed or was closed: an atom such as `closed`, `timeout`, `econnreset`.
    Socket(&'static str),
}

/// Headers in the order in which they are to be written.
pub type Headers = Vec<(Bytes, Bytes)>;

/// A status: its code, and the reason phrase if the handler gave one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: u16,
    /// The text after the code; `None` for the standard one.
    pub phrase: Option<Bytes>,
}

/// A response body, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Bytes(Bytes),
    /// A part of a file, to be read by us.
    File {
        path: std::path::PathBuf,
        offset: u64,
        length: u64,
    },
}

/// How a WebSocket is to be run: what `init/2` returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebsocketOptions {
    /// Milliseconds without a byte from the client; `None` is infinity.
    pub idle_timeout: Option<u64>,
    /// Bytes of a frame and of a message; `None` is infinity.
    pub max_frame_size: Option<u64>,
    pub validate_utf8: bool,
    /// Whether to read from the client at once.
    pub active: bool,
    /// Bytes that the VM lets wait for the client; `None` for as many as the window.
    pub max_backlog: Option<u64>,
    /// What to negotiate; `None` for no compression.
    pub deflate: Option<crate::ws::DeflateOpts>,
}

impl Default for WebsocketOptions {
    fn default() -> Self {
        Self {
            idle_timeout: Some(60_000),
            max_frame_size: Some(1_000_000),
            validate_utf8: true,
            active: true,
            max_backlog: None,
            deflate: None,
        }
    }
}

/// What the VM orders. Payloads of WebSocket frames lie in the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    Inform(Status, Headers),
    Response(Status, Headers, Body),
    Headers(Status, Headers),
    Data {
        fin: bool,
        body: Body,
    },
    Trailers(Headers),
    Flow(u64),
    Websocket(Headers, Box<WebsocketOptions>),
    Message(Kind, &'a [u8]),
    Open(Kind, u64),
    Part(&'a [u8]),
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    Close(Option<(u16, &'a [u8])>),
    Cut(u16),
    Deflate(bool),
    Active(bool),
    /// New `idle_timeout`, `max_frame_size`, `chunked`: the outer `None` leaves it as it is.
    SetOptions {
        idle_timeout: Option<Option<u64>>,
        max_frame_size: Option<Option<u64>>,
        chunked: Option<bool>,
    },
    Credit(u64),
    Finish,
    Abort,
    Suspend,
    Resume,
    Drain,
    MaxConnections(Option<u64>),
    /// New settings, with the number by which they are answered.
    Tls(u64, Box<tls::Settings>),
    /// The answer about a host.
    Host(String, tls::Answer),
}

/// A packet that is not of the protocol: a bug on one of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;
