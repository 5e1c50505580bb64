//! A client's bytes on the socket: as they are, or with TLS.
//!
//! TLS is kept cheap: records are decrypted where they were read and handed over from there, and of the server's certificate
//! nothing is verified, since that would be the generator's work and not the server's.

use std::io::{self, Read, Write};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CipherSuite, DigitallySignedStruct, Error, SignatureScheme};

/// Plaintext that is encrypted at a time.
const CHUNK: usize = 64 * 1024;

/// What encryption adds to [`CHUNK`] at most, and what may be due before it.
const EXPANSION: usize = 1024;

/// How clients meet a server that speaks TLS: each as one that was never there before, and with AES-128 as their first wish, as
/// browsers have it.
pub fn client_config() -> Result<Arc<ClientConfig>> {
    let mut provider = ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    let provider = Arc::new(provider);
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let verifier = Arc::new(Anybody(provider));
    let mut config = config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The name that every server has.
pub fn server_name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("it is one")
}

/// A non-blocking socket.
pub struct Wire {
    /// To be registered for reading and writing.
    pub stream: TcpStream,
    tls: Option<Box<Tls>>,
}

impl Wire {
    /// One without TLS, or with TLS whose handshake is to come.
    pub fn new(stream: TcpStream, config: Option<&Arc<ClientConfig>>) -> Result<Self> {
        let tls = config.map(|config| {
            let connection = UnbufferedClientConnection::new(Arc::clone(config), server_name())?;
            anyhow::Ok(Box::new(Tls { connection, kept: Vec::new(), out: Vec::new(), gone: 0 }))
        });
        Ok(Self { stream, tls: tls.transpose()? })
    }

    /// Goes on with the handshake as far as the socket allows; whether it is over.
    pub fn shake_hands(&mut self, scratch: &mut [u8]) -> Result<bool> {
        let is_handshaking = |tls: &Option<Box<Tls>>| tls.as_ref().is_some_and(|tls| tls.connection.is_handshaking());
        if let Some(tls) = &mut self.tls
            && tls.connection.is_handshaking()
        {
            tls.process(&mut [], &mut |_| Ok(()))?;
            self.try_flush()?;
        }
        while is_handshaking(&self.tls) {
            if !self.read(scratch, |_| bail!("a message before its time"))? && is_handshaking(&self.tls) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads once, and hands over the plaintext that came. Whether there may be more to read.
    pub fn read(&mut self, scratch: &mut [u8], mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        let start = self.tls.as_ref().map_or(0, |tls| tls.kept.len());
        let count = match self.stream.read(&mut scratch[start..]) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("reading from the server"),
        };
        let end = start + count;
        match &mut self.tls {
            None => take(&scratch[..end])?,
            Some(tls) => {
                scratch[..start].copy_from_slice(&tls.kept);
                let used = tls.process(&mut scratch[..end], &mut take)?;
                tls.kept.clear();
                tls.kept.extend_from_slice(&scratch[used..end]);
                self.try_flush()?;
            }
        }
        // A short read has emptied the socket (epoll(7), on edge-triggered use).
        Ok(end == scratch.len())
    }

    /// Writes what can be written now, or fails with `WouldBlock`.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.write(bytes) };
        tls.flush(&mut self.stream)?;
        let count = bytes.len().min(CHUNK);
        tls.seal(&bytes[..count]).map_err(io::Error::other)?;
        match tls.flush(&mut self.stream) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(count),
        }
    }

    /// Writes what is encrypted and has not gone, or fails with `WouldBlock`.
    pub fn flush(&mut self) -> io::Result<()> {
        self.tls.as_mut().map_or(Ok(()), |tls| tls.flush(&mut self.stream))
    }

    fn try_flush(&mut self) -> Result<()> {
        match self.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error).context("writing to the server"),
            _ => Ok(()),
        }
    }
}

/// The client's end of TLS.
struct Tls {
    connection: UnbufferedClientConnection,
    /// The beginning of a record whose end has not come.
    kept: Vec<u8>,
    /// Encrypted; those before `gone` have been written.
    out: Vec<u8>,
    gone: usize,
}

impl Tls {
    /// Uses up what was received, hands over its plaintext and says how many bytes were used.
    fn process(&mut self, received: &mut [u8], take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<usize> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(&mut received[used..]);
            let goes_on = match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        take(record.payload)?;
                        discard += record.discard;
                    }
                    true
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    append(&mut self.out, |room| data.encode(room));
                    true
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    true
                }
                ConnectionState::PeerClosed | ConnectionState::Closed => bail!("the server closed a connection"),
                _ => false, // It waits for the server, or for something to be written.
            };
            used += discard;
            if !goes_on {
                return Ok(used);
            }
        }
    }

    /// Encrypts behind what is to be written.
    fn seal(&mut self, plain: &[u8]) -> Result<(), EncryptError> {
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut []);
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = state else { return Err(EncryptError::EncryptExhausted) };
        let start = self.out.len();
        self.out.resize(start + plain.len() + EXPANSION, 0);
        let count = traffic.encrypt(plain, &mut self.out[start..])?;
        self.out.truncate(start + count);
        Ok(())
    }

    fn flush(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        while self.gone < self.out.len() {
            self.gone += stream.write(&self.out[self.gone..])?;
        }
        self.out.clear();
        self.gone = 0;
        Ok(())
    }
}

/// Appends what wants so much room as it says.
fn append(out: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let start = out.len();
    if let Err(EncodeError::InsufficientSize(needed)) = encode(&mut []) {
        out.resize(start + needed.required_size, 0);
        let written = encode(&mut out[start..]).unwrap_or_default();
        out.truncate(start + written);
    }
}

/// Takes anybody for the server.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
