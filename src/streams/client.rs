//! Who a WebSocket's client is: what of its request is kept for those who look at the listener from outside.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use super::moment::Moment;

use crate::port::{TermWriter, endpoint_term};
use crate::transport::Endpoint;

/// Bytes of a path that are kept.
const MAX_PATH: usize = 255;

/// Paths of which it is not looked whether they are in use: twice as many as those that have ended hold.
const FEW_PATHS: usize = 512;

/// A WebSocket's client.
#[derive(Clone)]
pub struct Client {
    pub peer: Peer,
    pub path: Rc<[u8]>,
    pub since: Moment,
}

/// A client's address, in 20 bytes instead of 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    V4(Ipv4Addr, u16),
    V6(Ipv6Addr, u16),
    /// A Unix socket's.
    Local,
}

impl Peer {
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::V4(ip, _) => Some(ip.into()),
            Self::V6(ip, _) => Some(ip.into()),
            Self::Local => None,
        }
    }

    /// `{Ip, Port}` or `{local, <<>>}`.
    pub fn encode(self, w: &mut TermWriter<'_>) {
        let endpoint = match self {
            Self::V4(ip, port) => Endpoint::Ip((ip, port).into()),
            Self::V6(ip, port) => Endpoint::Ip((ip, port).into()),
            Self::Local => Endpoint::Local("".into()),
        };
        endpoint_term(w, &endpoint);
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        match address.ip() {
            IpAddr::V4(ip) => Self::V4(ip, address.port()),
            IpAddr::V6(ip) => Self::V6(ip, address.port()),
        }
    }
}

impl From<&Endpoint> for Peer {
    fn from(endpoint: &Endpoint) -> Self {
        match endpoint {
            Endpoint::Ip(address) => (*address).into(),
            Endpoint::Local(_) => Self::Local,
        }
    }
}

/// The paths of all clients, each once: most listeners have a few, and many clients of each.
#[derive(Default)]
pub struct Paths {
    /// Clients choose them: the hash is the standard library's, which they cannot predict.
    known: RefCell<HashSet<Rc<[u8]>>>,
    /// When there are so many, those that are in use are counted.
    enough: Cell<usize>,
}

impl Paths {
    /// The one of this text, or of its beginning where it is long.
    pub fn get(&self, path: &[u8]) -> Rc<[u8]> {
        let path = &path[..path.len().min(MAX_PATH)];
        if let Some(known) = self.known.borrow().get(path) {
            return Rc::clone(known);
        }
        if self.known.borrow().len() >= self.enough.get() {
            self.forget_unused();
        }
        let new: Rc<[u8]> = path.into();
        self.known.borrow_mut().insert(Rc::clone(&new));
        new
    }

    /// There are `clients` left: where that is far less than there are paths, those go that nobody has.
    pub fn left(&self, clients: usize) {
        if self.known.borrow().len() > FEW_PATHS.max(4 * clients) {
            self.forget_unused();
        }
    }

    fn forget_unused(&self) {
        let mut known = self.known.borrow_mut();
        known.retain(|path| Rc::strong_count(path) > 1);
        known.shrink_to(0);
        self.enough.set(FEW_PATHS.max(2 * known.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_held_once_and_its_beginning_where_it_is_long() {
        let paths = Paths::default();
        assert!(Rc::ptr_eq(&paths.get(b"/a"), &paths.get(b"/a")));
        for length in [254, 255, 256, 8000] {
            assert_eq!(paths.get(&vec![b'x'; length]).len(), length.min(255));
        }
    }

    #[test]
    fn paths_that_nobody_has_any_more_are_not_kept() {
        let paths = Paths::default();
        let held: Vec<_> = (0..1000u32).map(|n| paths.get(&n.to_be_bytes())).collect();
        for n in 1000..100_000u32 {
            paths.get(&n.to_be_bytes());
            assert!(paths.known.borrow().len() <= 2 * held.len() + 1);
        }
        for path in &held {
            assert!(Rc::ptr_eq(path, &paths.get(path)), "one that somebody has is the same");
        }
        drop(held);
        paths.left(100);
        assert_eq!(paths.known.borrow().len(), 0);
    }
}
