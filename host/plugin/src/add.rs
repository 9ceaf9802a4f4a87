//! Pinning: lock file and grant change together or not at all, also across a crash between the two.

use std::path::PathBuf;
use std::sync::Arc;

use keywheel_manifest::Digest;
use keywheel_model::PluginName;
use keywheel_policy::{Difference, Grant, HostRule, LockedPlugin, difference, suggested_grant};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::private::write_whole;
use crate::registry::{Candidate, Registry, read_text};

/// What pinning a plugin would change: for a person to look at before [`Registry::add`].
#[derive(Clone, Debug)]
pub struct Addition {
    /// The plugin.
    pub name: PluginName,
    /// The version in its manifest.
    pub version: String,
    /// Of the bytes that are pinned.
    pub digest: Digest,
    /// The key of the publisher that has signed them, where signatures are looked at.
    pub publisher: Option<String>,
    /// What is pinned now.
    pub before: Option<LockedPlugin>,
    /// What it asks beyond what it was granted.
    pub difference: Difference,
    /// The grant as it will be written.
    pub grant: Grant,
}

/// Both files as they are to be. It lies in the host's own folder while they are written.
#[derive(Serialize, Deserialize)]
struct Intent {
    files: Vec<(PathBuf, String)>,
}

impl Registry {
    /// What [`Registry::add`] would do. `hosts` is granted where there is no grant yet; an existing grant keeps its hosts.
    ///
    /// # Errors
    /// No such plugin, it was refused, or its grant cannot be read.
    pub fn addition(&self, name: &PluginName, hosts: &[HostRule]) -> Result<Addition, Arc<Error>> {
        let plugin = self.addable(name)?;
        let (manifest, old) = (plugin.plugin.manifest(), self.grant(name)?);
        let file = self.grant_path(name).display().to_string();
        Ok(Addition {
            name: name.clone(),
            version: manifest.version.clone(),
            digest: plugin.source.digest,
            publisher: plugin.publisher.clone(),
            before: self.lock()?.plugins.get(name).cloned(),
            difference: difference(manifest, old.as_ref()),
            grant: suggested_grant(manifest, old.as_ref(), &file, hosts),
        })
    }

    /// Pins what [`Registry::addition`] showed and writes its grant. The caller scans again to run it.
    ///
    /// # Errors
    /// [`Error::Changed`], or a file cannot be written; then nothing has changed.
    pub fn add(&self, addition: &Addition) -> Result<(), Arc<Error>> {
        let candidate = self.addable(&addition.name)?;
        if candidate.source.digest != addition.digest {
            let name = addition.name.clone();
            return Err(Error::Changed { name }.into());
        }
        Ok(self.write(candidate, Some(&addition.grant))?)
    }

    /// Pins new bytes under the grant that is there.
    pub(crate) fn pin(&self, candidate: &Candidate) -> Result<(), Error> {
        self.write(candidate, None)
    }

    /// A file that is new, pinned, held, or other than its pin under the same version. What was refused for itself is not
    /// among them.
    fn addable(&self, name: &PluginName) -> Result<&Candidate, Arc<Error>> {
        match (self.candidates.get(name), self.refusal(name)) {
            (_, Some(error))
                if matches!(
                    *error,
                    Error::Downgrade { .. } | Error::Unsigned { .. } | Error::Signature { .. }
                ) =>
            {
                Err(error)
            }
            (Some(candidate), _) => Ok(candidate),
            (None, Some(error)) => Err(error),
            (None, None) => Err(Error::Unknown { name: name.clone() }.into()),
        }
    }

    fn write(&self, candidate: &Candidate, grant: Option<&Grant>) -> Result<(), Error> {
        let manifest = candidate.plugin.manifest();
        self.keep
            .put(&candidate.source, self.runtime.limits().file_bytes)?;
        let mut lock = self.lock()?;
        let pin = LockedPlugin {
            version: manifest.version.clone(),
            sha256: candidate.source.digest,
            publisher: candidate.publisher.clone(),
        };
        lock.plugins.insert(manifest.name.clone(), pin);
        let mut files: Vec<_> = grant
            .iter()
            .map(|grant| (self.grant_path(&manifest.name), grant.to_toml()))
            .collect();
        files.push((self.places.lock.clone(), lock.to_toml()));
        let before = files
            .iter()
            .map(|(path, _)| read_text(path))
            .collect::<Result<Vec<_>, _>>()?;
        let intent = Intent { files };
        self.write_intent(&intent)?;
        let Err(error) = intent.carry_out() else {
            return self.forget_intent();
        };
        // Back to what it was. Where not even that can be written, the next scan finishes what was decided here.
        if intent.undo(&before).is_ok() {
            self.forget_intent()?;
        }
        Err(error)
    }

    fn intent_path(&self) -> PathBuf {
        self.keep.file("adding.json")
    }

    fn write_intent(&self, intent: &Intent) -> Result<(), Error> {
        let path = self.intent_path();
        let text = serde_json::to_vec(intent).map_err(|error| Error::Write {
            path: path.clone(),
            source: error.into(),
        })?;
        write_whole(&path, &text, 0o600)
    }

    fn forget_intent(&self) -> Result<(), Error> {
        let path = self.intent_path();
        std::fs::remove_file(&path).map_err(|source| Error::Write { path, source })
    }

    /// A crash came between the two files of an `add`: what was decided is done.
    pub(crate) fn finish_interrupted_add(&self) -> Result<(), Error> {
        let path = self.intent_path();
        let Some(text) = read_text(&path)? else {
            return Ok(());
        };
        let intent: Intent = serde_json::from_str(&text).map_err(|error| Error::Read {
            path,
            source: error.into(),
        })?;
        intent.carry_out()?;
        self.forget_intent()
    }
}

impl Intent {
    fn carry_out(&self) -> Result<(), Error> {
        self.files
            .iter()
            .try_for_each(|(path, text)| write_whole(path, text.as_bytes(), 0o644))
    }

    fn undo(&self, before: &[Option<String>]) -> Result<(), Error> {
        for ((path, _), text) in self.files.iter().zip(before) {
            match text {
                Some(text) => write_whole(path, text.as_bytes(), 0o644)?,
                None => match std::fs::remove_file(path) {
                    Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                        return Err(Error::Write {
                            path: path.clone(),
                            source,
                        });
                    }
                    _ => {}
                },
            }
        }
        Ok(())
    }
}
