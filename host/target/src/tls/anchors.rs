//! What the certificates of a trust set are good for, found by the verifier that will use them.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::{CertificateError, Error as TlsError, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// What the verifier calls a certificate that may sign others, where a server shows it as its own.
const AUTHORITY: &str = "CaUsedAsEndEntity";
/// A certificate that is outlived a few times over is looked at this often: each look moves the time once.
const LOOKS_MAX: usize = 3;

/// Why nothing can be verified by the certificates of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is not PEM, or not whole.
    NotPem,
    /// There is no certificate in it.
    Empty,
    /// A certificate cannot be read.
    Unreadable,
    /// There are servers' own certificates only, and what they were good for is over.
    Expired,
    /// There are servers' own certificates only, issued by an authority that is not among them.
    NoAuthority,
}

impl Unfit {
    /// What is wrong: a fragment that goes on from the file's name.
    pub fn what(self) -> &'static str {
        match self {
            Self::NotPem => "is not PEM, or not whole",
            Self::Empty => "has no certificate in it",
            Self::Unreadable => "has a certificate in it that cannot be read",
            Self::Expired => {
                "has only a server's own certificate in it, which has expired: the server that shows it is refused"
            }
            Self::NoAuthority => {
                "has only a server's own certificate in it, and the authority that issued that one is what must be trusted"
            }
        }
    }

    /// The way out.
    pub fn way_out(self) -> &'static str {
        match self {
            Self::NotPem | Self::Empty | Self::Unreadable => {
                "it must have `-----BEGIN CERTIFICATE-----` and the certificate of an authority; \
                 `openssl x509 -inform der -in FILE` makes PEM of DER"
            }
            Self::Expired => {
                "have the server's certificate made anew, and put that one, or its authority's, there; `openssl x509 -in FILE -noout -dates` shows the dates"
            }
            Self::NoAuthority => {
                "put the certificate of its issuer there: `openssl x509 -in FILE -noout -issuer` names it"
            }
        }
    }
}

/// Whether at least one certificate of a PEM file verifies something: an authority, or a server's own that signed itself.
///
/// # Errors
/// What is wrong with the file.
pub fn examine(pem: &[u8]) -> Result<(), Unfit> {
    examine_at(pem, super::now())
}

/// Without a time nothing has expired.
pub(super) fn examine_at(pem: &[u8], now: Option<UnixTime>) -> Result<(), Unfit> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| Unfit::NotPem)?;
    if certificates.is_empty() {
        return Err(Unfit::Empty);
    }
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|_| Unfit::Unreadable)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.map_err(|_| Unfit::Unreadable)?;
    let now = now.unwrap_or_else(|| UnixTime::since_unix_epoch(Duration::ZERO));
    let uses: Vec<Use> = certificates
        .iter()
        .map(|certificate| use_of(&verifier, certificate, now))
        .collect();
    match uses.iter().max() {
        Some(Use::Verifies) => Ok(()),
        Some(Use::Expired) => Err(Unfit::Expired),
        _ => Err(Unfit::NoAuthority),
    }
}

/// What a certificate is good for; the best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Nothing,
    /// A server's own, which signed itself, and whose time is over.
    Expired,
    /// An authority, or a server's own.
    Verifies,
}

/// Shows the verifier the certificate as a server's. A name that no certificate has is looked for last: whoever comes to it has a
/// chain that leads into the set.
fn use_of(verifier: &WebPkiServerVerifier, certificate: &CertificateDer<'_>, now: UnixTime) -> Use {
    let Ok(name) = ServerName::try_from("nobody") else {
        return Use::Nothing;
    };
    let (mut at, mut own) = (now, Use::Verifies);
    for _ in 0..LOOKS_MAX {
        let looked = verifier.verify_server_cert(certificate, &[], &name, &[], at);
        match looked {
            // Trusted roots count beyond their dates: whether it can be one does not depend on today. A server's own does not.
            Err(TlsError::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                (at, own) = (not_after, Use::Expired);
            }
            Err(TlsError::InvalidCertificate(CertificateError::NotValidYetContext {
                not_before, ..
            })) => {
                at = UnixTime::since_unix_epoch(Duration::from_secs(not_before.as_secs()));
            }
            // Old roots are of a version that no server's certificate has, and were taken as roots above: they are ill encoded here.
            Err(TlsError::InvalidCertificate(CertificateError::BadEncoding)) => return Use::Verifies,
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ))
            | Ok(_) => return own,
            Err(error) if is_authority(&error) => return Use::Verifies,
            Err(_) => return Use::Nothing,
        }
    }
    Use::Nothing
}

/// Whether the verifier refused a certificate because it is an authority's.
pub(super) fn is_authority(error: &TlsError) -> bool {
    matches!(error, TlsError::InvalidCertificate(CertificateError::Other(other)) if other.to_string() == AUTHORITY)
}
