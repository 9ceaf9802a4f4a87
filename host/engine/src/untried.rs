//! Current versions that the account of today has never accepted: imported while no rotation had the secret, or adopted for another account or another
//! server than the configuration names now. The first rotation logs in with one before it changes anything (rule P15): a rotation of `app` that is
//! pointed at `bb` would overwrite a password that nobody has kept.

use std::sync::Arc;

use keywheel_config::{FirstRun, ProofChoice, Rotation};
use keywheel_manifest::Manifest;
use keywheel_model::{ErrorKind, RunId, Stage, StepError, Verdict, VersionId};
use keywheel_store::{Reader, Transaction};
use keywheel_vault::{Head, Vault as _, VersionInfo};
use keywheel_workflow::{Ending, State};

use crate::Error;
use crate::engine::Inner;
use crate::given_up::{forget_give_up, given_up_words};
use crate::principal::words;
use crate::secrets::verdict_words;
use crate::settings;
use crate::words::way_past;

/// A current version that nothing has proved for what the rotation changes now.
#[derive(Clone, Debug)]
pub(crate) struct Untried {
    pub(crate) version: VersionId,
    /// The accounts that have accepted it, for people; none: no account has.
    elsewhere: Option<String>,
    /// The accounts that the rotation changes.
    here: String,
}

impl Inner {
    /// The current version of a rotation's secret if nothing has proved it for the accounts that the rotation changes. What a run made or adopted was
    /// proved by that run, for the accounts that it had.
    pub(crate) async fn untried(&self, rotation: &Rotation) -> Result<Option<Untried>, Error> {
        let plugin = self.plugin(&rotation.plugin).ok();
        let manifest = plugin.as_deref().map(keywheel_plugin::Plugin::manifest);
        let today = manifest.map(|manifest| settings::principals(rotation, manifest));
        let head = self.vault.live(&rotation.secret, &[]).await?;
        let Some(current) = head.current().cloned() else {
            return Ok(None);
        };
        let version = current.id.clone();
        let proofs = self
            .store
            .read_here(move |reader| Ok::<_, Error>(proofs(reader, &current)?))
            .await?;
        // Without its plugin nobody can say which accounts the rotation changes, nor change them.
        let is_proved = match &today {
            Some(today) => proofs.iter().any(|proof| proof == today),
            None => !proofs.is_empty(),
        };
        let elsewhere = proofs.first().map(|proof| words(proof));
        let asks = match &elsewhere {
            Some(_) => manifest.is_some_and(|manifest| can_ask(rotation, manifest)),
            None => rotation.proof != ProofChoice::Accept && rotation.first == FirstRun::Adopt,
        };
        Ok((asks && !is_proved).then(|| Untried {
            version,
            elsewhere,
            here: words(today.as_deref().unwrap_or_default()),
        }))
    }

    /// What to say in a plan of a current credential that nothing has proved, or that a run overwrites without having one to go back to.
    pub(crate) async fn untried_current(&self, rotation: &Rotation) -> Result<Option<String>, Error> {
        let Some(untried) = self.untried(rotation).await? else {
            return self.set_over(rotation).await;
        };
        let Rotation { secret, name, .. } = rotation;
        Ok(Some(match &untried.elsewhere {
            None => format!(
                "nothing has proved the value of {secret}: it was imported before this rotation was there. A run logs in with it first; `keywheel target \
                 test {name}` does so now"
            ),
            Some(elsewhere) => format!(
                "nothing has proved the value of {secret} for {here}: it is that of {elsewhere}, which this rotation does not change any more. A run logs \
                 in with it first, and changes nothing if it is refused; `keywheel target test {name}` does so now",
                here = untried.here
            ),
        }))
    }

    /// Whether a run would set a credential over one that the vault never had.
    pub(crate) async fn sets_first(&self, rotation: &Rotation) -> Result<bool, Error> {
        let head = self.vault.live(&rotation.secret, &[]).await?;
        Ok(rotation.first == FirstRun::Set && head.current().is_none())
    }

    /// What `first = "set"` costs: the credential in use is in no vault.
    async fn set_over(&self, rotation: &Rotation) -> Result<Option<String>, Error> {
        let plugin = self.plugin(&rotation.plugin)?;
        if rotation.first == FirstRun::Adopt || !can_ask(rotation, plugin.manifest()) {
            return Ok(None);
        }
        let head = self.vault.live(&rotation.secret, &[]).await?;
        let is_proved = match head.current().cloned() {
            None => false,
            Some(current) => {
                let read = move |reader: &Reader<'_>| Ok::<_, Error>(!proofs(reader, &current)?.is_empty());
                self.store.read(read).await?
            }
        };
        let here = words(&settings::principals(rotation, plugin.manifest()));
        Ok((!is_proved).then(|| {
            format!(
                "first = \"set\": the credential in use of {here} is not known to the vault; a run sets a new one over it, and nothing brings it back"
            )
        }))
    }

