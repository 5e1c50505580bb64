//! Options in, rustls' configuration out. The only place that knows the cryptographic provider (docs/decisions/0008-tls.md).

use std::fmt;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache,
    StoresServerSessions,
};
use rustls::sign::CertifiedKey;
use rustls::{Error, ServerConfig, SupportedProtocolVersion, version};

use super::clients;
use super::options::{Clients, Identity, Key, Options, Tickets};

/// Tickets that a client gets at the handshake.
const TICKETS: usize = 2;

/// Why there can be no configuration.
#[derive(Debug)]
pub enum Invalid {
    /// A certificate, or its key, which may be another's.
    Identity(Error),
    /// The certificates or lists by which clients are judged.
    Clients(String),
    /// Versions, cipher suites or groups of which none is known, or that do not go together.
    Suites(Error),
    /// No random numbers.
    Tickets(Error),
    /// Of one of the hosts of the settings.
    Host(String, Box<Invalid>),
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(error) => write!(f, "certificate and key: {error}"),
            Self::Clients(error) => write!(f, "authorities of clients: {error}"),
            Self::Suites(error) => write!(f, "versions and ciphers: {error}"),
            Self::Tickets(error) => write!(f, "session tickets: {error}"),
            Self::Host(name, invalid) => write!(f, "host {name}: {invalid}"),
        }
    }
}

/// What is remembered of clients for when they come back. Outlives a change of certificate.
#[derive(Clone, Debug)]
pub struct Memory {
    /// By whom those were judged who are remembered.
    clients: Clients,
    tickets: Tickets,
    reuse_sessions: bool,
    sessions: Arc<dyn StoresServerSessions>,
    ticketer: Option<Arc<dyn ProducesTickets>>,
}

impl Memory {
    /// Nothing yet, and room for so many sessions, which is taken at once: some 120 bytes each.
    pub fn new(options: &Options, sessions: usize) -> Result<Self, Invalid> {
        let kept = options.reuse_sessions || options.tickets == Tickets::Stateful;
        let sessions: Arc<dyn StoresServerSessions> =
            if kept { ServerSessionMemoryCache::new(sessions) } else { Arc::new(NoServerSessionStorage {}) };
        let ticketer = match options.tickets {
            Tickets::Stateless => Some(provider::Ticketer::new().map_err(Invalid::Tickets)?),
            Tickets::None | Tickets::Stateful => None,
        };
        let Options { clients, tickets, reuse_sessions, .. } = options;
        Ok(Self { clients: clients.clone(), tickets: *tickets, reuse_sessions: *reuse_sessions, sessions, ticketer })
    }

    /// Whether it may be gone on with under these options: clients are judged, and remembered, as they were.
    pub fn suits(&self, options: &Options) -> bool {
        self.clients == options.clients
            && self.tickets == options.tickets
            && self.reuse_sessions == options.reuse_sessions
    }
}

/// The configuration that the options describe.
pub fn build(options: &Options, memory: &Memory) -> Result<Arc<ServerConfig>, Invalid> {
    let provider = Arc::new(restricted(options));
    let identities = Identities::load(&options.identities, &provider).map_err(Invalid::Identity)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(&options.versions))
        .map_err(Invalid::Suites)?;
    let builder = match clients::verifier(&options.clients, provider).map_err(Invalid::Clients)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(identities));
    config.alpn_protocols.clone_from(&options.alpn);
    config.ignore_client_order = options.honor_cipher_order;
    config.session_storage = Arc::clone(&memory.sessions);
    config.send_tls13_tickets = if options.tickets == Tickets::None { 0 } else { TICKETS };
    if let Some(ticketer) = &memory.ticketer {
        config.ticketer = Arc::clone(ticketer);
    }
    Ok(Arc::new(config))
}

/// The provider with no more than the options allow, in their order.
fn restricted(options: &Options) -> CryptoProvider {
    let mut provider = provider::default_provider();
    if let Some(ciphers) = &options.ciphers {
        let known = std::mem::take(&mut provider.cipher_suites);
        let find = |number: &u16| known.iter().find(|suite| u16::from(suite.suite()) == *number).copied();
        provider.cipher_suites = ciphers.iter().filter_map(find).collect();
    }
    if let Some(groups) = &options.groups {
        let known = std::mem::take(&mut provider.kx_groups);
        let find = |number: &u16| known.iter().find(|group| u16::from(group.name()) == *number).copied();
        provider.kx_groups = groups.iter().filter_map(find).collect();
    }
    provider
}

fn versions(numbers: &[u16]) -> Vec<&'static SupportedProtocolVersion> {
    let known = [&version::TLS13, &version::TLS12];
    known.into_iter().filter(|version| numbers.contains(&u16::from(version.version))).collect()
}

/// The certificates of a host, and their keys.
#[derive(Debug)]
struct Identities(Vec<Arc<CertifiedKey>>);

impl Identities {
    fn load(identities: &[Identity], provider: &CryptoProvider) -> Result<Self, Error> {
        let load = |identity: &Identity| {
            let chain = identity.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
            let key = match &identity.key {
                Key::Pkcs1(der) => PrivateKeyDer::Pkcs1(der.clone().into()),
                Key::Pkcs8(der) => PrivateKeyDer::Pkcs8(der.clone().into()),
                Key::Sec1(der) => PrivateKeyDer::Sec1(der.clone().into()),
            };
            CertifiedKey::from_der(chain, key, provider).map(Arc::new)
        };
        identities.iter().map(load).collect::<Result<_, _>>().map(Self)
    }
}

impl ResolvesServerCert for Identities {
    /// The first whose key can sign so that the client can verify it; if there is none the handshake fails by any.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |identity: &&Arc<CertifiedKey>| identity.key.choose_scheme(hello.signature_schemes()).is_some();
        self.0.iter().find(fits).or(self.0.first()).cloned()
    }
}
