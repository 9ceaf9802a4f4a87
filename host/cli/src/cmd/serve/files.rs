//! The files that decide for the host, looked at again and again. Asked are names, sizes and times, which works on every file system, over the network
//! too, and whatever an editor does to put a file in another's place.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use keywheel_config::Draft;

use crate::cmd::{Context, ours};
use crate::errors::Failure;

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

/// A configuration that names other files each time that it is read is not read more often than this.
const READ_AGAIN_MAX: u32 = 5;

/// At so many looks in a row something was written; then it is not waited any longer for the end of that.
const UNREST_LOOKS_MAX: u32 = 15;

/// That the files have become others.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// And nobody writes to them any more.
    AtRest,
    /// And this one changes again and again.
    InUnrest(PathBuf),
}

/// Notices that the files have become others, once nobody writes to them any more.
#[derive(Debug)]
pub(super) struct Watch {
    files: Vec<PathBuf>,
    /// As they were when they were read.
    taken: Seen,
    last: Seen,
    /// So many looks in a row have shown something else than the one before.
    unrest: u32,
}

impl Watch {
    /// Of the files as they are now. May block.
    fn new(files: Vec<PathBuf>) -> Self {
        let taken = look(&files);
        Self {
            files,
            last: taken.clone(),
            taken,
            unrest: 0,
        }
    }

    /// The same files as they are now. May block.
    pub(super) fn renewed(&self) -> Self {
        Self::new(self.files.clone())
    }

    /// Whether they are others than were read, and the same as when they were looked at before: whoever wrote them is done. One that is written all the time
    /// puts the others off no longer than half a minute; what is there then is checked like anything else. Told once. May block.
    pub(super) fn change(&mut self) -> Option<Change> {
        let now = look(&self.files);
        let restless = restless(&self.last, &now);
        self.unrest = if restless.is_some() { self.unrest + 1 } else { 0 };
        let change = match restless {
            _ if now == self.taken => None,
            None => Some(Change::AtRest),
            Some(file) if self.unrest >= UNREST_LOOKS_MAX => Some(Change::InUnrest(file)),
            Some(_) => None,
        };
        if change.is_some() {
            self.taken.clone_from(&now);
            self.unrest = 0;
        }
        self.last = now;
        change
    }
}

/// The configuration, and its files as they were before they were read: what is changed meanwhile is a change that is still to be taken. May block.
///
/// # Errors
/// As [`ours::draft`].
pub(super) fn draft(context: &Context) -> Result<(Watch, Draft), Failure> {
    let mut watch = Watch::new(vec![context.global.config.clone()]);
    let mut read = 0;
    loop {
        let draft = ours::draft(context)?;
        let files = files_of(&context.global.config, &draft);
        read += 1;
        // Files that it has not named before are looked at before they count, which is now.
        if watch.files == files || read > READ_AGAIN_MAX {
            return Ok((watch, draft));
        }
        watch = Watch::new(files);
    }
}

/// All that is read, in the order in which it is named.
fn files_of(file: &Path, draft: &Draft) -> Vec<PathBuf> {
    let named = draft.stands_on().into_iter().map(Path::to_owned);
    named
        .chain([draft.plugins().dir.clone(), file.to_owned()])
        .collect()
}

/// A file that is another one at the second of two looks, or is at one of them only.
fn restless(before: &Seen, now: &Seen) -> Option<PathBuf> {
    let missing_in = |seen: &Seen, one: &(PathBuf, Option<Stamp>)| {
        seen.binary_search_by(|other| other.0.cmp(&one.0))
            .map_or(true, |at| seen[at] != *one)
    };
    let changed = now.iter().find(|one| missing_in(before, one));
    let changed = changed.or_else(|| before.iter().find(|one| missing_in(now, one)));
    changed.map(|(path, _)| path.clone())
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
        Watch::new(vec![folder.join("keywheel.toml"), folder.join("plugins")])
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("plugins")).unwrap();
        fs::write(folder.path().join("keywheel.toml"), "a").unwrap();
        folder
    }

    /// Not at the first look: somebody may still be writing.
    fn changes_at_the_second_look(watch: &mut Watch) {
        assert_eq!(watch.change(), None);
        assert_eq!(watch.change(), Some(Change::AtRest));
        assert_eq!(watch.change(), None);
    }

    #[test]
    fn every_way_to_change_a_file_is_seen_once_it_is_over() {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        let mut watch = watch(folder.path());
        assert_eq!((watch.change(), watch.change()), (None, None));
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
        assert_eq!(
            (watch.change(), watch.change()),
            (None, None),
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
            assert_eq!(watch.change(), None);
        }
        assert_eq!(watch.change(), Some(Change::AtRest));
        fs::write(folder.path().join("plugins/one.wasm"), "1").unwrap();
        assert_eq!(watch.change(), None);
        fs::remove_file(folder.path().join("plugins/one.wasm")).unwrap();
        assert_eq!((watch.change(), watch.change()), (None, None));
    }

    #[test]
    fn what_is_written_all_the_time_puts_nothing_off_for_ever() {
        let folder = folder();
        let mut watch = watch(folder.path());
        let restless = folder.path().join("plugins/one.wasm");
        for _ in 0..2 {
            fs::write(folder.path().join("keywheel.toml"), "other").unwrap();
            for look in 1..UNREST_LOOKS_MAX {
                fs::write(&restless, [0].repeat(look as usize)).unwrap();
                assert_eq!(watch.change(), None, "{look}");
            }
            fs::write(&restless, [0; 100]).unwrap();
            assert_eq!(watch.change(), Some(Change::InUnrest(restless.clone())));
        }
        assert_eq!(watch.change(), None);
    }
}
