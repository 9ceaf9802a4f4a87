//! New keys for what is kept: `rewrap` makes a new key for the versions' keys, `rekey` a new root for the whole vault.
//!
//! Values stay where they are; their keys are wrapped anew, in one transaction of the store: whatever ends the process, the old keys open
//! everything or the new ones do. The key that sealed the audit trail up to then is kept, under the new root: rows of before stay verifiable.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywheel_model::SecretBytes;
use keywheel_store::{KeySlot, Material, Reader, SealedKind, Transaction};
use serde::{Deserialize, Serialize};

use super::backup::key_of;
use super::{Embedded, Unlock, blocking, escrow, look};
use crate::age::Recipient;
use crate::keys::Keyring;
use crate::seal::{self, Place, open_blob, seal_blob};
use crate::slots::{self, Key, Way};
use crate::{Error, Rider};

/// Where the audit keys of before are kept.
const PAST: &str = "past-audit-keys";
const PURPOSE: &str = "keywheel audit key";

/// What was wrapped anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrapped {
    /// The term of the new key.
    pub term: u32,
    /// How many values have it now.
    pub records: u64,
}

/// The keys that have sealed the audit trail.
pub struct AuditKeys {
    /// Of before: the last row that each has sealed, ascending.
    pub past: Vec<(u64, SecretBytes)>,
    /// Of now.
    pub now: SecretBytes,
}

/// A key of before, as it is kept.
#[derive(Serialize, Deserialize)]
struct PastKey {
    to: u64,
    wrapped: String,
}

impl Embedded {
    /// Makes a new key for the versions' keys and wraps each with it; the older ones are gone.
    ///
    /// # Errors
    /// [`Error::Sealed`]; [`Error::Damaged`] naming a record that does not open: then nothing was changed.
    pub async fn rewrap(&self, rider: Rider) -> Result<Rewrapped, Error> {
        let old = self.keyring()?;
        let new = Arc::new(old.next(old.root().duplicate())?);
        let terms = new.wrapped_terms(self.inner.store.id())?;
        let (from, to) = (Arc::clone(&old), Arc::clone(&new));
        let records = self
            .inner
            .store
            .write(move |tx| {
                let records = wrap_all(tx, &from, &to)?;
                tx.replace_key_terms(&terms)?;
                rider.ride(tx)?;
                Ok::<_, Error>(records)
            })
            .await?;
        let term = new.newest().0;
        self.set_shared(new)?;
        Ok(Rewrapped { term, records })
    }

    /// Makes a new root key, wraps everything anew, and gives the root to each slot again. For a key file or a passphrase that needs its key, in
    /// `keys`; a slot of `without` is dropped.
    ///
    /// # Errors
    /// [`Error::Sealed`]; [`Error::SlotKeyMissing`]; [`Error::LastSlot`] when none would be left; as [`Embedded::rewrap`].
    pub async fn rekey(
        &self,
        keys: Vec<Unlock>,
        without: Vec<String>,
        rider: Rider,
    ) -> Result<Rewrapped, Error> {
        let old = self.keyring()?;
        let store = self.inner.store.id().to_owned();
        let rows = self
            .inner
            .store
            .read(|reader| Ok::<_, Error>(reader.key_slots()?))
            .await?;
        let new = Arc::new(old.next(seal::random_secret()?)?);
        let keys = keys.into_iter().map(key_of).collect::<Result<Vec<_>, _>>()?;
        let (root, at) = (new.root().duplicate(), store.clone());
        let rows = blocking(move || anew(&at, rows, &without, &keys, &root)).await?;
        let terms = new.wrapped_terms(&store)?;
        let (from, to) = (Arc::clone(&old), Arc::clone(&new));
        let records = self
            .inner
            .store
            .write(move |tx| {
                let records = wrap_all(tx, &from, &to)?;
                tx.replace_key_terms(&terms)?;
                tx.replace_key_slots(&rows)?;
                keep_audit_key(tx, &from, &to)?;
                let audit_key = to.sub_key(tx.store_id(), "audit")?;
                tx.sealing_with(&audit_key, |tx| rider.ride(tx))?;
                Ok::<_, Error>(records)
            })
            .await?;
        let term = new.newest().0;
        self.set_shared(new)?;
        Ok(Rewrapped { term, records })
    }

    /// What checks the seals of the audit trail, from its first row on.
    ///
    /// # Errors
    /// [`Error::Sealed`], [`Error::Damaged`].
    pub async fn audit_keys(&self) -> Result<AuditKeys, Error> {
        let keyring = self.keyring()?;
        self.inner
            .store
            .read(move |reader| {
                Ok(AuditKeys {
                    past: past_keys(reader, keyring.root())?,
                    now: keyring.sub_key(reader.store_id(), "audit")?,
                })
            })
            .await
    }
}

