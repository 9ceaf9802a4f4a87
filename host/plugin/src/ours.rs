//! Whether a file or folder is the host's own: what anybody else can change decides nothing.

use std::path::Path;

use rustix::fs::Stat;

use crate::Error;

/// Whether nobody but the host's user and root can change what a path leads to. What is not there is nobody's.
///
/// # Errors
/// [`Error::Owner`] or [`Error::Writable`].
pub fn check_ours(path: &Path) -> Result<(), Error> {
    match rustix::fs::stat(path) {
        Ok(stat) => check(path, &stat),
        // Whoever reads it says better why it cannot be read.
        Err(_) => Ok(()),
    }
}

pub(crate) fn check(path: &Path, stat: &Stat) -> Result<(), Error> {
    let us = rustix::process::geteuid().as_raw();
    if stat.st_uid != us && stat.st_uid != 0 {
        return Err(Error::Owner {
            path: path.to_owned(),
            uid: stat.st_uid,
        });
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(Error::Writable {
            path: path.to_owned(),
            mode: stat.st_mode & 0o7777,
        });
    }
    Ok(())
}
