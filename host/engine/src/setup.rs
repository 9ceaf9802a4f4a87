//! A new host: folders, a configuration to start from, the vault and its key.

mod staging;

use std::fs::Permissions;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keywheel_audit::{Entry, PublicKey};
use keywheel_model::{Clock, SecretBytes};
use keywheel_store::{Options, Store};
use keywheel_vault::{Embedded, NewSlot, RecoveryIdentity, Rider};

use crate::actor::actor;
use crate::engine::blocking;
use crate::setup::staging::Staging;
use crate::{Error, trail};

/// What a new host is made of.
pub struct Setup {
    /// Its folder; made where it is missing.
    pub folder: PathBuf,
    /// Opens the vault beside the key file, or alone when there is to be no key file.
    pub passphrase: Option<SecretBytes>,
    /// Whether a key file is made; without it the host starts sealed.
    pub key_file: bool,
    /// Opens the vault when every other key is lost: somebody must hold it already, for the host does not keep it.
    pub recovery: RecoveryIdentity,
    /// Where the times in the journal come from.
    pub clock: Arc<dyn Clock>,
}

/// What was made.
pub struct SetupDone {
    /// The configuration file.
    pub config: PathBuf,
    /// The key file, if one was made.
    pub key_file: Option<PathBuf>,
    /// What checks the signatures of its audit checkpoints; known once the vault is made.
    pub public_key: Option<PublicKey>,
}

const CONFIG: &str = r#"# A Keywheel host. `keywheel config schema` prints the format, `keywheel config check` checks this file.
# Paths are relative to this file.

[state]
dir = "state"

[vault]
kind = "embedded"
{key_file}
[plugins]
dir = "plugins"
lock = "plugins.lock"
upgrades = "hold"

[policies]
dir = "policies"

# [[rotation]]
# name = "app-db"
# plugin = "postgres"
# secret = "app/db"
# inputs = { admin = "admin/db" }
# grace = "5m"
# gap = "accept"
# consumers = [{ name = "shop", staleness = "5m" }]
#
# [rotation.config]
# mode = "role"
# …: `keywheel plugin show postgres` prints what belongs here
"#;

impl Setup {
    fn check(&self) -> Result<(), Error> {
        let in_its_way = if Staging::was_interrupted(&self.folder) {
            vec![self.config()]
        } else {
            self.fresh()
        };
        match in_its_way
            .into_iter()
            .find(|path| path.symlink_metadata().is_ok())
        {
            Some(path) => Err(Error::Exists { path }),
            None => Ok(()),
        }
    }

    fn fresh(&self) -> Vec<PathBuf> {
        let always = [self.config(), self.state()];
        always.into_iter().chain(self.key_file_path()).collect()
    }

    fn config(&self) -> PathBuf {
        self.folder.join("keywheel.toml")
    }

    fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn key_file_path(&self) -> Option<PathBuf> {
        self.key_file.then(|| self.folder.join("vault.key"))
    }

    /// Makes it. Nothing that exists is overwritten, and what was begun is taken away again when it cannot be ended.
    ///
    /// # Errors
    /// As [`Setup::begin`] and [`Begun::finish`].
    pub async fn run(self) -> Result<SetupDone, Error> {
        self.begin().await?.finish().await
    }

    /// Sees that there is room for it and takes the folder. What an `init` that was interrupted left there goes; a host that was made
    /// is never touched.
    ///
    /// # Errors
    /// [`Error::Exists`] naming what is in its way, [`Error::InitAtWork`], [`Error::File`].
    pub async fn begin(self) -> Result<Begun, Error> {
        self.check()?;
        let mut undo = Undo::default();
        undo.note_missing(&self.folder);
        match self.take(&mut undo).await {
            Ok(staging) => Ok(Begun {
                setup: self,
                staging,
                undo,
            }),
            Err(error) => {
                undo.run();
                Err(error)
            }
        }
    }

