//! Consumers, asked by programs of the operator's whether they hold a version. The machine decides when; here it is done, noted, and never shown with a
//! value in it.

use std::error::Error as _;
use std::sync::Arc;

use keywheel_audit::Entry;
use keywheel_capability::Handle;
use keywheel_capability::mask::Mask;
use keywheel_model::{ErrorKind, RotationName, SecretName, Stage, StepError, Timestamp, VersionId};
use keywheel_notify::{Answer, Hook};
use keywheel_vault::{Vault as _, VersionInfo};
use keywheel_workflow::{Report, State};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Error;
use crate::engine::{Inner, blocking};
use crate::labels::labels;
use crate::perform::Performer;
use crate::pinned::PinnedHook;

mod program;

pub use program::examine_program;

/// So many programs of one run at once.
const AT_ONCE: usize = 8;

/// More secrets are not looked for in what a program printed; then nothing of it is kept.
const WATCHED_MAX: usize = 256;

/// So much of what a program printed is kept, from its end.
const KEPT_BYTES: usize = 400;

/// The record of a run that its consumers were told of.
const NOTIFIED: &str = "consumers-notified";

/// What a consumer has said last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) version: VersionId,
    /// In which the version was then: of one that is pending it was said that it is held beside the current one.
    pub(crate) stage: Stage,
    pub(crate) at: Timestamp,
}

impl Said {
    pub(crate) fn key(rotation: &RotationName, consumer: &str) -> String {
        format!("consumer-said {rotation} {consumer}")
    }
}

/// A consumer, and whether it holds the version.
type Asked = (String, Result<(), StepError>);

impl Performer {
    /// Consumers that can hold two are asked whether they hold the pending version, too (rule P8).
    pub(crate) async fn announce(
        &self,
        inner: &Inner,
        state: &State,
        version: &VersionId,
    ) -> Result<Report, Error> {
        let announces = |_: &str, hook: &PinnedHook| hook.announce;
        let asked = self.ask(inner, state, version, Stage::Pending, announces).await?;
        Ok(Report::Announced(failed(&asked).map_or(Ok(()), Err)))
    }

    /// Consumers are told of the new version by a notification, once, and those that have a program are asked whether they hold it. Whoever has none is
    /// waited for as long as it declared. The host's own wait for a backup comes after theirs: nobody is told again in it.
    pub(crate) async fn propagate(
        &self,
        inner: &Inner,
        state: &State,
        version: &VersionId,
    ) -> Result<Report, Error> {
        let not_before = inner.revoked_not_before(state).await?;
        let mut asked = Vec::new();
        if state.held_until.is_none() {
            notify_once(inner, state, version).await?;
        }
        // Where a person answers for it that the old credential dies now, no program is waited for.
        if state.held_until.is_none() && !state.revokes_now {
            let is_open =
                |consumer: &str, _: &PinnedHook| state.reported.iter().all(|known| known != consumer);
            asked = self.ask(inner, state, version, Stage::Current, is_open).await?;
        }
        let failed = failed(&asked);
        let holds = asked.into_iter().filter(|(_, holds)| holds.is_ok());
        Ok(Report::Told {
            reported: holds.map(|(consumer, _)| consumer).collect(),
            not_before,
            failed,
        })
    }

    /// Asks those that are wanted, a few at a time, and keeps what they say.
    async fn ask(
        &self,
        inner: &Inner,
        state: &State,
        version: &VersionId,
        stage: Stage,
        is_wanted: impl Fn(&str, &PinnedHook) -> bool,
    ) -> Result<Vec<Asked>, Error> {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        // Whatever ends this ends the programs.
        let mut asking = JoinSet::new();
        for consumer in &state.settings.consumers {
            let hook = self.pinned.hooks.get(&consumer.name);
            let Some(hook) = hook.filter(|hook| is_wanted(&consumer.name, hook)) else {
                continue;
            };
            let (name, room) = (consumer.name.clone(), Arc::clone(&room));
            let program = program::of(hook, inner, state, version, stage);
            asking.spawn(async move {
                let _place = room.acquire().await;
                (name, answered(&program).await)
            });
        }
        let mut asked = Vec::new();
        while let Some(answer) = asking.join_next().await {
            let (consumer, answer) = answer.map_err(|_| Error::Defect("a task that asks a consumer died"))?;
            let holds = match answer {
                Ok(answer) => self.judged(inner, &consumer, answer).await,
                Err(unfit) => Err(unfit),
            };
            asked.push((consumer, holds));
        }
        asked.sort_by(|one, other| one.0.cmp(&other.0));
        note(inner, state, version, stage, &asked).await?;
        Ok(asked)
    }

    async fn judged(&self, inner: &Inner, consumer: &str, answer: Answer) -> Result<(), StepError> {
        let said = self.shown(inner, &answer).await;
        let Err(error) = answer.end else {
            tracing::debug!(consumer, said, "a consumer holds the version");
            return Ok(());
        };
        let cause = error
            .source()
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        let said = if said.is_empty() {
            said
        } else {
            format!("; it said: {said}")
        };
        let (kind, code) = match error {
            keywheel_notify::Error::Ended { .. } => (ErrorKind::Unavailable, "hook.ended"),
            keywheel_notify::Error::Late { .. } => (ErrorKind::Timeout, "hook.late"),
            // A program has no other way to fail.
            _ => (ErrorKind::Other, "hook.start"),
        };
        let message = format!("consumer {consumer}: {error}{cause}{said}");
        Err(StepError::new(kind, code, message))
    }

