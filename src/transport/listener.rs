//! The sockets on which clients arrive: TCP or Unix, one type for either.
//!
//! In: [`Options`]. Out: a [`Plain`] socket for each client that is accepted. Runs in the event loop's thread; nothing here blocks.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use socket2::{Domain, Protocol, Type};
use tokio::net::{TcpListener, UnixListener};

use super::plain::{Endpoint, Plain};

/// Where to listen, and with which options of the kernel.
#[derive(Clone, Debug)]
pub struct Options {
    /// All of them are listened on.
    pub addresses: Vec<ListenAddr>,
    /// Listen on a TCP port together with other processes (SO_REUSEPORT).
    pub share_port: Option<Share>,
    /// Connections that the kernel may hold for us before we accept them.
    pub backlog: u32,
    /// TCP_NODELAY.
    pub nodelay: bool,
    /// SO_KEEPALIVE.
    pub keepalive: bool,
    /// SO_SNDBUF in bytes; `None` is the kernel's own choice.
    pub sndbuf: Option<usize>,
    /// SO_RCVBUF in bytes; `None` is the kernel's own choice.
    pub recbuf: Option<usize>,
    /// IPV6_V6ONLY; `None` is the kernel's own choice.
    pub ipv6_only: Option<bool>,
}

impl Options {
    /// From here on a port that is shared is the one that was bound: who listens again joins the others there.
    pub fn stay(&mut self, bound: &[Endpoint]) {
        if self.share_port.is_some() {
            self.share_port = Some(Share::Join);
            self.addresses = bound.iter().map(ListenAddr::from).collect();
        }
    }
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// TCP; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// A Unix socket's path; an old socket there is replaced.
    Unix(PathBuf),
}

impl From<&Endpoint> for ListenAddr {
    fn from(endpoint: &Endpoint) -> Self {
        match endpoint {
            Endpoint::Ip(addr) => Self::Tcp(*addr),
            Endpoint::Local(path) => Self::Unix(path.clone()),
        }
    }
}

impl FromStr for ListenAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("unix: needs a path".into()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| "neither IP:PORT nor unix:PATH".into()),
        }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How a port is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Nobody may listen there yet; others may join.
    Take,
    /// Others may listen there already.
    Join,
}

/// A socket on which clients arrive.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    /// The path is removed when the listener goes.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Binds and listens. An existing Unix socket at the path is replaced, as Ranch does.
    pub fn bind(addr: &ListenAddr, options: &Options) -> io::Result<Self> {
        match addr {
            ListenAddr::Tcp(addr) => {
                let socket = socket2::Socket::new(Domain::for_address(*addr), Type::STREAM, Some(Protocol::TCP))?;
                socket.set_nonblocking(true)?;
                socket.set_reuse_address(true)?;
                if let (Some(only), true) = (options.ipv6_only, addr.is_ipv6()) {
                    socket.set_only_v6(only)?;
                }
                // Inherited by the accepted sockets, which saves system calls for each.
                socket.set_tcp_nodelay(options.nodelay)?;
                socket.set_keepalive(options.keepalive)?;
                if let Some(size) = options.sndbuf {
                    socket.set_send_buffer_size(size)?;
                }
                if let Some(size) = options.recbuf {
                    socket.set_recv_buffer_size(size)?;
                }
                if let Some(share) = options.share_port {
                    if share == Share::Take && addr.port() != 0 {
                        is_free(*addr)?;
                    }
                    socket.set_reuse_port(true)?;
                }
                socket.bind(&(*addr).into())?;
                socket.listen(options.backlog.min(i32::MAX as u32) as i32)?;
                Ok(Self::Tcp(TcpListener::from_std(socket.into())?))
            }
            ListenAddr::Unix(path) => {
                remove_socket(path)?;
                let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
                socket.set_nonblocking(true)?;
                socket.bind(&socket2::SockAddr::unix(path)?)?;
                socket.listen(options.backlog.min(i32::MAX as u32) as i32)?;
                Ok(Self::Unix(UnixListener::from_std(socket.into())?, path.clone()))
            }
        }
    }

    /// Where it listens, with the port that the kernel chose.
    pub fn endpoint(&self) -> io::Result<Endpoint> {
        Ok(match self {
            Self::Tcp(l) => Endpoint::Ip(l.local_addr()?),
            Self::Unix(_, path) => Endpoint::Local(path.clone()),
        })
    }

    /// The next client.
    pub async fn accept(&self) -> io::Result<Plain> {
        match self {
            Self::Tcp(l) => l.accept().await.map(|(s, _)| Plain::Tcp(Box::new(s))),
            Self::Unix(l, _) => l.accept().await.map(|(s, _)| Plain::Unix(Box::new(s))),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = remove_socket(path);
        }
    }
}

/// Fails if somebody listens there, even one who would share it.
fn is_free(addr: SocketAddr) -> io::Result<()> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())
}

/// Removes a socket's file, and nothing but a socket's.
fn remove_socket(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_ip_and_port_or_a_path() {
        assert_eq!("127.0.0.1:80".parse(), Ok(ListenAddr::Tcp(([127, 0, 0, 1], 80).into())));
        assert_eq!("unix:/run/x".parse(), Ok(ListenAddr::Unix("/run/x".into())));
        for bad in ["unix:", "localhost", "127.0.0.1", "[::]", "1.2.3.4:65536"] {
            assert!(bad.parse::<ListenAddr>().is_err(), "{bad}");
        }
    }
}
