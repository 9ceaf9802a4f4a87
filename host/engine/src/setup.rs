//! A new host: folders, a configuration to start from, the vault and its key.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keywheel_audit::Entry;
use keywheel_model::{Clock, SecretBytes};
use keywheel_store::{Options, Store};
use keywheel_vault::{Embedded, NewSlot, RecoveryIdentity, Rider};

use crate::Error;
use crate::engine::{actor, blocking};

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
    /// Whether there is room for it: [`Setup::run`] asks too.
    ///
    /// # Errors
    /// [`Error::Exists`] naming what is in its way.
    pub fn check(&self) -> Result<(), Error> {
        match self
            .fresh()
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
    /// [`Error::Exists`], [`Error::File`], [`Error::Store`], [`Error::Vault`].
    pub async fn run(self) -> Result<SetupDone, Error> {
        self.check()?;
        let done = SetupDone {
            config: self.config(),
            key_file: self.key_file_path(),
        };
        let state = self.state();
        let mut undo = Undo::default();
        undo.whole.extend(self.fresh());
        match self.make(&done, &state, &mut undo).await {
            Ok(()) => Ok(done),
            Err(error) => {
                undo.run();
                Err(error)
            }
        }
    }

    async fn make(self, done: &SetupDone, state: &Path, undo: &mut Undo) -> Result<(), Error> {
        for folder in [
            self.folder.clone(),
            self.folder.join("plugins"),
            self.folder.join("policies"),
        ] {
            undo.note_missing(&folder);
            make_folder(&folder, 0o755)?;
        }
        make_folder(state, 0o700)?;
        let (options, dir) = (Options::new(self.clock), state.to_owned());
        let store = blocking(move || Store::open(&dir, options)).await??;
        let mut slots: Vec<_> = done.key_file.clone().map(NewSlot::KeyFile).into_iter().collect();
        slots.extend(self.passphrase.map(NewSlot::Passphrase));
        let entry = Entry::of_host("vault.init", "vault", "ok").by(actor());
        let rider = Rider::new(move |tx| tx.audit(&entry).map(|_| ()));
        Embedded::init(store, &self.recovery, slots, rider).await?;
        // Last, so that an interrupted `init` leaves no configuration that points at half a host.
        let line = if self.key_file {
            "key_file = \"vault.key\"\n"
        } else {
            ""
        };
        write_new(&done.config, &CONFIG.replace("{key_file}", line))
    }
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

fn make_folder(path: &Path, mode: u32) -> Result<(), Error> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|source| Error::File {
        what: "make the folder",
        path: path.to_owned(),
        source,
    })
}

fn write_new(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |source| Error::File {
        what: "write",
        path: path.to_owned(),
        source,
    };
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)
}
