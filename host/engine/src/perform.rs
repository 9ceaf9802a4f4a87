//! One effect of the machine, performed: what it means for the vault, the journal and the plugin.

pub(crate) mod head;

use std::sync::Arc;
use std::time::{Duration, Instant};

use keywheel_capability::Cancel;
use keywheel_config::Form;
use keywheel_failpoint::{Point, reach};
use keywheel_model::{
    Effect as Reach, ErrorKind, Fence, Outcome, SecretName, Stage, StepError, StepName, Verdict, VersionId,
};
use keywheel_plugin::{Plugin, StepEnd, StepValue};
use keywheel_policy::Binding;
use keywheel_store::LeaseKey;
use keywheel_traces::SpanId;
use keywheel_vault::{Author, Head as VaultHead, Promotion, Rider, Vault as _, VersionInfo};
use keywheel_workflow::{Call, Effect, NoteKind, Phase, Report, State, StepOk, StoreFailure};

use crate::Error;
use crate::approval::Gate;
use crate::engine::Inner;
use crate::journal::vault_row;
use crate::pinned::Pinned;
use crate::plan::worded;
use crate::port::Port;
use crate::settings::Probes;
use crate::traced;

/// What performing the effects of one run needs.
pub(crate) struct Performer {
    pub(crate) pinned: Arc<Pinned>,
    /// None: it is gone, and the run, which is given up, calls it no more.
    pub(crate) plugin: Option<Arc<Plugin>>,
    pub(crate) keys: Vec<LeaseKey>,
    pub(crate) accounts: Vec<String>,
    pub(crate) probes: Probes,
    pub(crate) step_time: Duration,
    pub(crate) cancel: Cancel,
}

impl Performer {
    /// Performs an effect and reports.
    ///
    /// # Errors
    /// The store, when not even the report can be kept. What the target or the vault did wrong is a report.
    pub(crate) async fn perform(
        &self,
        inner: &Arc<Inner>,
        effect: &Effect,
        state: &State,
        held: Option<Fence>,
    ) -> Result<Report, Error> {
        let step = traced::step_of(effect, state);
        let begun = step.and_then(|step| Some((step, inner.traces.begin(inner.clock.now())?)));
        let span = begun.map(|(_, begun)| begun.id());
        let report = self.perform_within(inner, effect, state, held, span).await;
        if let Some(((step, attempt), begun)) = begun {
            let what = traced::step(state, step, attempt, report.as_ref());
            inner.traces.end(begun, &state.run, None, what);
        }
        report
    }

    async fn perform_within(
        &self,
        inner: &Arc<Inner>,
        effect: &Effect,
        state: &State,
        held: Option<Fence>,
        span: Option<SpanId>,
    ) -> Result<Report, Error> {
        let name = &state.settings.secret;
        let by = Author {
            run: state.run.clone(),
            fence: state.fence.or(held).unwrap_or_default(),
        };
        Ok(match effect {
            Effect::Lease => Report::Lease(inner.journal.lease(&state.run, self.keys.clone(), held).await?),
            Effect::EndSessions => Report::Sessions {
                ended: self.end_sessions(inner, state, by).await?,
            },
            Effect::ReadHead => self.read_head(inner, state).await?,
            Effect::Call(call) => self.call(inner, call, state, by, span).await?,
            Effect::Promote { expected, version } => Report::Stored(
                promote(
                    inner,
                    &by,
                    state,
                    &self.pinned.forms,
                    (expected.as_ref(), version),
                )
                .await,
            ),
            Effect::Abandon { version, keep_until } => {
                let rider = kept_until(state, NoteKind::Abandoned, version, *keep_until);
                Report::Stored(match resolve(inner, name, version).await {
                    Ok(found) if found.stage == Stage::Abandoned => Ok(()),
                    Ok(found) => inner
                        .vault
                        .abandon(&by, name, &found.id, rider)
                        .await
                        .map_err(store_failure),
                    Err(failure) => Err(failure),
                })
            }
            Effect::MarkRevoked { version, keep_until } => {
                let rider = kept_until(state, NoteKind::Revoked, version, *keep_until);
                Report::Stored(match resolve(inner, name, version).await {
                    Ok(found) if found.stage == Stage::Revoked => Ok(()),
                    Ok(found) => inner
                        .vault
                        .revoke(&by, name, &found.id, rider)
                        .await
                        .map_err(store_failure),
                    Err(failure) => Err(failure),
                })
            }
            Effect::Propagate { version } => self.propagate(inner, state, version).await?,
            Effect::Mirror { .. } => {
                Report::Stored(Err(StoreFailure::Failed(not_here("a mirror in a remote vault"))))
            }
            Effect::Announce { version } => self.announce(inner, state, version).await?,
            Effect::Sleep { .. } | Effect::Park | Effect::Release => {
                return Err(Error::Defect("a rest was to be performed"));
            }
        })
    }

