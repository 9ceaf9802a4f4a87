//! `keywheel:vault`: other secrets than the one that is rotated, by the names that the grant lists. Certificates whose key
//! stays in the vault are not offered by this host yet.

use std::collections::BTreeMap;

use keywheel_manifest::Capability;
use keywheel_model::{ErrorKind, SecretName, Timestamp};
use wasmtime::component::{HasSelf, Linker, Resource};

use crate::bindings::keywheel::vault::{certificates, vault};
use crate::error::Error;
use crate::handle::{Handle, Sink};
use crate::port::{AuditFact, VaultWrite, Wanted};
use crate::secrets::check_media_type;
use crate::state::{HostState, HostView};

const MAX_TAGS: usize = 15;
const MAX_TAG_BYTES: usize = 256;
const MAX_VERSIONS: usize = 100;

/// What is about to be written to a vault.
pub struct Write {
    name: String,
    value: Handle,
    expires_at: Option<Timestamp>,
    media_type: Option<String>,
    tags: BTreeMap<String, String>,
    expect_current: Option<String>,
}

/// An order of a certificate. None can be made yet.
pub enum Order {}

pub(crate) fn link<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    vault::add_to_linker::<T, HasSelf<HostState>>(linker, T::host)?;
    certificates::add_to_linker::<T, HasSelf<HostState>>(linker, T::host)
}

impl HostState {
    /// A name that the grant lists. The rotated secret has its own door: [`crate::runs`].
    async fn granted_name(&mut self, name: &str) -> Result<SecretName, Error> {
        self.permit_package(Capability::Vault).await?;
        let name: SecretName = name
            .parse()
            .map_err(|error: keywheel_model::NameError| Error::invalid("vault.name", error.to_string()))?;
        if name == self.step.secret {
            return Err(self
                .deny(
                    "vault.rotated",
                    format!("{name} is the rotated secret: it is reached through the run only"),
                )
                .await);
        }
        self.permit_vault_name(&name).await?;
        Ok(name)
    }

    async fn read(&mut self, name: &str, version: Option<String>) -> Result<Handle, Error> {
        let name = self.granted_name(name).await?;
        let wanted = Wanted::Vault {
            name: name.clone(),
            version,
        };
        let port = self.step.port.clone();
        let loaded = self.within(async { Ok(port.load(&wanted).await?) }).await?;
        let mut loaded = loaded.ok_or_else(|| {
            Error::answer(
                ErrorKind::NotFound,
                "vault.not-found",
                format!("{name} has no such version"),
            )
        })?;
        loaded.labels = loaded.labels.for_use_only();
        let fact = AuditFact::Used {
            secret: loaded.identity.clone(),
            role: format!("vault:{name}"),
        };
        port.audit(&fact).await?;
        Ok(self.adopt(loaded))
    }

    async fn write(&mut self, write: Write) -> Result<String, Error> {
        let name = self.granted_name(&write.name).await?;
        if !write.value.labels().sinks.contains(&Sink::Vault) {
            let message = format!("{} is not stored under another name (rule H9)", write.value.id());
            return Err(self.deny("secret.sink", message).await);
        }
        let mut labels = write.value.labels().clone();
        if let Some(media_type) = write.media_type {
            check_media_type(&media_type)?;
            // Only what has no structure may be called something else: labels of parts would not fit.
            if labels.structure.is_some() && media_type != labels.media_type {
                return Err(Error::invalid(
                    "vault.media-type",
                    "a composed document keeps its media type",
                ));
            }
            labels.media_type = media_type;
        }
        self.check_labels(&labels)?;
        let mut tags = BTreeMap::new();
        for (key, value) in &write.tags {
            self.check_name(key, "a tag's key")?;
            tags.insert(key.clone(), self.guest_text(value, "a tag")?);
        }
        if tags.len() > MAX_TAGS || tags.values().any(|value| value.len() > MAX_TAG_BYTES) {
            return Err(Error::limit(
                "vault.tags",
                format!("a version has at most {MAX_TAGS} tags of {MAX_TAG_BYTES} bytes"),
            ));
        }
        let write_to = VaultWrite {
            name: &name,
            value: write.value.value(),
            labels: &labels,
            expires_at: write.expires_at,
            tags: &tags,
            expect_current: write.expect_current.as_deref(),
        };
        Ok(self.step.port.vault_write(write_to).await?)
    }
}

