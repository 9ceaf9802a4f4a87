//! The plugin folder against `plugins.lock` and the grants: which file is what, and which bytes new runs start with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keywheel_manifest::Digest;
use keywheel_model::PluginName;
use keywheel_policy::{Difference, Grant, Lock, LockedPlugin};

use crate::Error;
use crate::keep::Keep;
use crate::plugin::Plugin;
use crate::publisher::Publishers;
use crate::runtime::Runtime;
use crate::source::{Folder, Source};

mod judge;

/// Where a registry finds and keeps its things.
#[derive(Clone, Debug)]
pub struct Places {
    /// The plugin folder: nobody but the host's user and root may write in it.
    pub plugins: PathBuf,
    /// `plugins.lock`.
    pub lock: PathBuf,
    /// The folder of the grants, one `NAME.toml` a plugin.
    pub grants: PathBuf,
    /// A folder of the host's own for copies of pinned components; made where it is missing.
    pub kept: PathBuf,
}

/// What a newer version of a pinned plugin may do by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Upgrades {
    /// It waits for [`Registry::add`].
    #[default]
    Hold,
    /// One that asks for what was granted, or for less, is pinned at once; one that asks for more waits.
    SameGrants,
}

/// What the operator says of files in the plugin folder.
#[derive(Default)]
pub struct Rules {
    /// What a newer version may do by itself.
    pub upgrades: Upgrades,
    /// Whose signatures count.
    pub publishers: Publishers,
}

/// What a file in the plugin folder is.
#[derive(Clone, Debug)]
pub enum Status {
    /// Validated, and not pinned: it does not run before [`Registry::add`].
    New(Difference),
    /// These are the pinned bytes.
    Pinned,
    /// A newer version of a pinned plugin that waits for [`Registry::add`]. The pinned one goes on.
    Held(Difference),
    /// Pinned, but there is no file. Runs that started with it finish on the host's copy; new ones do not start.
    Missing,
    /// It cannot run, and why. If it stands in the place of a pinned plugin, that one goes on.
    Refused(Arc<Error>),
}

impl Status {
    /// The word in lists.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::New(_) => "new",
            Self::Pinned => "pinned",
            Self::Held(_) => "held",
            Self::Missing => "missing",
            Self::Refused(_) => "refused",
        }
    }
}

/// One file of the plugin folder, or one entry of the lock file without one.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The file.
    pub path: Option<PathBuf>,
    /// Its plugin, if it could be read that far.
    pub name: Option<PluginName>,
    /// The version in its manifest, or the pinned one of a missing file.
    pub version: Option<String>,
    /// Of the file's bytes, or the pinned digest of a missing file.
    pub digest: Option<Digest>,
    /// The key of the publisher that has signed these bytes, where signatures are looked at.
    pub publisher: Option<String>,
    /// What it is.
    pub status: Status,
}

/// A plugin that was read and validated whole, and its bytes.
pub(crate) struct Candidate {
    pub(crate) source: Source,
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) publisher: Option<String>,
}

/// Why a file is no candidate, and what is known of it all the same.
struct Unread {
    error: Error,
    source: Option<Source>,
}

impl From<Error> for Box<Unread> {
    fn from(error: Error) -> Self {
        Self::new(Unread { error, source: None })
    }
}

/// All plugins, as one scan of the folder found them. Blocks on files and on the compiler: use it off the executor.
pub struct Registry {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) places: Places,
    pub(crate) keep: Keep,
    pub(crate) listed: Vec<Listed>,
    pub(crate) live: BTreeMap<PluginName, Arc<Plugin>>,
    pub(crate) candidates: BTreeMap<PluginName, Candidate>,
    rules: Rules,
}

impl Registry {
    /// Looks at every file of the folder. A file that is wrong is listed as refused and stops no other.
    ///
    /// # Errors
    /// The folder, the lock file or the host's own folder cannot be read or are open to others.
    pub fn scan(runtime: &Arc<Runtime>, places: Places, rules: Rules) -> Result<Self, Error> {
        let keep = Keep::open(&places.kept)?;
        let mut registry = Self {
            runtime: Arc::clone(runtime),
            places,
            keep,
            listed: Vec::new(),
            live: BTreeMap::new(),
            candidates: BTreeMap::new(),
            rules,
        };
        registry.finish_interrupted_add()?;
        let lock = registry.lock()?;
        let folder = Folder::open(&registry.places.plugins)?;
        let mut found: BTreeMap<PluginName, Vec<Candidate>> = BTreeMap::new();
        for path in folder.candidates()? {
            match registry.read(&folder, &path) {
                Ok(candidate) => found
                    .entry(candidate.plugin.manifest().name.clone())
                    .or_default()
                    .push(candidate),
                Err(unread) => registry.list_unread(path, *unread),
            }
        }
        for (name, candidates) in found {
            registry.sort_out(&name, candidates, lock.plugins.get(&name));
        }
        registry.go_on_beside_unsigned(&lock);
        for (name, pin) in &lock.plugins {
            registry.list_missing(name, pin);
        }
        Ok(registry)
    }