    /// What the operator has taken away since the run began, if anything (rule P12).
    ///
    /// # Errors
    /// A grant file cannot be read.
    pub(crate) async fn withdrawn(&self, inner: &Inner) -> Result<Option<String>, Error> {
        let plugin = &self.plugin()?.manifest().name;
        let policy = match inner.policy().await {
            Ok(policy) => policy,
            // What cannot be understood grants nothing.
            Err(Error::Policy(error)) => return Ok(Some(format!("the grants: {error}"))),
            Err(error) => return Err(error),
        };
        let pinned = &self.pinned;
        let scope = policy.scope(Binding {
            plugin,
            rotation: &pinned.rotation,
            configuration: &pinned.config,
            secret: &pinned.secret,
            inputs: &pinned.inputs,
        });
        Ok(if scope.is_empty() {
            Some(format!("plugin {plugin} has no grant"))
        } else if pinned.narrowed && !scope.is_narrowed() {
            Some(format!("the grant for {} alone is gone", pinned.rotation))
        } else {
            None
        })
    }

    pub(crate) fn plugin(&self) -> Result<&Arc<Plugin>, Error> {
        self.plugin
            .as_ref()
            .ok_or(Error::Defect("a run that was given up called its plugin"))
    }

    /// Calls the plugin. A login that proves something is booked on the account's budget before it starts (rule P14).
    async fn call(
        &self,
        inner: &Arc<Inner>,
        call: &Call,
        state: &State,
        by: Author,
        span: Option<SpanId>,
    ) -> Result<Report, Error> {
        if call.step == StepName::Test
            && let Some(until) = self.book_login(inner, state).await?
        {
            return Ok(Report::OverBudget { until });
        }
        if is_first_change(call, state)
            && let Some(until) = self.no_login_is_left(inner, state).await?
        {
            return Ok(Report::OverBudget { until });
        }
        if call.step == StepName::Plan
            && let Some(denied) = self.is_denied(inner, state).await?
        {
            return Ok(Report::Step(Ok(StepOk {
                problems: vec![denied],
                ..StepOk::done()
            })));
        }
        let port = Arc::new(Port::new(
            Arc::clone(inner),
            Arc::clone(&self.pinned),
            call.clone(),
            by,
            span,
        ));
        let deadline = call.deadline.min(inner.clock.now() + self.step_time);
        let context = port.context(self, state, deadline).await?;
        let plugin = self.plugin()?;
        let began = Instant::now();
        let end = plugin.run(inner.capabilities.prepare(context)).await;
        let failed = end.result.as_ref().err().map(|error| error.kind);
        inner
            .metrics
            .step_ended(&plugin.manifest().name, call.step, failed, began.elapsed());
        port.settle().await?;
        if call.step == StepName::Test {
            if costs_nothing(&end) {
                self.give_login_back(inner, state).await?;
            }
            return Ok(Report::Verdict(verdict(end)));
        }
        if let Ok(StepValue::Plan(plan)) = &end.result
            && plan.problems.is_empty()
        {
            let gated = match self.gate(inner, state, plan).await? {
                Gate::Open => StepOk::done(),
                Gate::Shut(what) => StepOk {
                    outcome: Outcome::Blocked(what),
                    ..StepOk::done()
                },
                Gate::Over(what) => StepOk {
                    problems: vec![what],
                    ..StepOk::done()
                },
            };
            return Ok(Report::Step(Ok(gated)));
        }
        let pending = port.pending();
        let current_valid_until = port.current_valid_until();
        Ok(Report::Step(end.result.and_then(|value| {
            match value {
                StepValue::Outcome(outcome) => Ok(StepOk {
                    outcome,
                    pending,
                    current_valid_until,
                    problems: Vec::new(),
                }),
                StepValue::Plan(plan) => Ok(StepOk {
                    problems: plan
                        .problems
                        .into_iter()
                        .map(|problem| worded(&problem.code, &problem.message, problem.hint.as_deref()))
                        .collect(),
                    ..StepOk::done()
                }),
                StepValue::Verdict(_) => Err(wrong_answer()),
            }
        })))
    }

