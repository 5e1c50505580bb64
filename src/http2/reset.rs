//! How a stream that was reset has ended, as the VM is told.

use std::task::{Context, Poll, Waker};

use h2::{Reason, RecvStream};

use crate::port::message;

/// Who has reset the stream with this code: h2 says it by the body alone.
pub fn reason(body: &mut RecvStream, code: Reason) -> message::Reason {
    let code = name(code);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match body.poll_data(&mut cx) {
            Poll::Ready(Some(Ok(_))) => {} // It came before.
            Poll::Ready(Some(Err(error))) if error.is_go_away() => return message::Reason::Connection(code),
            Poll::Ready(Some(Err(error))) if error.is_library() => return message::Reason::Stream(code),
            _ => return message::Reason::Reset(code),
        }
    }
}

/// The name by which Erlang calls it (Cowlib's `cow_http2`).
fn name(reason: Reason) -> &'static str {
    match reason {
        Reason::NO_ERROR => "no_error",
        Reason::PROTOCOL_ERROR => "protocol_error",
        Reason::INTERNAL_ERROR => "internal_error",
        Reason::FLOW_CONTROL_ERROR => "flow_control_error",
        Reason::SETTINGS_TIMEOUT => "settings_timeout",
        Reason::STREAM_CLOSED => "stream_closed",
        Reason::FRAME_SIZE_ERROR => "frame_size_error",
        Reason::REFUSED_STREAM => "refused_stream",
        Reason::CANCEL => "cancel",
        Reason::COMPRESSION_ERROR => "compression_error",
        Reason::CONNECT_ERROR => "connect_error",
        Reason::ENHANCE_YOUR_CALM => "enhance_your_calm",
        Reason::INADEQUATE_SECURITY => "inadequate_security",
        Reason::HTTP_1_1_REQUIRED => "http_1_1_required",
        _ => "unknown_error",
    }
}
