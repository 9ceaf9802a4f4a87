//! The embedded back end: versions' values as ciphertext in the store, under keys of their own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use keywheel_model::{SecretBytes, Timestamp};
use keywheel_store::{KeySlot, Store};

use crate::age::{Identity, Recipient};
use crate::keys::Keyring;
use crate::slots::{self, Key};
use crate::{Error, Rider, key_file};

mod api;
mod backup;
mod check;
mod escrow;
mod look;
mod rekey;
mod versions;

pub use backup::{BackupKey, Contents, Written};
pub use rekey::{AuditKeys, Rewrapped};

/// The vault in the store's database. Clones share it.
///
/// Its mutating functions that end in `_in` work inside a transaction of the store that the caller has: several of them,
/// journal and audit rows are then kept as a whole or not at all. The trait [`crate::Vault`] wraps each in a transaction of its own.
#[derive(Clone)]
pub struct Embedded {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    keyring: RwLock<Option<Arc<Keyring>>>,
}

/// What opens a vault when every other key is lost. It is made before the vault is, so that no vault exists whose recovery
/// identity nobody holds; the vault itself keeps only the public half.
pub struct RecoveryIdentity(Identity);

impl RecoveryIdentity {
    /// A fresh one.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate() -> Result<Self, Error> {
        Ok(Self(Identity::generate()?))
    }

    /// `AGE-SECRET-KEY-1…`: to be given to a person once and to be kept nowhere else.
    ///
    /// # Errors
    /// [`Error::Crypto`].
    pub fn to_text(&self) -> Result<SecretBytes, Error> {
        self.0.to_text()
    }

    /// Its public half: what is encrypted to that, the identity opens.
    pub fn recipient(&self) -> RecoveryRecipient {
        RecoveryRecipient(self.0.recipient())
    }
}

/// The public half of a [`RecoveryIdentity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryRecipient(Recipient);

/// A way to open the vault.
#[derive(Debug)]
pub enum Unlock {
    /// A key file.
    KeyFile(PathBuf),
    /// A passphrase.
    Passphrase(SecretBytes),
    /// The recovery identity.
    Recovery(SecretBytes),
}

/// A slot to be added.
#[derive(Debug)]
pub enum NewSlot {
    /// For this key file, which is made (0400) if it is not there.
    KeyFile(PathBuf),
    /// For this passphrase.
    Passphrase(SecretBytes),
    /// For the recovery identity of this recipient.
    Recovery(RecoveryRecipient),
}

/// What can be said of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotInfo {
    /// Its name.
    pub id: String,
    /// `key-file`, `passphrase`, `recovery`.
    pub kind: String,
    /// When it was made.
    pub created: Timestamp,
    /// Why its header cannot be read, if so.
    pub fault: Option<String>,
}

impl Embedded {
    /// Makes the vault of a store: fresh keys, a slot for the recovery identity, and one for each of `slots`. It is open afterwards.
    ///
    /// # Errors
    /// [`Error::Initialised`] when there is one; [`Error::KeyFile`].
    pub async fn init(
        store: Store,
        recovery: &RecoveryIdentity,
        slots: Vec<NewSlot>,
        rider: Rider,
    ) -> Result<Self, Error> {
        let keyring = Keyring::generate()?;
        let id = store.id().to_owned();
        let terms = keyring.wrapped_terms(&id)?;
        let mut rows = vec![slots::for_recipient(
            "recovery",
            keyring.root(),
            recovery.0.recipient(),
        )?];
        for new in slots {
            let name = format!("{}-1", kind_of(&new));
            let root = keyring.root().duplicate();
            rows.push(make_slot(id.clone(), name, root, new).await?);
        }
        let no_slots = |slots: Vec<KeySlot>| slots.is_empty().then_some(()).ok_or(Error::Initialised);
        no_slots(store.read(|reader| Ok::<_, Error>(reader.key_slots()?)).await?)?;
        // Before the write: the trail's first row has its seal too.
        store.set_audit_key(Some(keyring.sub_key(&id, "audit")?));
        store
            .write(move |tx| {
                no_slots(tx.key_slots()?)?;
                for (term, wrapped) in &terms {
                    tx.add_key_term(*term, wrapped)?;
                }
                rows.iter().try_for_each(|slot| tx.add_key_slot(slot))?;
                tx.set_meta("audit.key", "vault sub-key: audit")?;
                Ok::<_, Error>(rider.ride(tx)?)
            })
            .await?;
        let vault = Self {
            inner: Arc::new(Inner {
                store,
                keyring: RwLock::new(None),
            }),
        };
        vault.set_keyring(keyring)?;
        Ok(vault)
    }

    /// The vault of a store: open if the key file is there and fits, else sealed.
    ///
    /// # Errors
    /// [`Error::NotInitialised`]; [`Error::WrongKey`], [`Error::KeyFile`], [`Error::Damaged`] when the key file is there and
    /// does not open it. Without a key file the result is a sealed vault.
    pub async fn open(store: Store, key_file: Option<&Path>) -> Result<Self, Error> {
        if store
            .read(|reader| Ok::<_, Error>(reader.key_slots()?))
            .await?
            .is_empty()
        {
            return Err(Error::NotInitialised);
        }
        let vault = Self {
            inner: Arc::new(Inner {
                store,
                keyring: RwLock::new(None),
            }),
        };
        if let Some(path) = key_file
            && let Some(key) = key_file::read(path)?
        {
            vault.unseal_with(Key::File(key)).await?;
        }
        Ok(vault)
    }

