//! The host's own copies of pinned components. A run finishes on the bytes that it started with, whatever happens in the
//! plugin folder meanwhile.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use keywheel_manifest::Digest;

use crate::Error;
use crate::private::{PrivateFolder, digits, write_whole};
use crate::source::{Source, read_bounded};

pub(crate) struct Keep(PrivateFolder);

impl Keep {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self(PrivateFolder::open(path)?))
    }

    /// Keeps a copy, unless there is one already.
    pub(crate) fn put(&self, source: &Source, limit_bytes: u64) -> Result<(), Error> {
        match self.get(&source.digest, limit_bytes)? {
            Some(_) => Ok(()),
            None => write_whole(&self.path(&source.digest), &source.bytes, 0o600),
        }
    }

    /// The copy, if there is one and it is whole.
    pub(crate) fn get(&self, digest: &Digest, limit_bytes: u64) -> Result<Option<Source>, Error> {
        let path = self.path(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { path, source }),
        };
        let bytes = read_bounded(file, &path, limit_bytes)?;
        if Digest::of(&bytes) != *digest {
            tracing::warn!(path = %path.display(), "a kept copy is damaged and is not used");
            return Ok(None);
        }
        Ok(Some(Source {
            path,
            digest: *digest,
            bytes: bytes.into(),
        }))
    }

    /// A file of another kind beside the copies.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.file(name)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.0.file(&format!("{}.wasm", digits(digest)))
    }
}
