use keywheel_model::{RunId, SecretBytes, SecretName, Stage, VersionId};
use keywheel_store::{LeaseKey, Material, NewVersion, Reader, Transaction, Version};

use super::Embedded;
use super::look::{find, path_of};
use crate::seal::{self, Blobs, Place};
use crate::{Author, Error, Metadata, Output, Pending, Promotion, SecretValue};

/// Most bytes of a value.
pub(super) const VALUE_LIMIT: usize = 1024 * 1024;

impl Embedded {
    /// As [`crate::Vault::put_pending`], within a transaction.
    ///
    /// # Errors
    /// As there.
    pub fn put_pending_in(
        &self,
        tx: &Transaction<'_>,
        by: &Author,
        pending: &Pending,
    ) -> Result<VersionId, Error> {
        let Pending {
            name,
            secret,
            outputs,
        } = pending;
        self.keyring()?;
        fenced(tx, by, name)?;
        let id = match self.same_of_run(tx, by, name, &secret.value)? {
            Some(id) => id,
            None => self.add(tx, by, name, secret, None)?,
        };
        for output in outputs {
            self.put_output_in(tx, by, name, &id, output)?;
        }
        Ok(id)
    }

    /// The version that this run stored before, if it has this value. Another pending one is a conflict.
    fn same_of_run(
        &self,
        tx: &Transaction<'_>,
        by: &Author,
        name: &SecretName,
        value: &SecretBytes,
    ) -> Result<Option<VersionId>, Error> {
        for version in tx.live_versions(name, &[])? {
            let kept = matches!(version.stage, Stage::Pending | Stage::Current);
            let ours = version.run == by.run && version.output_of.is_none() && version.material_of.is_none();
            if kept && ours && self.read_in(tx, name, &version.id)?.same_as(value) {
                return Ok(Some(version.id));
            }
            if version.stage == Stage::Pending {
                return Err(Error::PendingExists {
                    name: name.clone(),
                    pending: version.id,
                });
            }
        }
        Ok(None)
    }

    /// As [`crate::Vault::put_output`], within a transaction.
    ///
    /// # Errors
    /// As there.
    pub fn put_output_in(
        &self,
        tx: &Transaction<'_>,
        by: &Author,
        name: &SecretName,
        pending: &VersionId,
        output: &Output,
    ) -> Result<VersionId, Error> {
        self.keyring()?;
        fenced(tx, by, name)?;
        fenced(tx, by, &output.name)?;
        let main = find(tx, name, pending)?;
        if main.run != by.run {
            return Err(Error::OtherRun {
                name: name.clone(),
                version: main.id,
            });
        }
        let known: Vec<_> = tx
            .outputs(pending)?
            .into_iter()
            .map(|version| version.id)
            .collect();
        for version in tx.live_versions(&output.name, &known)? {
            let ours = version.output_of.as_ref() == Some(pending);
            if ours
                && self
                    .read_in(tx, &output.name, &version.id)?
                    .same_as(&output.secret.value)
            {
                return Ok(version.id);
            }
            if ours || version.stage == Stage::Pending {
                return Err(Error::PendingExists {
                    name: output.name.clone(),
                    pending: version.id,
                });
            }
        }
        if main.stage != Stage::Pending {
            return Err(stage(name, &main, "given another name"));
        }
        self.add(tx, by, &output.name, &output.secret, Some(pending))
    }

    /// Pending outputs of a version, under those of these names that it does not have.
    fn add_missing(
        &self,
        tx: &Transaction<'_>,
        by: &Author,
        of: &VersionId,
        also: &[Output],
    ) -> Result<Vec<(SecretName, VersionId)>, Error> {
        let there = tx.outputs(of)?;
        let missing = also
            .iter()
            .filter(|output| there.iter().all(|version| version.secret != output.name));
        missing
            .map(|output| {
                fenced(tx, by, &output.name)?;
                let id = self.add(tx, by, &output.name, &output.secret, Some(of))?;
                Ok((output.name.clone(), id))
            })
            .collect()
    }

