//! The body of a request: how much of it the VM wants, and who reads it from the client.

use std::cell::Cell;
use std::task::{Context, Poll, Waker};

use crate::http::request::RequestHead;

/// See above. Shared by whoever reads the body and whoever carries out the VM's commands.
pub struct Intake {
    /// Bytes that may still be sent to the VM.
    flow: Cell<u64>,
    /// The client waits for `100 Continue`, and nothing has come.
    expects_continue: Cell<bool>,
    /// All of it has come.
    ended: Cell<bool>,
    abandoned: Cell<bool>,
    reader: Cell<Option<Waker>>,
}

impl Intake {
    /// The body of the request that begins with `head`; `flow` bytes may be sent before the handler asks.
    pub fn new(head: &RequestHead, flow: u64) -> Self {
        Self {
            flow: Cell::new(flow),
            expects_continue: Cell::new(head.has_body() && head.expects_continue()),
            ended: Cell::new(!head.has_body()),
            abandoned: Cell::new(false),
            reader: Cell::default(),
        }
    }

    /// So many bytes more may be sent to the VM.
    pub fn allow(&self, bytes: u64) {
        self.flow.set(self.flow.get().saturating_add(bytes));
        self.wake();
    }

    /// So many bytes were sent to the VM.
    pub fn spend(&self, bytes: u64) {
        self.flow.set(self.flow.get().saturating_sub(bytes));
    }

    /// How much may be sent to the VM; ready when it is not nothing, or the body is to be skipped.
    pub fn poll_flow(&self, cx: &Context<'_>, is_skipped: bool) -> Poll<u64> {
        if self.flow.get() == 0 && !is_skipped {
            self.reader.set(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        Poll::Ready(self.flow.get())
    }

    /// Whether the client may send the body or leave it out, because nobody has said `100 Continue`.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue.get()
    }

    /// The same, for whoever says it now.
    pub fn take_expects_continue(&self) -> bool {
        self.expects_continue.take()
    }

    /// Some of it has come, or `100 Continue` was said.
    pub fn begin(&self) {
        self.expects_continue.set(false);
    }

    /// The last of it has come.
    pub fn end(&self) {
        self.ended.set(true);
    }

    /// Whether all of it has come.
    pub fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Nobody waits for the rest: the connection ends.
    pub fn abandon(&self) {
        self.abandoned.set(true);
        self.wake();
    }

    /// Ready when the rest is not to be waited for.
    pub fn poll_abandoned(&self, cx: &Context<'_>) -> Poll<()> {
        if self.abandoned.get() {
            return Poll::Ready(());
        }
        self.reader.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// Whoever reads it has something to do.
    pub fn wake(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}
