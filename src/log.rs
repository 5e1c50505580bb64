//! Where `tracing` events go: up the port into the VM's `logger`, or to stderr where there is no VM.
//!
//! Never to stdout, which carries packets only.

use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::port::Port;
use crate::transport::tls;

thread_local! {
    /// The event loop's port. Events of other threads (file reads) are not logged.
    static PORT: RefCell<Option<Rc<Port>>> = const { RefCell::new(None) };
}

/// Sends events of this thread, from `level` on, to the VM: our own, for those of others have in them what clients have sent.
pub fn to_vm(port: Rc<Port>, level: LevelFilter) {
    PORT.set(Some(port));
    let own = Targets::new().with_target("outrider", level);
    tracing_subscriber::registry().with(ToVm.with_filter(own)).init();
}

/// Writes events to stderr; those that it does not take are lost.
pub fn to_stderr() {
    let stderr = tracing_subscriber::fmt().with_writer(std::io::stderr).log_internal_errors(false);
    stderr.with_max_level(LevelFilter::INFO).init();
}

struct ToVm;

impl<S: Subscriber> Layer<S> for ToVm {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO if event.metadata().target() == tls::ALERTS => "notice",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        PORT.with_borrow(|port| {
            if let Some(port) = port {
                port.log(level, event.metadata().target(), &text.0);
            }
        });
    }
}

/// An event's fields as one line: the message, then `name=value`.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
