//! Who made a component: publishers sign its bytes, and the operator lists whose keys count. The signature lies beside the file, in the form of
//! [minisign](https://jedisct1.github.io/minisign/): `NAME.wasm.minisig`, prehashed (`ED`).
//!
//! It is looked at before the bytes are compiled, and over those very bytes. Where no key is listed, nobody has said whose signature would count, and none
//! is looked at.

use std::path::{Path, PathBuf};

use keywheel_policy::LockedPlugin;
use minisign_verify::{PublicKey, Signature};

use crate::Error;
use crate::source::{Folder, Source};

/// The largest signature file that is read: a signature and two comments take some hundred bytes.
pub(crate) const SIGNATURE_BYTES: u64 = 4096;

/// A key that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key:?} is no minisign public key")]
pub struct InvalidKey {
    /// What it says, shortened.
    pub key: String,
}

/// Whose signatures count, and whether one is needed.
#[derive(Default)]
pub struct Publishers {
    keys: Vec<(String, PublicKey)>,
    required: bool,
}

impl Publishers {
    /// The keys as minisign writes them (the second line of a `.pub` file), and whether an unsigned file is refused.
    ///
    /// # Errors
    /// One of them is no key.
    pub fn new(keys: &[String], required: bool) -> Result<Self, InvalidKey> {
        let parsed = keys.iter().map(|key| match PublicKey::from_base64(key) {
            Ok(parsed) => Ok((key.clone(), parsed)),
            Err(_) => Err(InvalidKey {
                key: key.chars().take(64).collect(),
            }),
        });
        Ok(Self {
            keys: parsed.collect::<Result<_, _>>()?,
            required,
        })
    }

    /// The key that has signed a file of the folder, by the signature beside it; none where it is not signed and need not be.
    pub(crate) fn signer_of(&self, folder: &Folder, source: &Source) -> Result<Option<String>, Error> {
        let signature = if self.look() {
            folder.signature(&source.path)?
        } else {
            None
        };
        self.signer(&source.path, &source.bytes, signature.as_deref())
    }

    /// Whether signatures are looked at.
    pub(crate) fn look(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The key that has signed these bytes; none where they are not signed and need not be.
    fn signer(&self, path: &Path, bytes: &[u8], signature: Option<&str>) -> Result<Option<String>, Error> {
        let wrong = |why| Error::Signature {
            path: signature_of(path),
            why,
        };
        let Some(signature) = signature else {
            return if self.required {
                Err(unsigned(path, "a signature is required"))
            } else {
                Ok(None)
            };
        };
        let signature =
            Signature::decode(signature.trim_end()).map_err(|_| wrong("it is no minisign signature"))?;
        let is_right = |key: &&(String, PublicKey)| key.1.verify(bytes, &signature, false).is_ok();
        match self.keys.iter().find(is_right) {
            Some((key, _)) => Ok(Some(key.clone())),
            None => Err(wrong(
                "no publisher that is listed has signed these bytes with it",
            )),
        }
    }

    /// Whether what was pinned may still run although nothing shows who has signed it now: its file is another one, or its signature is gone.
    pub(crate) fn still_count(&self, pin: &LockedPlugin) -> bool {
        match &pin.publisher {
            Some(publisher) => !self.look() || self.keys.iter().any(|(key, _)| key == publisher),
            None => !self.required,
        }
    }
}

/// The file that a component's signature is in.
pub(crate) fn signature_of(component: &Path) -> PathBuf {
    let mut name = component.as_os_str().to_owned();
    name.push(".minisig");
    PathBuf::from(name)
}

pub(crate) fn unsigned(path: &Path, why: &'static str) -> Error {
    Error::Unsigned {
        path: path.to_owned(),
        why,
    }
}

/// What is refused where nothing shows who has signed a pinned file now, and who had signed it is not listed any more.
pub(crate) fn delisted(path: &Path) -> Error {
    unsigned(path, "its publisher is not listed any more")
}
