//! What the log says of a client whose message was too large: such a one often comes back and sends it again, for ever, and
//! whoever reads the log may not know that there is a limit. Once a minute at most, for all clients of this process.

use std::time::Instant;

use tracing::warn;

use crate::gate::rate::Seldom;
use crate::transport::Channel;
use crate::ws::Error;

thread_local! {
    static SAID: Seldom = Seldom::default();
}

/// Warns of the message, and names the option that sets its limit; of another error, nothing.
pub fn warn(socket: &Channel, error: &Error) {
    let option = match error {
        Error::LongFrame { .. } | Error::LongMessage { .. } => "the handler's websocket option max_frame_size",
        Error::ManyFragments(_) => "the transport option max_fragments",
        _ => return,
    };
    if SAID.with(|said| said.is_due(Instant::now()))
        && let Ok((peer, _)) = socket.endpoints()
    {
        warn!("a WebSocket of {peer} is closed with 1009: {error} by {option}");
    }
}
