//! Runs as a person sees them.

use keywheel_model::StepName;
use keywheel_store::Run;
use keywheel_workflow::{Cause, Description, Entry, Settings, State, Trouble, Wish, describe};

use crate::Error;
use crate::backed_up;
use crate::engine::Inner;
use crate::journal::read_state;
use crate::pinned::Pinned;
use crate::settings;
use crate::view::{ParkedView, RunView, StepView, StepWord};
use crate::words::{way_out, way_out_as_wished, way_out_of_code, way_out_of_target, way_past};

impl Inner {
    pub(crate) async fn views(&self, rows: &[Run]) -> Result<Vec<RunView>, Error> {
        let mut views = Vec::with_capacity(rows.len());
        for row in rows {
            views.push(self.view(row).await?);
        }
        Ok(views)
    }

    /// A stored run, as a person sees it.
    pub(crate) async fn view(&self, row: &Run) -> Result<RunView, Error> {
        let state = read_state(row)?;
        let other_configuration = !state.is_over() && self.is_configured_otherwise(&state).await?;
        let mut view = view_of(row, &state, other_configuration);
        if state.is_held() && view.trouble.is_none() && self.awaits_backup(&state).await? {
            view.waits_for = Some(backed_up::WAITS_FOR);
        }
        let way_past = view.last_failure().and_then(|failure| {
            way_past(
                &failure.code,
                &failure.message,
                self.config.rotation(&row.rotation).as_deref(),
            )
        });
        let rotation = self.config.rotation(&row.rotation);
        let parked = view.parked.clone().map(|parked| {
            let failed = view.trouble.as_ref().filter(|_| parked.cause == Cause::Target);
            let way_out = failed
                .and_then(|trouble| way_out_of_code(&trouble.code, &state, &row.id, rotation.as_deref()));
            ParkedView {
                way_out: way_out.unwrap_or(parked.way_out),
                ..parked
            }
        });
        let approval = if state.is_over() {
            None
        } else {
            self.approval_of(row, &state).await?
        };
        let parked = match (parked, &approval) {
            (Some(parked), Some(approval)) if approval.waits && !approval.decided => Some(ParkedView {
                way_out: approval.way_out.clone(),
                ..parked
            }),
            (parked, _) => parked,
        };
        let maintained_until = if state.is_over() {
            None
        } else {
            self.maintained_until(&state.settings.principal.target).await?
        };
        let now = self.clock.now();
        Ok(RunView {
            maintained_until,
            approval,
            due: view.waits_until.is_some_and(|until| until <= now),
            parked,
            removed: !state.is_over() && self.config.rotation(&row.rotation).is_none(),
            driven: self.turns.kept_since().is_some() || self.is_driven(&row.id),
            way_past,
            consumers: self.consumers_of_run(&state).await?,
            ..view
        })
    }

    /// Whether the rotation stands otherwise in the configuration than the run has pinned it (rule P12). A rotation that is gone is another
    /// matter, and another plugin file is no configuration.
    async fn is_configured_otherwise(&self, state: &State) -> Result<bool, Error> {
        let settings = &state.settings;
        let Some(rotation) = self.config.rotation(&settings.rotation) else {
            return Ok(false);
        };
        let rotation = &*rotation;
        if rotation.plugin != settings.plugin
            || Pinned::of(rotation) != self.journal.pinned(&state.run).await?
        {
            return Ok(true);
        }
        let Ok(plugin) = self.plugin(&rotation.plugin) else {
            return Ok(false);
        };
        if plugin.digest().to_string() != settings.plugin_digest {
            return Ok(false);
        }
        let now = settings::pin(
            rotation,
            plugin.manifest(),
            &settings.plugin_digest,
            settings.trigger,
            settings.epoch,
            settings.seed,
        );
        // How long what is revoked is kept is no setting of a rotation.
        let now = now.map(|now| Settings {
            horizon_ms: settings.horizon_ms,
            ..now
        });
        Ok(now.map_or(true, |now| now != **settings))
    }
}

/// Why a run that waits out an earlier try is in doubt of it: the failure of the step that it was in, or has just left.
fn trouble_before(state: &State, described: &Description) -> Option<Trouble> {
    let until = described.waits_until?;
    if state.entry != Entry::Wait && until != state.settled_at {
        return None;
    }
    let failed = described.steps.iter().rev().find(|step| step.failed)?;
    Some(Trouble::new(failed.code.as_ref()?, failed.message.as_ref()?))
}

/// A stored run, by its state alone.
pub(crate) fn view_of(row: &Run, state: &State, other_configuration: bool) -> RunView {
    let described = describe(state);
    let unproved = is_unproved(state, &described);
    RunView {
        run: row.id.clone(),
        rotation: row.rotation.clone(),
        secret: row.secret.clone(),
        trigger: state.settings.trigger,
        state: described.word,
        safety: described.safety,
        past_no_return: state.past_no_return(),
        untouched: state.is_untouched(),
        started_at: row.started,
        kept_at: row.updated,
        finished_at: row.finished,
        waits_until: described.waits_until,
        due: false,
        waits_for: described.waits_for,
        waits_for_consumers: state.waits_for_consumers(),
        trouble: described
            .trouble
            .clone()
            .or_else(|| trouble_before(state, &described)),
        way_past: None,
        other_configuration,
        removed: false,
        driven: false,
        asked: state.wish.filter(|_| !state.is_over()).map(|wish| match wish {
            Wish::Cancel => "cancel",
            Wish::RollBack => "roll-back",
            Wish::GiveUp => "give-up",
        }),
        parked: state.parked.as_ref().map(|parked| ParkedView {
            cause: parked.cause,
            detail: parked.detail.clone(),
            way_out: match (parked.cause, state.wish) {
                (Cause::Withdrawn, Some(wish)) => way_out_as_wished(&row.id, wish),
                (Cause::Target, _) => way_out_of_target(state, parked, &row.id),
                (cause, _) => way_out(cause, &row.id),
            },
        }),
        approval: None,
        maintained_until: None,
        detail: state
            .ended
            .as_ref()
            .map(|ended| ended.detail.clone())
            .unwrap_or_default(),
        steps: described
            .steps
            .into_iter()
            .map(|step| StepView {
                took_ms: step
                    .took()
                    .map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
                step: step.step,
                began_at: step.began,
                ended_at: step.ended,
                tries: step.tries,
                code: step.code,
                message: step.message,
                state: match step.ended {
                    None => StepWord::Open,
                    Some(_) if step.failed => StepWord::Failed,
                    Some(_) => StepWord::Done,
                },
                safety: step.safety,
            })
            .collect(),
        consumers: Vec::new(),
        current: state.roles.current.clone(),
        pending: state.roles.pending.clone(),
        previous: state.roles.previous.clone(),
        unproved,
        proof_is_old: state.proof_is_old && state.settings.can_ask(),
    }
}

/// Whether no login has proved what was promoted. To the machine one of before a crash counts no more, and it makes another: it was made all the same.
fn is_unproved(state: &State, described: &Description) -> bool {
    let was_tested = described
        .steps
        .iter()
        .any(|step| step.step == StepName::Test && step.ended.is_some() && !step.failed);
    state.promoted && !state.proved && !was_tested
}
