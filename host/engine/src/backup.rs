//! The state in one file, and back: `vault backup` and `vault restore`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keywheel_audit::Entry;
use keywheel_config::Config;
use keywheel_failpoint::{Point, reach};
use keywheel_model::{Clock, Epoch, Timestamp};
use keywheel_store::{DATABASE, Held, Options, Store};
use keywheel_vault::{BackupKey, Embedded, NewSlot, SlotInfo, Unlock};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::Serialize;
use serde_json::json;

use crate::Error;
use crate::actor::actor;
use crate::backed_up::note_backup;
use crate::engine::{Engine, blocking};
use crate::restore::begin_epoch;
use crate::slots::slot_added;
use crate::view::SlotView;

/// What the folder is called in which a state is made before it takes its place: the state's name, and this.
pub(crate) const RESTORING: &str = ".restoring";
/// The same of a state that made room, with the time of the backup.
const BEFORE: &str = ".before-restore-";

/// A backup that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BackupView {
    /// The file.
    pub file: PathBuf,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// The store that it is of.
    pub store: String,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// The length of the database in it.
    pub database_bytes: u64,
}

/// A backup that was put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RestoredView {
    /// The state directory.
    pub state: PathBuf,
    /// The store that it is of.
    pub store: String,
    /// When the backup was taken.
    pub taken_at: Timestamp,
    /// The restore epoch now.
    pub epoch: Epoch,
    /// Where the state that was there before is kept.
    pub before: Option<PathBuf>,
    /// What opens the vault now.
    pub slots: Vec<SlotView>,
    /// When the state that was there before got another root key, if that was after the backup was taken: the one of before is back.
    pub rekeyed_at: Option<Timestamp>,
    /// Slots that were taken out of the state that was there before, after the backup was taken: their keys open the vault again.
    pub slots_back: Vec<String>,
}

/// What is to be put back.
pub struct Restore {
    /// The backup.
    pub file: PathBuf,
    /// What opens it, and the vault in it.
    pub key: Unlock,
    /// Whether a state that is there makes room. It is kept beside.
    pub force: bool,
    /// A key file that is to open the vault from now on; made if it is not there.
    pub new_key_file: Option<PathBuf>,
    /// Why, for the audit trail.
    pub reason: Option<String>,
}

impl Engine {
    /// Writes a backup of the whole state into a new file, encrypted to the recovery recipient and to whoever opens a key slot, while the host
    /// goes on.
    ///
    /// # Errors
    /// The vault is sealed; the file is there already, or cannot be written.
    pub async fn backup(&self, to: &Path) -> Result<BackupView, Error> {
        let holds = self.inner.backup_will_hold().await?;
        let written = self.inner.vault.backup(to).await?;
        let view = BackupView {
            file: to.to_owned(),
            sha256: written.digest,
            store: written.contents.store,
            taken_at: written.contents.taken,
            database_bytes: written.contents.bytes,
        };
        let taken = view.taken_at;
        let entry = Entry::of_host("vault.backup", "vault", "ok")
            .by(actor())
            .with(json!({"sha256": view.sha256, "taken": view.taken_at}));
        self.inner
            .store
            .write(move |tx| {
                note_backup(tx, taken, &holds)?;
                Ok::<_, Error>(tx.audit(&entry).map(|_| ())?)
            })
            .await?;
        Ok(view)
    }
}

impl Restore {
    /// Puts the backup where the configuration has the state. It is made beside it and checked there; then it takes the place in one step, so
    /// that whatever ends this process leaves the one or the other. The restore epoch is above all that are known (rule P2).
    ///
    /// # Errors
    /// [`Error::StateThere`] without `force`; a host has the state; the key does not open the backup; it is damaged, or of a newer format.
    pub async fn run(self, config: &Config, clock: Arc<dyn Clock>) -> Result<RestoredView, Error> {
        let dir = state_dir(config);
        let there = is_state(&dir);
        if there && !self.force {
            return Err(Error::StateThere { dir });
        }
        let held = there.then(|| Held::take(&dir)).transpose()?;
        let above = held.as_ref().and_then(Held::epoch).unwrap_or_default();
        let rekeyed_at = held.as_ref().and_then(|held| held.last_of("vault.rekey"));
        let slots_before = held.as_ref().and_then(Held::slots);
        let beside = Beside::make(&dir)?;
        let (contents, key) = Embedded::unpack(&self.file, self.key, &beside.path.join(DATABASE)).await?;
        let rekeyed_at = rekeyed_at.filter(|at| *at > contents.taken);
        let backup = json!({"taken": contents.taken, "sha256": contents.sha256});
        let mark = Mark {
            above,
            why: json!({"reason": self.reason, "backup": backup, "rekeyed": rekeyed_at}),
            new_key_file: self.new_key_file,
        };
        let (epoch, slots) = mark.set(&beside.path, clock, key).await?;
        let before = there.then(|| with_suffix(&dir, &format!("{BEFORE}{}", contents.taken.as_unix_ms())));
        let before = before.map(free_name);
        reach(Point::RestoreBefore);
        beside.take_place(&dir, before.as_deref())?;
        reach(Point::RestoreAfter);
        drop(held);
        Ok(RestoredView {
            state: dir,
            store: contents.store,
            taken_at: contents.taken,
            epoch,
            before,
            slots_back: slots_back(&slots, slots_before, contents.taken),
            slots: slots.into_iter().map(SlotView::from).collect(),
            rekeyed_at,
        })
    }
}