    /// The end of what a program printed, as it may be shown: none of it where a live secret is in it, or where nobody can tell.
    async fn shown(&self, inner: &Inner, answer: &Answer) -> String {
        if answer.said.is_empty() {
            return String::new();
        }
        if answer.said_more {
            return "more than 64 KiB, and nothing of it is kept".to_owned();
        }
        match self.watched(inner).await {
            Some(mask) => mask.shown(&answer.said, KEPT_BYTES),
            None => "nothing that is kept: not every secret that it may hold can be looked for".to_owned(),
        }
    }

    /// Every live secret that such a program may have: of its rotation, and what the host's own user is granted. None: they are too many, or cannot be read.
    async fn watched(&self, inner: &Inner) -> Option<Mask> {
        let uid = rustix::process::geteuid().as_raw();
        let patterns: Vec<_> = inner.read_patterns(uid).collect();
        let mut names: Vec<SecretName> = if patterns.is_empty() {
            Vec::new()
        } else {
            let all = inner.vault.names().await.ok()?.into_iter();
            all.filter(|name| patterns.iter().any(|pattern| pattern.covers(name)))
                .collect()
        };
        names.push(self.pinned.secret.clone());
        names.extend(self.pinned.inputs.values().cloned());
        names.sort();
        names.dedup();
        if names.len() > WATCHED_MAX {
            return None;
        }
        let mut mask = Mask::default();
        for name in &names {
            let kept = inner.vault.live(name, &[]).await.ok()?.versions.into_iter();
            for version in kept.filter(|version| version.stage != Stage::Revoked) {
                mask.watch(&handle(inner, name, &version).await?);
            }
        }
        Some(mask)
    }
}

async fn handle(inner: &Inner, name: &SecretName, version: &VersionInfo) -> Option<Handle> {
    let value = inner.vault.read(name, &version.id).await.ok()?;
    let labels = labels(&version.metadata, value.expose()).ok()?;
    Some(Handle::stored(
        format!("{name}@{}", version.id),
        value,
        labels,
        None,
    ))
}

/// What a program answers that is still fit to be started: whoever has changed it since the configuration was checked answers for nobody.
async fn answered(program: &Hook) -> Result<Answer, StepError> {
    let path = program.program.clone();
    let looked = blocking(move || examine_program(&path)).await;
    match looked {
        Ok(Ok(())) => Ok(program.ask().await),
        Ok(Err((what, hint))) => {
            let message = format!("\"{}\" {what}; {hint}", program.program.display());
            Err(StepError::new(ErrorKind::Denied, "hook.unfit", message))
        }
        Err(error) => Err(StepError::new(ErrorKind::Other, "hook.start", error.to_string())),
    }
}

/// The first failure, with the words of all.
fn failed(asked: &[Asked]) -> Option<StepError> {
    let errors: Vec<&StepError> = asked
        .iter()
        .filter_map(|(_, holds)| holds.as_ref().err())
        .collect();
    let words: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
    errors
        .first()
        .map(|first| StepError::new(first.kind, first.code.clone(), words.join("; ")))
}

async fn notify_once(inner: &Inner, state: &State, version: &VersionId) -> Result<(), Error> {
    let run = state.run.clone();
    let told = inner
        .store
        .read_here(move |reader| Ok::<_, Error>(reader.recorded(&run, NOTIFIED)?))
        .await?;
    if told.is_some() {
        return Ok(());
    }
    let consumers: Vec<_> = state
        .settings
        .consumers
        .iter()
        .map(|consumer| consumer.name.clone())
        .collect();
    let body = json!({"secret": state.settings.secret.as_str(), "version": version.as_str(), "consumers": consumers});
    let (run, key) = (state.run.clone(), state.settings.rotation.to_string());
    inner
        .store
        .write(move |tx| {
            tx.record(&run, NOTIFIED, b"")?;
            Ok::<_, Error>(tx.notify("secret.rotated", &key, &body)?)
        })
        .await?;
    Ok(())
}

/// A row for each answer, and what each consumer said last.
async fn note(
    inner: &Inner,
    state: &State,
    version: &VersionId,
    stage: Stage,
    asked: &[Asked],
) -> Result<(), Error> {
    if asked.is_empty() {
        return Ok(());
    }
    let at = inner.clock.now();
    let settings = &state.settings;
    let mut rows = Vec::new();
    let mut kept = Vec::new();
    for (consumer, holds) in asked {
        let outcome = if holds.is_ok() { "ok" } else { "failed" };
        let row = Entry::of_host("hook.run", settings.secret.as_str(), outcome).in_run(&state.run);
        rows.push(row.with(json!({
            "rotation": settings.rotation.as_str(), "consumer": consumer, "version": version.as_str(), "stage": stage,
            "code": holds.as_ref().err().map(|error| error.code.clone()),
        })));
        if holds.is_ok() {
            let said = Said {
                version: version.clone(),
                stage,
                at,
            };
            kept.push((Said::key(&settings.rotation, consumer), json!(said).to_string()));
        }
    }
    inner
        .store
        .write(move |tx| {
            rows.iter().try_for_each(|row| tx.audit(row).map(|_| ()))?;
            kept.iter().try_for_each(|(key, said)| tx.set_meta(key, said))?;
            Ok::<_, Error>(())
        })
        .await
}
