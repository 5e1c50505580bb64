//! Tells the application of requests that were refused: of as many in a second as it can well hear of, and of how many
//! there were.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Instant;

use super::head::{Known, Refusal};
use super::request::ConnectionInfo;
use crate::gate::rate::Rate;
use crate::metrics::{Limit, count, reached};
use crate::port::{TermWriter, endpoint_term};
use crate::streams::application::Application;

/// Requests in a second of which more is told than that they were.
const RATE: NonZeroU32 = NonZeroU32::new(100).unwrap();

/// The refused requests of all connections.
pub struct Refusals {
    rate: Rate,
    /// Of which nothing has been told.
    untold: Cell<u64>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { rate: Rate::new(RATE, Instant::now()), untold: Cell::new(0) }
    }
}

impl Refusals {
    /// Counts a request that was refused, the connection's `number`th, and tells of it if it may. Only then is asked what is
    /// `known` of it.
    pub fn add<'a>(
        &self,
        app: &dyn Application,
        refusal: Refusal,
        info: &ConnectionInfo,
        number: u64,
        known: impl FnOnce() -> Option<Known<'a>>,
    ) {
        count(|metrics| metrics.refused(refusal.status));
        if let Some(limit) = refusal.limit {
            reached(limit);
        }
        self.untold.set(self.untold.get() + 1);
        let now = Instant::now();
        if !self.rate.wait(now).is_zero() || app.is_congested() {
            return;
        }
        self.rate.take(now);
        let known = known();
        app.refused(self.untold.replace(0), refusal.status, &|w| encode(info, number, refusal, known.as_ref(), w));
    }
}

/// Appends what is known of the request, by the keys of `Req`.
fn encode(info: &ConnectionInfo, number: u64, refusal: Refusal, known: Option<&Known<'_>>, w: &mut TermWriter<'_>) {
    w.map(3 + usize::from(info.proxy_header.is_some()) + if known.is_some() { 5 } else { 0 });
    w.atom("peer");
    endpoint_term(w, &info.peer);
    w.atom("streamid").integer(number);
    w.atom("limit").atom(refusal.limit.map_or("undefined", Limit::name));
    if let Some(header) = &info.proxy_header {
        w.atom("proxy_header").binary(header);
    }
    if let Some(Known { method, path, query, http11, headers }) = known {
        w.atom("method").binary(method);
        w.atom("path").binary(path);
        w.atom("qs").binary(query);
        w.atom("version").atom(if *http11 { "HTTP/1.1" } else { "HTTP/1.0" });
        w.atom("headers").map(headers.len());
        for (name, value) in headers {
            w.binary(name).binary(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Port;
    use crate::transport::Endpoint;

    #[test]
    fn a_head_is_looked_at_again_only_if_it_is_told_of() {
        let (refusals, port) = (Refusals::default(), Port::default());
        let end = Endpoint::Ip(([127, 0, 0, 1], 1).into());
        let info = ConnectionInfo {
            client: (&end).into(),
            peer: end.clone(),
            sock: end,
            secure: false,
            cert: None,
            proxy_header: None,
        };
        let asked = Cell::new(0);
        let refuse = || {
            refusals.add(&port, Refusal::new(400), &info, 1, || {
                asked.set(asked.get() + 1);
                None
            });
        };
        refuse();
        assert_eq!(asked.get(), 1);
        while !port.is_congested() {
            port.part(1, &[0; 65_536]);
        }
        refuse();
        assert_eq!(asked.get(), 1, "while the VM reads nothing, nobody is told");
        assert_eq!(refusals.untold.get(), 1);
    }
}
