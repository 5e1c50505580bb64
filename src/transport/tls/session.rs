//! The records of one TLS connection: what was received in, plaintext out; plaintext in, what is to be sent out. No socket.
//!
//! A connection that waits has no buffer here. Records are decrypted in the buffer into which the caller has read them, and
//! encrypted into the caller's; what is kept is the beginning of a record, or of a handshake message, whose rest has not come.
//!
//! ```text
//!   buffer of `receive`:  | RECORD bytes of room | kept from before | just read |
//!              afterwards: | plaintext ...        |
//! ```

use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CipherSuite, Error, ProtocolVersion, ServerConfig};

use crate::metrics::TlsVersion;

/// Plaintext of one record at most, in bytes (RFC 8446, section 5.1): so far the plaintext is ahead of the record that is
/// being read.
pub const RECORD: usize = 16_384;

/// What a buffer for [`Session::receive`] must hold: room, what is kept (a record of TLS 1.2 with all its expansion, or a
/// handshake message, which rustls bounds), and something to read.
pub const LEAST_BUFFER: usize = RECORD + KEPT + 4096;

/// Bytes that are kept at most: a handshake message of 64 KiB in its records.
const KEPT: usize = 65_536 + 4096;

/// What encryption adds to a record at most: header, type, nonce, tag (TLS 1.2 and 1.3).
const EXPANSION: usize = 5 + 1 + 8 + 16;

/// What may be due before the caller's records: a key update and an alert.
const DUE: usize = 256;

/// What a buffer for [`Session::send`] of so much plaintext must hold.
pub const fn sealed(plaintext: usize) -> usize {
    plaintext + plaintext.div_ceil(RECORD) * EXPANSION + DUE
}

/// One connection.
pub struct Session {
    tls: UnbufferedServerConnection,
    /// Received and not used up.
    kept: Vec<u8>,
    /// The client has said that no more will come (close_notify).
    ended: bool,
    /// Why there is nothing more to be had: rustls, which panics if it is asked in the middle of a message, is not asked again.
    failed: Option<Error>,
}

impl Session {
    /// A connection of which so much has been received.
    pub fn new(config: Arc<ServerConfig>, received: Vec<u8>) -> Result<Self, Error> {
        Ok(Self { tls: UnbufferedServerConnection::new(config)?, kept: received, ended: false, failed: None })
    }

    /// The handshake is not over.
    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// The client has said that no more will come.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    pub fn version(&self) -> Option<TlsVersion> {
        match self.tls.protocol_version()? {
            ProtocolVersion::TLSv1_3 => Some(TlsVersion::Tls13),
            ProtocolVersion::TLSv1_2 => Some(TlsVersion::Tls12),
            _ => None,
        }
    }

    /// The version, and the cipher suite.
    pub fn cipher(&self) -> Option<(&'static str, &'static str)> {
        let version = self.version()?.name();
        let suite = match self.tls.negotiated_cipher_suite()?.suite() {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
            CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
            other => other.as_str()?,
        };
        Some((version, suite))
    }

    /// What ALPN has chosen.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// The client's own certificate, in DER.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.tls.peer_certificates()?.first().map(|certificate| certificate.as_ref())
    }

    /// Lays what is kept into the buffer, and says where the bytes that are read next belong. `None` if there is no room
    /// for any: rustls would have refused what is kept by then.
    pub fn lay(&self, buffer: &mut [u8]) -> Option<usize> {
        let end = RECORD + self.kept.len();
        buffer.get_mut(RECORD..end)?.copy_from_slice(&self.kept);
        (end < buffer.len()).then_some(end)
    }

    /// Uses up what was received: `buffer[RECORD..end]`, as [`Session::lay`] has begun it. Plaintext is then at the front of the
    /// buffer; how much is said. What is to be sent in answer, an alert too where it fails, is appended to `out`.
    pub fn receive(&mut self, buffer: &mut [u8], end: usize, out: &mut Vec<u8>) -> Result<usize, Error> {
        self.works()?;
        let (mut at, mut plain) = (RECORD, 0);
        loop {
            let (front, received) = buffer[..end].split_at_mut(at);
            let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(received);
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.inspect_err(|error| self.failed = Some(error.clone()))?;
                        front[plain..plain + record.payload.len()].copy_from_slice(record.payload);
                        plain += record.payload.len();
                        discard += record.discard;
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(out, |room| data.encode(room));
                    true
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.ended = true;
                    false
                }
                Ok(_) => false, // WriteTraffic, BlockedHandshake; early data is never accepted.
                Err(error) => {
                    self.kept = Vec::new();
                    self.take_alert(out);
                    self.failed = Some(error.clone());
                    return Err(error);
                }
            };
            at += discard;
            if !goes_on {
                break;
            }
        }
        self.kept.clear();
        if self.ended || at == end {
            self.kept = Vec::new();
        } else {
            self.kept.extend_from_slice(&buffer[at..end]);
        }
        Ok(plain)
    }

    /// Encrypts `data`, all of it, into `out`, which must hold [`sealed`] bytes, and says how many it has become.
    pub fn send(&mut self, data: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        self.write(out, |traffic, out| traffic.encrypt(data, out))
    }

    /// Says that no more will be sent (close_notify); as [`Session::send`].
    pub fn end(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        self.write(out, |traffic, out| traffic.queue_close_notify(out))
    }

    fn write(
        &mut self,
        out: &mut [u8],
        mut write: impl FnMut(&mut WriteTraffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<usize, Error> {
        self.works()?;
        let mut written = 0;
        loop {
            // What is kept is shown again, since a handshake message in it is known by its place.
            let UnbufferedStatus { discard, state } = self.tls.process_tls_records(&mut self.kept);
            let done = match state.inspect_err(|error| self.failed = Some(error.clone()))? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let n = write(&mut traffic, &mut out[written..]);
                    written += n.map_err(|error| Error::General(error.to_string()))?;
                    true
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    let n = data.encode(&mut out[written..]);
                    written += n.map_err(|error| Error::General(error.to_string()))?;
                    false
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    false
                }
                ConnectionState::PeerClosed => {
                    self.ended = true;
                    false
                }
                _ => return Err(Error::HandshakeNotComplete), // Closed by both; or nothing may be sent yet.
            };
            self.kept.drain(..discard);
            if done {
                return Ok(written);
            }
        }
    }

    fn works(&self) -> Result<(), Error> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// An alert that is due, before the connection is given up.
    fn take_alert(&mut self, out: &mut Vec<u8>) {
        while self.tls.wants_write() {
            match self.tls.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => append(out, |room| data.encode(room)),
                _ => return,
            }
        }
    }
}

type WriteTraffic<'c> = rustls::unbuffered::WriteTraffic<'c, rustls::server::ServerConnectionData>;

/// Appends what wants so much room as it says.
fn append(out: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let start = out.len();
    if let Err(EncodeError::InsufficientSize(needed)) = encode(&mut []) {
        out.resize(start + needed.required_size, 0);
        let written = encode(&mut out[start..]).unwrap_or_default();
        out.truncate(start + written);
    }
}

#[cfg(test)]
mod tests;
