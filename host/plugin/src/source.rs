//! Reading a plugin's file so that nobody but its owner can have a say in it: once, bounded, by one open descriptor.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags};

use keywheel_manifest::Digest;

use crate::publisher::{SIGNATURE_BYTES, signature_of};
use crate::{Error, ours};

/// The bytes of one file, and what they are called by.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) digest: Digest,
}

/// The plugin folder, opened and found to be nobody else's.
pub(crate) struct Folder {
    path: PathBuf,
    open: rustix::fd::OwnedFd,
}

impl Folder {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let read = |source: std::io::Error| Error::Read {
            path: path.to_owned(),
            source,
        };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let open = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
            rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => Error::NoFolder {
                path: path.to_owned(),
            },
            error => read(error.into()),
        })?;
        let stat = rustix::fs::fstat(&open).map_err(|e| read(e.into()))?;
        ours::check(path, &stat)?;
        Ok(Self {
            path: path.to_owned(),
            open,
        })
    }

    /// The paths of what may be plugins, in order of their names. Other files are nobody's business, `.cwasm` ones are.
    pub(crate) fn candidates(&self) -> Result<Vec<PathBuf>, Error> {
        let read = |source: std::io::Error| Error::Read {
            path: self.path.clone(),
            source,
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(read)? {
            let path = entry.map_err(read)?.path();
            if matches!(path.extension().and_then(OsStr::to_str), Some("wasm" | "cwasm")) {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    /// The signature beside a component; none: there is no such file.
    pub(crate) fn signature(&self, component: &Path) -> Result<Option<String>, Error> {
        let path = signature_of(component);
        let text = match self.read(&path, SIGNATURE_BYTES) {
            Err(Error::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            read => String::from_utf8(read?.bytes.to_vec()),
        };
        text.map(Some).map_err(|_| Error::Signature {
            path,
            why: "it is no minisign signature",
        })
    }

    /// Reads one file of the folder, exactly once.
    pub(crate) fn read(&self, path: &Path, limit_bytes: u64) -> Result<Source, Error> {
        let owned = || path.to_owned();
        if path.extension().and_then(OsStr::to_str) == Some("cwasm") {
            return Err(Error::Precompiled { path: owned() });
        }
        let Some(name) = path.file_name() else {
            return Err(Error::NotAFile { path: owned() });
        };
        // NONBLOCK: opening a pipe must not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = match rustix::fs::openat(&self.open, name, flags, Mode::empty()) {
            Ok(open) => open,
            Err(rustix::io::Errno::LOOP) => return Err(Error::Symlink { path: owned() }),
            Err(error) => {
                return Err(Error::Read {
                    path: owned(),
                    source: error.into(),
                });
            }
        };
        let stat = rustix::fs::fstat(&open).map_err(|e| Error::Read {
            path: owned(),
            source: e.into(),
        })?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::NotAFile { path: owned() });
        }
        ours::check(path, &stat)?;
        let bytes = read_bounded(File::from(open), path, limit_bytes)?;
        Ok(Source {
            path: owned(),
            digest: Digest::of(&bytes),
            bytes: bytes.into(),
        })
    }
}

/// The length that the file system gives is only a hint: the file may grow while it is read.
pub(crate) fn read_bounded(file: File, path: &Path, limit_bytes: u64) -> Result<Vec<u8>, Error> {
    let hint = file.metadata().map_or(0, |found| found.len()).min(limit_bytes);
    // One byte more, so that the end is seen without growing.
    let mut bytes = Vec::with_capacity(usize::try_from(hint).unwrap_or(0) + 1);
    file.take(limit_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() as u64 > limit_bytes {
        return Err(Error::TooLarge {
            path: path.to_owned(),
            limit_bytes,
        });
    }
    Ok(bytes)
}