    fn add(
        &self,
        tx: &Transaction<'_>,
        by: &Author,
        name: &SecretName,
        secret: &SecretValue,
        output_of: Option<&VersionId>,
    ) -> Result<VersionId, Error> {
        if secret.value.expose().len() > VALUE_LIMIT {
            return Err(Error::TooLarge { limit: VALUE_LIMIT });
        }
        let id = VersionId::fresh(tx.now());
        let path = path_of(name);
        let place = Place {
            store: tx.store_id(),
            path: &path,
            version: id.as_str(),
        };
        let Blobs {
            ciphertext,
            wrapped_key,
        } = seal::seal(&*self.keyring()?, place, &secret.value)?;
        tx.add_version(&NewVersion {
            id: id.clone(),
            secret: name.clone(),
            stage: Stage::Pending,
            run: by.run.clone(),
            fence: by.fence,
            output_of: output_of.cloned(),
            material: Material::Own {
                ciphertext,
                wrapped_key,
            },
            meta: meta_text(&secret.metadata)?,
        })?;
        for (key, value) in &secret.metadata.annotations {
            tx.annotate(&id, key, value)?;
        }
        Ok(id)
    }

    /// As [`crate::Vault::promote`], within a transaction.
    ///
    /// # Errors
    /// As there.
    pub fn promote_in(&self, tx: &Transaction<'_>, by: &Author, promotion: &Promotion) -> Result<(), Error> {
        let Promotion {
            name,
            pending,
            expected_current,
            also,
        } = promotion;
        self.keyring()?;
        fenced(tx, by, name)?;
        let version = find(tx, name, pending)?;
        match version.stage {
            Stage::Current => return Ok(()),
            Stage::Pending => {}
            _ => return Err(stage(name, &version, "promoted")),
        }
        expect_current(tx, name, expected_current.as_ref())?;
        self.add_missing(tx, by, &version.id, also)?;
        for version in with_outputs(tx, version)? {
            replace_current(tx, &version.secret, &by.run)?;
            tx.set_stage(&version.id, Stage::Current, &by.run)?;
        }
        Ok(())
    }

    /// As [`crate::Vault::abandon`], within a transaction.
    ///
    /// # Errors
    /// As there.
    pub fn abandon_in(
        &self,
        tx: &Transaction<'_>,
        by: &Author,
        name: &SecretName,
        id: &VersionId,
    ) -> Result<(), Error> {
        self.retire(
            tx,
            by,
            name,
            id,
            (&[Stage::Pending], Stage::Abandoned, "abandoned"),
        )
    }

    /// As [`crate::Vault::revoke`], within a transaction.
    ///
    /// # Errors
    /// As there.
    pub fn revoke_in(
        &self,
        tx: &Transaction<'_>,
        by: &Author,
        name: &SecretName,
        id: &VersionId,
    ) -> Result<(), Error> {
        self.retire(
            tx,
            by,
            name,
            id,
            (&[Stage::Previous, Stage::Abandoned], Stage::Revoked, "revoked"),
        )
    }