    /// `Some`: what is about to be put on the target could not be proved before then.
    async fn no_login_is_left(
        &self,
        inner: &Inner,
        state: &State,
    ) -> Result<Option<keywheel_model::Timestamp>, Error> {
        let (accounts, probes) = (self.accounts.clone(), self.probes);
        let spent = inner.store.read(move |store| {
            let mut spent = accounts.iter().map(|account| store.probes(account, probes.per));
            spent.try_fold(0, |most, one| Ok::<_, keywheel_store::Error>(one?.max(most)))
        });
        if spent.await? < probes.logins {
            return Ok(None);
        }
        let until = self.book_login(inner, state).await?;
        if until.is_none() {
            self.give_login_back(inner, state).await?;
        }
        Ok(until)
    }

    /// `Some`: the budget of an account is used up until then.
    pub(crate) async fn book_login(
        &self,
        inner: &Inner,
        state: &State,
    ) -> Result<Option<keywheel_model::Timestamp>, Error> {
        let latest = inner.clock.now() + self.probes.per;
        match self.spend_login(inner, state).await? {
            // Booked by a clock that stood ahead: nobody has to wait for that day.
            Some(until) if until > latest => {
                self.set_logins_back(inner).await?;
                self.spend_login(inner, state).await
            }
            booked => Ok(booked),
        }
    }

    async fn set_logins_back(&self, inner: &Inner) -> Result<(), Error> {
        let (accounts, per) = (self.accounts.clone(), self.probes.per);
        let set_back = inner.store.write(move |tx| {
            accounts
                .iter()
                .try_for_each(|account| tx.set_probes_back(account, per))
        });
        set_back.await.map_err(Error::from)
    }

    async fn spend_login(
        &self,
        inner: &Inner,
        state: &State,
    ) -> Result<Option<keywheel_model::Timestamp>, Error> {
        let (accounts, run, probes) = (self.accounts.clone(), state.run.clone(), self.probes);
        let booked = inner
            .store
            .write(move |tx| {
                accounts.iter().try_for_each(|account| {
                    tx.spend_probe(account, &run, probes.logins, probes.per)
                        .map(|_| ())
                })
            })
            .await;
        match booked {
            Ok(()) => Ok(None),
            Err(keywheel_store::Error::BudgetSpent { free_at, .. }) => Ok(Some(free_at)),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn give_login_back(&self, inner: &Inner, state: &State) -> Result<(), Error> {
        let (accounts, run) = (self.accounts.clone(), state.run.clone());
        inner
            .store
            .write(move |tx| {
                accounts
                    .iter()
                    .try_for_each(|account| tx.refund_probe(account, &run))
            })
            .await
            .map_err(Error::from)
    }
}

/// Whether the call would be the first to put the run's value on the target, whose proof by a login has to follow: a target with room for one credential would refuse
/// its readers until then. What an earlier try may have put there is not left alone, nor is current kept from being put back.
fn is_first_change(call: &Call, state: &State) -> bool {
    state.phase == Phase::Apply && !call.interrupted && state.settings.can_ask()
}

/// Whether a login has cost the account nothing: each server that has seen one accepted it.
pub(crate) fn costs_nothing(end: &StepEnd) -> bool {
    matches!(end.result, Ok(StepValue::Verdict(Verdict::Accepted))) || !end.seen.subject_may_have_failed()
}

/// What a login says, and why it says nothing: the policy's refusal, or the code of what did not come about, where the host saw that.
pub(crate) fn verdict(end: StepEnd) -> Result<Verdict, StepError> {
    let denied = end.seen.denied.into_iter().next();
    match (end.result?, denied, end.seen.unopened) {
        (StepValue::Verdict(Verdict::Unknown(_)), Some(denied), _) => Err(denied),
        (StepValue::Verdict(Verdict::Unknown(why)), None, Some(code)) => {
            // A plugin may name the code in its words; wherever the error is shown, its code stands before them.
            let words = why.strip_prefix(&format!("{code}: ")).unwrap_or(&why).to_owned();
            Err(StepError::new(ErrorKind::Unavailable, code, words))
        }
        (StepValue::Verdict(verdict), ..) => Ok(verdict),
        _ => Err(wrong_answer()),
    }
}

pub(crate) fn identity(version: &VersionInfo) -> &VersionId {
    version.material_of.as_ref().unwrap_or(&version.id)
}

/// The newest version with that identity.
pub(crate) fn find<'h>(head: &'h VaultHead, version: &VersionId) -> Option<&'h VersionInfo> {
    head.versions.iter().find(|found| identity(found) == version)
}