    /// A current value that nothing has proved is shown to the target before anything is changed: after a rotation it would be too late.
    ///
    /// # Errors
    /// [`Error::Refused`] when the target does not take it, or cannot be asked.
    pub(crate) async fn check_untried(self: &Arc<Self>, rotation: &Rotation) -> Result<(), Error> {
        let (untried, given_up) = (self.untried(rotation).await?, self.after_give_up(rotation).await?);
        let version = match (&untried, &given_up) {
            (Some(untried), _) => &untried.version,
            (None, Some((current, _))) => current,
            (None, None) => return Ok(()),
        };
        let verdict = self.test_version(rotation, version).await?;
        if matches!(verdict, Ok(Verdict::Accepted)) {
            return self.note_tried(rotation, version).await;
        }
        if given_up.is_some() && self.pending_is_accepted(rotation).await? {
            return Ok(());
        }
        Err(match (&untried, &given_up) {
            (None, Some((_, run))) => Error::Refused {
                rotation: rotation.name.clone(),
                problems: vec![given_up_words(rotation, run, &verdict)],
            },
            (Some(untried), _) => untried.refusal(rotation, &verdict),
            (None, None) => return Ok(()),
        })
    }

    /// Whether other accounts have accepted a version, and never those that the rotation changes now.
    pub(crate) async fn is_of_others(
        &self,
        rotation: &Rotation,
        version: &VersionInfo,
    ) -> Result<bool, Error> {
        let plugin = self.plugin(&rotation.plugin)?;
        let today = settings::principals(rotation, plugin.manifest());
        let version = version.clone();
        let known = move |reader: &Reader<'_>| Ok::<_, Error>(proofs(reader, &version)?);
        let proofs = self.store.read(known).await?;
        Ok(!proofs.is_empty() && !proofs.contains(&today))
    }

    /// Notes that the accounts of a rotation have accepted a version.
    pub(crate) async fn note_tried(&self, rotation: &Rotation, version: &VersionId) -> Result<(), Error> {
        let plugin = self.plugin(&rotation.plugin)?;
        let today = settings::principals(rotation, plugin.manifest()).join("\n");
        let key = key_of(version);
        let secret = rotation.secret.clone();
        self.store
            .write(move |tx| {
                tx.set_meta(&key, &today)?;
                Ok::<_, Error>(forget_give_up(tx, &secret)?)
            })
            .await
    }

    /// [`without_strangers`] in a look of its own.
    pub(crate) async fn without_strangers(&self, head: Head, accounts: &[String]) -> Result<Head, Error> {
        if !head.versions.iter().any(is_previous) {
            return Ok(head);
        }
        let accounts = accounts.to_vec();
        self.store
            .read_here(move |reader| Ok::<_, Error>(without_strangers(reader, head, &accounts)?))
            .await
    }
}

impl Untried {
    /// Whether it is certain that the accounts of now do not take it, so that another may have its place.
    pub(crate) fn is_refuted(&self, verdict: &Result<Verdict, StepError>) -> bool {
        match verdict {
            Ok(verdict) => matches!(verdict, Verdict::Rejected),
            // The value of another account, in a form that this one's cannot have.
            Err(error) => self.elsewhere.is_some() && error.kind == ErrorKind::Invalid,
        }
    }

    /// What stands in the way of a rotation whose current version the target does not accept, or could not be asked about.
    pub(crate) fn refusal(&self, rotation: &Rotation, verdict: &Result<Verdict, StepError>) -> Error {
        let (secret, here) = (&rotation.secret, &self.here);
        // What kept the target from being asked has its own code and way out.
        let has_no_answer =
            |error: &&StepError| error.code.starts_with("net.") || error.code.starts_with("tls.");
        if let Some(error) = verdict.as_ref().err().filter(has_no_answer) {
            let message = format!(
                "{}; before anything is changed the value of {secret} is shown to {here}, which has not accepted it yet",
                error.message
            );
            let error = StepError {
                message,
                ..error.clone()
            };
            return Error::of_plan(rotation, error);
        }
        let found = match verdict {
            Ok(verdict) => format!("the target does not take it: {}", verdict_words(verdict)),
            Err(error) => {
                let past = way_past(&error.code, &error.message, Some(rotation));
                let past = past.map(|words| format!(" ({words})")).unwrap_or_default();
                format!(
                    "the target could not be asked about it: {}: {}{past}",
                    error.code, error.message
                )
            }
        };
        let problem = match (&self.elsewhere, verdict) {
            (None, Ok(_)) => format!(
                "the value of {secret} was imported before this rotation was there, and {found} (`keywheel secret import {secret}` takes over the \
                 credential in use)"
            ),
            (None, Err(_)) => {
                format!("the value of {secret} was imported before this rotation was there, and {found}")
            }
            (Some(elsewhere), _) => format!(
                "the value of {secret} is that of another account or server, {elsewhere}; this rotation changes {here}, and {found}. Its credential in use \
                 would be lost (set the configuration back to {elsewhere}, or `keywheel secret import {secret}` takes over the credential in use of {here})"
            ),
        };
        Error::Refused {
            rotation: rotation.name.clone(),
            problems: vec![format!("run.adoption-required: {problem}")],
        }
    }