    fn retire(
        &self,
        tx: &Transaction<'_>,
        by: &Author,
        name: &SecretName,
        id: &VersionId,
        (from, to, word): (&[Stage], Stage, &'static str),
    ) -> Result<(), Error> {
        self.keyring()?;
        fenced(tx, by, name)?;
        let version = find(tx, name, id)?;
        if version.stage == to {
            return Ok(());
        }
        if !from.contains(&version.stage) {
            return Err(stage(name, &version, word));
        }
        for version in with_outputs(tx, version)? {
            if from.contains(&version.stage) {
                tx.set_stage(&version.id, to, &by.run)?;
            }
        }
        Ok(())
    }

    /// As [`crate::Vault::roll_back`], within a transaction.
    ///
    /// # Errors
    /// As there.
    pub fn roll_back_in(
        &self,
        tx: &Transaction<'_>,
        by: &Author,
        name: &SecretName,
        to: &VersionId,
        expected_current: Option<&VersionId>,
        also: &[Output],
    ) -> Result<VersionId, Error> {
        self.keyring()?;
        fenced(tx, by, name)?;
        let old = find(tx, name, to)?;
        let material = old.material_of.clone().unwrap_or_else(|| old.id.clone());
        let versions = tx.live_versions(name, &[])?;
        let done = versions.iter().find(|version| {
            version.stage == Stage::Current
                && version.run == by.run
                && version.material_of.as_ref() == Some(&material)
        });
        if let Some(done) = done {
            return Ok(done.id.clone());
        }
        if let Some(pending) = versions.iter().find(|version| version.stage == Stage::Pending) {
            return Err(stage(name, pending, "left aside by a rollback"));
        }
        expect_current(tx, name, expected_current)?;
        let new = again_with_outputs(tx, by, &old, Stage::Current)?;
        for (name, id) in self.add_missing(tx, by, &new, also)? {
            replace_current(tx, &name, &by.run)?;
            tx.set_stage(&id, Stage::Current, &by.run)?;
        }
        Ok(new)
    }

    /// As [`crate::Vault::put_back`], within a transaction.
    ///
    /// # Errors
    /// As there.
    pub fn put_back_in(
        &self,
        tx: &Transaction<'_>,
        by: &Author,
        name: &SecretName,
        to: &VersionId,
        also: &[Output],
    ) -> Result<VersionId, Error> {
        self.keyring()?;
        fenced(tx, by, name)?;
        let old = find(tx, name, to)?;
        let material = old.material_of.clone().unwrap_or_else(|| old.id.clone());
        let versions = tx.live_versions(name, &[])?;
        match versions.iter().find(|version| version.stage == Stage::Pending) {
            Some(done) if done.run == by.run && done.material_of.as_ref() == Some(&material) => {
                Ok(done.id.clone())
            }
            Some(pending) => Err(stage(name, pending, "put back beside another one")),
            None => {
                let new = again_with_outputs(tx, by, &old, Stage::Pending)?;
                self.add_missing(tx, by, &new, also)?;
                Ok(new)
            }
        }
    }

    /// As [`crate::Vault::annotate`], within a transaction.
    ///
    /// # Errors
    /// As there.
    pub fn annotate_in(
        &self,
        tx: &Transaction<'_>,
        by: &Author,
        name: &SecretName,
        id: &VersionId,
        (key, value): (&str, &str),
    ) -> Result<(), Error> {
        self.keyring()?;
        fenced(tx, by, name)?;
        find(tx, name, id)?;
        Ok(tx.annotate(id, key, value)?)
    }
}

fn again_with_outputs(
    tx: &Transaction<'_>,
    by: &Author,
    old: &Version,
    at: Stage,
) -> Result<VersionId, Error> {
    let outputs = tx.outputs(&old.id)?;
    let new = again(tx, by, old, None, at)?;
    for output in &outputs {
        again(tx, by, output, Some(&new), at)?;
    }
    Ok(new)
}

/// A new version with the material of an old one.
fn again(
    tx: &Transaction<'_>,
    by: &Author,
    old: &Version,
    output_of: Option<&VersionId>,
    at: Stage,
) -> Result<VersionId, Error> {
    let id = VersionId::fresh(tx.now());
    if at == Stage::Current {
        replace_current(tx, &old.secret, &by.run)?;
    }
    tx.add_version(&NewVersion {
        id: id.clone(),
        secret: old.secret.clone(),
        stage: at,
        run: by.run.clone(),
        fence: by.fence,
        output_of: output_of.cloned(),
        material: Material::Of(old.material_of.clone().unwrap_or_else(|| old.id.clone())),
        meta: old.meta.clone(),
    })?;
    for (key, value) in tx.annotations(&old.id)? {
        tx.annotate(&id, &key, &value)?;
    }
    Ok(id)
}

fn replace_current(tx: &Transaction<'_>, name: &SecretName, run: &RunId) -> Result<(), Error> {
    if let Some(id) = tx.current_version(name)? {
        tx.set_stage(&id, Stage::Previous, run)?;
    }
    Ok(())
}

fn expect_current(reader: &Reader<'_>, name: &SecretName, expected: Option<&VersionId>) -> Result<(), Error> {
    let found = reader.current_version(name)?;
    if found.as_ref() == expected {
        return Ok(());
    }
    Err(Error::HeadMoved {
        name: name.clone(),
        expected: expected.cloned(),
        found,
    })
}

fn with_outputs(reader: &Reader<'_>, version: Version) -> Result<Vec<Version>, Error> {
    let mut all = reader.outputs(&version.id)?;
    all.insert(0, version);
    Ok(all)
}

/// No effect without a live fence, and none on a name that another run holds.
pub(super) fn fenced(reader: &Reader<'_>, by: &Author, name: &SecretName) -> Result<(), Error> {
    Ok(reader.check_fence_on(&LeaseKey::Secret(name.clone()), &by.run, by.fence)?)
}

fn stage(name: &SecretName, version: &Version, wanted: &'static str) -> Error {
    Error::Stage {
        name: name.clone(),
        version: version.id.clone(),
        stage: version.stage,
        wanted,
    }
}

/// Metadata as kept beside the value; annotations have a table of their own.
pub(super) fn meta_text(metadata: &Metadata) -> Result<String, Error> {
    let mut bare = metadata.clone();
    bare.annotations.clear();
    serde_json::to_string(&bare).map_err(|_| Error::Crypto {
        what: "writing a version's labels",
    })
}