    /// No plugin at all, and nothing looked at: for what needs the vault alone, which must be had when the folder is lost.
    ///
    /// # Errors
    /// The host's own folder cannot be read or is open to others.
    pub fn empty(runtime: &Arc<Runtime>, places: Places) -> Result<Self, Error> {
        Ok(Self {
            runtime: Arc::clone(runtime),
            keep: Keep::open(&places.kept)?,
            places,
            listed: Vec::new(),
            live: BTreeMap::new(),
            candidates: BTreeMap::new(),
            rules: Rules::default(),
        })
    }

    /// What was found: files in order of their plugins' names, then what could not be read that far.
    pub fn listed(&self) -> &[Listed] {
        &self.listed
    }

    /// The plugin that new runs of a rotation start with.
    ///
    /// # Errors
    /// There is none of that name, it is not pinned yet, or it was refused.
    pub fn plugin(&self, name: &PluginName) -> Result<Arc<Plugin>, Arc<Error>> {
        if let Some(plugin) = self.live.get(name) {
            return Ok(Arc::clone(plugin));
        }
        let listed = self
            .listed
            .iter()
            .find(|listed| listed.name.as_ref() == Some(name));
        Err(match listed.map(|listed| &listed.status) {
            Some(Status::Missing) => {
                let digest = listed
                    .and_then(|listed| listed.digest)
                    .unwrap_or_else(|| Digest::of(b""));
                // Its file may be there, and not to be trusted.
                self.refusal(name)
                    .unwrap_or_else(|| Error::Gone { digest }.into())
            }
            Some(Status::Refused(error)) => Arc::clone(error),
            Some(_) => Arc::new(Error::NotPinned { name: name.clone() }),
            None => self
                .refusal(name)
                .unwrap_or_else(|| Error::Unknown { name: name.clone() }.into()),
        })
    }

    /// Why a plugin's file was refused. One whose manifest could not be read goes by the name of its file.
    pub(crate) fn refusal(&self, name: &PluginName) -> Option<Arc<Error>> {
        self.listed.iter().find_map(|listed| {
            let is_it = match &listed.name {
                Some(found) => found == name,
                None => listed
                    .path
                    .as_ref()
                    .and_then(|path| path.file_stem())
                    .is_some_and(|stem| stem == name.as_str()),
            };
            match &listed.status {
                Status::Refused(error) if is_it => Some(Arc::clone(error)),
                _ => None,
            }
        })
    }

    /// The plugin with exactly these bytes, for a run that started with it: from the folder, or from the host's own copy.
    ///
    /// # Errors
    /// [`Error::Gone`], or why the copy does not load.
    pub fn pinned(&self, digest: &Digest) -> Result<Arc<Plugin>, Error> {
        if let Some(plugin) = self.live.values().find(|plugin| plugin.digest() == digest) {
            return Ok(Arc::clone(plugin));
        }
        let source = self
            .keep
            .get(digest, self.runtime.limits().file_bytes)?
            .ok_or(Error::Gone { digest: *digest })?;
        Ok(Arc::new(Plugin::load(&self.runtime, &source)?))
    }

