//! The vault's key slots, each change with its audit row.

use keywheel_audit::Entry;
use keywheel_vault::{NewSlot, Rider};
use serde_json::json;

use crate::Error;
use crate::engine::{Engine, actor};
use crate::view::SlotView;

impl Engine {
    /// The slots; also while the vault is sealed.
    ///
    /// # Errors
    /// The store.
    pub async fn slots(&self) -> Result<Vec<SlotView>, Error> {
        let slots = self.vault().slots().await?;
        Ok(slots
            .into_iter()
            .map(|slot| SlotView {
                slot: slot.id,
                kind: slot.kind,
                created_at: slot.created,
                fault: slot.fault,
            })
            .collect())
    }

    /// Adds a slot; its name.
    ///
    /// # Errors
    /// The vault is sealed; the key file is not private.
    pub async fn add_slot(&self, new: NewSlot) -> Result<String, Error> {
        let kind = match &new {
            NewSlot::KeyFile(_) => "key-file",
            NewSlot::Passphrase(_) => "passphrase",
        };
        Ok(self.vault().add_slot(new, slot_added(kind)).await?)
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
