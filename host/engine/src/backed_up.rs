//! Rule P2: the old credential of an administrator is not revoked before a backup holds the new one. Whoever restores the newest backup can log in on
//! the targets then, and mend the rest.

use std::time::Duration;

use keywheel_model::{SecretName, Timestamp, VersionId};
use keywheel_store::Transaction;
use keywheel_vault::Vault as _;
use keywheel_workflow::State;

use crate::Error;
use crate::engine::Inner;
use crate::perform::identity;

/// How long it is waited before it is looked for a backup again.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// What such a run waits for.
pub(crate) const WAITS_FOR: &str = "a backup that holds the new credential";

/// What brings that about.
pub(crate) const WAY_OUT: &str = "keywheel vault backup FILE";

const TAKEN: &str = "backup-taken";

/// What a backup that is about to be taken will hold at least.
pub(crate) struct Holds(Vec<(SecretName, VersionId)>);

impl Inner {
    /// The current versions of the administrators: whatever is promoted after this may not be in the backup any more.
    pub(crate) async fn backup_will_hold(&self) -> Result<Holds, Error> {
        let mut holds = Vec::new();
        let inputs = self
            .config
            .samples()
            .flat_map(|rotation| rotation.inputs.values());
        let administrators: std::collections::BTreeSet<&SecretName> = inputs.collect();
        for secret in administrators {
            let head = self.vault.live(secret, &[]).await?;
            holds.extend(
                head.current()
                    .map(|current| (secret.clone(), identity(current).clone())),
            );
        }
        Ok(Holds(holds))
    }

    /// Before this time a run that has promoted its version revokes nothing, because the newest backup needs what it would revoke.
    pub(crate) async fn revoked_not_before(&self, state: &State) -> Result<Option<Timestamp>, Error> {
        let awaits = self.awaits_backup(state).await?;
        Ok(awaits.then(|| self.clock.now() + LOOK_AGAIN))
    }

    /// Whether the newest backup needs what the run, which has promoted its version, would revoke.
    pub(crate) async fn awaits_backup(&self, state: &State) -> Result<bool, Error> {
        let secret = &state.settings.secret;
        if self.config.backup_every.is_none()
            || state.roles.previous.is_none()
            || state.settings.overwrites()
            || !self.is_administrator(secret)
        {
            return Ok(false);
        }
        let key = key_of(secret);
        let held = self
            .store
            .read_here(move |reader| Ok::<_, Error>(reader.meta(&key)?))
            .await?;
        Ok(held.as_deref() != state.roles.current.as_ref().map(VersionId::as_str))
    }

    /// Whether other rotations log in with it.
    fn is_administrator(&self, secret: &SecretName) -> bool {
        self.config.samples().any(|rotation| {
            rotation.secret != *secret && rotation.inputs.values().any(|input| input == secret)
        })
    }

    /// When the newest backup was made.
    pub(crate) async fn backed_up_at(&self) -> Result<Option<Timestamp>, Error> {
        let taken = self
            .store
            .read_here(|reader| Ok::<_, Error>(reader.meta(TAKEN)?))
            .await?;
        let taken = taken.and_then(|taken| taken.parse().ok());
        Ok(taken.map(Timestamp::from_unix_ms))
    }

    /// That the newest backup is older than the configuration says, in words.
    pub(crate) async fn backup_is_late(&self) -> Result<Option<String>, Error> {
        let Some(every) = self.config.backup_every else {
            return Ok(None);
        };
        let taken = self.backed_up_at().await?;
        let every_words = keywheel_config::show_duration(every);
        Ok(match taken {
            None => Some(format!(
                "there is no backup yet, and one is to be made every {every_words}"
            )),
            // By a clock that stood ahead: how old it is nobody knows.
            Some(taken) if taken > self.clock.now() => Some(format!(
                "the newest backup is of a time that is still to come, so that its age is not known; one is to be made every {every_words}"
            )),
            Some(taken) if self.clock.now().saturating_since(taken) > every => {
                let minutes = self.clock.now().saturating_since(taken).as_secs() / 60;
                let age = keywheel_config::show_duration(Duration::from_secs(minutes * 60));
                Some(format!(
                    "the newest backup is {age} old, and one is to be made every {every_words}"
                ))
            }
            Some(_) => None,
        })
    }
}

/// Notes that a backup is there.
pub(crate) fn note_backup(
    tx: &Transaction<'_>,
    taken: Timestamp,
    holds: &Holds,
) -> Result<(), keywheel_store::Error> {
    tx.set_meta(TAKEN, &taken.as_unix_ms().to_string())?;
    holds
        .0
        .iter()
        .try_for_each(|(secret, version)| tx.set_meta(&key_of(secret), version.as_str()))
}

fn key_of(secret: &SecretName) -> String {
    format!("backup-holds-{secret}")
}