    /// The validated plugin of a file that is new, held or pinned, to show what it asks for. It is not to be run.
    pub fn candidate(&self, name: &PluginName) -> Option<&Arc<Plugin>> {
        self.candidates
            .get(name)
            .map(|candidate| &candidate.plugin)
            .or_else(|| self.live.get(name))
    }

    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        let path = &self.places.lock;
        match read_text(path)? {
            None => Ok(Lock::default()),
            Some(text) => {
                Lock::from_toml(&path.display().to_string(), &text).map_err(|source| Error::Policy {
                    path: path.clone(),
                    source,
                })
            }
        }
    }

    pub(crate) fn grant_path(&self, name: &PluginName) -> PathBuf {
        self.places.grants.join(format!("{name}.toml"))
    }

    pub(crate) fn grant(&self, name: &PluginName) -> Result<Option<Grant>, Error> {
        let path = self.grant_path(name);
        let Some(text) = read_text(&path)? else {
            return Ok(None);
        };
        match Grant::from_toml(&path.display().to_string(), &text) {
            Ok(grant) => Ok(Some(grant)),
            Err(source) => Err(Error::Policy { path, source }),
        }
    }

    /// A signature is looked at before the bytes are compiled.
    fn read(&self, folder: &Folder, path: &Path) -> Result<Candidate, Box<Unread>> {
        let source = folder.read(path, self.runtime.limits().file_bytes)?;
        let publisher = match self.rules.publishers.signer_of(folder, &source) {
            Ok(publisher) => publisher,
            Err(error) => {
                return Err(Box::new(Unread {
                    error,
                    source: Some(source),
                }));
            }
        };
        let plugin = Arc::new(Plugin::load(&self.runtime, &source)?);
        Ok(Candidate {
            source,
            plugin,
            publisher,
        })
    }

    /// What was pinned goes on beside a file that was refused for its signature, unless it is that very file.
    fn go_on_beside_unsigned(&mut self, lock: &Lock) {
        let refused = self.listed.iter().filter(|listed| {
            matches!(&listed.status, Status::Refused(error) if matches!(**error, Error::Signature { .. } | Error::Unsigned { .. }))
        });
        let refused: Vec<_> = refused
            .filter_map(|listed| listed.name.clone().zip(listed.digest))
            .collect();
        for (name, digest) in refused {
            let pin = lock.plugins.get(&name).filter(|pin| pin.sha256 != digest);
            if let Some(pin) = pin.filter(|_| !self.live.contains_key(&name)) {
                self.go_on(&name, pin);
            }
        }
    }

    /// Of several files with one name the pinned bytes count; without a pin nobody can say which is meant.
    fn sort_out(&mut self, name: &PluginName, mut candidates: Vec<Candidate>, pin: Option<&LockedPlugin>) {
        let counts = match candidates.len() {
            1 => Some(0),
            _ => candidates
                .iter()
                .position(|candidate| pin.is_some_and(|pin| pin.sha256 == candidate.source.digest)),
        };
        let chosen = counts.map(|at| candidates.remove(at));
        for at in 0..candidates.len() {
            let other = chosen
                .as_ref()
                .unwrap_or_else(|| &candidates[usize::from(at == 0)])
                .source
                .path
                .clone();
            let path = candidates[at].source.path.clone();
            self.list(
                &candidates[at],
                Status::Refused(Arc::new(Error::Duplicate {
                    path,
                    other,
                    name: name.clone(),
                })),
            );
        }
        let found = chosen.as_ref().map(|candidate| candidate.source.digest);
        let status = match &chosen {
            Some(candidate) => self.judge(candidate, pin),
            None => Ok(Status::Missing),
        };
        if let Some(candidate) = chosen {
            let status = status.unwrap_or_else(|error| Status::Refused(Arc::new(error)));
            self.list(&candidate, status.clone());
            if matches!(status, Status::Pinned) {
                self.live.insert(name.clone(), Arc::clone(&candidate.plugin));
            }
            self.candidates.insert(name.clone(), candidate);
        }
        // Pinned bytes that were refused do not go on.
        if let Some(pin) = pin.filter(|pin| !self.live.contains_key(name) && found != Some(pin.sha256)) {
            self.go_on(name, pin);
        }
    }

    fn list(&mut self, candidate: &Candidate, status: Status) {
        let manifest = candidate.plugin.manifest();
        if let Status::Refused(error) = &status {
            tracing::info!(path = %candidate.source.path.display(), code = error.code(), %error, "a plugin is refused");
        }
        self.listed.push(Listed {
            path: Some(candidate.source.path.clone()),
            name: Some(manifest.name.clone()),
            version: Some(manifest.version.clone()),
            digest: Some(candidate.source.digest),
            publisher: candidate.publisher.clone(),
            status,
        });
    }

    fn list_unread(&mut self, path: PathBuf, unread: Unread) {
        let Unread { error, source } = unread;
        tracing::info!(path = %path.display(), code = error.code(), %error, "a file in the plugin folder is refused");
        // Its manifest can be read without compiling it: whose place it would take.
        let manifest = source
            .as_ref()
            .and_then(|source| keywheel_manifest::read(&source.bytes).ok());
        self.listed.push(Listed {
            path: Some(path),
            name: manifest.as_ref().map(|manifest| manifest.name.clone()),
            version: manifest.map(|manifest| manifest.version),
            digest: source.map(|source| source.digest),
            publisher: None,
            status: Status::Refused(Arc::new(error)),
        });
    }

    fn list_missing(&mut self, name: &PluginName, pin: &LockedPlugin) {
        if self
            .listed
            .iter()
            .any(|listed| listed.name.as_ref() == Some(name))
        {
            return;
        }
        self.listed.push(Listed {
            path: None,
            name: Some(name.clone()),
            version: Some(pin.version.clone()),
            digest: Some(pin.sha256),
            publisher: pin.publisher.clone(),
            status: Status::Missing,
        });
    }
}

/// The text of a small file. None: there is no such file.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>, Error> {
    const LIMIT_BYTES: u64 = 1 << 20;
    let read = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read(error)),
    };
    let bytes = crate::source::read_bounded(file, path, LIMIT_BYTES)?;
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|error| read(std::io::Error::new(std::io::ErrorKind::InvalidData, error)))
}
