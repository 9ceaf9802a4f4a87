//! A run's state in the store: loaded, saved with its audit rows and notifications in one transaction, and never without a live fence.

use std::time::Duration;

use keywheel_audit::Entry;
use keywheel_failpoint::{Point, reach};
use keywheel_model::{Fence, RotationName, RunId, Safety, SecretName, StepName, Timestamp, VersionId};
use keywheel_store::{LeaseKey, LeaseRequest, NewRun, Run, Store, Transaction};
use keywheel_workflow::{Effect, Ended, Ending, FORMAT, Lease, Next, Note, NoteKind, Pinned, State};
use serde_json::json;

use crate::Error;
use crate::approval::REQUESTED_BY;
use crate::given_up::note_given_up;
use crate::inspect::UNROTATABLE;
use crate::linked::Apart;
use crate::pinned::Pinned as PinnedRotation;
use crate::removed::refused_by;
use crate::restore::note_verified;
use crate::teller::words::STARTED;
use crate::untried::note_tried_by;

/// How long a lease lives unless it is renewed. The holder renews it at a third of that.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// A state as it stands in the store, and the version to compare with.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    pub(crate) state: State,
    pub(crate) version: u64,
}

/// A run that is to begin, beside its state.
pub(crate) struct Beginning {
    pub(crate) principal: String,
    pub(crate) actor: String,
    pub(crate) reason: Option<String>,
    /// Rotations, and their secrets, of which no run may be open.
    pub(crate) apart: Vec<(RotationName, SecretName)>,
    /// The group that it is linked in.
    pub(crate) group: Option<String>,
    pub(crate) ignores_offset: bool,
    /// Somebody wants to be told that it begins.
    pub(crate) is_told: bool,
}

/// A fact of the machine's, and how it stood when that was noted: the state that it is committed with may be a later one.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    note: Note,
    at: Timestamp,
    safety: Safety,
}

impl Noted {
    /// The notes that a step of the machine made.
    pub(crate) fn of(next: &Next, at: Timestamp) -> impl Iterator<Item = Self> + '_ {
        let safety = next.state.safety();
        next.notes
            .iter()
            .cloned()
            .map(move |note| Self { note, at, safety })
    }
}

/// Whether a save was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is durable.
    Yes,
    /// The fence is not the live one any more; nothing was kept.
    FenceLost,
}

/// Everything about runs that the store keeps.
#[derive(Clone)]
pub(crate) struct Journal {
    store: Store,
    holder: String,
}

impl Journal {
    pub(crate) fn new(store: Store, holder: String) -> Self {
        Self { store, holder }
    }

    /// Begins a run, with its first audit row; refused while another run of the secret, or of one that it is linked with, is open.
    pub(crate) async fn begin(
        &self,
        state: State,
        pinned: &PinnedRotation,
        beginning: Beginning,
    ) -> Result<Saved, Error> {
        let pinned = serde_json::to_vec(pinned).map_err(|source| Error::State {
            run: state.run.clone(),
            source,
        })?;
        let new = NewRun {
            id: state.run.clone(),
            rotation: state.settings.rotation.clone(),
            secret: state.settings.secret.clone(),
            principal: beginning.principal,
            state: write_state(&state)?,
        };
        let mut details = json!({
            "secret": new.secret.as_str(), "trigger": state.settings.trigger, "reason": beginning.reason,
        });
        if beginning.ignores_offset {
            details["ignores-offset-of"] = json!(beginning.group);
        }
        let entry = Entry::of_host("run.begin", new.rotation.as_str(), "ok")
            .by(&beginning.actor)
            .in_run(&new.id)
            .with(details);
        let told = beginning.is_told.then(|| {
            json!({
                "rotation": new.rotation.as_str(), "secret": new.secret.as_str(), "run": new.id.as_str(),
                "trigger": state.settings.trigger,
            })
        });
        reach(Point::BeginBefore);
        self.store
            .write(move |tx| {
                if let Some(run) = tx.open_run_of(&new.secret)? {
                    return Err(refused_by(tx, &new.secret, run)?);
                }
                for (other, secret) in beginning.apart {
                    if let Some(run) = tx.open_run_of(&secret)? {
                        return Err(Error::Linked {
                            rotation: new.rotation,
                            apart: Apart {
                                group: beginning.group.unwrap_or_default(),
                                other,
                                open: Some(run),
                                until: None,
                            },
                        });
                    }
                }
                tx.begin_run(&new)?;
                tx.record(&new.id, PinnedRotation::LABEL, &pinned)?;
                tx.record(&new.id, REQUESTED_BY, beginning.actor.as_bytes())?;
                tx.audit(&entry)?;
                if let Some(told) = &told {
                    tx.notify(STARTED, new.rotation.as_str(), told)?;
                }
                Ok(())
            })
            .await?;
        reach(Point::BeginAfter);
        Ok(Saved { state, version: 1 })
    }

