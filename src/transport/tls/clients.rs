//! Judges the certificates of clients: webpki does, within the depth that the options allow.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::options::{Clients, Revocation, Verify};

/// Who judges them; nobody where no client is asked.
pub fn verifier(
    options: &Clients,
    provider: Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    if options.verify == Verify::Nobody {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    for authority in &options.authorities {
        roots.add(CertificateDer::from(authority.clone())).map_err(|error| error.to_string())?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if options.revocation != Revocation::Nobody {
        builder = builder.with_crls(options.crls.iter().map(|der| CertificateRevocationListDer::from(der.clone())));
    }
    builder = match options.revocation {
        Revocation::Nobody | Revocation::Chain => builder,
        Revocation::Peer => builder.only_check_end_entity_revocation(),
        Revocation::BestEffort => builder.allow_unknown_revocation_status(),
    };
    if options.verify == Verify::Willing {
        builder = builder.allow_unauthenticated();
    }
    let judge = builder.build().map_err(|error| error.to_string())?;
    Ok(Some(Arc::new(Judge { judge, depth: options.depth })))
}

/// webpki's verifier, which is shown no more certificates between the client's and an authority's than the depth.
#[derive(Debug)]
struct Judge {
    judge: Arc<dyn ClientCertVerifier>,
    depth: usize,
}

impl ClientCertVerifier for Judge {
    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge.verify_client_cert(certificate, &between[..between.len().min(self.depth)], now)
    }

    fn client_auth_mandatory(&self) -> bool {
        self.judge.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.judge.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}
