//! Opening a connection: TCP from one of several loopback addresses, and for a WebSocket the opening handshake
//! (RFC 6455 §4.1), checked as a client must.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use rustls::ClientConfig;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::wire::Wire;

/// One source address has some 28,000 ports by Linux's default; this many connections share one.
const CONNECTIONS_PER_ADDRESS: usize = 10_000;

/// What a client that takes little has for it in its kernel, in bytes.
const LITTLE: usize = 16 * 1024;

/// The segments of an Ethernet, in bytes of payload.
const ETHERNET_MSS: u32 = 1460;

/// The key of RFC 6455 §1.3 and the answer that belongs to it: one key for all, so that nothing is computed here.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A response's head that is longer is refused.
const MAX_HEAD: usize = 8 * 1024;

/// One read of an opening: a record of TLS fits.
const CHUNK: usize = 20 * 1024;

/// Where a server is, and how it is spoken to.
#[derive(Clone)]
pub struct Endpoint {
    /// Its address.
    pub address: SocketAddr,
    /// With TLS.
    pub tls: Option<Arc<ClientConfig>>,
}

/// What connections are opened to.
#[derive(Clone)]
pub struct Target {
    /// The server.
    pub endpoint: Endpoint,
    /// The request's head, which asks for a WebSocket; `None` for connections that stay HTTP.
    upgrade: Option<Vec<u8>>,
    deflate: bool,
    takes_little: bool,
    /// The number of the first connection, where others open some, too.
    first: usize,
}

impl Target {
    /// A WebSocket at `path`, with permessage-deflate (offered as browsers do) or without.
    pub fn websocket(endpoint: &Endpoint, path: &str, deflate: bool) -> Self {
        let offer = match deflate {
            true => "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
            false => "",
        };
        let upgrade = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{offer}\r\n",
            endpoint.address
        );
        Self { endpoint: endpoint.clone(), upgrade: Some(upgrade.into_bytes()), deflate, takes_little: false, first: 0 }
    }

    /// Has the kernel take little of what is sent to those that do not read: on loopback it would be megabytes on both sides.
    pub fn taking_little(self) -> Self {
        Self { takes_little: true, ..self }
    }

    /// Other processes open those before.
    pub fn beginning_with(self, first: usize) -> Self {
        Self { first, ..self }
    }

    /// Whether connections become WebSockets.
    pub fn is_websocket(&self) -> bool {
        self.upgrade.is_some()
    }

    /// The bytes that ask for a WebSocket; none for HTTP.
    pub fn request(&self) -> &[u8] {
        self.upgrade.as_deref().unwrap_or_default()
    }

    /// Plain HTTP/1.1.
    pub fn http(endpoint: &Endpoint) -> Self {
        Self { endpoint: endpoint.clone(), upgrade: None, deflate: false, takes_little: false, first: 0 }
    }
}

/// A connection that is being opened.
pub struct Opening {
    /// The socket.
    pub wire: Wire,
    request_sent: bool,
    head: Vec<u8>,
}

/// How far an opening has come.
pub enum Progress {
    /// To be called again when the socket is ready.
    Pending,
    /// It is open; these bytes came behind the response's head.
    Open(Vec<u8>),
}

impl Opening {
    /// Starts the `number`th connection, which decides its source address: 127.0.0.2 and on.
    pub fn start(target: &Target, number: usize) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).context("opening a socket")?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        choose_port_late(&socket)?;
        if target.takes_little {
            socket.set_recv_buffer_size(LITTLE)?;
            // The server's buffer begins with some segments.
            socket.set_tcp_mss(ETHERNET_MSS)?;
        }
        let address = Ipv4Addr::new(127, 0, 0, 2 + ((target.first + number) / CONNECTIONS_PER_ADDRESS % 250) as u8);
        socket.bind(&SocketAddr::from((address, 0)).into())?;
        match socket.connect(&target.endpoint.address.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error).context("connecting"),
            _ => {}
        }
        let wire = Wire::new(TcpStream::from_std(socket.into()), target.endpoint.tls.as_ref())?;
        Ok(Self { wire, request_sent: false, head: Vec::new() })
    }

    /// Goes on as far as the socket allows.
    pub fn progress(&mut self, target: &Target) -> Result<Progress> {
        if let Some(error) = self.wire.stream.take_error()? {
            return Err(error).context("connecting");
        }
        let mut chunk = [0; CHUNK];
        if !self.request_sent {
            match self.wire.stream.peer_addr() {
                Ok(_) => {}
                Err(error) if is_pending(&error) => return Ok(Progress::Pending),
                Err(error) => return Err(error).context("connecting"),
            }
            if !self.wire.shake_hands(&mut chunk).context("shaking hands")? {
                return Ok(Progress::Pending);
            }
            let request = target.request();
            match self.wire.write(request) {
                Ok(written) if written == request.len() => self.request_sent = true,
                Ok(written) => bail!("a new connection took {written} of {} bytes", request.len()),
                Err(error) if is_pending(&error) => return Ok(Progress::Pending),
                Err(error) => return Err(error).context("asking for the upgrade"),
            }
            if target.upgrade.is_none() {
                return Ok(Progress::Open(Vec::new()));
            }
        }
        loop {
            let Self { wire, head, .. } = self;
            let is_more = wire.read(&mut chunk, |bytes| {
                head.extend_from_slice(bytes);
                Ok(())
            });
            let is_more = is_more.context("waiting for the handshake's answer")?;
            if let Some(end) = memchr::memmem::find(&self.head, b"\r\n\r\n") {
                check_answer(&self.head[..end], target.deflate)?;
                return Ok(Progress::Open(self.head.split_off(end + 4)));
            }
            if self.head.len() > MAX_HEAD {
                bail!("the handshake's answer is longer than {MAX_HEAD} bytes");
            }
            if !is_more {
                return Ok(Progress::Pending);
            }
        }
    }

    /// Ends the connection by a reset, which leaves no TIME_WAIT behind that would use up the ports.
    pub fn reset(self) -> Result<()> {
        SockRef::from(&self.wire.stream).set_linger(Some(std::time::Duration::ZERO)).context("setting SO_LINGER")
    }
}

/// Has the port chosen when the destination is known (IP_BIND_ADDRESS_NO_PORT, ip(7)): else a port that any other
/// connection of this address uses counts as taken, and finding a free one costs more and more.
fn choose_port_late(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    let option = libc::IP_BIND_ADDRESS_NO_PORT;
    // SAFETY: the call reads `size` bytes at the address of `on`, which lives until it returns.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, option, (&raw const on).cast(), size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn is_pending(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}

fn check_answer(head: &[u8], deflate: bool) -> Result<()> {
    let head = std::str::from_utf8(head).context("the handshake's answer")?;
    let header = |name: &str| {
        let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    };
    if !head.starts_with("HTTP/1.1 101") || header("sec-websocket-accept") != Some(ACCEPT) {
        bail!("no WebSocket: {head}");
    }
    let deflates = header("sec-websocket-extensions").is_some_and(|value| value.starts_with("permessage-deflate"));
    if deflates != deflate {
        bail!("asked for permessage-deflate: {deflate}; got it: {deflates}");
    }
    Ok(())
}
