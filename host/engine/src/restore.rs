//! The state is of an earlier time than its targets: a copy was put back (rule P2). A secret that has not been verified since is verified by its next
//! run, and not rotated.

use keywheel_audit::{Checkpoint, Entry, Fault};
use keywheel_config::Rotation;
use keywheel_model::{Epoch, SecretName, Trigger};
use keywheel_store::{Reader, Transaction};
use keywheel_vault::Vault as _;
use keywheel_workflow::State;
use serde_json::json;

use crate::Error;
use crate::actor::actor;
use crate::engine::{Engine, Inner};

/// The exported heads for which the epoch was raised, so that the same one raises it once.
const HEADS: &str = "restored-heads";

impl Engine {
    /// Begins the next restore epoch, because a person says that a copy of the state was put back. Fencing tokens and idempotency keys of before are
    /// dead; each secret's next run only tries the kept versions, and deletes nothing on a target.
    ///
    /// # Errors
    /// The vault is sealed; the store.
    pub async fn restored(&self, reason: Option<String>) -> Result<Epoch, Error> {
        self.inner.vault.sub_key("audit")?;
        self.inner
            .store
            .write(move |tx| Ok::<_, Error>(begin_epoch(tx, Epoch(0), &json!({ "reason": reason }))?))
            .await
    }
}

impl Engine {
    /// Whether nothing has been proved about the secret since the state was restored.
    pub(crate) async fn is_to_be_verified(&self, secret: &SecretName) -> Result<bool, Error> {
        let secret = secret.clone();
        let seen = move |reader: &Reader<'_>| Ok::<_, Error>(reader.epoch()? > verified_in(reader, &secret)?);
        self.inner.store.read(seen).await
    }

    /// What a plan has to say of that.
    pub(crate) async fn verifies_first(&self, rotation: &Rotation) -> Result<Option<String>, Error> {
        let verifies = self.is_to_be_verified(&rotation.secret).await?;
        Ok(verifies.then(|| {
            "the state was restored: the next run only verifies that the target accepts the vault's current one, and changes nothing; the one after it rotates"
                .to_owned()
        }))
    }
}

impl Inner {
    /// Since which restore epoch a run of this secret may take the vault for what it was: what is older is verified first.
    pub(crate) async fn epoch_of_run(&self, secret: &SecretName, trigger: Trigger) -> Result<Epoch, Error> {
        // Adoption is a verification, and of a secret without any version there is nothing to verify.
        let verifies = trigger != Trigger::Adopt && !self.vault.live(secret, &[]).await?.versions.is_empty();
        let secret = secret.clone();
        self.store
            .read(move |reader| {
                Ok::<_, Error>(if verifies {
                    verified_in(reader, &secret)?
                } else {
                    reader.epoch()?
                })
            })
            .await
    }

    /// What a broken trail means. One that ends before a head that was exported, or has another row there, is a copy that was put back, or was made
    /// shorter on purpose: either way nothing more is taken for granted.
    pub(crate) async fn trail_is_broken(
        &self,
        source: keywheel_audit::Error,
        heads: &[Checkpoint],
    ) -> Result<Error, Error> {
        let keywheel_audit::Error::Broken {
            seq,
            fault: Fault::Truncated | Fault::Rewritten { .. },
        } = source
        else {
            return Ok(source.into());
        };
        let missing: Vec<String> = heads
            .iter()
            .filter(|head| head.seq > 0 && head.seq >= seq)
            .map(|head| head.hash.to_string())
            .collect();
        if missing.is_empty() || self.vault.is_sealed() {
            return Ok(source.into());
        }
        let epoch = self
            .store
            .write(move |tx| {
                let known = tx.meta(HEADS)?.unwrap_or_default();
                let is_known = |head: &String| known.split(' ').any(|word| word == head);
                let new: Vec<String> = missing.into_iter().filter(|head| !is_known(head)).collect();
                if new.is_empty() {
                    return Ok::<_, Error>(tx.epoch()?);
                }
                tx.set_meta(HEADS, format!("{known} {}", new.join(" ")).trim_start())?;
                Ok(begin_epoch(tx, Epoch(0), &json!({ "missing": new }))?)
            })
            .await?;
        Ok(Error::Behind { epoch, source })
    }
}

/// The epoch and its audit row, in one transaction. It is above that of another life of this state, too.
pub(crate) fn begin_epoch(
    tx: &Transaction<'_>,
    above: Epoch,
    why: &serde_json::Value,
) -> Result<Epoch, keywheel_store::Error> {
    let epoch = tx.raise_epoch_above(above)?;
    let entry = Entry::of_host("vault.restored", "vault", "ok")
        .by(actor())
        .with(json!({ "epoch": epoch.0, "why": why }));
    tx.audit(&entry)?;
    Ok(epoch)
}

fn key_of(secret: &SecretName) -> String {
    format!("verified-{secret}")
}

/// The restore epoch in which a run of the secret has ended well.
pub(crate) fn verified_in(reader: &Reader<'_>, secret: &SecretName) -> Result<Epoch, keywheel_store::Error> {
    let text = reader.meta(&key_of(secret))?;
    let epoch = text.map_or(Ok(0), |text| text.parse());
    epoch
        .map(Epoch)
        .map_err(|_| keywheel_store::Error::Unreadable { what: key_of(secret) })
}

/// Notes that a run of the secret has ended well in the run's epoch.
pub(crate) fn note_verified(tx: &Transaction<'_>, state: &State) -> Result<(), keywheel_store::Error> {
    let secret = &state.settings.secret;
    if state.epoch > verified_in(tx, secret)? {
        tx.set_meta(&key_of(secret), &state.epoch.0.to_string())?;
    }
    Ok(())
}
