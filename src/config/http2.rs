//! Flags of HTTP/2, named as Cowboy's options.

use clap::Args;

use super::value::{OrInfinity, Rate, Timeout};
use crate::http2;
use crate::transport::line::frames;

/// The largest window of HTTP/2 (RFC 9113, 6.9.1).
const WINDOW: i64 = 0x7fff_ffff;

/// What a connection of HTTP/2 may cost.
#[derive(Args, Clone, Debug)]
pub struct Http2 {
    /// HTTP/2: take extended CONNECT, by which a stream becomes a WebSocket (RFC 8441).
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub enable_connect_protocol: bool,
    /// HTTP/2: streams of one connection at a time.
    #[arg(long, default_value = "100", value_name = "N")]
    pub max_concurrent_streams: OrInfinity<u32>,
    /// HTTP/2: bytes that a client may send on one stream before they are used up.
    #[arg(long, default_value_t = 65_535, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(..=WINDOW))]
    pub initial_stream_window_size: u32,
    /// HTTP/2: the same on all streams of a connection, at least.
    #[arg(long, default_value_t = 65_535, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(65_535..=WINDOW))]
    pub initial_connection_window_size: u32,
    /// HTTP/2: the same, at most.
    #[arg(long, default_value_t = 8_388_608, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(..=WINDOW))]
    pub max_connection_window_size: u32,
    /// HTTP/2: bytes of a frame's payload.
    #[arg(long, default_value_t = 16_384, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(16_384..=16_777_215))]
    pub max_frame_size_received: u32,
    /// HTTP/2: bytes of the table by which a client compresses header fields.
    #[arg(long, default_value_t = 4096, value_name = "BYTES")]
    pub max_decode_table_size: u32,
    /// HTTP/2: bytes of a request's header fields, compressed; uncompressed they may be twice as many.
    #[arg(long, default_value_t = 32_768, value_name = "BYTES")]
    pub max_fragmented_header_block_size: usize,
    /// HTTP/2: frames of one client, as N:MS: fewer than N in so many ms, or N:infinity.
    #[arg(long, default_value = "10000:10000", value_name = "N:MS")]
    pub max_received_frame_rate: Rate,
    /// HTTP/2: streams that are reset for a client's errors, likewise.
    #[arg(long, default_value = "10:10000", value_name = "N:MS")]
    pub max_reset_stream_rate: Rate,
    /// HTTP/2: streams that a client resets, likewise.
    #[arg(long, default_value = "500:10000", value_name = "N:MS")]
    pub max_cancel_stream_rate: Rate,
    /// HTTP/2: from the beginning to the client's settings, in ms or infinity.
    #[arg(long, default_value = "5000", value_name = "MS")]
    pub preface_timeout: Timeout,
    /// HTTP/2: from the beginning to the client's word that it has our settings, in ms or infinity.
    #[arg(long, default_value = "5000", value_name = "MS")]
    pub settings_timeout: Timeout,
}

impl Http2 {
    /// The options of the part that speaks it. `max_headers` and `max_authority_length` are those of HTTP/1.1.
    pub fn options(&self, max_headers: usize, max_authority_length: usize) -> http2::Options {
        http2::Options {
            max_concurrent_streams: self.max_concurrent_streams.0,
            initial_stream_window_size: self.initial_stream_window_size,
            initial_connection_window_size: self.initial_connection_window_size,
            max_connection_window_size: self.max_connection_window_size,
            max_frame_size_received: self.max_frame_size_received,
            max_decode_table_size: self.max_decode_table_size,
            enable_connect_protocol: self.enable_connect_protocol,
            max_headers,
            max_authority_length,
            preface_timeout: self.preface_timeout.0,
            settings_timeout: self.settings_timeout.0,
            limits: frames::Limits {
                received: self.max_received_frame_rate.0,
                cancelled: self.max_cancel_stream_rate.0,
                reset: self.max_reset_stream_rate.0,
                header_block: self.max_fragmented_header_block_size,
            },
        }
    }
}
