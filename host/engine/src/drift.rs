//! The drift check: does the target still accept what the vault calls current? It is a run like any other, which begins with that login and goes on
//! only where the answer is no: what is kept is tried, and current put on again where an older one, or none, is accepted (rules P10, P11).

use std::sync::Arc;

use keywheel_config::Rotation;
use keywheel_model::{RotationName, SecretName, StepName, Timestamp, Trigger, Verdict};
use keywheel_plugin::{Plugin, StepValue};
use keywheel_vault::Vault as _;
use keywheel_workflow::{Cause, Event, RunWord};
use serde::Serialize;

use crate::driver::{Left, Stop};
use crate::engine::Engine;
use crate::glance::Glance;
use crate::plan::advice;
use crate::secrets::verdict_words;
use crate::view::{RunView, StepWord};
use crate::words::{NODES_DIFFER, way_past};
use crate::{Error, Order, Wait, Wish};

/// What is said of a check that a person has stopped before its first answer.
const STOPPED: &str = "it was stopped before the target had answered";

/// How long a look at current within the wait for consumers may pause between its tries.
const LOOK: std::time::Duration = std::time::Duration::from_mins(1);

/// What a drift check has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// The target accepts current.
    InPlace,
    /// It did not; current was put on the target again, and is accepted.
    Repaired,
    /// It accepts a newer version that is kept, whose run had given it up: that one is current now.
    RolledForward,
    /// A person is needed: the run says why.
    Parked,
    /// It is not done yet: the run goes on with `run resume`.
    Waiting,
    /// The target could not be asked; nothing was changed, and no run is left that was not there before.
    NotAsked,
    /// A run of the secret is open and has not got so far that it only waits for consumers: it finds that out by itself.
    RunOpen,
    /// There is no current version, or one that no target has ever accepted.
    NotAdopted,
    /// No login proves a credential of this kind.
    CannotBeAsked,
}

/// What became of the check of one rotation.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DriftView {
    /// The rotation.
    pub rotation: RotationName,
    /// Its secret.
    pub secret: SecretName,
    /// What was found.
    pub found: Found,
    /// More about it.
    pub detail: String,
    /// The code of what went wrong, where the target could not be asked.
    pub code: Option<String>,
    /// What to do.
    pub way_out: Option<String>,
    /// What the plugin finds odd on the target beside that, such as a password that somebody else has set there.
    pub warnings: Vec<String>,
    /// Before this time another try would end in the same way: the budget of failed logins is used up until then, or the run pauses.
    pub not_before: Option<Timestamp>,
    /// The run.
    pub run: Option<Box<RunView>>,
}

impl Engine {
    /// Checks one rotation. Failed logins come out of its budget.
    ///
    /// # Errors
    /// There is no such rotation; its plugin cannot be used, or refuses the configuration; the store, the vault.
    pub async fn drift_check(&self, name: &RotationName, order: Order<'_>) -> Result<DriftView, Error> {
        let inner = &self.inner;
        inner.vault.sub_key("plugin-derivations")?;
        let rotation = &*inner.rotation(name)?;
        let plugin = inner.plugin(&rotation.plugin)?;
        let view = |found, detail: String| DriftView {
            rotation: rotation.name.clone(),
            secret: rotation.secret.clone(),
            found,
            detail,
            code: None,
            way_out: None,
            warnings: Vec::new(),
            not_before: None,
            run: None,
        };
        if let Some(run) = self.open_run_of(&rotation.secret).await? {
            let run = self.run(&run).await?;
            if run.waits_for_consumers {
                return self.look(run, order).await;
            }
            let way_out = Some(format!("keywheel run resume {}", rotation.name));
            let detail = format!("run {} is open", run.run);
            return Ok(DriftView {
                way_out,
                run: Some(Box::new(run)),
                ..view(Found::RunOpen, detail)
            });
        }
        let import = Some(format!("keywheel secret import {}", rotation.secret));
        if inner.vault.live(&rotation.secret, &[]).await?.current().is_none() {
            return Ok(DriftView {
                way_out: import,
                ..view(Found::NotAdopted, "it has no current version".to_owned())
            });
        }
        inner.check_settings(rotation, &plugin).await?;
        if let Some(untried) = inner.untried(rotation).await? {
            // A value that nothing has proved is never put on a target: it may be the wrong one, or another account's.
            return Ok(match self.test_current(name).await? {
                Ok(Verdict::Accepted) => view(Found::InPlace, "it is proved now".to_owned()),
                Ok(verdict) => DriftView {
                    way_out: import,
                    ..view(
                        Found::NotAdopted,
                        format!("{}: {}", untried.in_short(), verdict_words(&verdict)),
                    )
                },
                Err(error) => DriftView {
                    way_out: way_past(&error.code, &error.message, Some(rotation)),
                    code: Some(error.code),
                    ..view(Found::NotAsked, error.message)
                },
            });
        }
        let epoch = inner.epoch_of_run(&rotation.secret, Trigger::Drift).await?;
        if !crate::engine::Inner::settings(rotation, &plugin, Trigger::Drift, epoch)?.can_ask() {
            return Ok(view(Found::CannotBeAsked, "no login proves it".to_owned()));
        }
        let order = Order {
            trigger: Trigger::Drift,
            ..order
        };
        let (observer, reason) = (order.observer, order.reason.clone());
        // Also where a person has stopped the check: what gives the run up asks nothing of the target.
        let (_stopper, stop) = Stop::pair();
        let turn = inner.turns.begin(inner.clock.now());
        let (saved, performer) = inner.begin(&turn, rotation, &plugin, &order).await?;
        let (run, left) = inner
            .drive(turn, saved, performer, vec![Event::Start], order)
            .await?;
        let again = Order {
            trigger: Trigger::Drift,
            reason,
            wait: Wait::at_most(std::time::Duration::ZERO),
            ignores_offset: false,
            stop,
            observer,
        };
        let view = self.told(run, left, again).await?;
        self.warned(rotation, &plugin, view).await
    }

