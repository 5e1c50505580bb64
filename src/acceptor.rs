//! Takes clients in: listens, accepts, and stops doing so when the VM orders it.
//!
//! Accepting pauses, and clients wait in the kernel's backlog, while `max_connections` HTTP connections or `max_sockets`
//! connections of any kind are open, while `max_accept_rate` came in the last second, while the VM reads nothing, and for a
//! moment when the process or the machine has no file descriptor left. A pause costs nothing, and nobody is lost by
//! it who has patience.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::task::JoinSet;
use tracing::debug;

use crate::gate::{Gate, Permit};
use crate::streams::application::{Application, ready};
use crate::transport::listener::{ListenAddr, Options};
use crate::transport::{Endpoint, Listener, Plain};

/// How long accepting pauses when there is no file descriptor or memory left.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct ListenError {
    pub address: ListenAddr,
    pub error: io::Error,
}

/// Binds all addresses.
pub fn bind(options: &Options) -> Result<Vec<Listener>, ListenError> {
    let bind = |address: &ListenAddr| {
        Listener::bind(address, options).map_err(|error| ListenError { address: address.clone(), error })
    };
    options.addresses.iter().map(bind).collect()
}

/// Where these listen.
pub fn endpoints(listeners: &[Listener]) -> io::Result<Vec<Endpoint>> {
    listeners.iter().map(Listener::endpoint).collect()
}

/// The name by which Erlang calls an error of bind and listen.
pub fn posix(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "eaddrinuse",
        io::ErrorKind::AddrNotAvailable => "eaddrnotavail",
        io::ErrorKind::PermissionDenied => "eacces",
        io::ErrorKind::NotFound => "enoent",
        _ => match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE) => "emfile",
            Some(Errno::NFILE) => "enfile",
            Some(Errno::NOBUFS) => "enobufs",
            Some(Errno::NOMEM) => "enomem",
            Some(Errno::NOTDIR) => "enotdir",
            Some(Errno::ROFS) => "erofs",
            _ => "einval",
        },
    }
}

/// Is told where we listen after each order, or why that cannot be.
pub type Tell = Box<dyn Fn(Result<&[Endpoint], ListenError>)>;

/// What the acceptor works with, and for.
pub struct Acceptor {
    /// Where to listen.
    pub options: Options,
    /// Who may come in, and when.
    pub gate: Rc<Gate>,
    /// While it is congested nobody is accepted.
    pub app: Rc<dyn Application>,
    /// Serves a client that has come in, in a task of its own. The permits count it as a connection that speaks HTTP, and as
    /// one of any kind.
    pub serve: Box<dyn Fn(Plain, Permit, Permit)>,
    pub tell: Tell,
}

/// Accepts clients for ever, except while suspended: then there are no listeners. Says where it listens after each order,
/// even if nothing has changed. Dropping this future closes the listeners.
pub async fn run(acceptor: Acceptor, mut listeners: Option<Vec<Listener>>) {
    let acceptor = Rc::new(acceptor);
    let gate = &acceptor.gate;
    let tell = |listening: Result<&[Endpoint], ListenError>| {
        gate.has_obeyed();
        (acceptor.tell)(listening);
    };
    loop {
        match (gate.is_suspended(), listeners.take()) {
            (false, Some(open)) => {
                let open = accept(&acceptor, open).await;
                if !gate.is_suspended() {
                    tell(Ok(&endpoints(&open).unwrap_or_default()));
                }
                listeners = Some(open);
            }
            (false, None) => match bind(&acceptor.options) {
                Ok(open) => {
                    tell(Ok(&endpoints(&open).unwrap_or_default()));
                    listeners = Some(open);
                }
                Err(failure) => {
                    tell(Err(failure));
                    gate.begin(true);
                }
            },
            (true, Some(open)) => {
                drop(open);
                tell(Ok(&[]));
            }
            (true, None) => {
                gate.ordered().await;
                if gate.is_suspended() {
                    tell(Ok(&[]));
                }
            }
        }
    }
}

/// Accepts until the gate changes, then gives the listeners back.
async fn accept(acceptor: &Rc<Acceptor>, listeners: Vec<Listener>) -> Vec<Listener> {
    let listeners: Vec<_> = listeners.into_iter().map(Rc::new).collect();
    let mut accepting = JoinSet::new(); // Its tasks end with it.
    for listener in &listeners {
        accepting.spawn_local(accept_on(Rc::clone(acceptor), Rc::clone(listener)));
    }
    acceptor.gate.ordered().await;
    accepting.shutdown().await;
    listeners.into_iter().filter_map(|listener| Rc::try_unwrap(listener).ok()).collect()
}

async fn accept_on(acceptor: Rc<Acceptor>, listener: Rc<Listener>) {
    let Acceptor { gate, app, serve, .. } = &*acceptor;
    loop {
        gate.has_room().await;
        ready(&**app).await;
        match listener.accept().await {
            Ok(socket) => {
                let (connection, any) = gate.admit();
                serve(socket, connection, any);
            }
            Err(error) if is_exhaustion(&error) => {
                gate.warn_exhausted(&error);
                tokio::time::sleep(EXHAUSTED).await;
            }
            Err(error) => debug!(%error, "a client left before it was accepted"),
        }
    }
}

/// Whether accepting fails for want of file descriptors or memory, and not because of one client.
fn is_exhaustion(error: &io::Error) -> bool {
    let exhaustion = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    exhaustion.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_had_for_want_of_something_says_of_what() {
        for (errno, name) in [
            (Errno::ADDRINUSE, "eaddrinuse"),
            (Errno::ACCESS, "eacces"),
            (Errno::PERM, "eacces"),
            (Errno::NOENT, "enoent"),
            (Errno::MFILE, "emfile"),
            (Errno::NFILE, "enfile"),
            (Errno::NOBUFS, "enobufs"),
            (Errno::NOMEM, "enomem"),
            (Errno::NOTDIR, "enotdir"),
            (Errno::ROFS, "erofs"),
            (Errno::INVAL, "einval"),
        ] {
            assert_eq!(posix(&errno.into()), name);
        }
    }
}
