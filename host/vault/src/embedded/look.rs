use keywheel_model::{SecretBytes, SecretName, VersionId};
use keywheel_store::{Material, Reader, Version};

use super::Embedded;
use crate::seal::{self, Blobs, Place};
use crate::{Change, Error, Head, Metadata, VersionInfo};

impl Embedded {
    /// As [`crate::Vault::head`], within a transaction.
    ///
    /// # Errors
    /// [`Error::Sealed`], [`Error::Damaged`].
    pub fn head_in(&self, reader: &Reader<'_>, name: &SecretName) -> Result<Head, Error> {
        self.keyring()?;
        let versions = reader
            .versions(name)?
            .into_iter()
            .map(|version| info(reader, version))
            .collect::<Result<_, _>>()?;
        Ok(Head {
            name: name.clone(),
            versions,
        })
    }

    /// As [`crate::Vault::live`], within a transaction.
    ///
    /// # Errors
    /// [`Error::Sealed`], [`Error::Damaged`].
    pub fn live_in(&self, reader: &Reader<'_>, name: &SecretName, also: &[VersionId]) -> Result<Head, Error> {
        self.keyring()?;
        let versions = reader
            .live_versions(name, also)?
            .into_iter()
            .map(|version| info(reader, version))
            .collect::<Result<_, _>>()?;
        Ok(Head {
            name: name.clone(),
            versions,
        })
    }

    /// As [`crate::Vault::history`], within a transaction.
    ///
    /// # Errors
    /// [`Error::Sealed`].
    pub fn history_in(&self, reader: &Reader<'_>, name: &SecretName) -> Result<Vec<Change>, Error> {
        self.keyring()?;
        let versions = reader.versions(name)?;
        let number = |id: &VersionId| {
            versions
                .iter()
                .find(|version| version.id == *id)
                .map_or(0, |version| version.number)
        };
        let events = reader.stage_events(name)?;
        Ok(events
            .into_iter()
            .map(|event| Change {
                number: number(&event.version),
                version: event.version,
                stage: event.stage,
                run: event.run,
                at: event.at,
            })
            .collect())
    }

    /// As [`crate::Vault::read`], within a transaction.
    ///
    /// # Errors
    /// [`Error::Sealed`], [`Error::NoVersion`], [`Error::Damaged`].
    pub fn read_in(
        &self,
        reader: &Reader<'_>,
        name: &SecretName,
        id: &VersionId,
    ) -> Result<SecretBytes, Error> {
        let keyring = self.keyring()?;
        let version = find(reader, name, id)?;
        let holder = version.material_of.unwrap_or(version.id);
        let path = path_of(name);
        let place = Place {
            store: reader.store_id(),
            path: &path,
            version: holder.as_str(),
        };
        match reader.material(&holder)? {
            Material::Own {
                ciphertext,
                wrapped_key,
            } => seal::open(
                &keyring,
                place,
                &Blobs {
                    ciphertext,
                    wrapped_key,
                },
            ),
            Material::Of(_) => Err(damaged(name, id, "it points at a version without a value")),
        }
    }
}

pub(super) fn find(reader: &Reader<'_>, name: &SecretName, id: &VersionId) -> Result<Version, Error> {
    match reader.version(id)? {
        Some(version) if version.secret == *name => Ok(version),
        _ => Err(Error::NoVersion {
            name: name.clone(),
            version: id.clone(),
        }),
    }
}

pub(super) fn path_of(name: &SecretName) -> String {
    format!("secret {name}")
}

fn damaged(name: &SecretName, id: &VersionId, detail: &'static str) -> Error {
    Error::Damaged {
        record: format!("{} {id}", path_of(name)),
        detail,
    }
}

pub(super) fn metadata(reader: &Reader<'_>, version: &Version) -> Result<Metadata, Error> {
    let mut metadata: Metadata = serde_json::from_str(&version.meta)
        .map_err(|_| damaged(&version.secret, &version.id, "its labels are unreadable"))?;
    metadata.annotations = reader.annotations(&version.id)?.into_iter().collect();
    Ok(metadata)
}

fn info(reader: &Reader<'_>, version: Version) -> Result<VersionInfo, Error> {
    Ok(VersionInfo {
        metadata: metadata(reader, &version)?,
        id: version.id,
        number: version.number,
        stage: version.stage,
        run: version.run,
        fence: version.fence,
        output_of: version.output_of,
        material_of: version.material_of,
        created: version.created,
    })
}
