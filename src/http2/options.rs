//! How HTTP/2 is spoken, by Cowboy's names; `None` is infinity.

use std::time::Duration;

use h2::server::Builder;

use crate::transport::line::{MOST_HANDED, frames};

/// Streams that a client may have reset before we have looked at them.
const MOST_RESET_UNSEEN: usize = 100;

/// Small DATA frames that nobody has read, in bytes that they cost beyond what is in them, for each byte of the connection's
/// window.
const FRAME_COST: usize = 2;

/// What holds for all connections.
#[derive(Clone, Debug)]
pub struct Options {
    pub max_concurrent_streams: Option<u32>,
    /// Bytes that a client may send on a stream before they are used up.
    pub initial_stream_window_size: u32,
    /// The same on all streams together: what all of them may have, up to `max_connection_window_size`, but at least this.
    pub initial_connection_window_size: u32,
    pub max_connection_window_size: u32,
    pub max_frame_size_received: u32,
    /// Bytes of the table by which a client compresses header fields.
    pub max_decode_table_size: u32,
    /// RFC 8441.
    pub enable_connect_protocol: bool,
    /// Header lines of one request.
    pub max_headers: usize,
    pub max_authority_length: usize,
    /// From the beginning to the client's settings.
    pub preface_timeout: Option<Duration>,
    /// From the beginning to the client's word that it has our settings.
    pub settings_timeout: Option<Duration>,
    pub limits: frames::Limits,
}

impl Options {
    /// h2 with these options.
    pub fn builder(&self) -> Builder {
        let stream = self.initial_stream_window_size;
        let all = self.max_concurrent_streams.map_or(u32::MAX, |streams| streams.saturating_mul(stream));
        let window = all.min(self.max_connection_window_size).max(self.initial_connection_window_size);
        let mut builder = Builder::new();
        builder
            .initial_window_size(stream)
            .initial_connection_window_size(window)
            .max_frame_size(self.max_frame_size_received)
            .header_table_size(self.max_decode_table_size)
            .max_header_list_size(self.max_header_list_size())
            .max_send_buffer_size(MOST_HANDED)
            .max_pending_accept_reset_streams(MOST_RESET_UNSEEN)
            .max_local_error_reset_streams(None) // `limits.reset`
            .data_frame_budget((window as usize).saturating_mul(FRAME_COST));
        if let Some(max) = self.max_concurrent_streams {
            builder.max_concurrent_streams(max);
        }
        if self.enable_connect_protocol {
            builder.enable_connect_protocol();
        }
        builder
    }

    /// Bytes of all fields of a request, uncompressed: twice what they may be in frames. As many get 431 by h2, though it announces them.
    fn max_header_list_size(&self) -> u32 {
        u32::try_from(self.limits.header_block.saturating_mul(2)).unwrap_or(u32::MAX)
    }
}
