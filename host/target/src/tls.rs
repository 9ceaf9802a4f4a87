//! Trust sets, client identities, handshakes. TLS 1.2 and 1.3 only, by rustls with ring.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use keywheel_model::{Effect, SecretBytes};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS12;
use rustls::{
    ClientConfig, DEFAULT_VERSIONS, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{Deadline, Error};

mod anchors;

pub use anchors::{Unfit, examine};

/// Roots by name, from the operator's PEM files; and the operating system's, read when first needed.
#[derive(Debug, Default)]
pub struct TrustStore {
    sets: BTreeMap<String, Arc<RootCertStore>>,
    /// Sets that cannot be used, and why.
    unusable: BTreeMap<String, String>,
    host: OnceLock<Arc<RootCertStore>>,
}

impl TrustStore {
    /// With the operating system's roots only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds to a named set, one or more certificates in PEM.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is not PEM, holds no certificate, or one that cannot be a root.
    pub fn add_pem(&mut self, name: &str, pem: &[u8]) -> Result<(), Error> {
        let mut roots = match self.sets.get(name) {
            Some(before) => RootCertStore::clone(before),
            None => RootCertStore::empty(),
        };
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate =
                certificate.map_err(|_| Error::invalid(format!("trust set {name:?} is not PEM")))?;
            roots.add(certificate).map_err(|_| {
                Error::invalid(format!(
                    "trust set {name:?} holds a certificate that cannot be a root"
                ))
            })?;
        }
        if roots.is_empty() {
            return Err(Error::invalid(format!("trust set {name:?} holds no certificate")));
        }
        self.sets.insert(name.to_owned(), Arc::new(roots));
        Ok(())
    }

    /// Notes that a set cannot be used. Whoever asks for it is told why; everything else goes on.
    pub fn add_unusable(&mut self, name: &str, why: String) {
        self.unusable.insert(name.to_owned(), why);
    }

    /// The roots of a set; the operating system's for none.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that is not configured, and for a set that cannot be used.
    pub fn roots(&self, name: Option<&str>) -> Result<Arc<RootCertStore>, Error> {
        let why = name.and_then(|name| Some((name, self.unusable.get(name)?)));
        if let Some((name, why)) = why {
            return Err(Error::invalid(format!(
                "trust set {name:?} cannot be used: {why}"
            )));
        }
        match name {
            Some(name) => self
                .sets
                .get(name)
                .cloned()
                .ok_or_else(|| Error::invalid(format!("no trust set {name:?} is configured"))),
            None => Ok(Arc::clone(self.host.get_or_init(|| Arc::new(native_roots())))),
        }
    }
}

/// Unreadable single certificates are left out: the others still count, and a chain to a missing one fails in the handshake.
fn native_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a root certificate of the system cannot be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}

/// A certificate chain with its private key, for client authentication.
pub struct ClientIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl ClientIdentity {
    /// From PEM: the key (PKCS#8, PKCS#1 or SEC1) and the chain, leaf first, in any order of the two.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the one or the other is missing; says nothing of the content.
    pub fn from_pem(pem: &SecretBytes) -> Result<Self, Error> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.expose())
            .filter_map(Result::ok)
            .collect();
        let key = PrivateKeyDer::from_pem_slice(pem.expose())
            .map_err(|_| Error::invalid("a client identity needs a private key in PEM"))?;
        if chain.is_empty() {
            return Err(Error::invalid("a client identity needs a certificate in PEM"));
        }
        Ok(Self { chain, key })
    }
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientIdentity")
            .field("certificates", &self.chain.len())
            .finish_non_exhaustive()
    }
}

/// Whether the server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Verify {
    /// Chain, dates and name.
    #[default]
    Full,
    /// Nothing: to look at the certificate. No secret is ever written to such a stream.
    InspectOnly,
}

/// How a handshake is done.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// A DNS name or an address that the certificate must be for.
    pub server_name: String,
    /// A trust set; none = the operating system's.
    pub trust: Option<String>,
    /// For servers that ask for one.
    pub identity: Option<Arc<ClientIdentity>>,
    /// Protocols to offer, in order.
    pub alpn: Vec<Vec<u8>>,
    /// Whether the certificate is checked.
    pub verify: Verify,
    /// TLS 1.2 and no newer, where a protocol has no place for what 1.3 sends after the handshake.
    pub at_most_1_2: bool,
}

