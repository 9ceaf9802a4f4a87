//! Key slots: each holds the vault's root key, wrapped for one way of opening it.
//!
//! A slot's header is JSON after the base64 SHA-256 of that JSON and a space, so that a flipped bit is told apart from a
//! wrong key. Key file and passphrase (by argon2id) give a slot key; from it come a check value, kept in the header, and the
//! key that wraps the root under suite 1, bound to the header. The recovery slot is an age file.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keywheel_model::{SecretBytes, Timestamp};
use keywheel_store::KeySlot;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::Error;
use crate::age::{self, Identity, Recipient};
use crate::keys::derive;
use crate::seal::{Place, fill, open_blob, seal_blob};

const PURPOSE: &str = "keywheel slot";
/// RFC 9106 asks for 64 MiB and 3 passes where memory is scarce: the least that is made here.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;
/// What a header may ask for at most: it must not be a way to exhaust the host.
const MOST_MEMORY_KIB: u32 = 1024 * 1024;
const MOST_PASSES: u32 = 64;

/// How a slot is opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub(crate) enum Way {
    #[serde(rename_all = "kebab-case")]
    KeyFile { check: String },
    #[serde(rename_all = "kebab-case")]
    Passphrase {
        check: String,
        salt: String,
        memory_kib: u32,
        passes: u32,
        lanes: u32,
    },
    #[serde(rename_all = "kebab-case")]
    Recovery { recipient: String },
}

impl Way {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::KeyFile { .. } => "key-file",
            Self::Passphrase { .. } => "passphrase",
            Self::Recovery { .. } => "recovery",
        }
    }
}

/// What a person or the machine brings to open a slot.
pub(crate) enum Key {
    File(SecretBytes),
    Passphrase(SecretBytes),
    Recovery(Identity),
}

impl Key {
    fn words(&self) -> &'static str {
        match self {
            Self::File(_) => "the key file",
            Self::Passphrase(_) => "the passphrase",
            Self::Recovery(_) => "the recovery identity",
        }
    }
}

/// A slot that opens with a key file's key.
pub(crate) fn for_key_file(
    store: &str,
    id: &str,
    root: &SecretBytes,
    key: &SecretBytes,
) -> Result<KeySlot, Error> {
    let way = Way::KeyFile {
        check: check_value(store, id, key)?,
    };
    wrap(store, id, &way, root, key)
}

/// A slot that opens with a passphrase. Takes about a tenth of a second and 64 MiB.
pub(crate) fn for_passphrase(
    store: &str,
    id: &str,
    root: &SecretBytes,
    passphrase: &SecretBytes,
) -> Result<KeySlot, Error> {
    let mut salt = [0; 16];
    fill(&mut salt)?;
    let key = stretch(passphrase, &salt, MEMORY_KIB, PASSES, LANES)?;
    let way = Way::Passphrase {
        check: check_value(store, id, &key)?,
        salt: STANDARD.encode(salt),
        memory_kib: MEMORY_KIB,
        passes: PASSES,
        lanes: LANES,
    };
    wrap(store, id, &way, root, &key)
}

/// A slot that opens with the identity of this recipient.
pub(crate) fn for_recipient(id: &str, root: &SecretBytes, recipient: Recipient) -> Result<KeySlot, Error> {
    let way = Way::Recovery {
        recipient: recipient.to_text()?,
    };
    Ok(slot(id, &way, header_text(&way)?, age::encrypt(recipient, root)?))
}

/// Opens the first slot that the key fits.
///
/// # Errors
/// [`Error::WrongKey`] when it fits none; [`Error::Damaged`] naming the slot when it fits but does not open, or when it fits
/// none and a slot is unreadable.
pub(crate) fn open_any(store: &str, slots: &[KeySlot], key: &Key) -> Result<SecretBytes, Error> {
    let mut unreadable = None;
    for slot in slots {
        match try_open(store, slot, key) {
            Ok(Some(root)) => return Ok(root),
            Ok(None) => {}
            Err(error) => unreadable = Some(error),
        }
    }
    Err(unreadable.unwrap_or(Error::WrongKey { what: key.words() }))
}