/// The slots of the backup that the state of before had no more. One that is made for this restore is none of them.
fn slots_back(slots: &[SlotInfo], before: Option<Vec<String>>, taken: Timestamp) -> Vec<String> {
    let Some(before) = before else { return Vec::new() };
    let back = slots
        .iter()
        .filter(|slot| slot.created <= taken && !before.contains(&slot.id));
    back.map(|slot| slot.id.clone()).collect()
}

/// What is done to a state that was unpacked, before it takes its place.
struct Mark {
    above: Epoch,
    why: serde_json::Value,
    new_key_file: Option<PathBuf>,
}

impl Mark {
    /// Opens it, sees that it is sound, and begins the epoch; then it is closed again. With what opens it from now on.
    async fn set(
        self,
        dir: &Path,
        clock: Arc<dyn Clock>,
        key: BackupKey,
    ) -> Result<(Epoch, Vec<SlotInfo>), Error> {
        let (options, at) = (Options::new(clock), dir.to_owned());
        let store = blocking(move || Store::open_existing(&at, options)).await??;
        store.check().await?;
        let vault = Embedded::open_unpacked(store.clone(), key).await?;
        let (above, why) = (self.above, self.why);
        let epoch = store
            .write(move |tx| Ok::<_, Error>(begin_epoch(tx, above, &why)?))
            .await?;
        if let Some(file) = self.new_key_file {
            let entry = slot_added("key-file");
            vault.add_slot(NewSlot::KeyFile(file), entry).await?;
        }
        Ok((epoch, vault.slots().await?))
    }
}

/// Whether there is anything that must not be lost. The lock of a state that was never made is nothing.
pub(crate) fn is_state(dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(dir) else {
        return dir.symlink_metadata().is_ok();
    };
    entries.flatten().any(|entry| entry.file_name() != "lock")
}

/// The folder in which the state is made before it takes its place.
struct Beside {
    path: PathBuf,
}

impl Beside {
    fn make(dir: &Path) -> Result<Self, Error> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = with_suffix(dir, RESTORING);
        if path.symlink_metadata().is_ok() {
            // Of a restore that was interrupted, unless one is at work.
            drop(Held::take(&path)?);
            fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
        }
        let made = fs::DirBuilder::new().mode(0o700).recursive(true).create(&path);
        made.map_err(failed("make the folder", &path))?;
        Ok(Self { path })
    }

    fn take_place(self, dir: &Path, before: Option<&Path>) -> Result<(), Error> {
        match before {
            None => {
                // An empty folder makes room; its lock would be in the way.
                let _ = fs::remove_file(dir.join("lock"));
                fs::rename(&self.path, dir).map_err(failed("make", dir))?;
            }
            Some(before) => self.change_places(dir, before)?,
        }
        let parent = dir.parent().unwrap_or(Path::new("/"));
        fs::File::open(parent)
            .and_then(|parent| parent.sync_all())
            .map_err(failed("sync", parent))
    }
}

impl Beside {
    /// In one step where the file system can: the new state first gets the name under which the old one is to be kept, and then the two are
    /// exchanged. At no moment does the old one lie under a name that a later restore clears.
    fn change_places(&self, dir: &Path, before: &Path) -> Result<(), Error> {
        fs::rename(&self.path, before).map_err(failed("make", before))?;
        reach(Point::RestoreReady);
        if renameat_with(CWD, before, CWD, dir, RenameFlags::EXCHANGE).is_ok() {
            return Ok(());
        }
        // Otherwise there is no state for a moment, and the old one is beside.
        fs::rename(before, &self.path).map_err(failed("make", &self.path))?;
        fs::rename(dir, before).map_err(failed("move", dir))?;
        fs::rename(&self.path, dir).map_err(|source| {
            // As it was; if that does not go either, the error names what is missing.
            let _ = fs::rename(before, dir);
            failed("make", dir)(source)
        })
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Whatever stopped it is told; a folder that stays is cleared by the next restore.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Where the state is. A link leads to another disk: what takes its place must be made there.
pub(crate) fn state_dir(config: &Config) -> PathBuf {
    let dir = std::path::absolute(&config.state_dir).unwrap_or_else(|_| config.state_dir.clone());
    fs::canonicalize(&dir).unwrap_or(dir)
}

/// The states that made room for a backup.
pub(crate) fn kept_beside(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let prefix = with_suffix(dir, BEFORE);
    let entries = dir.parent().and_then(|parent| fs::read_dir(parent).ok());
    let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    paths.filter(move |path| {
        path.as_os_str()
            .as_encoded_bytes()
            .starts_with(prefix.as_os_str().as_encoded_bytes())
    })
}

pub(crate) fn with_suffix(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The name itself, or with a number if there is such a one.
fn free_name(path: PathBuf) -> PathBuf {
    let numbered = (2..).map(|number: u32| with_suffix(&path, &format!("-{number}")));
    let mut names = std::iter::once(path.clone()).chain(numbered);
    names
        .find(|name| name.symlink_metadata().is_err())
        .unwrap_or(path)
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { what, path, source }
}
