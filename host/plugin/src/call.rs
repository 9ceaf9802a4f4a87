//! One call of a plugin: a fresh instance, its limits, and what came of it in the eyes of the host.

use std::collections::BTreeSet;
use std::time::Duration;

use keywheel_capability::bindings::exports::keywheel::plugin::rotator;
use keywheel_capability::report::LogLevel;
use keywheel_capability::{HostState, StepReport};
use keywheel_manifest::ShapeEffect;
use keywheel_model::{Effect, ErrorKind, Outcome, StepError, StepName, Verdict};
use serde_json::Value;
use wasmtime::Store;

use crate::instance::{Checking, Data, store};
use crate::limits::WALL_CLOCK_LIMIT;
use crate::meter::Meter;
use crate::plan::{Plan, clean, is_code};
use crate::plugin::Plugin;
use crate::stop::Stop;

/// Host functions give up at the deadline by themselves and the guest may still say so; then the call is cut off.
const GRACE: Duration = Duration::from_millis(200);
/// A step that asks to be called again gets that long to rest: each call is a row in the journal.
const SHORTEST_WAIT_MS: u32 = 1000;
/// The code of an answer that held a live secret.
const REFLECTION: &str = "plugin.reflection";
/// The most problems of a configuration that are listed.
const PROBLEMS: usize = 100;

/// What a step that ended well came back with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepValue {
    /// Of `plan`.
    Plan(Plan),
    /// Of `test`, as far as the host vouches for it (rule H7).
    Verdict(Verdict),
    /// Of every other step.
    Outcome(Outcome),
}

/// How a step ended.
#[derive(Debug)]
pub struct StepEnd {
    /// What the plugin said, or why it did not get to say anything. The error's effect is already the worse of claimed and seen.
    pub result: Result<StepValue, StepError>,
    /// What became of the target: the worse of what the plugin claims and what the host saw (rule H13).
    pub effect: Effect,
    /// Everything that the host saw.
    pub seen: StepReport,
    /// Why the call was ended from outside, if it was.
    pub stop: Option<Stop>,
    /// How long the call computed: the guest, and the host functions that it called. This is what has a limit.
    pub cpu: Duration,
    /// The guest's part of it, with the making of the instance.
    pub guest: Duration,
}

enum Called {
    Value(StepValue),
    Failed(StepError),
    Stopped(Stop),
}

impl Plugin {
    /// Runs one step, on an instance of its own that is gone afterwards. `state` says which step, and until when.
    ///
    /// The future may be dropped: the instance is gone then, and what it had sent may have landed.
    pub async fn run(&self, state: HostState) -> StepEnd {
        let limits = *self.runtime.limits();
        let within = state.remaining().min(WALL_CLOCK_LIMIT) + GRACE;
        let step = state.step().step;
        let config = &state.step().config;
        let servers = [self.manifest().nodes(config), self.manifest().replicas(config)];
        let meter = Meter::default();
        let mut store = store(
            &self.runtime.engine,
            Data::new(state, &limits, &self.runtime.engine),
            &limits,
            &meter,
        );
        let running = self.runtime.ticker.running();
        let called = tokio::time::timeout(within, meter.run(self.call(&mut store, step))).await;
        drop(running);
        let called = match called {
            Ok(Ok(Ok(value))) => Called::Value(value),
            Ok(Ok(Err(error))) => Called::Failed(error),
            Ok(Err(error)) => match error.downcast_ref::<StepError>() {
                Some(answer) => Called::Failed(answer.clone()),
                None => Called::Stopped(Stop::of(&error)),
            },
            Err(_elapsed) => Called::Stopped(Stop::WallClock),
        };
        let ended = end(called, &servers, store.into_data().host, &meter);
        let us = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(
            plugin = %self.manifest().name,
            %step,
            computed_us = us(ended.cpu),
            guest_us = us(ended.guest),
            host_calls = ended.seen.host_calls,
            "a step of a plugin ended"
        );
        tell(&format!("{} {step}", self.manifest().name), &ended.seen);
        ended
    }

