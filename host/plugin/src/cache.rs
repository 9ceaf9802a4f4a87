//! Compiled components, kept between starts of the host.
//!
//! Loading compiled code is running it, so it is taken only where it was written by this host: the folder is private, the
//! name says which component, engine and release it belongs to, and a tag under a key of the vault covers name and content. A
//! component that has its compiled form here has passed every check that depends on its bytes alone.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use keywheel_manifest::Digest;
use keywheel_model::SecretBytes;
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::Error;
use crate::private::{PrivateFolder, digits, write_whole};

/// What a file begins with: the nonce and the tag of an XChaCha20-Poly1305 message that is empty, with the code beside it. An HMAC of
/// half a megabyte takes longer than mapping and linking it.
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
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
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
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
        if !self.wrote(&name, &bytes) {
            tracing::warn!(path = %path.display(), "a compiled plugin was not written by this host; it is compiled again");
            return None;
        }
        match load(engine, &bytes[NONCE_BYTES + TAG_BYTES..]) {
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
            .and_then(|code| self.seal(&name, &code))
            .and_then(|file| write_whole(&path, &file, 0o600).map_err(|error| error.to_string()));
        if let Err(error) = kept {
            tracing::warn!(path = %path.display(), error, "a compiled plugin is not kept");
        }
    }

    fn name(&self, digest: &Digest) -> String {
        format!("{}-{}.cwasm", digits(digest), self.engine)
    }

    /// The file for a component's code.
    fn seal(&self, name: &str, code: &[u8]) -> Result<Vec<u8>, String> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let tag = self
            .cipher(name)
            .encrypt_inout_detached(&XNonce::from(nonce), code, (&mut [][..]).into())
            .map_err(|_| "the code is too long".to_owned())?;
        Ok([&nonce[..], &tag, code].concat())
    }

    /// Whether this host made a file, under this name.
    fn wrote(&self, name: &str, file: &[u8]) -> bool {
        let Some((nonce, rest)) = file.split_first_chunk::<NONCE_BYTES>() else {
            return false;
        };
        let Some((tag, code)) = rest.split_first_chunk::<TAG_BYTES>() else {
            return false;
        };
        self.cipher(name)
            .decrypt_inout_detached(
                &XNonce::from(*nonce),
                code,
                (&mut [][..]).into(),
                &Tag::from(*tag),
            )
            .is_ok()
    }

    /// Each name has a key of its own, so that a file under another name is not taken.
    fn cipher(&self, name: &str) -> XChaCha20Poly1305 {
        // Any length is a key for HMAC; the type cannot say so.
        let mut key = <Hmac<Sha256> as KeyInit>::new_from_slice(self.key.expose())
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        key.update(b"keywheel compiled component\0");
        key.update(name.as_bytes());
        XChaCha20Poly1305::new(&key.finalize().into_bytes())
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
    // SAFETY: `code` must be what `Component::serialize` returned. The caller has verified a tag over these very bytes under
    // a key that only this host has, and `seal`, the only place that makes such a tag, is given `serialize`'s result.
    // The bytes are in memory of our own: nobody changes them between the check and this line.
    unsafe { Component::deserialize(engine, code) }
}