    /// Opens a sealed vault; an open one stays open if the key is right.
    ///
    /// # Errors
    /// [`Error::WrongKey`], [`Error::Malformed`], [`Error::KeyFile`]; [`Error::Damaged`] naming the slot or the key term.
    pub async fn unseal(&self, unlock: Unlock) -> Result<(), Error> {
        let key = backup::key_of(unlock)?;
        self.unseal_with(key).await
    }

    async fn unseal_with(&self, key: Key) -> Result<(), Error> {
        let store = self.inner.store.id().to_owned();
        let (rows, terms) = self
            .inner
            .store
            .read(|reader| Ok::<_, Error>((reader.key_slots()?, reader.key_terms()?)))
            .await?;
        let keyring = blocking(move || {
            let root = slots::open_any(&store, &rows, &key)?;
            Keyring::open(root, &store, &terms)
        })
        .await?;
        self.set_keyring(keyring)
    }

    /// Forgets the keys. What is under way with them finishes.
    pub fn seal(&self) {
        *self.inner.keyring.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.inner.store.set_audit_key(None);
    }

    /// Whether the keys are missing.
    pub fn is_sealed(&self) -> bool {
        self.inner
            .keyring
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }

    /// The store it lies in.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// A key of 256 bits for another use (`audit`, `plugin-cache`, `idempotency`): the same for the same label as long as the
    /// vault lives; it tells nothing of the vault's keys nor of other labels'.
    ///
    /// # Errors
    /// [`Error::Sealed`].
    pub fn sub_key(&self, label: &str) -> Result<SecretBytes, Error> {
        self.keyring()?.sub_key(self.inner.store.id(), label)
    }

    /// Adds a slot. Returns its name.
    ///
    /// # Errors
    /// [`Error::Sealed`], [`Error::KeyFile`].
    pub async fn add_slot(&self, new: NewSlot, rider: Rider) -> Result<String, Error> {
        let root = self.keyring()?.root().duplicate();
        let kind = kind_of(&new);
        let taken = self.slots().await?;
        let free = (1..=taken.len() + 1)
            .map(|n| format!("{kind}-{n}"))
            .find(|id| !taken.iter().any(|slot| slot.id == *id));
        let id = free.ok_or(Error::Crypto {
            what: "naming a slot",
        })?;
        let slot = make_slot(self.inner.store.id().to_owned(), id.clone(), root, new).await?;
        self.inner
            .store
            .write(move |tx| {
                tx.add_key_slot(&slot)?;
                Ok::<_, Error>(rider.ride(tx)?)
            })
            .await?;
        Ok(id)
    }

    /// Removes a slot, but never the last one that can be read. Whoever has a copy of the database and the slot's key still opens that
    /// copy.
    ///
    /// # Errors
    /// [`Error::LastSlot`]; [`Error::Sealed`]: whoever removes a key must have one.
    pub async fn remove_slot(&self, id: &str, rider: Rider) -> Result<(), Error> {
        self.keyring()?;
        let id = id.to_owned();
        self.inner
            .store
            .write(move |tx| {
                let mut others = tx.key_slots()?.into_iter().filter(|slot| slot.id != id);
                if others.all(|slot| slots::read_header(&slot).is_err()) {
                    return Err(Error::LastSlot { slot: id });
                }
                tx.remove_key_slot(&id)?;
                Ok::<_, Error>(rider.ride(tx)?)
            })
            .await
    }

    /// The slots; also while sealed.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn slots(&self) -> Result<Vec<SlotInfo>, Error> {
        let rows = self
            .inner
            .store
            .read(|reader| Ok::<_, Error>(reader.key_slots()?))
            .await?;
        let info = |slot: KeySlot| {
            let fault = slots::read_header(&slot).err().map(|error| error.to_string());
            SlotInfo {
                id: slot.id,
                kind: slot.kind,
                created: slot.created,
                fault,
            }
        };
        Ok(rows.into_iter().map(info).collect())
    }

    fn keyring(&self) -> Result<Arc<Keyring>, Error> {
        self.inner
            .keyring
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or(Error::Sealed)
    }

    fn set_keyring(&self, keyring: Keyring) -> Result<(), Error> {
        self.set_shared(Arc::new(keyring))
    }

    fn set_shared(&self, keyring: Arc<Keyring>) -> Result<(), Error> {
        let audit_key = keyring.sub_key(self.inner.store.id(), "audit")?;
        // In this order: whoever finds the vault open writes sealed rows.
        self.inner.store.set_audit_key(Some(audit_key));
        *self.inner.keyring.write().unwrap_or_else(PoisonError::into_inner) = Some(keyring);
        Ok(())
    }
}

fn kind_of(new: &NewSlot) -> &'static str {
    match new {
        NewSlot::KeyFile(_) => "key-file",
        NewSlot::Passphrase(_) => "passphrase",
        NewSlot::Recovery(_) => "recovery",
    }
}

async fn make_slot(store: String, id: String, root: SecretBytes, new: NewSlot) -> Result<KeySlot, Error> {
    blocking(move || match new {
        NewSlot::KeyFile(path) => {
            let key = match key_file::read(&path)? {
                Some(key) => key,
                None => key_file::create(&path)?,
            };
            slots::for_key_file(&store, &id, &root, &key)
        }
        NewSlot::Passphrase(passphrase) => slots::for_passphrase(&store, &id, &root, &passphrase),
        NewSlot::Recovery(RecoveryRecipient(recipient)) => slots::for_recipient(&id, &root, recipient),
    })
    .await
}

/// Runs what computes or waits for a disk off the executor's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Error::Crypto {
            what: "a key's computation",
        }),
    }
}
