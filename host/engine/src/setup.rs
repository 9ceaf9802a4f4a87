//! A new host: folders, a configuration to start from, the vault and its key.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keywheel_audit::Entry;
use keywheel_model::{Clock, SecretBytes};
use keywheel_store::{Options, Store};
use keywheel_vault::{Embedded, NewSlot, Rider};

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
    /// Where the times in the journal come from.
    pub clock: Arc<dyn Clock>,
}

/// What was made.
pub struct SetupDone {
    /// The configuration file.
    pub config: PathBuf,
    /// The key file, if one was made.
    pub key_file: Option<PathBuf>,
    /// Opens the vault when every other key is lost. To be shown once, and kept off this machine.
    pub recovery: SecretBytes,
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
    /// Makes it. Nothing that exists is overwritten.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::File`], [`Error::Store`], [`Error::Vault`].
    pub async fn run(self) -> Result<SetupDone, Error> {
        let config = self.folder.join("keywheel.toml");
        let key_file = self.key_file.then(|| self.folder.join("vault.key"));
        for path in [Some(&config), Some(&self.folder.join("state")), key_file.as_ref()]
            .into_iter()
            .flatten()
        {
            if path.symlink_metadata().is_ok() {
                return Err(Error::Exists { path: path.clone() });
            }
        }
        for folder in [
            self.folder.clone(),
            self.folder.join("plugins"),
            self.folder.join("policies"),
        ] {
            make_folder(&folder, 0o755)?;
        }
        let state = self.folder.join("state");
        make_folder(&state, 0o700)?;
        let options = Options::new(self.clock);
        let store = blocking(move || Store::open(&state, options)).await??;
        let mut slots: Vec<_> = key_file.clone().map(NewSlot::KeyFile).into_iter().collect();
        slots.extend(self.passphrase.map(NewSlot::Passphrase));
        let entry = Entry::of_host("vault.init", "vault", "ok").by(actor());
        let made = Embedded::init(store, slots, Rider::new(move |tx| tx.audit(&entry).map(|_| ()))).await?;
        // Last, so that an interrupted `init` leaves no configuration that points at half a host.
        let line = if key_file.is_some() {
            "key_file = \"vault.key\"\n"
        } else {
            ""
        };
        write_new(&config, &CONFIG.replace("{key_file}", line))?;
        Ok(SetupDone {
            config,
            key_file,
            recovery: made.recovery,
        })
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