/// The slots with the new root.
fn anew(
    store: &str,
    rows: Vec<KeySlot>,
    without: &[String],
    keys: &[Key],
    root: &SecretBytes,
) -> Result<Vec<KeySlot>, Error> {
    if let Some(slot) = without.iter().find(|id| !rows.iter().any(|row| row.id == **id)) {
        return Err(Error::NoSlot { slot: slot.clone() });
    }
    let kept = rows.into_iter().filter(|row| !without.contains(&row.id));
    let slots = kept
        .map(|row| slot_anew(store, &row, keys, root))
        .collect::<Result<Vec<_>, _>>()?;
    match (slots.is_empty(), without.first()) {
        (true, Some(slot)) => Err(Error::LastSlot { slot: slot.clone() }),
        _ => Ok(slots),
    }
}

fn slot_anew(store: &str, row: &KeySlot, keys: &[Key], root: &SecretBytes) -> Result<KeySlot, Error> {
    if let Way::Recovery { recipient } = slots::read_header(row)? {
        let recipient = Recipient::parse(&recipient).ok_or_else(|| Error::Damaged {
            record: format!("key slot {}", row.id),
            detail: "its recipient is unreadable",
        })?;
        return slots::for_recipient(&row.id, root, recipient);
    }
    for key in keys {
        if slots::try_open(store, row, key)?.is_none() {
            continue;
        }
        return match key {
            Key::File(key) => slots::for_key_file(store, &row.id, root, key),
            Key::Passphrase(passphrase) => slots::for_passphrase(store, &row.id, root, passphrase),
            Key::Recovery(_) => continue,
        };
    }
    Err(Error::SlotKeyMissing { slot: row.id.clone() })
}

/// Wraps the key of every value anew. One that does not open stops it all.
fn wrap_all(tx: &Transaction<'_>, from: &Keyring, to: &Keyring) -> Result<u64, Error> {
    let mut records = 0;
    let store = tx.store_id();
    for (version, secret) in tx.owners()? {
        let Material::Own { wrapped_key, .. } = tx.material(&version)? else {
            continue;
        };
        let path = look::path_of(&secret);
        let place = Place {
            store,
            path: &path,
            version: version.as_str(),
        };
        tx.set_wrapped_key(&version, &seal::wrap_again(from, to, place, &wrapped_key)?)?;
        records += 1;
    }
    for kind in [SealedKind::Escrow, SealedKind::State] {
        for (run, key) in tx.sealed_names(kind)? {
            let Some(sealed) = tx.sealed(&run, kind, &key)? else {
                continue;
            };
            let path = escrow::path_of(kind, &run, &key);
            let place = Place {
                store,
                path: &path,
                version: "",
            };
            let wrapped = seal::wrap_again(from, to, place, &sealed.wrapped_key)?;
            tx.set_sealed_key(&run, kind, &key, &wrapped)?;
            records += 1;
        }
    }
    Ok(records)
}

/// The old audit key, and those before it, under the new root.
fn keep_audit_key(tx: &Transaction<'_>, from: &Keyring, to: &Keyring) -> Result<(), Error> {
    let store = tx.store_id();
    let mut past = past_keys(tx, from.root())?;
    past.push((tx.audit_checkpoint()?.seq, from.sub_key(store, "audit")?));
    let kept = past.iter().map(|(last, key)| {
        let path = path_of(*last);
        let wrapped = seal_blob(to.root(), PURPOSE, 0, place(store, &path), key.expose())?;
        Ok::<_, Error>(PastKey {
            to: *last,
            wrapped: STANDARD.encode(wrapped),
        })
    });
    let kept = kept.collect::<Result<Vec<_>, _>>()?;
    let text = serde_json::to_string(&kept).map_err(|_| Error::Crypto {
        what: "writing the audit keys",
    })?;
    Ok(tx.set_meta(PAST, &text)?)
}

fn past_keys(reader: &Reader<'_>, root: &SecretBytes) -> Result<Vec<(u64, SecretBytes)>, Error> {
    let Some(text) = reader.meta(PAST)? else {
        return Ok(Vec::new());
    };
    let damaged = || Error::Damaged {
        record: "the audit keys of before".to_owned(),
        detail: "they cannot be read",
    };
    let kept: Vec<PastKey> = serde_json::from_str(&text).map_err(|_| damaged())?;
    let open = |kept: PastKey| {
        let wrapped = STANDARD.decode(&kept.wrapped).map_err(|_| damaged())?;
        let path = path_of(kept.to);
        let key = open_blob(root, PURPOSE, place(reader.store_id(), &path), &wrapped)?;
        Ok((kept.to, key))
    };
    kept.into_iter().map(open).collect()
}

fn path_of(last: u64) -> String {
    format!("audit key to row {last}")
}

fn place<'a>(store: &'a str, path: &'a str) -> Place<'a> {
    Place {
        store,
        path,
        version: "",
    }
}
