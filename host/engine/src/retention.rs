//! What is old is forgotten, as `[retention]` says: finished runs, versions that are long revoked, the beginning of the trail, notices that were
//! delivered. What anybody needs stays.

use std::time::{Duration, Instant};

use keywheel_audit::Entry;
use keywheel_model::{RunId, Timestamp, VersionId};
use keywheel_store::{AuditFilter, OldVersion, Transaction};
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;

use crate::actor::{acting_as, actor};
use crate::engine::Engine;
use crate::perform::keep_until_key;
use crate::port::compared_with;
use crate::restore::verified_in;
use crate::untried::{self, note_makers_of};
use crate::{Error, Stop};

/// Under which the audit trail names what is done without a person.
const ACTOR: &str = "keeper";

/// So long after its start a host looks for what is old, and so often from then on.
const FIRST: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_hours(6);

/// A clock that jumped is not believed for so long.
const DOUBTED: Duration = Duration::from_hours(24);

/// What a host that starts writes itself is younger, and it writes fewer rows.
const STARTING: Duration = Duration::from_mins(1);
const LOOKED_AT: u64 = 1000;

/// So many of the newest runs of each rotation stay, however old they are: by them it is told when it is due, and why it failed.
const NEWEST: u32 = 50;

/// So many of the newest numbers of each secret stay, however long they are revoked.
const NEWEST_VERSIONS: u32 = 10;

/// So much goes in one transaction: whoever else writes waits no longer than for that.
const RUNS: u32 = 50;
const VERSIONS: u32 = 100;
const ROWS: u32 = 500;

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Trimmed {
    /// Finished runs.
    pub runs: usize,
    /// Rows of the audit trail.
    pub audit_rows: usize,
    /// Notices that were delivered.
    pub notices: usize,
    /// Revoked versions, with their values.
    pub versions: usize,
}

impl Engine {
    /// Forgets what is older than the configuration says, a little at a time, until that is done or it is to stop. What is cut of the trail was checked
    /// before: one that does not hold together is left as it is.
    ///
    /// # Errors
    /// The vault is sealed; [`Error::Audit`]; the store.
    pub async fn trim(&self, stop: &Stop) -> Result<Trimmed, Error> {
        let inner = &self.inner;
        // A row that is written without its key would not be believed.
        if inner.vault.is_sealed() {
            return Err(keywheel_vault::Error::Sealed.into());
        }
        let delivered = inner.clock.now() - inner.config.retention.notices;
        let notices = inner
            .store
            .write(move |tx| Ok::<_, Error>(tx.forget_delivered(delivered)?))
            .await?;
        Ok(Trimmed {
            runs: self.trim_runs(stop).await?,
            audit_rows: self.trim_trail(stop).await?,
            notices,
            versions: self.trim_versions(stop).await?,
        })
    }

    /// Whether the trail has rows, and none of the last day but those of this start: the host was away, or its clock is ahead, and by that much would be forgotten.
    async fn was_away(&self) -> Result<bool, Error> {
        let now = self.inner.clock.now();
        self.inner
            .store
            .read(move |reader| {
                let filter = AuditFilter {
                    after: reader.audit_checkpoint()?.seq.saturating_sub(LOOKED_AT),
                    to: Some(now - STARTING),
                    newest_first: true,
                    ..AuditFilter::default()
                };
                let newest = reader.audit_rows(&filter, 1)?;
                Ok::<_, Error>(newest.first().is_some_and(|row| row.at < now - DOUBTED))
            })
            .await
    }

    async fn trim_versions(&self, stop: &Stop) -> Result<usize, Error> {
        let inner = &self.inner;
        let Some(kept) = inner.config.retention.versions else {
            return Ok(0);
        };
        let before = inner.clock.now() - kept;
        let (mut after, mut forgotten) = (None, 0);
        while !stop.is_requested() {
            let from = after.take();
            let old = inner
                .store
                .read(move |reader| {
                    Ok::<_, Error>(reader.old_versions(before, NEWEST_VERSIONS, from.as_ref(), VERSIONS)?)
                })
                .await?;
            let Some(last) = old.last() else { break };
            after = Some((last.secret.clone(), last.number));
            let by = actor();
            forgotten += inner
                .store
                .write(move |tx| Ok::<_, Error>(forget_versions(tx, &old, before, &by)?))
                .await?;
        }
        Ok(forgotten)
    }

    async fn trim_runs(&self, stop: &Stop) -> Result<usize, Error> {
        let inner = &self.inner;
        let before = inner.clock.now() - inner.config.retention.runs;
        let (mut after, mut forgotten) = (None, 0);
        while !stop.is_requested() {
            let from = after.take();
            let old = inner
                .store
                .read(move |reader| Ok::<_, Error>(reader.old_runs(before, NEWEST, from.as_ref(), RUNS)?))
                .await?;
            let Some(last) = old.last().cloned() else { break };
            after = Some(last);
            let runs: Vec<RunId> = old.into_iter().map(|(_, run)| run).collect();
            forgotten += runs.len();
            let entry = Entry::of_host("run.forget", "journal", "ok")
                .by(actor())
                .with(json!({"runs": runs.len(), "finished-before": before.as_unix_ms()}));
            inner
                .store
                .write(move |tx| Ok::<_, Error>(forget(tx, &runs, &entry)?))
                .await?;
        }
        Ok(forgotten)
    }

