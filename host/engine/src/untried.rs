//! Current versions that no target has ever accepted: imported while no rotation had the secret. The first rotation logs in with one before it changes
//! anything (rule P15).

use std::sync::Arc;

use keywheel_config::{FirstRun, ProofChoice, Rotation};
use keywheel_model::{SecretName, Stage, Verdict, VersionId};
use keywheel_store::{Reader, Transaction};
use keywheel_vault::{Origin, Vault as _};
use keywheel_workflow::State;

use crate::Error;
use crate::engine::Inner;
use crate::secrets::verdict_words;

impl Inner {
    /// The current version of a rotation's secret if nothing has proved it. What a run made or adopted was proved by that run.
    pub(crate) async fn untried(&self, rotation: &Rotation) -> Result<Option<VersionId>, Error> {
        let asks = rotation.proof != ProofChoice::Accept && rotation.first == FirstRun::Adopt;
        let head = self.vault.head(&rotation.secret).await?;
        let imported = head
            .current()
            .filter(|version| asks && version.metadata.labels.origin == Origin::Imported);
        let Some(current) = imported else {
            return Ok(None);
        };
        let (secret, version, run) = (rotation.secret.clone(), current.id.clone(), current.run.clone());
        self.store
            .read(move |reader| {
                let proved =
                    reader.run(&run)?.is_some() || tried(reader, &secret)?.as_ref() == Some(&version);
                Ok::<_, Error>((!proved).then_some(version))
            })
            .await
    }

    /// What to say of a current credential that nothing has proved.
    pub(crate) async fn untried_current(&self, rotation: &Rotation) -> Result<Option<String>, Error> {
        Ok(self.untried(rotation).await?.map(|_| {
            format!(
                "nothing has proved the value of {}: it was imported before this rotation was there. A run logs in with it first; `keywheel target test {}` \
                 does so now",
                rotation.secret, rotation.name
            )
        }))
    }

    /// A current value that nothing has proved is shown to the target before anything is changed: after a rotation it would be too late.
    ///
    /// # Errors
    /// [`Error::Refused`] when the target does not take it, or cannot be asked.
    pub(crate) async fn check_untried(self: &Arc<Self>, rotation: &Rotation) -> Result<(), Error> {
        let given_up = self.after_give_up(rotation).await?;
        let untried = match &given_up {
            Some((version, _)) => Some(version.clone()),
            None => self.untried(rotation).await?,
        };
        let Some(version) = untried else {
            return Ok(());
        };
        let verdict = self.test_version(rotation, &version).await?;
        if matches!(verdict, Ok(Verdict::Accepted)) {
            return self.note_tried(&rotation.secret, &version).await;
        }
        if given_up.is_some() && self.pending_is_accepted(rotation).await? {
            return Ok(());
        }
        let problem = match &given_up {
            Some((_, run)) => given_up_words(rotation, run, &verdict),
            None => untried_words(rotation, &verdict),
        };
        Err(Error::Refused {
            rotation: rotation.name.clone(),
            problems: vec![problem],
        })
    }

    /// Whether the target takes what a run that was given up has left pending: the next run takes that over.
    async fn pending_is_accepted(self: &Arc<Self>, rotation: &Rotation) -> Result<bool, Error> {
        let head = self.vault.head(&rotation.secret).await?;
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
            .read(move |reader| Ok::<_, Error>(reader.meta(&key)?))
            .await?;
        let run = run.filter(|run| !run.is_empty() && rotation.proof != ProofChoice::Accept);
        let Some(run) = run else {
            return Ok(None);
        };
        let head = self.vault.head(&rotation.secret).await?;
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

    /// Notes that the target has accepted a version.
    pub(crate) async fn note_tried(&self, secret: &SecretName, version: &VersionId) -> Result<(), Error> {
        let (secret, version) = (secret.clone(), version.clone());
        self.store
            .write(move |tx| {
                tx.set_meta(&key_of(&secret), version.as_str())?;
                Ok::<_, Error>(forget_give_up(tx, &secret)?)
            })
            .await
    }
}

/// A run that ended well has proved what is current. One that promoted nothing has proved what was current before it.
pub(crate) fn note_tried_by(tx: &Transaction<'_>, state: &State) -> Result<(), keywheel_store::Error> {
    forget_give_up(tx, &state.settings.secret)?;
    match &state.roles.current {
        Some(current) if !state.promoted => tx.set_meta(&key_of(&state.settings.secret), current.as_str()),
        _ => Ok(()),
    }
}

/// A run was given up as it stood: what its target accepts is not known until the current version was accepted once more.
pub(crate) fn note_given_up(tx: &Transaction<'_>, state: &State) -> Result<(), keywheel_store::Error> {
    tx.set_meta(&given_up_key(&state.settings.secret), state.run.as_str())
}

fn forget_give_up(tx: &Transaction<'_>, secret: &SecretName) -> Result<(), keywheel_store::Error> {
    let key = given_up_key(secret);
    match tx.meta(&key)? {
        Some(run) if !run.is_empty() => tx.set_meta(&key, ""),
        _ => Ok(()),
    }
}

fn given_up_words(
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

/// What stands in the way of a rotation whose current version the target does not accept, or could not be asked about.
pub(crate) fn untried_words(
    rotation: &Rotation,
    verdict: &Result<Verdict, keywheel_model::StepError>,
) -> String {
    let secret = &rotation.secret;
    match verdict {
        Ok(verdict) => format!(
            "run.adoption-required: the value of {secret} was imported before this rotation was there, and the target does not take it: {} \
             (`keywheel secret import {secret}` takes over the credential in use)",
            verdict_words(verdict)
        ),
        Err(error) => format!(
            "run.adoption-required: the value of {secret} was imported before this rotation was there, and the target could not be asked about it: \
             {}: {}",
            error.code, error.message
        ),
    }
}

fn tried(reader: &Reader<'_>, secret: &SecretName) -> Result<Option<VersionId>, keywheel_store::Error> {
    let unreadable = |_| keywheel_store::Error::Unreadable { what: key_of(secret) };
    let text = reader.meta(&key_of(secret))?;
    text.map(|text| text.parse().map_err(unreadable)).transpose()
}

fn given_up_key(secret: &SecretName) -> String {
    format!("given-up-{secret}")
}

fn key_of(secret: &SecretName) -> String {
    format!("tried-{secret}")
}