    async fn call(
        &self,
        store: &mut Store<Data>,
        step: StepName,
    ) -> wasmtime::Result<Result<StepValue, StepError>> {
        let instance = self.steps.instantiate_async(&mut *store).await?;
        let run = store.data_mut().host.open_run()?;
        let rotator = instance.keywheel_plugin_rotator();
        let outcome = match step {
            StepName::Plan => {
                let answer = rotator.call_plan(&mut *store, run).await?;
                return Ok(match answer {
                    Ok(text) => masked(store, &text)
                        .map_or_else(Err, |text| Plan::read(&text))
                        .map(StepValue::Plan),
                    Err(error) => Err(error.into()),
                });
            }
            StepName::Test => {
                let answer = rotator.call_test(&mut *store, run).await?;
                return Ok(answer
                    .map(|verdict| StepValue::Verdict(verdict.into_model()))
                    .map_err(StepError::from));
            }
            StepName::Create => rotator.call_create(&mut *store, run).await?,
            StepName::Apply => rotator.call_apply(&mut *store, run).await?,
            StepName::Revoke => rotator.call_revoke(&mut *store, run).await?,
            StepName::Rollback => rotator.call_rollback(&mut *store, run).await?,
            StepName::Announce | StepName::Promote | StepName::Propagate => {
                return Ok(Err(StepError::new(
                    ErrorKind::Invalid,
                    "plugin.step",
                    format!("`{step}` is not the plugin's"),
                )));
            }
        };
        Ok(outcome
            .map(|outcome| StepValue::Outcome(outcome.into_model()))
            .map_err(StepError::from))
    }

    /// Problems of a configuration, as (JSON pointer, message): against the plugin's schema, and, where that has none, what
    /// the plugin's own code finds. It may call nobody.
    ///
    /// # Errors
    /// The plugin's code was ended before it answered.
    pub async fn check_config(&self, configuration: &Value) -> Result<Vec<(String, String)>, StepError> {
        let problems = self.manifest().check_configuration(configuration);
        if !problems.is_empty() {
            return Ok(problems);
        }
        let limits = self.runtime.limits().for_check();
        let meter = Meter::default();
        let mut store = store(&self.runtime.engine, Checking::new(&limits), &limits, &meter);
        let _running = self.runtime.ticker.running();
        let text = configuration.to_string();
        let work = async {
            // Only this one function: what else the component exports speaks of resources that are not there in a denied instance.
            let instance = self.checks.instantiate_async(&mut store).await?;
            let check =
                instance.get_typed_func::<(&str,), (Vec<(String, String)>,)>(&mut store, self.check)?;
            check.call_async(&mut store, (&text,)).await.map(|(found,)| found)
        };
        let stopped = |stop: Stop| stop_error(&stop, Effect::None);
        let found = match tokio::time::timeout(limits.wall_clock, meter.run(work)).await {
            Ok(found) => found.map_err(|error| stopped(Stop::of(&error)))?,
            Err(_elapsed) => return Err(stopped(Stop::WallClock)),
        };
        let cleaned = |(mut pointer, mut message): (String, String)| {
            clean(&mut pointer);
            clean(&mut message);
            (pointer, message)
        };
        Ok(found.into_iter().take(PROBLEMS).map(cleaned).collect())
    }
}

/// What the plugin logged, masked and bounded, as events of the host: a panic's place is here and nowhere else.
fn tell(who: &str, seen: &StepReport) {
    for line in &seen.log {
        let fields = line.fields.iter().map(|(name, value)| format!(" {name}={value}"));
        let text = format!("{who}: {}{}", line.message, fields.collect::<String>());
        match line.level {
            LogLevel::Trace | LogLevel::Debug => tracing::debug!("{text}"),
            LogLevel::Info => tracing::info!("{text}"),
            LogLevel::Warn => tracing::warn!("{text}"),
            LogLevel::Error => tracing::error!("{text}"),
        }
    }
    if seen.log_dropped > 0 {
        tracing::warn!(
            "{who}: {} log lines over the limit were dropped",
            seen.log_dropped
        );
    }
}

/// A plan that holds a live secret is withheld whole.
fn masked(store: &mut Store<Data>, plan: &str) -> Result<String, StepError> {
    match store.data_mut().host.clear_text(plan, "the plugin's plan") {
        Ok(()) => Ok(plan.to_owned()),
        Err(_withheld) => Err(stop_error(
            &Stop::Guarded(keywheel_capability::Stop::Reflection),
            Effect::None,
        )),
    }
}

