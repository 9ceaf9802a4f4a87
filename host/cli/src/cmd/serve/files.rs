//! The files that decide for the host, looked at again and again. Asked are names, sizes and times, which works on every file system, over the network
//! too, and whatever an editor does to put a file in another's place.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use keywheel_config::Config;

/// What makes a file another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// All of them at one time; a file that is not there, or cannot be looked at, has no stamp.
type Seen = Vec<(PathBuf, Option<Stamp>)>;

/// More files of a folder are not looked at: neither are they by whoever reads it.
const FILES_MAX: usize = 1_000;

/// Notices that the files have become others, once nobody writes to them any more.
#[derive(Debug)]
pub(super) struct Watch {
    files: Vec<PathBuf>,
    /// As they were when they were read.
    taken: Seen,
    last: Seen,
}

impl Watch {
    /// Of the files as they are now. May block.
    pub(super) fn new(file: &Path, config: &Config) -> Self {
        let trusted = config.trust.values().flat_map(|set| &set.pem);
        let named = [&config.policies_dir, &config.plugins.lock, &config.plugins.dir];
        let mut files: Vec<PathBuf> = named.into_iter().chain(trusted).cloned().collect();
        files.extend(config.tables().iter().map(|table| table.path.clone()));
        files.push(file.to_owned());
        let taken = look(&files);
        Self {
            files,
            last: taken.clone(),
            taken,
        }
    }

    /// Whether the same files are watched, whatever is in them.
    pub(super) fn is_of_the_same(&self, other: &Self) -> bool {
        self.files == other.files
    }

    /// Whether they are others than were read, and the same as when they were looked at before: whoever wrote them is done. Told once. May block.
    pub(super) fn has_changed(&mut self) -> bool {
        let now = look(&self.files);
        let changed = now != self.taken && now == self.last;
        if changed {
            self.taken.clone_from(&now);
        }
        self.last = now;
        changed
    }
}

fn look(files: &[PathBuf]) -> Seen {
    let mut seen = Vec::new();
    for path in files {
        match fs::metadata(path) {
            // The folder's own times change with each temporary file in it.
            Ok(metadata) if metadata.is_dir() => look_into(path, &mut seen),
            Ok(metadata) => seen.push((path.clone(), Some(Stamp::of(&metadata)))),
            Err(_) => seen.push((path.clone(), None)),
        }
    }
    seen.sort_by(|one, other| one.0.cmp(&other.0));
    seen
}

fn look_into(folder: &Path, seen: &mut Seen) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.take(FILES_MAX) {
        let path = entry.path();
        let counts = matches!(
            path.extension().and_then(OsStr::to_str),
            Some("wasm" | "cwasm" | "minisig" | "toml")
        );
        if counts {
            let stamp = fs::metadata(&path).ok().map(|metadata| Stamp::of(&metadata));
            seen.push((path, stamp));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(folder: &Path) -> Watch {
        let files = vec![folder.join("keywheel.toml"), folder.join("plugins")];
        let taken = look(&files);
        Watch {
            files,
            last: taken.clone(),
            taken,
        }
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("plugins")).unwrap();
        fs::write(folder.path().join("keywheel.toml"), "a").unwrap();
        folder
    }

    /// Not at the first look: somebody may still be writing.
    fn changes_at_the_second_look(watch: &mut Watch) {
        assert!(!watch.has_changed());
        assert!(watch.has_changed());
        assert!(!watch.has_changed());
    }

    #[test]
    fn every_way_to_change_a_file_is_seen_once_it_is_over() {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        let mut watch = watch(folder.path());
        assert!(!watch.has_changed() && !watch.has_changed());
        // Written in place.
        fs::write(path("keywheel.toml"), "ab").unwrap();
        changes_at_the_second_look(&mut watch);
        // The same bytes by another file in its place.
        fs::write(path("keywheel.toml.new"), "ab").unwrap();
        fs::rename(path("keywheel.toml.new"), path("keywheel.toml")).unwrap();
        changes_at_the_second_look(&mut watch);
        // Added, renamed over, removed.
        fs::write(path("plugins/one.wasm"), "1").unwrap();
        changes_at_the_second_look(&mut watch);
        fs::write(path("plugins/.one.wasm.swp"), "2").unwrap();
        assert!(
            !watch.has_changed() && !watch.has_changed(),
            "an editor's own file"
        );
        fs::rename(path("plugins/.one.wasm.swp"), path("plugins/one.wasm")).unwrap();
        changes_at_the_second_look(&mut watch);
        fs::remove_file(path("plugins/one.wasm")).unwrap();
        changes_at_the_second_look(&mut watch);
        // The whole folder goes away and comes back.
        fs::rename(path("plugins"), path("elsewhere")).unwrap();
        changes_at_the_second_look(&mut watch);
        fs::rename(path("elsewhere"), path("plugins")).unwrap();
        changes_at_the_second_look(&mut watch);
    }

    #[test]
    fn what_is_still_written_is_waited_for_and_what_is_put_back_is_no_change() {
        let folder = folder();
        let mut watch = watch(folder.path());
        for text in ["ab", "abc", "abcd"] {
            fs::write(folder.path().join("keywheel.toml"), text).unwrap();
            assert!(!watch.has_changed());
        }
        assert!(watch.has_changed());
        fs::write(folder.path().join("plugins/one.wasm"), "1").unwrap();
        assert!(!watch.has_changed());
        fs::remove_file(folder.path().join("plugins/one.wasm")).unwrap();
        assert!(!watch.has_changed() && !watch.has_changed());
    }
}
