//! How much a client may send at a time.

/// The limits of one WebSocket.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The longest frame, and the longest message after inflation, in bytes; equal is allowed. `u64::MAX`: no limit.
    pub max_frame_size: u64,
    /// Refuse text and close reasons that are not UTF-8.
    pub validate_utf8: bool,
    /// The most frames of one message.
    pub max_fragments: u32,
}
