use keywheel_model::{RunId, Timestamp};
use keywheel_store::{Reader, Sealed, SealedKind, Transaction};

use super::Embedded;
use super::versions::VALUE_LIMIT;
use crate::seal::{self, Blobs, Place};
use crate::{Author, Error, Escrowed, Metadata, SecretValue};

/// Most bytes of a key.
const KEY_LIMIT: usize = 256;

impl Embedded {
    /// As [`crate::Vault::put_escrow`], within a transaction.
    ///
    /// # Errors
    /// As there.
    pub fn put_escrow_in(
        &self,
        tx: &Transaction<'_>,
        by: &Author,
        key: &str,
        secret: &SecretValue,
    ) -> Result<(), Error> {
        tx.check_fence(&by.run, by.fence)?;
        if let Some(found) = self.open_sealed(tx, SealedKind::Escrow, &by.run, key)? {
            if found.value.same_as(&secret.value) {
                return Ok(());
            }
            // The older capture may be the only copy of a credential that lives on the target: it moves aside.
            let taken = tx.sealed_of(Some(&by.run), SealedKind::Escrow)?;
            let aside = (1..=taken.len()).map(|n| format!("{key}~{n}"));
            let free = aside
                .into_iter()
                .find(|aside| !taken.iter().any(|sealed| sealed.key == *aside));
            let aside = free.unwrap_or_else(|| format!("{key}~{}", taken.len() + 1));
            self.put(tx, SealedKind::Escrow, by, &aside, &found)?;
        }
        self.put(tx, SealedKind::Escrow, by, key, secret)
    }

    /// As [`crate::Vault::put_state`], within a transaction.
    ///
    /// # Errors
    /// As there.
    pub fn put_state_in(
        &self,
        tx: &Transaction<'_>,
        by: &Author,
        key: &str,
        secret: &SecretValue,
    ) -> Result<(), Error> {
        tx.check_fence(&by.run, by.fence)?;
        self.put(tx, SealedKind::State, by, key, secret)
    }

    fn put(
        &self,
        tx: &Transaction<'_>,
        kind: SealedKind,
        by: &Author,
        key: &str,
        secret: &SecretValue,
    ) -> Result<(), Error> {
        if key.len() > KEY_LIMIT {
            return Err(Error::TooLarge { limit: KEY_LIMIT });
        }
        if secret.value.expose().len() > VALUE_LIMIT {
            return Err(Error::TooLarge { limit: VALUE_LIMIT });
        }
        let path = path_of(kind, &by.run, key);
        let place = Place {
            store: tx.store_id(),
            path: &path,
            version: "",
        };
        let Blobs {
            ciphertext,
            wrapped_key,
        } = seal::seal(&*self.keyring()?, place, &secret.value)?;
        let meta = serde_json::to_string(&secret.metadata).map_err(|_| Error::Crypto {
            what: "writing a value's labels",
        })?;
        let created = Timestamp::default();
        let (run, key) = (by.run.clone(), key.to_owned());
        Ok(tx.put_sealed(
            kind,
            &Sealed {
                run,
                key,
                ciphertext,
                wrapped_key,
                meta,
                created,
            },
        )?)
    }

    /// Removes an escrowed value, within a transaction. Not there: no error.
    ///
    /// # Errors
    /// [`Error::Sealed`]; a stale fence.
    pub fn remove_escrow_in(&self, tx: &Transaction<'_>, by: &Author, key: &str) -> Result<(), Error> {
        self.remove(tx, SealedKind::Escrow, by, key)
    }

    /// Removes a run's secret state, within a transaction. Not there: no error.
    ///
    /// # Errors
    /// [`Error::Sealed`]; a stale fence.
    pub fn remove_state_in(&self, tx: &Transaction<'_>, by: &Author, key: &str) -> Result<(), Error> {
        self.remove(tx, SealedKind::State, by, key)
    }

    fn remove(&self, tx: &Transaction<'_>, kind: SealedKind, by: &Author, key: &str) -> Result<(), Error> {
        self.keyring()?;
        tx.check_fence(&by.run, by.fence)?;
        tx.remove_sealed(&by.run, kind, key)?;
        Ok(())
    }

    /// A value from a run's escrow or state, within a transaction.
    pub(super) fn open_sealed(
        &self,
        reader: &Reader<'_>,
        kind: SealedKind,
        run: &RunId,
        key: &str,
    ) -> Result<Option<SecretValue>, Error> {
        let keyring = self.keyring()?;
        let Some(sealed) = reader.sealed(run, kind, key)? else {
            return Ok(None);
        };
        let metadata = metadata(kind, &sealed)?;
        let path = path_of(kind, run, key);
        let place = Place {
            store: reader.store_id(),
            path: &path,
            version: "",
        };
        let Sealed {
            ciphertext,
            wrapped_key,
            ..
        } = sealed;
        let value = seal::open(
            &keyring,
            place,
            &Blobs {
                ciphertext,
                wrapped_key,
            },
        )?;
        Ok(Some(SecretValue { value, metadata }))
    }

    /// What lies in escrow, within a transaction.
    ///
    /// # Errors
    /// [`Error::Sealed`], [`Error::Damaged`].
    pub fn escrows_in(&self, reader: &Reader<'_>, run: Option<&RunId>) -> Result<Vec<Escrowed>, Error> {
        self.keyring()?;
        let rows = reader.sealed_of(run, SealedKind::Escrow)?;
        let escrowed = |sealed: Sealed| {
            let metadata = metadata(SealedKind::Escrow, &sealed)?;
            Ok(Escrowed {
                run: sealed.run,
                key: sealed.key,
                metadata,
                created: sealed.created,
            })
        };
        rows.into_iter().map(escrowed).collect()
    }
}

pub(super) fn path_of(kind: SealedKind, run: &RunId, key: &str) -> String {
    format!("{} {run} {key}", kind.as_str())
}

fn metadata(kind: SealedKind, sealed: &Sealed) -> Result<Metadata, Error> {
    serde_json::from_str(&sealed.meta).map_err(|_| Error::Damaged {
        record: path_of(kind, &sealed.run, &sealed.key),
        detail: "its labels are unreadable",
    })
}
