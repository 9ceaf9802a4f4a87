use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;

use crate::process::Watcher;

/// The name of the file that an authority's certificate is in.
const FILE: &str = "ca.pem";

/// A certification authority of our own, made for one server.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
    _watcher: Watcher,
}

/// A certificate and its private key, in PEM.
pub struct Identity {
    /// The certificate.
    pub certificate_pem: String,
    /// The key, PKCS#8.
    pub key_pem: String,
}

impl Identity {
    /// A certificate for these DNS names that signed itself; with `authority` one that may sign others too, as `openssl req -x509` makes it.
    ///
    /// # Errors
    /// When a key cannot be made.
    pub fn self_signed(names: &[&str], authority: bool) -> Result<Self> {
        Self::signed_by_itself(names, authority, false)
    }

    /// The same, and its time is long over.
    ///
    /// # Errors
    /// When a key cannot be made.
    pub fn expired(names: &[&str], authority: bool) -> Result<Self> {
        Self::signed_by_itself(names, authority, true)
    }

    fn signed_by_itself(names: &[&str], authority: bool, expired: bool) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        params
            .distinguished_name
            .push(DnType::CommonName, names.first().copied().unwrap_or("nobody"));
        if authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        if expired {
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        }
        Ok(Self {
            certificate_pem: params.self_signed(&key)?.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

impl Authority {
    /// A new one; ECDSA P-256.
    ///
    /// # Errors
    /// When a key cannot be made.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "Keywheel test CA");
        let pem = params.self_signed(&key)?.pem();
        // Not the server's folder: a host trusts no file that the server's account could change. Clients under that account read it.
        let folder = tempfile::Builder::new().prefix("kw-ca-").tempdir_in("/tmp")?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        fs::write(folder.path().join(FILE), &pem)?;
        fs::set_permissions(folder.path().join(FILE), fs::Permissions::from_mode(0o644))?;
        Ok(Self {
            pem,
            issuer: Issuer::new(params, key),
            _watcher: Watcher::of_folder(folder.path())?,
            folder,
        })
    }

    /// Its certificate: what clients trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The same in a file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join(FILE)
    }

    /// A certificate for these DNS names and addresses, for servers and clients.
    ///
    /// # Errors
    /// When a name is neither.
    pub fn issue(&self, names: &[&str]) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        params
            .distinguished_name
            .push(DnType::CommonName, names.first().copied().unwrap_or("nobody"));
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// A certificate for `localhost` and 127.0.0.1.
    ///
    /// # Errors
    /// When a key cannot be made.
    pub fn issue_local(&self) -> Result<Identity> {
        self.issue(&["localhost", "127.0.0.1"])
    }
}