    /// What to say of it in a list.
    pub(crate) fn in_short(&self) -> String {
        match &self.elsewhere {
            None => "it was imported before its rotation was there: nothing has proved it".to_owned(),
            Some(elsewhere) => format!(
                "it is the credential of {elsewhere}, and its rotation changes {}: nothing has proved it there",
                self.here
            ),
        }
    }
}

/// A run that ended well has proved what is current. Where it made that itself, its own row says for which accounts.
pub(crate) fn note_tried_by(tx: &Transaction<'_>, state: &State) -> Result<(), keywheel_store::Error> {
    let ended_well = state
        .ended
        .as_ref()
        .is_some_and(|ended| ended.ending == Ending::Succeeded);
    if ended_well {
        forget_give_up(tx, &state.settings.secret)?;
    }
    let Some(current) = state.roles.current.as_ref().filter(|_| {
        // The head of a later run is that run's to prove.
        ended_well && !state.superseded && (state.proved || !state.promoted)
    }) else {
        return Ok(());
    };
    let is_own = tx
        .version(current)?
        .is_some_and(|version| version.run == state.run);
    match tx.run(&state.run)? {
        Some(row) if !is_own => tx.set_meta(&key_of(current), &row.principal),
        _ => Ok(()),
    }
}

fn is_previous(version: &VersionInfo) -> bool {
    version.stage == Stage::Previous
}

/// A head without the previous versions of other accounts. A run that took one for its own would have the account of now refuse it, and note that it
/// is revoked: its own account accepts it still.
pub(crate) fn without_strangers(
    reader: &Reader<'_>,
    mut head: Head,
    accounts: &[String],
) -> Result<Head, keywheel_store::Error> {
    let mut strangers = Vec::new();
    for version in head.versions.iter().filter(|version| is_previous(version)) {
        let proofs = proofs(reader, version)?;
        let shares = |proof: &Vec<String>| proof.iter().any(|account| accounts.contains(account));
        if !proofs.is_empty() && !proofs.iter().any(shares) {
            strangers.push(version.id.clone());
        }
    }
    head.versions.retain(|version| !strangers.contains(&version.id));
    Ok(head)
}

/// Each set of accounts that has accepted a version: what was noted of it or of the version whose value it has, and what the run had that made it.
fn proofs(reader: &Reader<'_>, version: &VersionInfo) -> Result<Vec<Vec<String>>, keywheel_store::Error> {
    let mut found = Vec::new();
    for id in std::iter::once(&version.id).chain(&version.material_of) {
        found.extend(reader.meta(&key_of(id))?);
    }
    found.extend(reader.run(&version.run)?.map(|row| row.principal));
    Ok(found
        .iter()
        .map(|accounts| accounts.lines().map(str::to_owned).collect())
        .collect())
}

/// Of a run that is about to be forgotten: for which accounts it has made its versions, where nothing else says that of them.
pub(crate) fn note_makers_of(tx: &Transaction<'_>, run: &RunId) -> Result<(), keywheel_store::Error> {
    let Some(row) = tx.run(run)? else { return Ok(()) };
    for version in tx.versions_of_run(run)? {
        let key = key_of(&version);
        if tx.meta(&key)?.is_none() {
            tx.set_meta(&key, &row.principal)?;
        }
    }
    Ok(())
}

/// Whether a login shows anything on this target, whatever the operator asks for before a promotion.
fn can_ask(rotation: &Rotation, manifest: &Manifest) -> bool {
    manifest
        .mode(&rotation.config)
        .is_some_and(|mode| mode.proof != keywheel_model::Proof::None)
}

/// Where it is noted which accounts have accepted a version.
pub(crate) fn key_of(version: &VersionId) -> String {
    format!("tried-by-{version}")
}