impl vault::Host for HostState {
    async fn get(&mut self, name: String, version: Option<String>) -> Result<Resource<Handle>, Error> {
        let handle = self.read(&name, version).await?;
        self.hand_out(handle)
    }

    async fn versions(&mut self, name: String) -> Result<Vec<vault::VersionInfo>, Error> {
        let name = self.granted_name(&name).await?;
        let port = self.step.port.clone();
        let versions = self
            .within(async { Ok(port.vault_versions(&name).await?) })
            .await?;
        let info = |facts: crate::port::VersionFacts| vault::VersionInfo {
            version: facts.version,
            current: facts.current,
            enabled: facts.enabled,
            created_at: facts.created_at.map(Timestamp::as_unix_ms),
            expires_at: facts.expires_at.map(Timestamp::as_unix_ms),
        };
        Ok(versions.into_iter().take(MAX_VERSIONS).map(info).collect())
    }
}

impl vault::HostWrite for HostState {
    async fn new(&mut self, name: String, value: Resource<Handle>) -> wasmtime::Result<Resource<Write>> {
        let value = self.handle(&value).map_err(Error::into_trap)?;
        let write = Write {
            name,
            value,
            expires_at: None,
            media_type: None,
            tags: BTreeMap::new(),
            expect_current: None,
        };
        self.table
            .push(write)
            .map_err(|error| Error::from(error).into_trap())
    }

    async fn expires_at(&mut self, write: Resource<Write>, at: u64) -> wasmtime::Result<()> {
        self.table.get_mut(&write)?.expires_at = Some(Timestamp::from_unix_ms(at));
        Ok(())
    }

    async fn media_type(&mut self, write: Resource<Write>, media_type: String) -> wasmtime::Result<()> {
        self.table.get_mut(&write)?.media_type = Some(media_type);
        Ok(())
    }

    async fn tag(&mut self, write: Resource<Write>, key: String, value: String) -> wasmtime::Result<()> {
        self.table.get_mut(&write)?.tags.insert(key, value);
        Ok(())
    }

    async fn expect_current(&mut self, write: Resource<Write>, version: String) -> wasmtime::Result<()> {
        self.table.get_mut(&write)?.expect_current = Some(version);
        Ok(())
    }

    async fn commit(&mut self, write: Resource<Write>) -> Result<String, Error> {
        let write = self.table.delete(write)?;
        self.write(write).await
    }

    async fn drop(&mut self, write: Resource<Write>) -> wasmtime::Result<()> {
        self.table.delete(write)?;
        Ok(())
    }
}

impl certificates::Host for HostState {}

impl certificates::HostOrder for HostState {
    async fn start(&mut self, _name: String, _policy: String) -> Result<Resource<Order>, Error> {
        Err(Error::not_offered("`vault/certificates`"))
    }

    async fn csr(&mut self, order: Resource<Order>) -> wasmtime::Result<Vec<u8>> {
        match *self.table.get(&order)? {}
    }

    async fn set_pending(&mut self, order: Resource<Order>, _chain: Vec<u8>) -> Result<(), Error> {
        match *self.table.get(&order)? {}
    }

    async fn cancel(&mut self, order: Resource<Order>) -> Result<(), Error> {
        match *self.table.get(&order)? {}
    }

    async fn drop(&mut self, order: Resource<Order>) -> wasmtime::Result<()> {
        match self.table.delete(order)? {}
    }
}
