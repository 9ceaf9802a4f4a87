//! Whether the files that decide for the host are its own: configuration, grants, pins, trust sets.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::Error;

/// Of a folder: who may write to it takes away only what is their own.
const STICKY: u32 = 0o1000;

/// Everything among these files and folders that somebody else than the host's user and root can change: each itself, what a link of it leads
/// to, the folder that it is in, and of a folder each grant in it.
pub fn open_to_others<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Vec<Error> {
    let mut all = BTreeSet::new();
    for path in paths {
        all.extend(grants_in(path).flat_map(|grant| with_folders(&grant)));
        all.extend(with_folders(path));
    }
    let looked_at = all.iter().map(|path| keywheel_plugin::check_ours(path));
    looked_at
        .filter_map(|looked| looked.err().map(|source| Error::OpenToOthers { source }))
        .collect()
}

/// A folder in which others may put another file in the place of one that is not theirs; they may not where it is sticky, like `/tmp`. Whose the folder is
/// does not count: the host's user may be another one than that of the command.
pub fn writable_by_others(folder: &Path) -> Option<Error> {
    let source = keywheel_plugin::check_ours(folder).err()?;
    let keywheel_plugin::Error::Writable { mode, .. } = &source else {
        return None;
    };
    (mode & STICKY == 0).then_some(Error::OpenToOthers { source })
}

/// A path and where it lies, by its name and behind its links: who can write a folder can put another file in the place of one in it.
fn with_folders(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let folder = path.parent().map(|folder| {
        if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        }
    });
    let behind = path.is_symlink().then(|| path.canonicalize().ok()).flatten();
    let folder_behind = behind.and_then(|file| file.parent().map(Path::to_owned));
    [Some(path.to_owned()), folder.map(Path::to_owned), folder_behind]
        .into_iter()
        .flatten()
}

/// What is read as a grant; nothing where the path is no folder.
fn grants_in(path: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
}
