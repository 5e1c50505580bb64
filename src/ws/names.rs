//! The protocol's names and numbers (RFC 6455), as tungstenite has them. Its only importer.

pub use tungstenite::handshake::derive_accept_key;
pub use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
