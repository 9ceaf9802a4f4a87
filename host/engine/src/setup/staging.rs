//! What `init` keeps of itself while it works: a folder `.keywheel-init` with the configuration to be.
//!
//! As long as that file is in there, the host is not made, and state and key file beside it are what an interrupted `init` left: it stands
//! there before either is made, and moving it to its place is the last step.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keywheel_model::{Clock, SecretBytes};
use keywheel_store::{Options, Store};
use rustix::fs::{CWD, RenameFlags};
use sha2::{Digest as _, Sha256};

use super::{failed, make_folder};
use crate::Error;
use crate::engine::blocking;

/// Longer than any recovery identity.
const RECOVERY_BYTES_MAX: u64 = 4096;

/// The folder, held by this process alone.
pub(super) struct Staging {
    dir: PathBuf,
    _lock: File,
}

impl Staging {
    /// Where it is, for a host's folder.
    pub(super) fn dir(folder: &Path) -> PathBuf {
        folder.join(".keywheel-init")
    }

    /// Whether an `init` of this folder began and did not end.
    pub(super) fn was_interrupted(folder: &Path) -> bool {
        exists(&Self::dir(folder).join("keywheel.toml")) && !exists(&folder.join("keywheel.toml"))
    }

    /// Makes it, or takes over the one that an interrupted `init` left.
    pub(super) fn take(folder: &Path) -> Result<Self, Error> {
        let dir = Self::dir(folder);
        make_folder(&dir, 0o700)?;
        let path = dir.join("lock");
        let lock = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::InitAtWork { path: dir }),
            Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
        }
    }

    /// Takes away what an interrupted `init` made. The configuration to be stays until the rest is gone, so that this may be interrupted too.
    pub(super) async fn clear(
        &self,
        made: &[PathBuf],
        state: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<(), Error> {
        if holds_secrets(state, clock).await? {
            // Somebody wrote a configuration of their own for it.
            return Err(Error::Exists {
                path: state.to_owned(),
            });
        }
        self.clear_recovery()?;
        for path in made {
            let gone = if path.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            };
            match gone {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove", path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The configuration as it will be. From now on what is made belongs to this `init`.
    pub(super) fn put_config(&self, text: &str) -> Result<(), Error> {
        self.put("keywheel.toml", text.as_bytes())
    }

    /// Where the recovery identity is about to be written, and the digest by which that file is known again.
    pub(super) fn put_recovery(&self, path: &Path, identity: &SecretBytes) -> Result<(), Error> {
        let path = std::path::absolute(path).map_err(failed("find", path))?;
        let mut note = Sha256::digest(identity.expose()).to_vec();
        note.extend_from_slice(path.as_os_str().as_bytes());
        self.put("recovery", &note)
    }

    /// The identity of a vault that never was opens nothing. Only the very file that was written goes, or an empty one in its place.
    fn clear_recovery(&self) -> Result<(), Error> {
        let Ok(note) = fs::read(self.dir.join("recovery")) else {
            return Ok(());
        };
        let Some((digest, path)) = note.split_at_checked(Sha256::output_size()) else {
            return Ok(());
        };
        let path = PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()));
        if !path.symlink_metadata().is_ok_and(|found| found.is_file()) {
            return Ok(());
        }
        let mut found = Vec::new();
        let file = File::open(&path).map_err(failed("read", &path))?;
        file.take(RECOVERY_BYTES_MAX)
            .read_to_end(&mut found)
            .map_err(failed("read", &path))?;
        let found = SecretBytes::new(found);
        let text = found.expose().trim_ascii_end();
        if text.is_empty() || Sha256::digest(text).as_slice() == digest {
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        Ok(())
    }

    /// Gives the configuration its place: from now on there is a host.
    pub(super) fn finish(self, config: &Path) -> Result<(), Error> {
        let from = self.dir.join("keywheel.toml");
        let moved = match rustix::fs::renameat_with(CWD, &from, CWD, config, RenameFlags::NOREPLACE) {
            // Not every file system can; nothing else of keywheel writes there while the lock is held.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
                fs::rename(&from, config)
            }
            other => other.map_err(io::Error::from),
        };
        moved.map_err(failed("write", config))?;
        let folder = config.parent().unwrap_or(Path::new("."));
        sync(folder)?;
        // Nothing in it means anything any more.
        let _ = fs::remove_dir_all(&self.dir);
        Ok(())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let (path, new) = (self.dir.join(name), self.dir.join("new"));
        let written = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&new)
            .and_then(|mut file| {
                // It is moved to its place as it is, and a umask must not decide who reads a configuration.
                file.set_permissions(fs::Permissions::from_mode(0o644))?;
                file.write_all(bytes)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&new, &path));
        written.map_err(failed("write", &path))?;
        sync(&self.dir)
    }
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

pub(super) fn sync(dir: &Path) -> Result<(), Error> {
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(failed("sync", dir))
}

/// Whether somebody uses the vault already. A database that cannot be opened has none: it was left in the middle.
async fn holds_secrets(state: &Path, clock: Arc<dyn Clock>) -> Result<bool, Error> {
    let (dir, options) = (state.to_owned(), Options::new(clock));
    match blocking(move || Store::open_existing(&dir, options)).await? {
        Ok(store) => Ok(!store
            .read(|reader| Ok::<_, Error>(reader.secrets()?))
            .await?
            .is_empty()),
        Err(keywheel_store::Error::NoState { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
