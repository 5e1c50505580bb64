//! The port protocol's words: what a stream is called, how it ends, what the VM can order.
//!
//! docs/port-protocol.md says what each means. Decoding begins in `decode.rs`, encoding in `mod.rs`.

use std::net::IpAddr;

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

/// How long a client has to answer a ping of ours, where the handler does not say, in milliseconds.
pub const PONG_TIMEOUT: u64 = 10_000;

/// Why a stream is over, as `terminate/3` gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client's close frame, with code and text if it had them.
    Remote(Option<(u16, Box<[u8]>)>),
    /// Nothing was received for `idle_timeout`.
    Timeout,
    /// Somebody outside has ended it; it is closed.
    Kicked,
    /// The client broke the protocol: `badframe`, `badencoding` or `badsize`.
    Protocol(crate::ws::Reason),
    /// The socket failed or was closed: an atom such as `closed`, `timeout`, `econnreset`.
    Socket(&'static str),
    /// The client has reset the request's stream, with this code of HTTP/2 (RFC 9113, 7).
    Reset(&'static str),
    /// The client has made an error on the request's stream, which has been reset with this code.
    Stream(&'static str),
    /// The client has made an error on the connection, or exceeded what it may do; it has been closed with this code.
    Connection(&'static str),
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
    /// What becomes of a broadcast for which there is no room.
    pub on_backlog: OnBacklog,
    /// Milliseconds between two pings of ours; `None` for no pings.
    pub ping_interval: Option<u64>,
    /// Milliseconds that the client has to answer one.
    pub pong_timeout: u64,
    /// The process that runs the handler: who is meant by [`SendMany`].
    pub pid: Option<Pid>,
    /// Whether the application wants to know at its end what its client has sent and was sent.
    pub stats: bool,
    /// What a lazy handler begins with; nothing for one that has begun.
    pub lazy: Bytes,
    /// What to negotiate; `None` for no compression.
    pub deflate: Option<crate::ws::DeflateOpts>,
}

/// What becomes of a broadcast for a client that has not taken what was sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBacklog {
    /// It waits, up to a bound of its own, behind which the client is closed.
    Block,
    /// The client is closed.
    Close,
    /// The broadcast is dropped, and the VM is told.
    Drop,
}

impl Default for WebsocketOptions {
    fn default() -> Self {
        Self {
            idle_timeout: Some(60_000),
            max_frame_size: Some(1_000_000),
            validate_utf8: true,
            active: true,
            max_backlog: None,
            on_backlog: OnBacklog::Block,
            ping_interval: None,
            pong_timeout: PONG_TIMEOUT,
            pid: None,
            stats: false,
            lazy: Bytes::new(),
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
    SetOptions(Box<SetOptions>),
    Credit(u64),
    Finish,
    /// The process that runs the handler from now on.
    Pid(Pid),
    Abort,
    Suspend,
    Resume,
    Drain,
    MaxConnections(Option<u64>),
    /// New settings, with the number by which they are answered.
    Tls(u64, Box<tls::Settings>),
    /// The answer about a host.
    Host(String, tls::Answer),
    Subscribe(Member, &'a [u8]),
    Unsubscribe(Member, &'a [u8]),
    Publish(Box<Publish<'a>>),
    SendMany(Box<SendMany<'a>>),
    /// How many subscribers a topic has; the answer carries the first number.
    Subscribers(u64, &'a [u8]),
    /// Which topics have subscribers; the answer carries the number.
    Topics(u64),
    /// What has been counted; the answer carries the number.
    Metrics(u64),
    /// Which WebSockets come first, by some measure; the answer carries the number.
    Connections(u64, Box<Query>),
    /// Which WebSockets are meant, by their numbers; likewise.
    Streams(u64, Box<Filter>),
    /// Close these with a code and a text; likewise.
    Kick(u64, Box<Kick>),
    /// Tell of the frames of a stream from now on, under a number; and no longer.
    Trace(u64, StreamId, Box<TraceOptions>),
    Untrace(u64, StreamId),
    /// Have a lazy handler begin; the answer carries the number.
    Wake(u64, StreamId),
    /// What the client of this process's WebSocket has sent and was sent; the answer carries the number.
    StatsOf(u64, Pid),
}

/// New values; `None`, the outer one, leaves an option as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetOptions {
    pub idle_timeout: Option<Option<u64>>,
    pub max_frame_size: Option<Option<u64>>,
    pub ping_interval: Option<Option<u64>>,
    pub pong_timeout: Option<u64>,
    pub chunked: Option<bool>,
}

/// What one client has sent, and what it was sent: messages, pings and pongs, and the bytes of their payloads, not compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub messages_received: u64,
    pub bytes_received: u64,
    pub messages_sent: u64,
    pub bytes_sent: u64,
}

/// A process of the VM: number and serial of its identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pid(pub u64);

impl Pid {
    /// No WebSocket's: the VM's first process has it.
    pub const NONE: Self = Self(0);
}

/// Whose subscription it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// The stream's to which the command was sent.
    Itself,
    /// The WebSocket's of this process.
    Process(Pid),
}

/// Frames for the subscribers of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    pub topic: &'a [u8],
    /// Who does not get them.
    pub except: Option<Member>,
    pub frames: Vec<Frame<'a>>,
}

/// Frames for the WebSockets of these processes; those of whom none is here are not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendMany<'a> {
    pub pids: Vec<Pid>,
    pub frames: Vec<Frame<'a>>,
}

/// A frame for many clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    Message(Kind, &'a [u8]),
    Ping(&'a [u8]),
    Pong(&'a [u8]),
}

impl<'a> Frame<'a> {
    pub fn payload(&self) -> &'a [u8] {
        match *self {
            Self::Message(_, payload) | Self::Ping(payload) | Self::Pong(payload) => payload,
        }
    }
}

/// The most that one answer tells of.
pub const MOST_TOLD: usize = 1000;

/// What somebody wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Those that have ended, instead of those that are there.
    pub closed: bool,
    /// The largest come first.
    pub sort: Sort,
    /// How many, [`MOST_TOLD`] at most.
    pub limit: usize,
    pub filter: Filter,
}

/// By what they are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Backlog,
    BytesIn,
    BytesOut,
    Messages,
    Idle,
    Age,
    RoundTrip,
    CreditIn,
    /// How late they ended.
    Closed,
}

/// Which are meant: those to which all of it applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub who: Option<Who>,
    pub state: Option<State>,
    /// An address, and how many of its bits count.
    pub peer: Option<(IpAddr, u8)>,
    /// What the path begins with.
    pub path: Option<Bytes>,
    /// Bytes.
    pub min_backlog: u64,
    /// Milliseconds.
    pub min_idle: u64,
    /// Milliseconds.
    pub min_age: u64,
}

/// One WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Stream(StreamId),
    Process(Pid),
}

/// How a WebSocket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    /// The same, and its handler has not begun.
    Lazy,
    /// Its client does not take all that there is for it.
    Blocked,
    /// Its end has been told, and its close frame is on its way.
    Closing,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Lazy => "lazy",
            Self::Blocked => "blocked",
            Self::Closing => "closing",
        }
    }
}

/// What is told of a client's frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceOptions {
    /// How many, at most.
    pub frames: u64,
    /// For so long at most, in milliseconds.
    pub time: u64,
    /// Bytes of each payload.
    pub content: u64,
}

/// WebSockets to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kick {
    pub streams: Vec<StreamId>,
    pub code: u16,
    pub text: Bytes,
}

/// A packet that is not of the protocol: a bug on one of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;
