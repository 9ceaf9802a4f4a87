use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use keywheel_model::{Epoch, Timestamp};

use crate::{Error, glance, meta};

const PRIVATE_FILE: u32 = 0o600;
/// The database's name in its directory.
pub const DATABASE: &str = "keywheel.db";

/// The files of a state directory, held under an exclusive lock as long as this lives.
pub(crate) struct Files {
    pub(crate) database: PathBuf,
    _lock: Lock,
}

/// What to do where there is no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Make it.
    Make,
    /// Leave the disk as it is: a mistyped folder must not become a state.
    Refuse,
}

/// Takes the directory's lock, and sees that directory (0700) and database file (0600) are private. Where they are missing they are
/// made, or refused.
pub(crate) fn claim(dir: &Path, missing: Missing) -> Result<Files, Error> {
    if missing == Missing::Refuse {
        exists(dir)?;
    }
    private_directory(dir)?;
    local_disk(dir)?;
    let lock = lock(dir)?;
    let database = dir.join(DATABASE);
    let file = open_private(&database, "create")?;
    file.sync_all().map_err(failed("sync", &database))?;
    sync_directory(dir)?;
    Ok(Files {
        database,
        _lock: lock,
    })
}

/// Before anything is touched: the directory, and a database in it.
fn exists(dir: &Path) -> Result<(), Error> {
    let no_state = |what| Error::NoState {
        dir: dir.to_owned(),
        what,
    };
    let look = |path: &Path, what| match fs::symlink_metadata(path) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(no_state(what))
        }
        Err(error) => Err(failed("inspect", path)(error)),
    };
    look(dir, "there is no such folder")?;
    look(&dir.join(DATABASE), "the folder has no keywheel.db")
}

/// Makes new entries of the directory durable.
pub(crate) fn sync_directory(dir: &Path) -> Result<(), Error> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(failed("sync", dir))
}

/// Opens a file that nobody else may read, or creates it so. A symbolic link is refused.
pub(crate) fn open_private(path: &Path, what: &'static str) -> Result<File, Error> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE_FILE)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(failed(what, path))?;
    let metadata = file.metadata().map_err(failed("inspect", path))?;
    check_private(path, &metadata)?;
    Ok(file)
}

fn private_directory(dir: &Path) -> Result<(), Error> {
    match DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        Ok(()) => {}
        Err(source) => return Err(failed("create", dir)(source)),
    }
    let metadata = fs::metadata(dir).map_err(failed("inspect", dir))?;
    check_private(dir, &metadata)
}

fn check_private(path: &Path, metadata: &fs::Metadata) -> Result<(), Error> {
    let not_private = |what| {
        Err(Error::NotPrivate {
            path: path.to_owned(),
            what,
        })
    };
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return not_private("it belongs to another user");
    }
    if metadata.mode() & 0o077 != 0 {
        return not_private("others may use it");
    }
    Ok(())
}

/// Network file systems lose locks and reorder syncs.
fn local_disk(dir: &Path) -> Result<(), Error> {
    let status = rustix::fs::statfs(dir).map_err(|errno| failed("inspect", dir)(errno.into()))?;
    let kind = match u64::try_from(status.f_type).unwrap_or_default() & 0xffff_ffff {
        0x6969 => "NFS",
        0xfe53_4d42 | 0xff53_4d42 => "SMB",
        0x0102_1997 => "9P",
        _ => return Ok(()),
    };
    Err(Error::FileSystem {
        path: dir.to_owned(),
        kind,
    })
}

/// A state directory held against every host without being opened: while another one takes its place.
pub struct Held {
    dir: PathBuf,
    _lock: Lock,
}

impl Held {
    /// Takes the lock of a directory that is there.
    ///
    /// # Errors
    /// [`Error::InUse`] while a host has it, [`Error::NotPrivate`], [`Error::File`].
    pub fn take(dir: &Path) -> Result<Self, Error> {
        Ok(Self {
            dir: dir.to_owned(),
            _lock: lock(dir)?,
        })
    }

    /// The restore epoch of its database. `None` where there is none or it cannot be read: it may be why another state is to come.
    pub fn epoch(&self) -> Option<Epoch> {
        epoch_of(&self.dir)
    }

    /// When the newest row of its trail with this action was written. `None` as for the epoch.
    pub fn last_of(&self, action: &str) -> Option<Timestamp> {
        glance::last_of(&self.dir.join(DATABASE), action).ok().flatten()
    }

    /// The names of its key slots. `None` as for the epoch.
    pub fn slots(&self) -> Option<Vec<String>> {
        glance::slots_of(&self.dir.join(DATABASE)).ok()
    }
}

/// The restore epoch of the database in a directory, without a lock: of one that no host has. `None` where there is none or it cannot be read.
pub fn epoch_of(dir: &Path) -> Option<Epoch> {
    let database = dir.join(DATABASE);
    database
        .is_file()
        .then(|| meta::epoch_of(&database).ok())
        .flatten()
}

/// The lock of a directory, given back when dropped.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Said and not left to the file's end: a child that another thread is about to start has the file, too, until it becomes its program.
        let _ = self.0.unlock();
    }
}

fn lock(dir: &Path) -> Result<Lock, Error> {
    let path = dir.join("lock");
    let mut file = open_private(&path, "open")?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut text = String::new();
            // The number is a courtesy: without it the answer is the same.
            let _ = file.read_to_string(&mut text);
            return Err(Error::InUse {
                dir: dir.to_owned(),
                pid: text.trim().parse().ok(),
            });
        }
        Err(fs::TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
    }
    let note = format!("{}\n", std::process::id());
    // Likewise a courtesy; a full disk must not keep the host from opening its state.
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(note.as_bytes()));
    Ok(Lock(file))
}

pub(crate) fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { what, path, source }
}
