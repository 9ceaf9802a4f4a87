//! What a run does, as spans for a collector, where one is configured.

use keywheel_config::Traces;
use keywheel_model::{StepName, Timestamp, Verdict};
use keywheel_traces::{Collector, Endpoint, Fact, Kind, What};
use keywheel_workflow::{Effect, Report, State, StepOk, StoreFailure, describe};
use std::sync::Arc;

use crate::capabilities;
use crate::engine::{Engine, Inner};
use crate::perform::Performer;

impl Engine {
    /// What hands spans to the collector of the configuration, for whoever runs it. None: no collector is configured, or somebody does so already.
    pub fn collect_traces(&self) -> Option<Collector> {
        let Traces {
            tls,
            host,
            port,
            path,
            trust,
        } = self.inner.config.traces.clone()?;
        let endpoint = Endpoint {
            tls,
            host,
            port,
            path,
            trust,
        };
        let roots = Arc::new(capabilities::roots(&self.inner.config));
        self.inner.traces.collect(endpoint, roots)
    }
}

impl Inner {
    /// A run has come to its end.
    pub(crate) fn trace_run(&self, performer: &Performer, state: &State, began: Timestamp, ended: Timestamp) {
        let described = describe(state);
        let plugin = performer.plugin.as_ref();
        let of_step = described.steps.into_iter().rev().find(|step| step.failed);
        let code = described
            .trouble
            .map(|trouble| trouble.code)
            .or_else(|| of_step.and_then(|step| step.code));
        let facts = [
            Some(Fact::Rotation(state.settings.rotation.clone())),
            Some(Fact::Run(state.run.clone())),
            plugin.map(|plugin| Fact::Plugin(plugin.manifest().name.clone())),
            Some(Fact::Trigger(state.settings.trigger)),
            Some(Fact::Result(described.word.as_str())),
            code.map(Fact::Code),
        ];
        let what = What {
            name: format!("rotation {}", state.settings.rotation),
            kind: Kind::Internal,
            facts: facts.into_iter().flatten().collect(),
        };
        self.traces.run_ended(&state.run, began, ended, what);
    }
}

/// The step that an effect is, and which try of it; none of what the host does between steps.
pub(crate) fn step_of(effect: &Effect, state: &State) -> Option<(StepName, u32)> {
    match effect {
        Effect::Call(call) => Some((call.step, call.attempt)),
        Effect::Announce { .. } => Some((StepName::Announce, state.attempt)),
        Effect::Promote { .. } => Some((StepName::Promote, state.attempt)),
        Effect::Propagate { .. } => Some((StepName::Propagate, state.attempt)),
        _ => None,
    }
}

/// The span of a step.
pub(crate) fn step(
    state: &State,
    step: StepName,
    attempt: u32,
    ended: Result<&Report, &crate::Error>,
) -> What {
    let (word, code) = match ended {
        Ok(report) => result_of(report),
        Err(error) => ("failed", Some(error.code().to_owned())),
    };
    let mut facts = vec![
        Fact::Rotation(state.settings.rotation.clone()),
        Fact::Run(state.run.clone()),
        Fact::Step(step),
        Fact::Attempt(attempt),
        Fact::Result(word),
    ];
    facts.extend(code.map(Fact::Code));
    What {
        name: format!("step {step}"),
        kind: Kind::Internal,
        facts,
    }
}

/// In a word, and the code of what went wrong.
fn result_of(report: &Report) -> (&'static str, Option<String>) {
    let failed = |error: &keywheel_model::StepError| ("failed", Some(error.code.clone()));
    match report {
        Report::Step(Ok(StepOk {
            outcome, problems, ..
        })) => match outcome {
            _ if !problems.is_empty() => ("refused", None),
            keywheel_model::Outcome::Done => ("done", None),
            keywheel_model::Outcome::Wait(_) => ("wait", None),
            keywheel_model::Outcome::Blocked(_) => ("blocked", None),
            keywheel_model::Outcome::Impossible(_) => ("impossible", None),
        },
        Report::Verdict(Ok(verdict)) => match verdict {
            Verdict::Accepted => ("accepted", None),
            Verdict::Limited(_) => ("limited", None),
            Verdict::Rejected => ("rejected", None),
            Verdict::Account(_) => ("account", None),
            Verdict::Unknown(_) => ("unknown", None),
        },
        Report::OverBudget { .. } => ("over-budget", None),
        Report::Stored(Err(StoreFailure::Conflict)) => ("conflict", None),
        Report::Step(Err(error))
        | Report::Verdict(Err(error))
        | Report::HeadUnreadable(error)
        | Report::Announced(Err(error))
        | Report::Stored(Err(StoreFailure::Failed(error)))
        | Report::Told {
            failed: Some(error), ..
        } => failed(error),
        _ => ("done", None),
    }
}
