//! An exchange in hyper's hands: what of it has been written, and how it ends.

use std::ops::Deref;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::connection::Connection;
use super::exchange::Exchange;

/// An exchange that hyper has not done with. Its end, whatever the reason, is noticed here.
pub struct Ongoing {
    pub(super) connection: Rc<Connection>,
    pub(super) exchange: Rc<Exchange>,
}

impl Ongoing {
    /// Ready when hyper holds so little of the response that it may have more.
    pub fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        self.connection.wire.borrow_mut().poll_room(cx)
    }

    /// Hyper is given so many bytes of the response.
    pub fn hand(&self, bytes: usize) {
        self.connection.wire.borrow_mut().hand(bytes);
    }

    /// A piece of the response has left: gives the VM its part of the window back.
    pub fn taken(&self, cost: usize) {
        self.hand(cost);
        self.exchange.taken(cost, &self.connection.server.streams);
    }
}

impl Deref for Ongoing {
    type Target = Exchange;

    fn deref(&self) -> &Exchange {
        &self.exchange
    }
}

impl Drop for Ongoing {
    /// Of a response without a body hyper wants nothing but its head: the VM may have the rest still to say.
    fn drop(&mut self) {
        let Self { connection, exchange } = self;
        let goes_on =
            exchange.is_bodiless() && !exchange.is_over() && !exchange.is_aborted() && !exchange.is_given_up();
        if goes_on {
            connection.is_for_the_vm.set(true);
        } else {
            connection.end(exchange);
        }
    }
}