/// `None` when the slot is for another way or another key.
pub(crate) fn try_open(store: &str, slot: &KeySlot, key: &Key) -> Result<Option<SecretBytes>, Error> {
    let way = read_header(slot)?;
    match (&way, key) {
        (Way::KeyFile { check }, Key::File(key)) => unwrap(store, slot, check, key),
        (
            Way::Passphrase {
                check,
                salt,
                memory_kib,
                passes,
                lanes,
            },
            Key::Passphrase(passphrase),
        ) => {
            let salt = STANDARD
                .decode(salt)
                .map_err(|_| damaged(slot, "its salt is unreadable"))?;
            if *memory_kib > MOST_MEMORY_KIB || *passes > MOST_PASSES {
                return Err(damaged(slot, "its parameters are out of range"));
            }
            unwrap(
                store,
                slot,
                check,
                &stretch(passphrase, &salt, *memory_kib, *passes, *lanes)?,
            )
        }
        (Way::Recovery { recipient }, Key::Recovery(identity)) => {
            let recipient =
                Recipient::parse(recipient).ok_or_else(|| damaged(slot, "its recipient is unreadable"))?;
            if recipient != identity.recipient() {
                return Ok(None);
            }
            let root =
                age::decrypt(identity, &slot.wrapped).map_err(|_| damaged(slot, "it does not decrypt"))?;
            Ok(Some(root))
        }
        _ => Ok(None),
    }
}

fn wrap(store: &str, id: &str, way: &Way, root: &SecretBytes, key: &SecretBytes) -> Result<KeySlot, Error> {
    let header = header_text(way)?;
    let path = path_of(id);
    let place = Place {
        store,
        path: &path,
        version: &header,
    };
    let wrapped = seal_blob(&wrapping_key(store, id, key)?, PURPOSE, 0, place, root.expose())?;
    Ok(slot(id, way, header, wrapped))
}

fn unwrap(store: &str, slot: &KeySlot, check: &str, key: &SecretBytes) -> Result<Option<SecretBytes>, Error> {
    let ours = check_value(store, &slot.id, key)?;
    if !bool::from(ours.as_bytes().ct_eq(check.as_bytes())) {
        return Ok(None);
    }
    let path = path_of(&slot.id);
    let place = Place {
        store,
        path: &path,
        version: &slot.header,
    };
    match open_blob(
        &wrapping_key(store, &slot.id, key)?,
        PURPOSE,
        place,
        &slot.wrapped,
    ) {
        Ok(root) => Ok(Some(root)),
        Err(Error::Damaged { detail, .. }) => Err(damaged(slot, detail)),
        Err(error) => Err(error),
    }
}

fn slot(id: &str, way: &Way, header: String, wrapped: Vec<u8>) -> KeySlot {
    KeySlot {
        id: id.to_owned(),
        kind: way.kind().to_owned(),
        header,
        wrapped,
        created: Timestamp::default(),
    }
}

fn path_of(id: &str) -> String {
    format!("key slot {id}")
}

fn damaged(slot: &KeySlot, detail: &'static str) -> Error {
    Error::Damaged {
        record: path_of(&slot.id),
        detail,
    }
}

fn header_text(way: &Way) -> Result<String, Error> {
    let json = serde_json::to_string(way).map_err(|_| Error::Crypto {
        what: "writing a slot's header",
    })?;
    Ok(format!("{} {json}", digest(&json)))
}

/// Reads a slot's header.
pub(crate) fn read_header(slot: &KeySlot) -> Result<Way, Error> {
    let (sum, json) = slot
        .header
        .split_once(' ')
        .ok_or_else(|| damaged(slot, "its header is unreadable"))?;
    if sum != digest(json) {
        return Err(damaged(slot, "its header was altered"));
    }
    let way: Way = serde_json::from_str(json).map_err(|_| damaged(slot, "its header is unreadable"))?;
    if way.kind() == slot.kind {
        Ok(way)
    } else {
        Err(damaged(slot, "its kind was altered"))
    }
}

fn digest(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text.as_bytes()))
}

fn check_value(store: &str, id: &str, key: &SecretBytes) -> Result<String, Error> {
    Ok(STANDARD.encode(derive(key, store, &["keywheel slot check 1", id])?.expose()))
}

fn wrapping_key(store: &str, id: &str, key: &SecretBytes) -> Result<SecretBytes, Error> {
    derive(key, store, &["keywheel slot key 1", id])
}

/// Argon2id, version 0x13.
fn stretch(
    passphrase: &SecretBytes,
    salt: &[u8],
    memory_kib: u32,
    passes: u32,
    lanes: u32,
) -> Result<SecretBytes, Error> {
    let failed = |_| Error::Crypto { what: "argon2id" };
    let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(failed)?;
    let mut key = vec![0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose(), salt, &mut key)
        .map_err(failed)?;
    Ok(SecretBytes::new(key))
}