/// `servers`: the nodes of the target, and its replicas.
fn end(called: Called, servers: &[BTreeSet<String>; 2], mut host: HostState, meter: &Meter) -> StepEnd {
    let mut stop = None;
    let result = match called {
        Called::Value(value) => Ok(bounded(value, &mut host)),
        Called::Failed(error) => Err(worded(error, &mut host)),
        Called::Stopped(why) => {
            let error = stop_error(&why, Effect::None);
            stop = Some(why);
            Err(error)
        }
    };
    let seen = host.into_report();
    // A call that was cut off may have been about to say that it had done more than the host saw finished.
    let cut_off = if stop.is_some() && seen.strongest >= Some(ShapeEffect::Create) {
        Effect::Maybe
    } else {
        Effect::None
    };
    let claimed = result.as_ref().err().map_or(Effect::None, |error| error.effect);
    let effect = seen.worse_of(claimed).max(cut_off);
    let result = match result {
        // Also where the plugin gives an error: one that is tried again would be an oracle.
        _ if seen.reflection => Err(stop_error(
            &Stop::Guarded(keywheel_capability::Stop::Reflection),
            effect,
        )),
        Ok(_) if seen.left_transaction_open() => Err(StepError::new(
            ErrorKind::Other,
            "plugin.open-transaction",
            "the plugin left a transaction open; what was done in it was rolled back",
        )),
        Ok(StepValue::Verdict(verdict)) => {
            let [nodes, replicas] = servers;
            Ok(StepValue::Verdict(seen.vouched_on(nodes, replicas, verdict)))
        }
        other => other,
    };
    StepEnd {
        result: result.map_err(|error| placed(error, &seen).with_effect(effect)),
        effect,
        seen,
        stop,
        cpu: meter.spent(),
        guest: meter.spent_in_guest(),
    }
}

/// Texts by the guest are scanned, cleaned and bounded before they go anywhere.
fn bounded(value: StepValue, host: &mut HostState) -> StepValue {
    let mut text = |text: String| host.last_words(&text, "the plugin's answer");
    match value {
        StepValue::Outcome(Outcome::Blocked(why)) => StepValue::Outcome(Outcome::Blocked(text(why))),
        StepValue::Outcome(Outcome::Impossible(why)) => StepValue::Outcome(Outcome::Impossible(text(why))),
        StepValue::Verdict(Verdict::Limited(why)) => StepValue::Verdict(Verdict::Limited(text(why))),
        StepValue::Verdict(Verdict::Account(why)) => StepValue::Verdict(Verdict::Account(text(why))),
        StepValue::Verdict(Verdict::Unknown(why)) => StepValue::Verdict(Verdict::Unknown(text(why))),
        other => other,
    }
}

fn worded(error: StepError, host: &mut HostState) -> StepError {
    let code = if is_code(&error.code) {
        error.code
    } else {
        "plugin.error".to_owned()
    };
    StepError {
        message: host.last_words(&error.message, "the plugin's error"),
        code: host.last_words(&code, "the plugin's error"),
        ..error
    }
}

/// Says of a withheld answer which secret was in it, and what it was an answer to.
fn placed(mut error: StepError, seen: &StepReport) -> StepError {
    if let Some(found) = seen.reflected.as_ref().filter(|_| error.code == REFLECTION) {
        error.message = format!(
            "{} ({} in {})",
            error.message,
            found.secrets.join(", "),
            found.place
        );
    }
    error
}

fn stop_error(stop: &Stop, effect: Effect) -> StepError {
    if let Stop::Host(Some(error)) = stop {
        return StepError::clone(error).with_effect(effect);
    }
    StepError::new(stop.kind(), stop.code(), stop.to_string()).with_effect(effect)
}

trait IntoModel {
    type Model;
    fn into_model(self) -> Self::Model;
}

impl IntoModel for rotator::Outcome {
    type Model = Outcome;

    fn into_model(self) -> Outcome {
        match self {
            Self::Done => Outcome::Done,
            Self::Wait(ms) => Outcome::Wait(ms.max(SHORTEST_WAIT_MS)),
            Self::Blocked(why) => Outcome::Blocked(why),
            Self::Impossible(why) => Outcome::Impossible(why),
        }
    }
}

impl IntoModel for rotator::Verdict {
    type Model = Verdict;

    fn into_model(self) -> Verdict {
        match self {
            Self::Accepted => Verdict::Accepted,
            Self::Limited(why) => Verdict::Limited(why),
            Self::Rejected => Verdict::Rejected,
            Self::Account(why) => Verdict::Account(why),
            Self::Unknown(why) => Verdict::Unknown(why),
        }
    }
}