    /// The same, with what the plugin finds odd where the target could be asked. That login says nothing of the credential, and it may not come about.
    async fn warned(
        &self,
        rotation: &Rotation,
        plugin: &Arc<Plugin>,
        view: DriftView,
    ) -> Result<DriftView, Error> {
        let inner = &self.inner;
        let was_asked = matches!(
            view.found,
            Found::InPlace | Found::Repaired | Found::RolledForward | Found::Parked
        );
        if !was_asked || !inner.missing_inputs(rotation).await?.is_empty() {
            return Ok(view);
        }
        let asked = match Glance::new(inner, rotation, plugin).await {
            Ok(glance) => glance.ask(inner, StepName::Plan, None).await,
            Err(error) => Err(error),
        };
        // What was found and mended is told whatever becomes of this.
        let warnings = match asked.map(|asked| asked.result) {
            Ok(Ok(StepValue::Plan(plan))) => advice(&plan, false).collect(),
            Ok(_) => Vec::new(),
            Err(error) => vec![format!("{}: {error}", error.code())],
        };
        Ok(DriftView { warnings, ..view })
    }

    /// A run that waits for consumers, or for a backup after them, asks by itself, mends what it finds, and waits on.
    async fn look(&self, before: RunView, order: Order<'_>) -> Result<DriftView, Error> {
        // Pauses between tries are waited for, not the consumers.
        let order = Order {
            trigger: Trigger::Drift,
            wait: match order.wait {
                Wait::ToTheEnd => Wait::at_most(LOOK),
                wait @ Wait::AtMost(_) => wait,
            },
            ..order
        };
        let (after, _) = self.go_on(&before.run, Wish::Resume, order).await?;
        let more = |step| tries(&after, step) > tries(&before, step);
        let mends = more(StepName::Apply) || more(StepName::Promote);
        let found = match (&after.parked, &after.trouble) {
            (Some(_), _) => Found::Parked,
            // It has found that current is refused: what is missing is the end of that, and not the answer.
            (None, Some(_)) if mends => Found::Waiting,
            (None, Some(_)) => Found::NotAsked,
            (None, None) if after.proof_is_old && after.finished_at.is_none() => Found::NotAsked,
            (None, None) if more(StepName::Promote) => Found::RolledForward,
            (None, None) if more(StepName::Apply) => Found::Repaired,
            (None, None) => Found::InPlace,
        };
        let waits = format!(
            "its open run has asked, and waits on for {}",
            after.waits_for.unwrap_or("its time")
        );
        let (code, words) = match &after.trouble {
            Some(trouble) => (Some(trouble.code.clone()), Some(trouble.message.clone())),
            None if found == Found::NotAsked => last_failure(&after),
            None if after.parked.is_none() && after.finished_at.is_none() => (None, Some(waits)),
            None => (None, None),
        };
        let rotation = self.inner.config.rotation(&after.rotation);
        let past = code
            .as_deref()
            .zip(words.as_deref())
            .and_then(|(code, words)| way_past(code, words, rotation.as_deref()));
        let not_before = after.waits_until.filter(|_| after.trouble.is_some());
        let resume = format!("keywheel run resume {}", after.rotation);
        let view = of_run(after);
        if found == Found::Waiting {
            return Ok(DriftView {
                found,
                detail: words.unwrap_or(view.detail),
                way_out: Some(resume),
                not_before,
                ..view
            });
        }
        Ok(DriftView {
            found,
            not_before,
            detail: words.unwrap_or(view.detail),
            way_out: past
                .or(view.way_out)
                .filter(|_| found != Found::InPlace && found != Found::Repaired),
            code,
            ..view
        })
    }

