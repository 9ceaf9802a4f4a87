use hkdf::Hkdf;
use keywheel_model::SecretBytes;
use sha2::Sha256;

use crate::Error;
use crate::seal::{Place, open_blob, random_secret, seal_blob};

const TERM_PURPOSE: &str = "keywheel term";

/// The keys of an open vault: the root that the slots hold, and those of the terms, which wrap the versions' keys.
pub(crate) struct Keyring {
    root: SecretBytes,
    /// Ascending by term, never empty.
    terms: Vec<(u32, SecretBytes)>,
}

impl Keyring {
    /// Fresh keys.
    pub(crate) fn generate() -> Result<Self, Error> {
        Ok(Self {
            root: random_secret()?,
            terms: vec![(1, random_secret()?)],
        })
    }

    /// Unwraps the keys of the terms with the root that a slot gave.
    pub(crate) fn open(root: SecretBytes, store: &str, wrapped: &[(u32, Vec<u8>)]) -> Result<Self, Error> {
        let mut terms = Vec::with_capacity(wrapped.len());
        for (term, blob) in wrapped {
            let path = format!("key term {term}");
            terms.push((
                *term,
                open_blob(&root, TERM_PURPOSE, term_place(store, &path), blob)?,
            ));
        }
        if terms.is_empty() {
            return Err(Error::Damaged {
                record: "the keyring".to_owned(),
                detail: "it has no key term",
            });
        }
        Ok(Self { root, terms })
    }

    /// The terms' keys, wrapped for storing.
    pub(crate) fn wrapped_terms(&self, store: &str) -> Result<Vec<(u32, Vec<u8>)>, Error> {
        let wrap = |(term, key): &(u32, SecretBytes)| {
            let path = format!("key term {term}");
            Ok((
                *term,
                seal_blob(
                    &self.root,
                    TERM_PURPOSE,
                    *term,
                    term_place(store, &path),
                    key.expose(),
                )?,
            ))
        };
        self.terms.iter().map(wrap).collect()
    }

    /// With this root, and one fresh term above all of these.
    pub(crate) fn next(&self, root: SecretBytes) -> Result<Self, Error> {
        Ok(Self {
            root,
            terms: vec![(self.newest().0.saturating_add(1), random_secret()?)],
        })
    }

    pub(crate) fn root(&self) -> &SecretBytes {
        &self.root
    }

    /// The term under which new values are sealed.
    #[expect(clippy::expect_used, reason = "both constructors refuse an empty keyring")]
    pub(crate) fn newest(&self) -> (u32, &SecretBytes) {
        let (term, key) = self.terms.last().expect("a keyring has a term");
        (*term, key)
    }

    pub(crate) fn of(&self, term: u32) -> Option<&SecretBytes> {
        self.terms
            .iter()
            .find(|(known, _)| *known == term)
            .map(|(_, key)| key)
    }

    /// A key for another use, that tells nothing of this one.
    pub(crate) fn sub_key(&self, store: &str, label: &str) -> Result<SecretBytes, Error> {
        derive(&self.root, store, &["keywheel sub-key 1", label])
    }
}

fn term_place<'a>(store: &'a str, path: &'a str) -> Place<'a> {
    Place {
        store,
        path,
        version: "",
    }
}

/// HKDF-SHA256: 256 bits from a key, bound to the store and to a use. The parts of `info` are joined by a zero byte.
pub(crate) fn derive(key: &SecretBytes, store: &str, info: &[&str]) -> Result<SecretBytes, Error> {
    let mut bytes = vec![0; 32];
    Hkdf::<Sha256>::new(Some(store.as_bytes()), key.expose())
        .expand(info.join("\0").as_bytes(), &mut bytes)
        .map_err(|_| Error::Crypto {
            what: "key derivation",
        })?;
    Ok(SecretBytes::new(bytes))
}
