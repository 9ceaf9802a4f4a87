//! The vault's key slots, each change with its audit row.

use keywheel_audit::{Entry, PublicKey};
use keywheel_vault::{NewSlot, Rewrapped, Rider, SlotInfo, Unlock};
use serde::Serialize;
use serde_json::json;

use crate::Error;
use crate::actor::actor;
use crate::engine::{Engine, forget_compiled};
use crate::view::SlotView;

/// What was wrapped anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RewrappedView {
    /// The term of the new key.
    pub term: u32,
    /// How many values have it now.
    pub records: u64,
    /// What checks the signatures of audit checkpoints from now on.
    pub public_key: PublicKey,
}

impl Engine {
    /// The slots; also while the vault is sealed.
    ///
    /// # Errors
    /// The store.
    pub async fn slots(&self) -> Result<Vec<SlotView>, Error> {
        let slots = self.vault().slots().await?;
        Ok(slots.into_iter().map(SlotView::from).collect())
    }

    /// Adds a slot; its name.
    ///
    /// # Errors
    /// The vault is sealed; the key file is not private.
    pub async fn add_slot(&self, new: NewSlot) -> Result<String, Error> {
        let kind = match &new {
            NewSlot::KeyFile(_) => "key-file",
            NewSlot::Passphrase(_) => "passphrase",
            NewSlot::Recovery(_) => "recovery",
        };
        Ok(self.vault().add_slot(new, slot_added(kind)).await?)
    }

    /// The key file of the configuration, if there is one and it opens none of the slots: every command would end at it.
    ///
    /// # Errors
    /// The store.
    pub async fn key_file_opens_nothing(&self) -> Result<Option<std::path::PathBuf>, Error> {
        let keywheel_config::Vault::Embedded { key_file } = &self.inner.config.vault;
        let Some(path) = key_file.as_deref().filter(|path| path.exists()) else {
            return Ok(None);
        };
        match keywheel_vault::Embedded::open(self.inner.store.clone(), Some(path)).await {
            Err(keywheel_vault::Error::WrongKey { .. }) => Ok(Some(path.to_owned())),
            _ => Ok(None),
        }
    }

    /// Makes a new key for the versions' keys.
    ///
    /// # Errors
    /// The vault is sealed; a record does not open: then nothing was changed.
    pub async fn rewrap(&self) -> Result<RewrappedView, Error> {
        let entry = Entry::of_host("vault.rewrap", "vault", "ok").by(actor());
        let rewrapped = self.vault().rewrap(riding(entry)).await?;
        self.rewrapped(rewrapped)
    }

    /// Makes a new root key, and gives it to the slots again, but for those of `without`. `keys` opens those that are not the recovery
    /// identity's.
    ///
    /// # Errors
    /// [`Error::RekeyInRuns`]; as [`Engine::rewrap`]; a slot's key is missing.
    pub async fn rekey(&self, keys: Vec<Unlock>, without: Vec<String>) -> Result<RewrappedView, Error> {
        // What a run has derived from the root for its target must be the same until that is done. One that waits for consumers has done it: what it
        // revokes afterwards was made before, as for every later run.
        let runs = self.open_runs().await?;
        let runs = runs
            .iter()
            .filter(|run| !run.waits_for_consumers || run.trouble.is_some())
            .count();
        if runs > 0 {
            return Err(Error::RekeyInRuns { runs });
        }
        let entry = Entry::of_host("vault.rekey", "vault", "ok")
            .by(actor())
            .with(json!({"dropped": without}));
        // Before, so that one who is killed between the two is not told that a stranger wrote them.
        forget_compiled(self.config()).await?;
        let rewrapped = self.vault().rekey(keys, without, riding(entry)).await?;
        self.rewrapped(rewrapped)
    }

    fn rewrapped(&self, rewrapped: Rewrapped) -> Result<RewrappedView, Error> {
        Ok(RewrappedView {
            term: rewrapped.term,
            records: rewrapped.records,
            public_key: self.audit_public_key()?,
        })
    }

    /// Removes a slot, never the last one that opens the vault.
    ///
    /// # Errors
    /// [`keywheel_vault::Error::LastSlot`]; there is no such slot; the vault is sealed.
    pub async fn remove_slot(&self, slot: &str) -> Result<(), Error> {
        let entry = Entry::of_host("vault.slot-remove", "vault", "ok")
            .by(actor())
            .with(json!({"slot": slot}));
        Ok(self.vault().remove_slot(slot, riding(entry)).await?)
    }
}

impl From<SlotInfo> for SlotView {
    fn from(slot: SlotInfo) -> Self {
        Self {
            slot: slot.id,
            kind: slot.kind,
            created_at: slot.created,
            fault: slot.fault,
        }
    }
}

/// The audit row of a new slot.
pub(crate) fn slot_added(kind: &'static str) -> Rider {
    riding(
        Entry::of_host("vault.slot-add", "vault", "ok")
            .by(actor())
            .with(json!({"kind": kind})),
    )
}

fn riding(entry: Entry) -> Rider {
    Rider::new(move |tx| tx.audit(&entry).map(|_| ()))
}