impl TlsOptions {
    /// The usual: full verification for a name, by the operating system's roots.
    pub fn for_name(server_name: &str) -> Self {
        Self {
            server_name: server_name.to_owned(),
            ..Self::default()
        }
    }

    /// With a trust set.
    #[must_use]
    pub fn trusting(mut self, set: &str) -> Self {
        self.trust = Some(set.to_owned());
        self
    }

    pub(crate) fn client_config(&self, trust: &TrustStore) -> Result<ClientConfig, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let bad = |error: rustls::Error| Error::Tls {
            name: self.server_name.clone(),
            source: io::Error::other(error),
        };
        let versions: &[&SupportedProtocolVersion] = if self.at_most_1_2 {
            &[&TLS12]
        } else {
            DEFAULT_VERSIONS
        };
        let builder = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::new(Clock))
            .with_protocol_versions(versions)
            .map_err(bad)?;
        let builder = match self.verify {
            Verify::Full => {
                let verifier = WebPkiServerVerifier::builder_with_provider(
                    trust.roots(self.trust.as_deref())?,
                    provider,
                )
                .build()
                .map_err(|error| Error::invalid(format!("the trust set cannot be used: {error}")))?;
                builder.with_webpki_verifier(verifier)
            }
            Verify::InspectOnly => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unchecked(provider))),
        };
        let mut config = match &self.identity {
            Some(identity) => builder
                .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                .map_err(|_| Error::invalid("the client identity's key cannot be used"))?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        // A fresh handshake each time: a resumed one shows no certificate.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }
}

/// What a handshake that runs out of time was doing: a server without TLS waits in silence for more.
pub const SHAKING_HANDS: &str = "shaking hands for TLS";

/// Does a handshake on a connected stream.
///
/// # Errors
/// [`Error::TlsUntrusted`] and its like; [`Error::Timeout`]; [`Error::Invalid`] for a trust set that cannot be used.
pub async fn handshake<S>(
    stream: S,
    options: &TlsOptions,
    trust: &TrustStore,
    deadline: Deadline,
) -> Result<TlsStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(options.server_name.clone())
        .map_err(|_| Error::invalid("the server's name is neither a DNS name nor an address"))?;
    let connector = TlsConnector::from(Arc::new(options.client_config(trust)?));
    deadline
        .run(SHAKING_HANDS, Effect::None, connector.connect(name, stream))
        .await?
        .map_err(|error| failure(&options.server_name, error))
}

/// Types a failed handshake.
pub(crate) fn failure(name: &str, error: io::Error) -> Error {
    use rustls::CertificateError as C;
    let name = name.to_owned();
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        Some(rustls::Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. })) => {
            Error::TlsName { name }
        }
        Some(rustls::Error::FailedToGetCurrentTime) => Error::Clock,
        Some(inner @ rustls::Error::InvalidCertificate(reason)) => {
            let why = match reason {
                C::UnknownIssuer => "no authority that is trusted here issued it".to_owned(),
                _ if anchors::is_authority(inner) => {
                    "it is an authority's (CA:TRUE), and a server must show one of its own: docs/operators.md, Certificates".to_owned()
                }
                reason => reason.to_string(),
            };
            Error::TlsUntrusted { name, why }
        }
        _ => Error::Tls { name, source: error },
    }
}

/// The time of this machine, if it is one that certificates know: the library's own way to ask for it panics before 1970.
#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        now()
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a certificate is checked by this machine's time, as the library itself does it"
)]
fn now() -> Option<UnixTime> {
    since_1970(SystemTime::now())
}

fn since_1970(time: SystemTime) -> Option<UnixTime> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(UnixTime::since_unix_epoch(since))
}

/// Accepts every certificate; signatures are still checked, so that the peer holds the key of what it shows.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_before_1970_is_an_error_with_a_code_and_no_panic() {
        let early = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(since_1970(early), None);
        assert!(since_1970(SystemTime::UNIX_EPOCH).is_some());
        assert!(anchors::examine_at(b"", since_1970(early)).is_err());
        let error = failure("db", io::Error::other(rustls::Error::FailedToGetCurrentTime));
        assert_eq!(error.code(), "tls.clock");
        assert!(error.hint().is_some() && error.is_before_login());
    }
}
