//! Files of the host's own: written whole or not at all, in folders that nobody else can enter.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use keywheel_manifest::Digest;

use crate::Error;

/// A folder with mode 0700 that belongs to the host.
pub(crate) struct PrivateFolder(PathBuf);

impl PrivateFolder {
    /// Makes it where it is missing. A folder that is there and open to others is refused: somebody may have been in it.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let write = |source: io::Error| Error::Write {
            path: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(write)?;
        let found = std::fs::symlink_metadata(path).map_err(write)?;
        if !found.is_dir() {
            return Err(Error::NotAFile {
                path: path.to_owned(),
            });
        }
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(Error::Owner {
                path: path.to_owned(),
                uid: found.uid(),
            });
        }
        let mode = found.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(Error::Writable {
                path: path.to_owned(),
                mode,
            });
        }
        Ok(Self(path.to_owned()))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Writes a file whole: beside it first, to the disk, then under its name. After a crash there is the old one or the new one.
pub(crate) fn write_whole(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    try_write(path, content, mode).map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}

fn try_write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let beside = folder.join(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    let written = write_new(&beside, content, mode).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // What is left behind has no name that anybody reads.
        let _ = std::fs::remove_file(&beside);
    }
    written?;
    File::open(folder)?.sync_all()
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// The digest's digits, for the name of a file.
pub(crate) fn digits(digest: &Digest) -> String {
    digest
        .as_bytes()
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
            }
            text
        })
}
