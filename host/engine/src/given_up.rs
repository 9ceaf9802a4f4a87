//! Runs that were given up as they stood: nobody has looked at their target since. Before anything is changed on it again the current credential is
//! shown to it.

use std::sync::Arc;

use keywheel_config::{ProofChoice, Rotation};
use keywheel_model::{SecretName, Stage, Verdict, VersionId};
use keywheel_store::Transaction;
use keywheel_vault::Vault as _;
use keywheel_workflow::State;

use crate::Error;
use crate::engine::Inner;
use crate::secrets::verdict_words;

impl Inner {
    /// Whether the target takes what a run that was given up has left pending: the next run takes that over.
    pub(crate) async fn pending_is_accepted(self: &Arc<Self>, rotation: &Rotation) -> Result<bool, Error> {
        let head = self.vault.live(&rotation.secret, &[]).await?;
        let pending = head
            .versions
            .iter()
            .find(|version| version.stage == Stage::Pending);
        let Some(pending) = pending else {
            return Ok(false);
        };
        let verdict = self.test_version(rotation, &pending.id).await?;
        Ok(matches!(verdict, Ok(Verdict::Accepted)))
    }

    /// The current version, and the run that was given up since it was proved last: where that run's target stands now nobody has looked.
    pub(crate) async fn after_give_up(
        &self,
        rotation: &Rotation,
    ) -> Result<Option<(VersionId, String)>, Error> {
        let key = given_up_key(&rotation.secret);
        let run = self
            .store
            .read_here(move |reader| Ok::<_, Error>(reader.meta(&key)?))
            .await?;
        let run = run.filter(|run| !run.is_empty() && rotation.proof != ProofChoice::Accept);
        let Some(run) = run else {
            return Ok(None);
        };
        let head = self.vault.live(&rotation.secret, &[]).await?;
        Ok(head.current().map(|current| (current.id.clone(), run)))
    }

    /// What a plan says of that.
    pub(crate) async fn proves_first(&self, rotation: &Rotation) -> Result<Option<String>, Error> {
        match self.after_give_up(rotation).await? {
            Some((_, run)) => Ok(Some(format!(
                "run {run} was given up as it stood: the next one proves the current credential before it changes anything"
            ))),
            None => self.untried_current(rotation).await,
        }
    }
}

/// A run was given up as it stood: what its target accepts is not known until the current version was accepted once more.
pub(crate) fn note_given_up(tx: &Transaction<'_>, state: &State) -> Result<(), keywheel_store::Error> {
    tx.set_meta(&given_up_key(&state.settings.secret), state.run.as_str())
}

/// A login, or the end of another run, has shown what its target accepts.
///
/// # Errors
/// What SQLite refuses.
pub(crate) fn forget_give_up(tx: &Transaction<'_>, secret: &SecretName) -> Result<(), keywheel_store::Error> {
    let key = given_up_key(secret);
    match tx.meta(&key)? {
        Some(run) if !run.is_empty() => tx.set_meta(&key, ""),
        _ => Ok(()),
    }
}

/// What stands in the way when the current credential is not accepted after that.
pub(crate) fn given_up_words(
    rotation: &Rotation,
    run: &str,
    verdict: &Result<Verdict, keywheel_model::StepError>,
) -> String {
    let found = match verdict {
        Ok(verdict) => format!("the target does not take it: {}", verdict_words(verdict)),
        Err(error) => format!(
            "the target could not be asked about it: {}: {}",
            error.code, error.message
        ),
    };
    format!(
        "run {run} was given up as it stood, and the current credential of {} has to be proved first: {found} (`keywheel drift check {}` tries \
         what is kept, and puts current on the target again; of nodes that do not agree set it by hand on the odd one)",
        rotation.secret, rotation.name
    )
}

fn given_up_key(secret: &SecretName) -> String {
    format!("given-up-{secret}")
}