    async fn trim_trail(&self, stop: &Stop) -> Result<usize, Error> {
        let inner = &self.inner;
        let store = &inner.store;
        let mut left = store
            .read(|reader| Ok::<_, Error>(reader.audit_left_over()?))
            .await?;
        if let Some(kept) = inner.config.retention.audit {
            let before = inner.clock.now() - kept;
            let cut = store
                .read(move |reader| Ok::<_, Error>(reader.audit_before(before)?))
                .await?;
            if let Some((through, hash)) = cut {
                self.audit_verify(Vec::new(), None).await?;
                let by = actor();
                store
                    .write(move |tx| Ok::<_, Error>(tx.cut_audit(through, hash, &by)?))
                    .await?;
                left = through;
            }
        }
        let mut deleted = 0;
        while left > 0 && !stop.is_requested() {
            let rows = store.write(|tx| Ok::<_, Error>(tx.delete_cut(ROWS)?)).await?;
            if rows == 0 {
                break;
            }
            deleted += rows;
        }
        Ok(deleted)
    }
}

/// Runs with what they alone knew of the versions that they made, together with the row that tells of it.
fn forget(tx: &Transaction<'_>, runs: &[RunId], entry: &Entry) -> Result<(), keywheel_store::Error> {
    for run in runs {
        note_makers_of(tx, run)?;
        tx.forget_run(run)?;
    }
    tx.audit(entry).map(|_| ())
}

/// Versions that nothing needs, together with the row that tells of it. How many.
fn forget_versions(
    tx: &Transaction<'_>,
    old: &[OldVersion],
    before: Timestamp,
    by: &str,
) -> Result<usize, keywheel_store::Error> {
    let (mut forgotten, epoch) = (0, tx.epoch()?);
    for version in old {
        // After a restore any version may be the one that the target takes (rule P2).
        if verified_in(tx, &version.secret)? < epoch {
            continue;
        }
        if is_kept(tx, &version.id)? || !tx.forget_version(&version.id, before)? {
            continue;
        }
        forgotten += 1;
        tx.forget_meta(&keep_until_key(&version.id))?;
        tx.forget_meta(&untried::key_of(&version.id))?;
        tx.forget_meta_of(&compared_with(&format!("{}@{}", version.secret, version.id)))?;
    }
    if forgotten > 0 {
        let details = json!({"versions": forgotten, "revoked-before": before.as_unix_ms()});
        tx.audit(
            &Entry::of_host("version.forget", "vault", "ok")
                .by(by)
                .with(details),
        )?;
    }
    Ok(forgotten)
}

/// Whether it was said, when it was revoked, that it is kept for longer.
fn is_kept(tx: &Transaction<'_>, version: &VersionId) -> Result<bool, keywheel_store::Error> {
    let until = tx.meta(&keep_until_key(version))?;
    // What cannot be read is no leave to forget it.
    Ok(until.is_some_and(|until| {
        until
            .parse()
            .map_or(true, |until| tx.now() < Timestamp::from_unix_ms(until))
    }))
}

/// Forgets what is old while a host runs.
pub struct Trimmer {
    engine: watch::Receiver<Engine>,
    stop: Stop,
}

impl Trimmer {
    /// Of the engine as it is now, which may be replaced.
    pub fn new(engine: watch::Receiver<Engine>, stop: Stop) -> Self {
        Self { engine, stop }
    }

    /// Works until it is to stop.
    pub async fn run(mut self) {
        let started = Instant::now();
        let engine = self.engine.borrow().clone();
        // What cannot be read does not say that the clock is right.
        let was_away = engine.was_away().await.unwrap_or(true);
        if was_away {
            tracing::info!(
                "the trail says nothing of the last day: nothing old is forgotten for a day, since the clock may be ahead"
            );
        }
        let mut pause = FIRST;
        loop {
            tokio::select! {
                () = self.stop.requested() => return,
                // It may say something else of what is old.
                Ok(()) = self.engine.changed() => {
                    pause = FIRST;
                    continue;
                }
                () = tokio::time::sleep(pause) => pause = EVERY,
            }
            let engine = self.engine.borrow_and_update().clone();
            let jump = engine.inner.standing.jump();
            let is_doubted = was_away && started.elapsed() < DOUBTED
                || jump.is_some_and(|jump| jump.seen.elapsed() < DOUBTED);
            if engine.inner.vault.is_sealed() || is_doubted {
                continue;
            }
            match acting_as(ACTOR.to_owned(), engine.trim(&self.stop)).await {
                Ok(trimmed) if trimmed == Trimmed::default() => {}
                Ok(Trimmed {
                    runs,
                    audit_rows,
                    notices,
                    versions,
                }) => tracing::info!(runs, audit_rows, notices, versions, "what is old was forgotten"),
                Err(error) => tracing::error!(code = error.code(), "what is old cannot be forgotten"),
            }
        }
    }
}