    pub(crate) async fn load(&self, id: &RunId) -> Result<(Run, Saved), Error> {
        let wanted = id.clone();
        let (row, now) = self
            .store
            .read_here(move |reader| Ok::<_, Error>((reader.run(&wanted)?, reader.now())))
            .await?;
        let row = row.ok_or_else(|| Error::NoRun { run: id.clone() })?;
        let mut state = read_state(&row)?;
        state.set_back(row.updated.saturating_since(now));
        let version = row.version;
        Ok((row, Saved { state, version }))
    }

    /// What a run pinned of its rotation.
    pub(crate) async fn pinned(&self, run: &RunId) -> Result<PinnedRotation, Error> {
        let wanted = run.clone();
        let bytes = self
            .store
            .read_here(move |reader| Ok::<_, Error>(reader.recorded(&wanted, PinnedRotation::LABEL)?))
            .await?;
        let bytes = bytes.ok_or(Error::Defect("a run without its pinned configuration"))?;
        serde_json::from_slice(&bytes).map_err(|source| Error::State {
            run: run.clone(),
            source,
        })
    }

    /// Makes the new state durable: the fence is checked, the notes become audit rows and notifications, an ended run is closed, and what
    /// it held is given back, all in one transaction.
    pub(crate) async fn save(
        &self,
        saved: &mut Saved,
        next: &Next,
        notes: Vec<Noted>,
    ) -> Result<Kept, Error> {
        let text = write_state(&next.state)?;
        let (state, effect, version) = (next.state.clone(), next.effect.clone(), saved.version);
        reach(Point::SaveBefore);
        let kept = self
            .store
            .write(move |tx| {
                if let Some(fence) = state.fence
                    && effect.as_ref().is_some_and(Effect::needs_fence)
                {
                    tx.check_fence(&state.run, fence)?;
                    if let Some(until) = effect.as_ref().and_then(lands_until) {
                        tx.extend_effects(&state.run, fence, until)?;
                    }
                }
                let version = tx.set_run_state(&state.run, version, &text)?;
                for noted in &notes {
                    record_note(tx, &state, noted)?;
                }
                if let Some(ended) = &state.ended {
                    tx.finish_run(&state.run, ending_word(ended.ending))?;
                    tx.note_end(&state.settings.rotation, needs_a_look(ended))?;
                    match ended.ending {
                        Ending::Succeeded => {
                            note_verified(tx, &state)?;
                            note_tried_by(tx, &state)?;
                        }
                        Ending::GivenUp => note_given_up(tx, &state)?,
                        _ => {}
                    }
                }
                Ok::<_, keywheel_store::Error>(version)
            })
            .await;
        match kept {
            Ok(version) => {
                reach(Point::SaveAfter);
                saved.version = version;
                saved.state.clone_from(&next.state);
                Ok(Kept::Yes)
            }
            Err(keywheel_store::Error::Stale { .. }) => Ok(Kept::FenceLost),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the leases of a run or renews those it has.
    pub(crate) async fn lease(
        &self,
        run: &RunId,
        keys: Vec<LeaseKey>,
        held: Option<Fence>,
    ) -> Result<Lease, Error> {
        let request_holder = self.holder.clone();
        let run = run.clone();
        self.store
            .write(move |tx| {
                let now = tx.now();
                let until = now + LEASE;
                if let Some(fence) = held
                    && tx.renew_leases(&run, fence, until).is_ok()
                {
                    return Ok(Lease::Held {
                        fence,
                        settled_at: Timestamp::default(),
                    });
                }
                let request = LeaseRequest {
                    run: run.clone(),
                    holder: request_holder,
                    keys,
                    until,
                };
                tx.set_leases_back(&request.keys, LEASE)?;
                free_ghosts(tx, &request.keys)?;
                let ours = request
                    .keys
                    .iter()
                    .map(|key| tx.lease(key))
                    .collect::<Result<Vec<_>, _>>()?;
                let settled_at = ours
                    .iter()
                    .flatten()
                    .map(|lease| lease.effects_until)
                    .max()
                    .unwrap_or_default();
                let dead = ours
                    .iter()
                    .flatten()
                    .any(|lease| lease.run.as_deref() == Some(run.as_str()));
                let taken = if dead {
                    tx.take_over(&request)
                } else {
                    tx.acquire_leases(&request)
                };
                match taken {
                    Ok(fence) => Ok(Lease::Held { fence, settled_at }),
                    Err(keywheel_store::Error::LeaseHeld { .. }) => Ok(Lease::Busy { until: now + LEASE }),
                    Err(error) => Err(error.into()),
                }
            })
            .await
    }

    /// Whether this fence is the run's live one.
    pub(crate) async fn is_live(&self, run: &RunId, fence: Fence) -> Result<bool, Error> {
        let run = run.clone();
        let live = self
            .store
            .read_here(move |reader| reader.check_fence(&run, fence))
            .await;
        match live {
            Ok(()) => Ok(true),
            Err(keywheel_store::Error::Stale { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps the leases; `false`: they are lost.
    pub(crate) async fn renew(&self, run: &RunId, fence: Fence) -> Result<bool, Error> {
        let run = run.clone();
        let renewed = self
            .store
            .write(move |tx| {
                let until = tx.now() + LEASE;
                tx.renew_leases(&run, fence, until)
            })
            .await;
        match renewed {
            Ok(()) => Ok(true),
            Err(keywheel_store::Error::Stale { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the leases back.
    pub(crate) async fn release(&self, run: &RunId, fence: Fence) -> Result<(), Error> {
        let run = run.clone();
        self.store
            .write(move |tx| Ok::<_, Error>(tx.release_leases(&run, fence)?))
            .await
    }
}

/// Frees leases that have lapsed and whose holder no run answers for: a command that died between taking one and ending.
pub(crate) fn free_ghosts(tx: &Transaction<'_>, keys: &[LeaseKey]) -> Result<(), keywheel_store::Error> {
    for key in keys {
        let Some(lease) = tx.lease(key)?.filter(|lease| lease.until <= tx.now()) else {
            continue;
        };
        let Some(run) = lease.run.and_then(|run| run.parse::<RunId>().ok()) else {
            continue;
        };
        if tx.run(&run)?.is_none_or(|run| run.finished.is_some()) {
            tx.release_leases(&run, lease.fence)?;
        }
    }
    Ok(())
}

/// Whether `status` has to look at what a run came to: to nothing, or to an adoption of what cannot be rotated.
fn needs_a_look(ended: &Ended) -> bool {
    ended.ending != Ending::Succeeded || ended.detail.starts_with(UNROTATABLE)
}

/// Until when an effect that is about to begin may land on the target.
fn lands_until(effect: &Effect) -> Option<Timestamp> {
    match effect {
        Effect::Call(call) if !matches!(call.step, StepName::Plan | StepName::Test) => Some(call.deadline),
        _ => None,
    }
}

fn record_note(
    tx: &Transaction<'_>,
    state: &State,
    Noted { note, at, safety }: &Noted,
) -> Result<(), keywheel_store::Error> {
    if is_the_vaults(note.kind) {
        return Ok(());
    }
    let (action, outcome) = note_words(note.kind);
    let entry = Entry::of_host(action, state.settings.secret.as_str(), outcome)
        .in_run(&state.run)
        .with(json!({
            "rotation": state.settings.rotation.as_str(),
            "version": note.version.as_ref().map(VersionId::as_str),
            "detail": note.detail,
            "safety": safety,
            "at": at.as_unix_ms(),
        }));
    tx.audit(&entry)?;
    if note.kind.needs_attention() {
        let body = json!({
            "rotation": state.settings.rotation.as_str(),
            "secret": state.settings.secret.as_str(),
            "run": state.run.as_str(),
            "what": action,
            "outcome": outcome,
            "safety": safety,
            "detail": note.detail,
        });
        tx.notify(action, state.settings.rotation.as_str(), &body)?;
    }
    Ok(())
}

/// Whether the note tells of a change of the vault's, which has carried [its row](vault_row) itself. A crash between that change and this
/// state cannot lose it, nor can the vault be told the same twice.
fn is_the_vaults(kind: NoteKind) -> bool {
    matches!(
        kind,
        NoteKind::Promoted { .. } | NoteKind::Abandoned | NoteKind::Revoked
    )
}

/// The row of a change of the vault's, for the transaction of that change.
pub(crate) fn vault_row(state: &State, kind: NoteKind, version: &VersionId) -> Entry {
    debug_assert!(is_the_vaults(kind), "the row would be written twice");
    let (action, outcome) = note_words(kind);
    Entry::of_host(action, state.settings.secret.as_str(), outcome)
        .in_run(&state.run)
        .with(json!({
            "rotation": state.settings.rotation.as_str(),
            "version": version.as_str(),
        }))
}

/// The action and the outcome under which a note stands in the audit trail.
fn note_words(kind: NoteKind) -> (&'static str, &'static str) {
    match kind {
        NoteKind::Started => ("run.start", "ok"),
        NoteKind::Recovered => ("run.recover", "ok"),
        NoteKind::StepBegan(step) => (step_action(step), "begun"),
        NoteKind::StepEnded(step) => (step_action(step), "ok"),
        NoteKind::StepFailed(step) => (step_action(step), "failed"),
        NoteKind::Promoted { proved: true } => ("secret.promote", "proved"),
        NoteKind::Promoted { proved: false } => ("secret.promote", "unproved"),
        NoteKind::Revoked => ("secret.revoke", "proved"),
        NoteKind::Abandoned => ("secret.abandon", "ok"),
        NoteKind::Repaired => ("secret.repair", "ok"),
        NoteKind::Asked => ("run.ask", "ok"),
        NoteKind::Parked => ("run.park", "waiting"),
        NoteKind::Succeeded => ("run.end", "succeeded"),
        NoteKind::RolledBack => ("run.end", "rolled-back"),
        NoteKind::Cancelled => ("run.end", "cancelled"),
        NoteKind::Failed => ("run.end", "failed"),
        NoteKind::GivenUp => ("run.end", "given-up"),
    }
}

fn step_action(step: StepName) -> &'static str {
    match step {
        StepName::Plan => "step.plan",
        StepName::Create => "step.create",
        StepName::Announce => "step.announce",
        StepName::Apply => "step.apply",
        StepName::Test => "step.test",
        StepName::Promote => "step.promote",
        StepName::Propagate => "step.propagate",
        StepName::Revoke => "step.revoke",
        StepName::Rollback => "step.rollback",
    }
}

pub(crate) fn ending_word(ending: Ending) -> &'static str {
    match ending {
        Ending::Succeeded => "succeeded",
        Ending::RolledBack => "rolled-back",
        Ending::Cancelled => "cancelled",
        Ending::Failed => "failed",
        Ending::GivenUp => "given-up",
    }
}

fn write_state(state: &State) -> Result<String, Error> {
    serde_json::to_string(state).map_err(|source| Error::State {
        run: state.run.clone(),
        source,
    })
}

/// The state of a stored run.
///
/// # Errors
/// [`Error::State`] when it cannot be read, [`Error::NewerState`] when a newer keywheel wrote it.
pub(crate) fn read_state(row: &Run) -> Result<State, Error> {
    #[derive(serde::Deserialize)]
    struct Format {
        format: u32,
    }
    let unreadable = |source| Error::State {
        run: row.id.clone(),
        source,
    };
    let Format { format } = serde_json::from_str(&row.state).map_err(unreadable)?;
    if format > FORMAT {
        return Err(Error::NewerState {
            run: row.id.clone(),
            found: format,
            known: FORMAT,
        });
    }
    serde_json::from_str(&row.state).map_err(unreadable)
}

/// What the leases of a run are on: every principal that it changes, and the secret's name.
pub(crate) fn lease_keys(settings: &Pinned, principals: &[String]) -> Vec<LeaseKey> {
    let mut keys: Vec<_> = principals.iter().cloned().map(LeaseKey::Principal).collect();
    keys.push(LeaseKey::Secret(settings.secret.clone()));
    keys
}