    /// What a run has found. One that could not even ask is given up: it would be in the way of the next rotation, and has nothing to tell but that.
    async fn told(&self, run: RunView, left: Left, order: Order<'_>) -> Result<DriftView, Error> {
        if left == Left::Ended || !self.has_found_nothing(&run).await? {
            return Ok(of_run(run));
        }
        let (code, message) = match (&run.trouble, &run.parked) {
            (Some(trouble), _) => (Some(trouble.code.clone()), trouble.message.clone()),
            (None, Some(parked)) => (last_code(&run), parked.detail.clone()),
            (None, None) if left == Left::Stopped => (None, STOPPED.to_owned()),
            (None, None) => return Ok(of_run(run)),
        };
        let is_over_budget = code.as_deref() == Some("run.budget");
        let (ended, _) = self.go_on(&run.run, Wish::Cancel, order).await?;
        if ended.finished_at.is_none() {
            return Ok(of_run(ended));
        }
        let rotation = self.inner.config.rotation(&run.rotation);
        Ok(DriftView {
            way_out: code
                .as_deref()
                .and_then(|code| way_past(code, &message, rotation.as_deref())),
            code,
            detail: message,
            found: Found::NotAsked,
            not_before: run.waits_until.filter(|_| is_over_budget),
            ..of_run(ended)
        })
    }

    /// Whether the run stands before its first answer, for a reason that says nothing of the credential.
    async fn has_found_nothing(&self, run: &RunView) -> Result<bool, Error> {
        let says_nothing = match &run.parked {
            None => true,
            Some(parked) => matches!(
                parked.cause,
                Cause::Target | Cause::Tls | Cause::Budget | Cause::Vault
            ),
        };
        let only_asked = run.steps.iter().all(|step| step.step == StepName::Test);
        let (_, saved) = self.inner.journal.load(&run.run).await?;
        let differ = run
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.code == NODES_DIFFER);
        Ok(says_nothing && !differ && only_asked && !saved.state.check.current_refused)
    }
}

fn tries(run: &RunView, step: StepName) -> u32 {
    let step = run.steps.iter().find(|known| known.step == step);
    step.map_or(0, |step| step.tries)
}

fn last_failure(run: &RunView) -> (Option<String>, Option<String>) {
    let step = run.steps.iter().rev().find(|step| step.code.is_some());
    step.map_or((None, None), |step| (step.code.clone(), step.message.clone()))
}

fn last_code(run: &RunView) -> Option<String> {
    run.steps.iter().rev().find_map(|step| step.code.clone())
}

fn of_run(run: RunView) -> DriftView {
    let did = |step| {
        run.steps
            .iter()
            .any(|done| done.step == step && done.state == StepWord::Done)
    };
    let found = match run.state {
        RunWord::Succeeded if did(StepName::Promote) => Found::RolledForward,
        RunWord::Succeeded if did(StepName::Apply) => Found::Repaired,
        RunWord::Succeeded => Found::InPlace,
        RunWord::Parked => Found::Parked,
        _ if run.finished_at.is_some() => Found::NotAsked,
        _ => Found::Waiting,
    };
    let (detail, way_out) = if let Some(parked) = &run.parked {
        let detail = format!("{}: {}", parked.cause.as_str(), parked.detail);
        (detail, Some(parked.way_out.clone()))
    } else {
        let trouble = run.trouble.as_ref().map(|trouble| trouble.message.clone());
        let waits = (found == Found::Waiting).then(|| format!("keywheel run resume {}", run.rotation));
        (trouble.unwrap_or_else(|| run.detail.clone()), waits)
    };
    DriftView {
        not_before: run.waits_until.filter(|_| found == Found::Waiting),
        rotation: run.rotation.clone(),
        secret: run.secret.clone(),
        found,
        detail,
        code: None,
        way_out,
        warnings: Vec::new(),
        run: Some(Box::new(run)),
    }
}
