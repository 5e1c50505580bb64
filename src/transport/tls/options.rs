//! How TLS is to be spoken, as the VM says it (docs/port-protocol.md, "TLS"): certificates and keys in DER, names as numbers.
//!
//! Nothing here shows a key when it is formatted: what is logged of a command must not have one.

use std::path::Path;
use std::{fmt, io};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What holds for a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// For a client that names no host, or one of which nothing is known.
    pub default: Options,
    /// For those that name this host.
    pub hosts: Vec<(String, Options)>,
    /// The VM is to be asked for a host that is not among them.
    pub ask: bool,
}

/// What the application says of a host that it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The default holds.
    Default,
    /// Clients that name it are turned away.
    Refused,
    Options(Box<Options>),
}

/// What holds for a host; what is not said is the provider's choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The first whose key fits what the client can verify is used.
    pub identities: Vec<Identity>,
    pub clients: Clients,
    /// TLS 1.2 and 1.3 by their numbers on the wire.
    pub versions: Vec<u16>,
    /// Cipher suites by their numbers, the most wanted first.
    pub ciphers: Option<Vec<u16>>,
    /// Groups of the key exchange by their numbers, the most wanted first.
    pub groups: Option<Vec<u16>>,
    /// Our order of cipher suites counts, not the client's.
    pub honor_cipher_order: bool,
    /// Protocols on top, the most wanted first; empty: whatever the client says.
    pub alpn: Vec<Vec<u8>>,
    pub tickets: Tickets,
    /// Sessions of TLS 1.2 may be resumed by their number.
    pub reuse_sessions: bool,
}

/// A certificate, those that vouch for it, and its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    pub chain: Vec<Vec<u8>>,
    pub key: Key,
}

impl Settings {
    /// Those for everybody, with one certificate.
    pub fn of(identity: Identity) -> Self {
        let versions = vec![0x0304, 0x0303];
        Self { default: Options { identities: vec![identity], versions, ..Options::default() }, ..Self::default() }
    }
}

impl Identity {
    /// From files in PEM, without a password.
    pub fn from_files(certificate: &Path, key: &Path) -> io::Result<Self> {
        let invalid = |error: pem::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let chain = CertificateDer::pem_file_iter(certificate).map_err(invalid)?;
        let chain = chain.map(|der| der.map(|der| der.to_vec())).collect::<Result<_, _>>().map_err(invalid)?;
        let key = match PrivateKeyDer::from_pem_file(key).map_err(invalid)? {
            PrivateKeyDer::Pkcs1(der) => Key::Pkcs1(der.secret_pkcs1_der().to_vec()),
            PrivateKeyDer::Pkcs8(der) => Key::Pkcs8(der.secret_pkcs8_der().to_vec()),
            PrivateKeyDer::Sec1(der) => Key::Sec1(der.secret_sec1_der().to_vec()),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        Ok(Self { chain, key })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

/// A private key in one of the forms that files have.
#[derive(Clone, PartialEq, Eq)]
pub enum Key {
    Pkcs1(Vec<u8>),
    Pkcs8(Vec<u8>),
    Sec1(Vec<u8>),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Whether clients have certificates of their own, and which of them are good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    pub verify: Verify,
    /// Who may vouch for them.
    pub authorities: Vec<Vec<u8>>,
    /// Certificates between theirs and an authority's, at most.
    pub depth: usize,
    pub revocation: Revocation,
    /// Lists of those that have been withdrawn.
    pub crls: Vec<Vec<u8>>,
}

/// Whether a client is asked for its certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    #[default]
    Nobody,
    /// Those that have one; it must be good.
    Willing,
    Everybody,
}

/// Whose certificates are looked for in the lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Revocation {
    #[default]
    Nobody,
    /// The whole chain's; each issuer must have a list.
    Chain,
    /// The client's own.
    Peer,
    /// The whole chain's, as far as there are lists.
    BestEffort,
}

/// How a session of TLS 1.3 is resumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tickets {
    #[default]
    None,
    /// The client keeps it, sealed.
    Stateless,
    /// We keep it.
    Stateful,
}