    async fn take(&self, undo: &mut Undo) -> Result<Staging, Error> {
        make_folder(&self.folder, 0o755)?;
        let staging = Staging::take(&self.folder)?;
        // Another one may have ended just now.
        self.check()?;
        if Staging::was_interrupted(&self.folder) {
            let made = [self.state(), self.folder.join("vault.key")];
            staging
                .clear(&made, &self.state(), Arc::clone(&self.clock))
                .await?;
        }
        undo.whole.extend(self.fresh());
        undo.whole.push(Staging::dir(&self.folder));
        let line = if self.key_file {
            "key_file = \"vault.key\"\n"
        } else {
            ""
        };
        staging.put_config(&CONFIG.replace("{key_file}", line))?;
        staging::sync(&self.folder)?;
        Ok(staging)
    }
}

/// A host that is being made: the folder is taken, and has neither state nor key yet. Whatever ends the process from here on, the next
/// `init` of the folder begins anew.
pub struct Begun {
    setup: Setup,
    staging: Staging,
    undo: Undo,
}

impl Begun {
    /// To be called before the recovery identity is written into a file, so that a later `init` knows that file again.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn note_recovery(&self, path: &Path, identity: &SecretBytes) -> Result<(), Error> {
        self.staging.put_recovery(path, identity)
    }

    /// Takes everything away again.
    pub fn give_up(self) {
        self.undo.run();
    }

    /// Makes the host.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Store`], [`Error::Vault`]; then nothing of it is left.
    pub async fn finish(self) -> Result<SetupDone, Error> {
        let Self {
            setup,
            staging,
            mut undo,
        } = self;
        let done = SetupDone {
            config: setup.config(),
            key_file: setup.key_file_path(),
            public_key: None,
        };
        match make(setup, staging, &done, &mut undo).await {
            Ok(public_key) => Ok(SetupDone {
                public_key: Some(public_key),
                ..done
            }),
            Err(error) => {
                undo.run();
                Err(error)
            }
        }
    }
}

async fn make(setup: Setup, staging: Staging, done: &SetupDone, undo: &mut Undo) -> Result<PublicKey, Error> {
    for folder in ["plugins", "policies"].map(|name| setup.folder.join(name)) {
        undo.note_missing(&folder);
        make_folder(&folder, 0o755)?;
    }
    let state = setup.state();
    make_folder(&state, 0o700)?;
    let (options, dir) = (Options::new(setup.clock), state);
    let store = blocking(move || Store::open(&dir, options)).await??;
    let mut slots: Vec<_> = done.key_file.clone().map(NewSlot::KeyFile).into_iter().collect();
    slots.extend(setup.passphrase.map(NewSlot::Passphrase));
    let entry = Entry::of_host("vault.init", "vault", "ok").by(actor());
    let rider = Rider::new(move |tx| tx.audit(&entry).map(|_| ()));
    let vault = Embedded::init(store, &setup.recovery, slots, rider).await?;
    let public_key = trail::signer(&vault)?.public_key();
    staging::sync(&setup.folder)?;
    // Last, so that an interrupted `init` leaves no configuration that points at half a host.
    staging.finish(&done.config)?;
    Ok(public_key)
}

/// What goes again when a host cannot be made: a second try finds the folder as the first one did.
#[derive(Default)]
struct Undo {
    /// Gone with all that is in them; none was there before.
    whole: Vec<PathBuf>,
    /// Folders that were missing, outermost first: gone where nothing else is in them.
    folders: Vec<PathBuf>,
}

impl Undo {
    fn note_missing(&mut self, folder: &Path) {
        let missing = |path: &&Path| !path.as_os_str().is_empty() && path.symlink_metadata().is_err();
        let mut missing: Vec<_> = folder
            .ancestors()
            .take_while(missing)
            .map(Path::to_owned)
            .collect();
        missing.reverse();
        self.folders.append(&mut missing);
    }

    /// As far as it can: whatever stays is named by the next `init`, and the reason to be told is the first error.
    fn run(self) {
        for path in &self.whole {
            let _ = if path.is_dir() {
                std::fs::remove_dir_all(path)
            } else {
                std::fs::remove_file(path)
            };
        }
        for folder in self.folders.iter().rev() {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Makes what is missing of a path, each folder with this mode, whatever the umask is. What is there stays as it is.
fn make_folder(path: &Path, mode: u32) -> Result<(), Error> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_folder(parent, mode)?;
    }
    let made = std::fs::DirBuilder::new()
        .mode(mode)
        .create(path)
        .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(mode)));
    made.map_err(failed("make the folder", path))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { what, path, source }
}
