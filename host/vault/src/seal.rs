//! Suite 1: XChaCha20-Poly1305 with 256-bit keys and random 192-bit nonces. A value has a key of its own, which is wrapped by
//! the key of a term. Both are bound to the store, the place, the version and the term: a blob moved elsewhere does not open.
//!
//! Blob: format (1 byte) | suite (1) | term (4, big endian) | nonce (24) | ciphertext and tag.
//!
//! Associated data: each field preceded by its length (8 bytes, big endian): purpose, header of the blob (format, suite,
//! term), store id, path, version.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use keywheel_model::SecretBytes;
use zeroize::Zeroizing;

use crate::Error;
use crate::keys::Keyring;

pub(crate) const FORMAT: u8 = 1;
pub(crate) const SUITE: u8 = 1;
const NONCE: usize = 24;
const HEADER: usize = 6;
const TAG: usize = 16;

/// Where a value belongs; part of what its blobs are bound to, and what errors call it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) store: &'a str,
    pub(crate) path: &'a str,
    pub(crate) version: &'a str,
}

impl Place<'_> {
    fn record(&self) -> String {
        if self.version.is_empty() {
            self.path.to_owned()
        } else {
            format!("{} {}", self.path, self.version)
        }
    }

    fn damaged(&self, detail: &'static str) -> Error {
        Error::Damaged {
            record: self.record(),
            detail,
        }
    }
}

/// A value's two blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blobs {
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) wrapped_key: Vec<u8>,
}

/// Seals a value under a fresh key.
pub(crate) fn seal(keyring: &Keyring, place: Place<'_>, value: &SecretBytes) -> Result<Blobs, Error> {
    let key = random_secret()?;
    let (term, term_key) = keyring.newest();
    Ok(Blobs {
        ciphertext: seal_blob(&key, "keywheel value", term, place, value.expose())?,
        wrapped_key: seal_blob(term_key, "keywheel key", term, place, key.expose())?,
    })
}

/// Opens a value. With the right keyring a failure means damage, and the error names the record.
pub(crate) fn open(keyring: &Keyring, place: Place<'_>, blobs: &Blobs) -> Result<SecretBytes, Error> {
    let term = term_of(&blobs.wrapped_key, place)?;
    let term_key = keyring
        .of(term)
        .ok_or_else(|| place.damaged("its key term is not in this vault"))?;
    let key = open_blob(term_key, "keywheel key", place, &blobs.wrapped_key)?;
    open_blob(&key, "keywheel value", place, &blobs.ciphertext)
}

/// A value's key, wrapped by the newest term of another keyring. The value itself stays as it is.
pub(crate) fn wrap_again(
    from: &Keyring,
    to: &Keyring,
    place: Place<'_>,
    wrapped: &[u8],
) -> Result<Vec<u8>, Error> {
    let term_key = from
        .of(term_of(wrapped, place)?)
        .ok_or_else(|| place.damaged("its key term is not in this vault"))?;
    let key = open_blob(term_key, "keywheel key", place, wrapped)?;
    let (term, term_key) = to.newest();
    seal_blob(term_key, "keywheel key", term, place, key.expose())
}

/// 256 random bits.
pub(crate) fn random_secret() -> Result<SecretBytes, Error> {
    let mut bytes = vec![0; 32];
    fill(&mut bytes)?;
    Ok(SecretBytes::new(bytes))
}

/// Bytes of the system's random source.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), Error> {
    use rand::TryRng;
    rand::rngs::SysRng
        .try_fill_bytes(bytes)
        .map_err(|_| Error::Crypto {
            what: "the system's random source",
        })
}

/// Seals bytes under a key, with a fresh nonce.
pub(crate) fn seal_blob(
    key: &SecretBytes,
    purpose: &str,
    term: u32,
    place: Place<'_>,
    plain: &[u8],
) -> Result<Vec<u8>, Error> {
    let mut nonce = [0; NONCE];
    fill(&mut nonce)?;
    seal_blob_at(&nonce, key, purpose, term, place, plain)
}

/// The deterministic part. Its nonce is the caller's only so that test vectors can be checked.
fn seal_blob_at(
    nonce: &[u8; NONCE],
    key: &SecretBytes,
    purpose: &str,
    term: u32,
    place: Place<'_>,
    plain: &[u8],
) -> Result<Vec<u8>, Error> {
    let mut blob = Vec::with_capacity(HEADER + NONCE + plain.len() + TAG);
    blob.extend([FORMAT, SUITE]);
    blob.extend(term.to_be_bytes());
    let bound = bound_to(purpose, &blob, place);
    blob.extend(nonce);
    // Encrypted in place, in a buffer that is wiped: no copy of the plaintext stays behind.
    let mut buffer = Zeroizing::new(Vec::with_capacity(plain.len() + TAG));
    buffer.extend_from_slice(plain);
    cipher(key)?
        .encrypt_in_place(&XNonce::from(*nonce), &bound, &mut *buffer)
        .map_err(|_| Error::Crypto { what: "encryption" })?;
    blob.extend_from_slice(&buffer);
    Ok(blob)
}

/// Opens what [`seal_blob`] made.
pub(crate) fn open_blob(
    key: &SecretBytes,
    purpose: &str,
    place: Place<'_>,
    blob: &[u8],
) -> Result<SecretBytes, Error> {
    term_of(blob, place)?;
    let (header, rest) = blob.split_at(HEADER);
    let (nonce, sealed) = rest.split_at(NONCE);
    let nonce: [u8; NONCE] = nonce
        .try_into()
        .map_err(|_| place.damaged("its nonce is short"))?;
    let mut plain = sealed.to_vec();
    match cipher(key)?.decrypt_in_place(
        &XNonce::from(nonce),
        &bound_to(purpose, header, place),
        &mut plain,
    ) {
        Ok(()) => Ok(SecretBytes::new(plain)),
        Err(_) => Err(place.damaged("it does not decrypt")),
    }
}

/// Reads a blob's header.
pub(crate) fn term_of(blob: &[u8], place: Place<'_>) -> Result<u32, Error> {
    if blob.len() < HEADER + NONCE + TAG {
        return Err(place.damaged("it is cut short"));
    }
    match *blob {
        [FORMAT, SUITE, a, b, c, d, ..] => Ok(u32::from_be_bytes([a, b, c, d])),
        [format, suite, ..] => Err(Error::NewerFormat {
            record: place.record(),
            format,
            suite,
        }),
        _ => Err(place.damaged("it is cut short")),
    }
}

fn cipher(key: &SecretBytes) -> Result<XChaCha20Poly1305, Error> {
    let key: &Key = key.expose().try_into().map_err(|_| Error::Crypto {
        what: "a key of 256 bits",
    })?;
    Ok(XChaCha20Poly1305::new(key))
}

/// The associated data; no two combinations of fields give the same.
pub(crate) fn bound_to(purpose: &str, header: &[u8], place: Place<'_>) -> Vec<u8> {
    let fields = [
        purpose.as_bytes(),
        header,
        place.store.as_bytes(),
        place.path.as_bytes(),
        place.version.as_bytes(),
    ];
    let mut bytes = Vec::with_capacity(fields.iter().map(|field| field.len() + 8).sum());
    for field in fields {
        bytes.extend(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend_from_slice(field);
    }
    bytes
}

#[cfg(test)]
mod tests;
