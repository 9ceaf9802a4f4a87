//! What a call keeps in the vault.

use keywheel_audit::Entry;
use keywheel_capability::handle::{Labels, StoredAt};
use keywheel_capability::port::{NewVersion, Output, VaultWrite};
use keywheel_failpoint::{Point, reach};
use keywheel_model::{ErrorKind, SecretBytes, SecretName, StepError};
use keywheel_vault::{Metadata, Output as KeptOutput, Pending, Promotion, Rider, SecretValue, Vault as _};
use serde_json::json;

use super::Port;
use super::journal::record;
use crate::labels::metadata;
use crate::perform::vault_error;

impl Port {
    pub(super) async fn store_pending(&self, new: NewVersion<'_>) -> Result<StoredAt, StepError> {
        let name = self.pinned.secret.clone();
        let mut kept = metadata(new.labels, new.expires_at)?;
        kept.annotations.clone_from(new.annotations);
        let outputs = new.outputs.into_iter().map(|output| self.output(&output));
        let mut outputs = outputs.collect::<Result<Vec<_>, _>>()?;
        let forms = &self.pinned.forms;
        outputs.extend(
            self.inner
                .written_forms(&name, forms, new.labels, new.value)
                .await?,
        );
        let pending = Pending {
            name: name.clone(),
            secret: value(new.value, kept),
            outputs,
        };
        let entry = self
            .entry("secret.pending", &name)
            .with(json!({"origin": new.labels.origin, "handle": new.handle}));
        reach(Point::PendingBefore);
        let put = self
            .inner
            .vault
            .put_pending(&self.by, pending, self.rider(Some(entry)));
        let version = self.kept(put).await?;
        reach(Point::PendingAfter);
        self.told().pending = Some(version.clone());
        self.leave_escrow(new.handle).await;
        let created_at = Some(self.inner.clock.now());
        Ok(StoredAt {
            name,
            version: version.to_string(),
            created_at,
            expires_at: new.expires_at,
        })
    }

    /// A captured value that is a version now needs no second place. Where it cannot be taken away it lies there, as it did.
    async fn leave_escrow(&self, handle: &str) {
        let Some(key) = handle.strip_prefix(self.escrow_identity("").as_str()) else {
            return;
        };
        let removed = self
            .inner
            .vault
            .remove_escrow(&self.by, key, self.rider(None))
            .await;
        if let Err(error) = removed {
            tracing::warn!(%error, "a value that is stored stays in escrow, too");
        }
    }

    pub(super) async fn store_output(&self, output: Output<'_>) -> Result<(), StepError> {
        let pending = self.pending_or_refuse()?;
        let kept = self.output(&output)?;
        let entry = self
            .entry("secret.pending", &kept.name)
            .with(json!({"output-of": pending.as_str()}));
        let rider = self.rider(Some(entry));
        let put = self
            .inner
            .vault
            .put_output(&self.by, &self.pinned.secret, &pending, kept, rider);
        self.kept(put).await.map(|_| ())
    }

    fn output(&self, output: &Output<'_>) -> Result<KeptOutput, StepError> {
        let name = self.pinned.outputs.get(output.name).cloned().ok_or_else(|| {
            let message = format!("the configuration maps no output {:?}", output.name);
            StepError::new(ErrorKind::NotFound, "run.output", message)
        })?;
        Ok(KeptOutput {
            name,
            secret: value(output.value, metadata(output.labels, None)?),
        })
    }

    pub(super) async fn store_annotation(&self, key: &str, text: &str) -> Result<(), StepError> {
        let pending = self.pending_or_refuse()?;
        let rider = self.rider(None);
        let put = self
            .inner
            .vault
            .annotate(&self.by, &self.pinned.secret, &pending, key, text, rider);
        self.kept(put).await
    }

    pub(super) async fn store_state(
        &self,
        key: &str,
        bytes: &SecretBytes,
        labels: &Labels,
    ) -> Result<String, StepError> {
        let secret = value(bytes, metadata(labels, None)?);
        let put = self
            .inner
            .vault
            .put_state(&self.by, key, secret, self.rider(None));
        self.kept(put).await?;
        Ok(self.state_identity(key))
    }

    pub(super) async fn store_escrow(
        &self,
        key: &str,
        bytes: &SecretBytes,
        labels: &Labels,
    ) -> Result<String, StepError> {
        let secret = value(bytes, metadata(labels, None)?);
        let entry = self
            .entry("secret.escrow", &self.pinned.secret)
            .with(json!({"key": key}));
        reach(Point::EscrowBefore);
        let put = self
            .inner
            .vault
            .put_escrow(&self.by, key, secret, self.rider(Some(entry)));
        self.kept(put).await?;
        reach(Point::EscrowAfter);
        Ok(self.escrow_identity(key))
    }

    /// Another name of the vault: the value becomes current there at once, in the run's name.
    pub(super) async fn write_other(&self, write: VaultWrite<'_>) -> Result<String, StepError> {
        let head = self.live(write.name, None).await?;
        let current = head.current().map(|current| current.id.clone());
        if let Some(wanted) = write.expect_current
            && current.as_ref().map(keywheel_model::VersionId::as_str) != Some(wanted)
        {
            return Err(StepError::new(
                ErrorKind::Conflict,
                "vault.head-moved",
                format!("{wanted} is not current in {}", write.name),
            ));
        }
        let ours = head.current().filter(|current| current.run == self.by.run);
        if let Some(written) = ours {
            return Ok(written.id.to_string());
        }
        let mut kept = metadata(write.labels, write.expires_at)?;
        kept.annotations.clone_from(write.tags);
        let pending = Pending {
            name: write.name.clone(),
            secret: value(write.value, kept),
            outputs: Vec::new(),
        };
        let put = self.inner.vault.put_pending(&self.by, pending, self.rider(None));
        let version = self.kept(put).await?;
        let promotion = Promotion {
            name: write.name.clone(),
            pending: version.clone(),
            expected_current: current.clone(),
            also: Vec::new(),
        };
        let entry = self
            .entry("secret.write", write.name)
            .with(json!({"version": version.as_str()}));
        let promoted = self
            .inner
            .vault
            .promote(&self.by, promotion, self.rider(Some(entry)));
        self.kept(promoted).await?;
        self.inner.retire(current.as_ref());
        Ok(version.to_string())
    }

    /// What the call has used, and `entry`, in the transaction of the vault's change.
    fn rider(&self, entry: Option<Entry>) -> Rider {
        let mut entries = self.told().uses.clone();
        entries.extend(entry);
        Rider::new(move |tx| record(tx, &entries))
    }

    /// What came of a change with a [rider](Self::rider).
    async fn kept<T>(
        &self,
        change: impl Future<Output = Result<T, keywheel_vault::Error>>,
    ) -> Result<T, StepError> {
        let changed = change.await;
        // Also where it is not known whether it was kept.
        self.seen.forget_heads();
        let value = changed.map_err(|error| vault_error(&error))?;
        self.told().uses.clear();
        Ok(value)
    }

    /// An audit entry in the name of the run's plugin.
    pub(super) fn entry(&self, action: &str, resource: &SecretName) -> Entry {
        Entry::of_host(action, resource.as_str(), "ok").in_run(&self.by.run)
    }
}

fn value(bytes: &SecretBytes, metadata: Metadata) -> SecretValue {
    SecretValue {
        value: bytes.duplicate(),
        metadata,
    }
}
