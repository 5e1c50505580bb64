//! What numbers are about: the names by which the VM knows them.

/// What one of the numbers of a metric is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Label {
    Name(&'static str),
    Number(u64),
}

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum $name { $($variant),* }

        impl $name {
            const NAMES: &[&'static str] = &[$($text),*];
            pub const COUNT: usize = Self::NAMES.len();

            pub fn name(self) -> &'static str {
                Self::NAMES[self as usize]
            }

            pub(super) fn label(at: usize) -> Label {
                Label::Name(Self::NAMES[at])
            }
        }
    };
}

labels! {
    /// What a frame is.
    Opcode { Text = "text", Binary = "binary", Ping = "ping", Pong = "pong", }
}

labels! {
    /// What bounds a client, by the name of the option, or of what the machine has, or of the error with which h2 ends a connection by
    /// itself.
    Limit {
        MaxConnections = "max_connections",
        MaxSockets = "max_sockets",
        MaxSocketsPerAddress = "max_sockets_per_address",
        MaxAcceptRate = "max_accept_rate",
        FileDescriptors = "file_descriptors",
        FileTimeout = "file_timeout",
        ProxyHeader = "proxy_header",
        HandshakeTimeout = "handshake_timeout",
        RequestTimeout = "request_timeout",
        MaxEmptyLines = "max_empty_lines",
        MaxRequestLineLength = "max_request_line_length",
        MaxMethodLength = "max_method_length",
        MaxAuthorityLength = "max_authority_length",
        MaxHeaders = "max_headers",
        MaxHeaderNameLength = "max_header_name_length",
        MaxHeaderValueLength = "max_header_value_length",
        MaxAuthorizationHeaderValueLength = "max_authorization_header_value_length",
        MaxCookieHeaderValueLength = "max_cookie_header_value_length",
        MaxSkipBodyLength = "max_skip_body_length",
        MaxReceivedFrameRate = "max_received_frame_rate",
        MaxCancelStreamRate = "max_cancel_stream_rate",
        MaxResetStreamRate = "max_reset_stream_rate",
        MaxFragmentedHeaderBlockSize = "max_fragmented_header_block_size",
        MaxConcurrentStreams = "max_concurrent_streams",
        EnhanceYourCalm = "enhance_your_calm",
        PrefaceTimeout = "preface_timeout",
        SettingsTimeout = "settings_timeout",
        IdleTimeout = "idle_timeout",
        PongTimeout = "pong_timeout",
        SendTimeout = "send_timeout",
        MaxFrameSize = "max_frame_size",
        MaxFragments = "max_fragments",
        MaxBacklog = "max_backlog",
        MaxQueued = "max_queued",
        MaxTopics = "max_topics",
        MaxTopicsPerClient = "max_topics_per_client",
    }
}

labels! {
    /// What a client with TLS speaks.
    TlsVersion { Tls13 = "tlsv1.3", Tls12 = "tlsv1.2", }
}

labels! {
    /// Why a handshake of TLS has failed.
    TlsFailure {
        Timeout = "timeout",
        Lost = "lost",
        NotTls = "not_tls",
        UnknownName = "unknown_name",
        Incompatible = "incompatible",
        Certificate = "certificate",
        Alert = "alert",
        Protocol = "protocol",
    }
}
