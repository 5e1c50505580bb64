//! Counts connections by the client's address, up to a limit for each. In the event loop's thread; no I/O.
//!
//! Comes in: the address of a new connection. Goes out: a [`Visit`] that counts until it is dropped, or [`Full`]. An IPv6
//! client counts by its /64, the least that a network gives to one customer, an IPv4 client on an IPv6 socket by its IPv4
//! address. A Unix socket's client has no address and is not counted.
//!
//! The table is keyed by what clients can choose from, so its hash is the standard library's, which they cannot predict.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

/// The connections of each address.
pub struct Addresses {
    /// Connections of one address; `None` counts nothing.
    max: Option<usize>,
    counts: RefCell<HashMap<IpAddr, usize>>,
}

/// An address has as many connections as it may.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// One connection of an address, until it is dropped.
pub struct Visit {
    addresses: Rc<Addresses>,
    network: IpAddr,
}

impl Addresses {
    pub fn new(max: Option<usize>) -> Rc<Self> {
        Rc::new(Self { max, counts: RefCell::default() })
    }

    /// Counts a connection. `None` where there is nothing to count; boxed, because every connection holds one.
    pub fn enter(self: &Rc<Self>, address: Option<IpAddr>) -> Result<Option<Box<Visit>>, Full> {
        let (Some(max), Some(address)) = (self.max, address) else { return Ok(None) };
        let network = network(address);
        let mut counts = self.counts.borrow_mut();
        let count = counts.get(&network).copied().unwrap_or(0);
        if count >= max {
            return Err(Full);
        }
        counts.insert(network, count + 1);
        Ok(Some(Box::new(Visit { addresses: Rc::clone(self), network })))
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts.borrow_mut();
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
                if counts.len() < counts.capacity() / 4 {
                    counts.shrink_to_fit(); // A flood from many addresses leaves nothing behind.
                }
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn an_address_may_have_as_many_as_the_limit_and_no_more_until_one_has_left() {
        let addresses = Addresses::new(Some(2));
        let first = addresses.enter(ip("192.0.2.1"));
        let _second = addresses.enter(ip("192.0.2.1"));
        assert!(addresses.enter(ip("192.0.2.1")).is_err());
        assert!(addresses.enter(ip("192.0.2.2")).is_ok());
        drop(first);
        assert!(addresses.enter(ip("192.0.2.1")).is_ok());
    }

    #[test]
    fn ipv6_counts_by_its_64_and_a_mapped_address_as_ipv4() {
        for (one, other, same) in [
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
        ] {
            let addresses = Addresses::new(Some(1));
            let _visit = addresses.enter(ip(one));
            assert_eq!(addresses.enter(ip(other)).is_err(), same, "{one} and {other}");
        }
    }

    #[test]
    fn nothing_is_kept_of_who_has_left_and_nothing_counted_without_a_limit_or_an_address() {
        let addresses = Addresses::new(Some(1));
        let visits: Vec<_> = (0..1000).map(|n| addresses.enter(Some(std::net::Ipv4Addr::from(n).into()))).collect();
        assert!(visits.iter().all(Result::is_ok));
        drop(visits);
        assert!(addresses.counts.borrow().capacity() < 8, "{}", addresses.counts.borrow().capacity());
        assert!(matches!(addresses.enter(None), Ok(None)));
        assert!(matches!(Addresses::new(None).enter(ip("192.0.2.1")), Ok(None)));
    }
}
