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
use rustls::{Error, ServerConfig};

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
}

impl Session {
    /// A connection of which so much has been received.
    pub fn new(config: Arc<ServerConfig>, received: Vec<u8>) -> Result<Self, Error> {
        Ok(Self { tls: UnbufferedServerConnection::new(config)?, kept: received, ended: false })
    }

    /// The handshake is not over.
    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// The client has said that no more will come.
    pub fn has_ended(&self) -> bool {
        self.ended
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
        let (mut at, mut plain) = (RECORD, 0);
        loop {
            let (front, received) = buffer[..end].split_at_mut(at);
            let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(received);
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
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
        let mut written = 0;
        loop {
            // What is kept is shown again, since a handshake message in it is known by its place.
            let UnbufferedStatus { discard, state } = self.tls.process_tls_records(&mut self.kept);
            let done = match state? {
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
mod tests {
    use std::io::{Read, Write};
    use std::path::Path;

    use rustls::client::Resumption;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};

    use super::super::config::{self, Memory};
    use super::super::options::{Identity, Options, Settings};
    use super::*;

    const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

    fn vector(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("test/vectors/tls").join(name)
    }

    fn session() -> Session {
        let identity = Identity::from_files(&vector("server.crt"), &vector("server.key")).expect("files");
        let options: Options = Settings::of(identity).default;
        let config = config::build(&options, &Memory::new(&options).expect("random")).expect("is valid");
        Session::new(config, Vec::new()).expect("begins")
    }

    fn client(version: &'static SupportedProtocolVersion) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(vector("server.crt")).expect("a file")).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
        let mut config = builder.expect("a version").with_root_certificates(roots).with_no_client_auth();
        config.resumption = Resumption::disabled();
        ClientConnection::new(Arc::new(config), "localhost".try_into().expect("a name")).expect("begins")
    }

    /// What the client wants to send.
    fn sent(client: &mut ClientConnection) -> Vec<u8> {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("into memory");
        }
        bytes
    }

    /// Gives the session bytes as the socket does, `step` at a time; says the plaintext.
    fn give(session: &mut Session, bytes: &[u8], step: usize, out: &mut Vec<u8>) -> Result<Vec<u8>, Error> {
        let mut plain = Vec::new();
        let mut buffer = vec![0xee; LEAST_BUFFER];
        for piece in bytes.chunks(step) {
            let at = session.lay(&mut buffer).expect("has room");
            buffer[at..at + piece.len()].copy_from_slice(piece);
            let n = session.receive(&mut buffer, at + piece.len(), out)?;
            plain.extend_from_slice(&buffer[..n]);
        }
        Ok(plain)
    }

    fn take(client: &mut ClientConnection, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).expect("from memory");
            client.process_new_packets()?;
        }
        Ok(())
    }

    fn read(client: &mut ClientConnection, length: usize) -> Vec<u8> {
        let mut plain = vec![0; length];
        client.reader().read_exact(&mut plain).expect("has come");
        plain
    }

    /// Both, behind the handshake, which is cut into pieces of `step` bytes.
    fn shaken(version: &'static SupportedProtocolVersion, step: usize) -> (ClientConnection, Session) {
        let (mut client, mut session) = (client(version), session());
        while client.is_handshaking() || session.is_handshaking() {
            let mut out = Vec::new();
            let bytes = sent(&mut client);
            give(&mut session, &bytes, step, &mut out).expect("is a handshake");
            take(&mut client, &out).expect("is a handshake");
        }
        (client, session)
    }

    /// What `send` makes of data.
    fn encrypt(session: &mut Session, data: &[u8]) -> Vec<u8> {
        let mut out = vec![0; sealed(data.len())];
        let n = session.send(data, &mut out).expect("encrypts");
        out.truncate(n);
        out
    }

    #[test]
    fn records_cut_anywhere_are_read() {
        for version in VERSIONS {
            for step in [1, 2, 5, 6, 100, 4096] {
                let (mut client, mut session) = shaken(version, step);
                let (mut said, mut bytes) = (Vec::new(), Vec::new());
                for size in [0, 1, 15, 200, RECORD - 1, RECORD, RECORD + 1, 3 * RECORD] {
                    client.writer().write_all(&vec![size as u8; size]).expect("into memory");
                    said.extend(vec![size as u8; size]);
                    bytes.extend(sent(&mut client));
                }
                // Each byte alone would take long where the record is long.
                let step = if step < 100 { step.max(bytes.len() / 2000) } else { step };
                let mut out = Vec::new();
                assert!(give(&mut session, &bytes, step, &mut out).expect("is read") == said);
                assert!(out.is_empty() && session.kept.is_empty());
            }
        }
    }

    #[test]
    fn a_record_cut_at_every_byte_is_read_with_its_last() {
        for version in VERSIONS {
            let (mut client, mut session) = shaken(version, 4096);
            for cut in 0..40 {
                client.writer().write_all(b"a message of so many bytes").expect("into memory");
                let bytes = sent(&mut client);
                let cut = cut.min(bytes.len() - 1);
                let mut out = Vec::new();
                assert_eq!(give(&mut session, &bytes[..cut], 4096, &mut out), Ok(Vec::new()));
                // What is sent meanwhile does not disturb it.
                let answer = encrypt(&mut session, b"an answer");
                take(&mut client, &answer).expect("is read");
                assert_eq!(read(&mut client, 9), b"an answer");
                assert_eq!(
                    give(&mut session, &bytes[cut..], 4096, &mut out).expect("is read"),
                    b"a message of so many bytes"
                );
            }
        }
    }

    #[test]
    fn a_connection_that_waits_keeps_nothing() {
        for version in VERSIONS {
            let (mut client, mut session) = shaken(version, 4096);
            client.writer().write_all(&[7; 1000]).expect("into memory");
            let bytes = sent(&mut client);
            give(&mut session, &bytes[..500], 4096, &mut Vec::new()).expect("is read");
            assert_eq!(session.kept.len(), 500);
            give(&mut session, &bytes[500..], 4096, &mut Vec::new()).expect("is read");
            assert_eq!(session.kept.capacity(), 0);
        }
    }

    #[test]
    fn what_is_encrypted_fits_and_is_read() {
        for version in VERSIONS {
            let (mut client, mut session) = shaken(version, 4096);
            for size in [1, 200, RECORD - 1, RECORD, RECORD + 1, 4 * RECORD] {
                let data: Vec<u8> = (0..size).map(|at| at as u8).collect();
                let bytes = encrypt(&mut session, &data);
                let mut rest = &bytes[..];
                let mut plain = Vec::new();
                while !rest.is_empty() {
                    client.read_tls(&mut rest).expect("from memory");
                    let ready = client.process_new_packets().expect("is read").plaintext_bytes_to_read();
                    plain.extend(read(&mut client, ready));
                }
                assert!(plain == data, "{size}");
            }
        }
    }

    #[test]
    fn a_key_update_is_followed_and_answered() {
        let (mut client, mut session) = shaken(&version::TLS13, 4096);
        for round in 0..40u8 {
            client.refresh_traffic_keys().expect("may be asked for");
            client.writer().write_all(&[round; 10]).expect("into memory");
            let bytes = sent(&mut client);
            // Cut inside the update, too.
            let mut out = Vec::new();
            assert_eq!(give(&mut session, &bytes, 3, &mut out).expect("is read"), [round; 10]);
            let answer = encrypt(&mut session, &[round; 5]);
            take(&mut client, &answer).expect("is read");
            assert_eq!(read(&mut client, 5), [round; 5]);
        }
    }

    #[test]
    fn nobody_makes_us_update_keys_for_ever() {
        let (mut client, mut session) = shaken(&version::TLS13, 4096);
        let mut out = Vec::new();
        let end = (0..100).find_map(|_| {
            client.refresh_traffic_keys().expect("may be asked for");
            let bytes = sent(&mut client);
            give(&mut session, &bytes, 4096, &mut out).err()
        });
        assert!(end.is_some());
        assert!(out.len() < 100, "an alert and no more: {}", out.len());
    }

    #[test]
    fn a_close_notify_ends_one_direction() {
        for version in VERSIONS {
            let (mut client, mut session) = shaken(version, 4096);
            client.writer().write_all(b"the last").expect("into memory");
            client.send_close_notify();
            let bytes = sent(&mut client);
            assert_eq!(give(&mut session, &bytes, 4096, &mut Vec::new()).expect("is read"), b"the last");
            assert!(session.has_ended());
            let answer = encrypt(&mut session, b"still sent");
            take(&mut client, &answer).expect("is read");
            assert_eq!(read(&mut client, 10), b"still sent");
            let mut out = vec![0; sealed(0)];
            let n = session.end(&mut out).expect("encrypts");
            take(&mut client, &out[..n]).expect("is read");
            assert_eq!(client.reader().read(&mut [0]).expect("a clean end"), 0);
        }
    }

    #[test]
    fn what_is_no_record_is_answered_with_an_alert() {
        for version in VERSIONS {
            for flipped in [0, 1, 3, 20] {
                let (mut client, mut session) = shaken(version, 4096);
                client.writer().write_all(b"a message").expect("into memory");
                let mut bytes = sent(&mut client);
                bytes[flipped] ^= 0x80;
                let mut out = Vec::new();
                // A length that is larger now waits for the rest.
                if give(&mut session, &bytes, 4096, &mut out).is_err() {
                    assert!(take(&mut client, &out).is_err(), "an alert");
                    assert!(session.kept.is_empty());
                }
            }
        }
        let mut out = Vec::new();
        assert!(give(&mut session(), b"GET / HTTP/1.1\r\n\r\n", 4096, &mut out).is_err());
    }

    #[test]
    fn an_endless_handshake_is_given_up() {
        // A ClientHello that says it has 16 MiB, in records of one byte.
        let message = [&[1, 0xff, 0xff, 0xff][..], &[0; 200_000]].concat();
        let records: Vec<u8> = message.iter().flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect();
        let mut session = session();
        let mut buffer = vec![0; LEAST_BUFFER];
        for piece in records.chunks(600) {
            let Some(at) = session.lay(&mut buffer).filter(|at| at + piece.len() <= buffer.len()) else { return };
            buffer[at..at + piece.len()].copy_from_slice(piece);
            if session.receive(&mut buffer, at + piece.len(), &mut Vec::new()).is_err() {
                return;
            }
            assert!(session.kept.len() <= LEAST_BUFFER);
        }
        panic!("it has taken {} bytes", records.len());
    }
}
