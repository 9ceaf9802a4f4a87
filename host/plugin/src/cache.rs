//! Compiled components, kept between starts of the host.
//!
//! Loading compiled code is running it, so it is taken only where it was written by this host: the folder is private, the
//! name says which component and engine it belongs to, and a MAC under a key of the vault covers name and content.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use keywheel_manifest::Digest;
use keywheel_model::SecretBytes;
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::Error;
use crate::private::{PrivateFolder, digits, write_whole};

/// Length of the MAC that a file begins with.
const MAC_BYTES: usize = 32;
/// Compiled code is about three times as large as the component.
const FILE_LIMIT_BYTES: u64 = 512 << 20;

/// Where compiled components are kept.
pub struct CacheOptions {
    /// A folder of the host's own, mode 0700; made where it is missing.
    pub folder: PathBuf,
    /// What they are authenticated with: a sub-key of the vault.
    pub key: SecretBytes,
}

pub(crate) struct Cache {
    folder: PrivateFolder,
    key: SecretBytes,
    engine: String,
}

impl Cache {
    pub(crate) fn open(options: CacheOptions, engine: &Engine) -> Result<Self, Error> {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let folder = PrivateFolder::open(&options.folder)?;
        Ok(Self {
            folder,
            key: options.key,
            engine: format!("{:016x}", hasher.finish()),
        })
    }

    /// The compiled form, if there is one that this host wrote. Anything else is as good as none.
    pub(crate) fn get(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let name = self.name(digest);
        let path = self.folder.file(&name);
        let bytes = read(&path)?;
        let (mac, code) = bytes.split_at_checked(MAC_BYTES)?;
        if self.mac(&name, code).verify_slice(mac).is_err() {
            tracing::warn!(path = %path.display(), "a compiled plugin was not written by this host; it is compiled again");
            return None;
        }
        match load(engine, code) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a compiled plugin does not load; it is compiled again");
                None
            }
        }
    }

    /// Keeps the compiled form. A failure costs time at the next start, nothing else.
    pub(crate) fn put(&self, digest: &Digest, component: &Component) {
        let name = self.name(digest);
        let path = self.folder.file(&name);
        let kept = component
            .serialize()
            .map_err(|error| error.to_string())
            .and_then(|code| {
                let mac = self.mac(&name, &code).finalize().into_bytes();
                write_whole(&path, &[&mac[..], &code].concat(), 0o600).map_err(|error| error.to_string())
            });
        if let Err(error) = kept {
            tracing::warn!(path = %path.display(), error, "a compiled plugin is not kept");
        }
    }

    fn name(&self, digest: &Digest) -> String {
        format!("{}-{}.cwasm", digits(digest), self.engine)
    }

    fn mac(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        // Any length is a key for HMAC; the type cannot say so.
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose())
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        mac.update(b"keywheel compiled component\0");
        mac.update(name.as_bytes());
        mac.update(b"\0");
        mac.update(code);
        mac
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    crate::source::read_bounded(File::open(path).ok()?, path, FILE_LIMIT_BYTES).ok()
}

#[expect(
    unsafe_code,
    reason = "wasmtime cannot check compiled code, so it marks loading it as unsafe"
)]
fn load(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` must be what `Component::serialize` returned. The caller has verified a MAC over these very bytes under
    // a key that only this host has, and `put`, the only place that makes such a MAC, makes it of `serialize`'s result.
    // The bytes are in memory of our own: nobody changes them between the check and this line.
    unsafe { Component::deserialize(engine, code) }
}