async fn resolve(inner: &Inner, name: &SecretName, version: &VersionId) -> Result<VersionInfo, StoreFailure> {
    let head = inner
        .vault
        .live(name, std::slice::from_ref(version))
        .await
        .map_err(store_failure)?;
    find(&head, version).cloned().ok_or(StoreFailure::Conflict)
}

async fn promote(
    inner: &Inner,
    by: &Author,
    state: &State,
    forms: &[Form],
    (expected, version): (Option<&VersionId>, &VersionId),
) -> Result<(), StoreFailure> {
    let name = &state.settings.secret;
    let head = inner
        .vault
        .live(name, std::slice::from_ref(version))
        .await
        .map_err(store_failure)?;
    let found = find(&head, version).ok_or(StoreFailure::Conflict)?;
    let current = head.current();
    if found.stage == Stage::Current {
        return Ok(());
    }
    if current.map(identity) != expected {
        return Err(StoreFailure::Conflict);
    }
    let expected = current.map(|current| current.id.clone());
    let before = expected.clone();
    // What is rolled forward to has just been accepted.
    let proved = state.proved || state.phase == Phase::RollForward;
    let row = vault_row(state, NoteKind::Promoted { proved }, version);
    let rider = Rider::new(move |tx| tx.audit(&row).map(|_| ()));
    let also = inner.forms_to_promote(name, forms, found).await;
    reach(Point::PromoteBefore);
    let promoted = if found.stage == Stage::Pending {
        let promotion = Promotion {
            name: name.clone(),
            pending: found.id.clone(),
            expected_current: expected,
            also,
        };
        inner.vault.promote(by, promotion, rider).await
    } else {
        let rolled = inner
            .vault
            .roll_back(by, name, &found.id, expected.as_ref(), also, rider)
            .await;
        rolled.map(|_| ())
    };
    promoted.map_err(store_failure)?;
    reach(Point::PromoteAfter);
    inner.retire(before.as_ref());
    Ok(())
}

/// What a version's end is recorded with: the audit row, and until when its material is kept at least, whatever `[retention]` says later.
fn kept_until(state: &State, kind: NoteKind, version: &VersionId, until: keywheel_model::Timestamp) -> Rider {
    let key = keep_until_key(version);
    let row = vault_row(state, kind, version);
    Rider::new(move |tx| {
        tx.audit(&row)?;
        tx.set_meta(&key, &until.as_unix_ms().to_string())
    })
}

/// Where it is noted until when a version's material is kept at least.
pub(crate) fn keep_until_key(version: &VersionId) -> String {
    format!("keep-until.{version}")
}

fn store_failure(error: keywheel_vault::Error) -> StoreFailure {
    match error {
        keywheel_vault::Error::HeadMoved { .. }
        | keywheel_vault::Error::Stage { .. }
        | keywheel_vault::Error::OtherRun { .. } => StoreFailure::Conflict,
        error => StoreFailure::Failed(vault_error(&error)),
    }
}

/// A vault's error as a step's. An answer that did not come leaves open whether the write was kept.
pub(crate) fn vault_error(error: &keywheel_vault::Error) -> StepError {
    let (kind, effect) = match error {
        keywheel_vault::Error::Store(store) if store.nothing_kept() => (ErrorKind::Unavailable, Reach::None),
        keywheel_vault::Error::Store(_) | keywheel_vault::Error::Unreachable(_) => {
            (ErrorKind::Unavailable, Reach::Maybe)
        }
        keywheel_vault::Error::Sealed => (ErrorKind::Unavailable, Reach::None),
        keywheel_vault::Error::PendingExists { .. } => (ErrorKind::Conflict, Reach::None),
        keywheel_vault::Error::NoVersion { .. } => (ErrorKind::NotFound, Reach::None),
        keywheel_vault::Error::TooLarge { .. } => (ErrorKind::Limit, Reach::None),
        _ => (ErrorKind::Other, Reach::None),
    };
    StepError::new(kind, error.code(), error.to_string()).with_effect(effect)
}

fn wrong_answer() -> StepError {
    StepError::new(
        ErrorKind::Other,
        "plugin.answer",
        "the plugin answered another question",
    )
    .with_effect(Reach::Maybe)
}

/// The configuration is checked before a run starts, and refuses what would ask for this.
fn not_here(what: &str) -> StepError {
    StepError::new(
        ErrorKind::Invalid,
        "host.not-offered",
        format!("{what} is not offered by this host"),
    )
}
