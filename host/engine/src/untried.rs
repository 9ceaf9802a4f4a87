//! Current versions that no target has ever accepted: imported while no rotation had the secret. The first rotation logs in with one before it changes
//! anything (rule P15).

use std::sync::Arc;

use keywheel_config::{FirstRun, ProofChoice, Rotation};
use keywheel_model::{SecretName, Verdict, VersionId};
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
        let Some(version) = self.untried(rotation).await? else {
            return Ok(());
        };
        let verdict = self.test_version(rotation, &version).await?;
        if matches!(verdict, Ok(Verdict::Accepted)) {
            return self.note_tried(&rotation.secret, &version).await;
        }
        Err(Error::Refused {
            rotation: rotation.name.clone(),
            problems: vec![untried_words(rotation, &verdict)],
        })
    }

    /// Notes that the target has accepted a version.
    pub(crate) async fn note_tried(&self, secret: &SecretName, version: &VersionId) -> Result<(), Error> {
        let (secret, version) = (secret.clone(), version.clone());
        self.store
            .write(move |tx| Ok::<_, Error>(tx.set_meta(&key_of(&secret), version.as_str())?))
            .await
    }
}

/// A run that promoted nothing and ended well has proved what was current before it.
pub(crate) fn note_tried_by(tx: &Transaction<'_>, state: &State) -> Result<(), keywheel_store::Error> {
    match &state.roles.current {
        Some(current) if !state.promoted => tx.set_meta(&key_of(&state.settings.secret), current.as_str()),
        _ => Ok(()),
    }
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

fn key_of(secret: &SecretName) -> String {
    format!("tried-{secret}")
}
