//! `keywheel run`: list and show runs, go on with one, take one back.

pub(crate) mod approve;
pub(crate) mod list;
pub(crate) mod show;
pub(crate) mod steer;

use std::time::Duration;

use clap::{Args, Subcommand};
use keywheel_engine::view::RunView;
use keywheel_engine::{Engine, Error, Left, Order, RunWord, Stop, Wait, Wish};
use keywheel_model::{RotationName, RunId, StepName, Trigger};

use crate::cmd::Context;
use crate::errors::Failure;
use crate::errors::engine::of_step_code;
use crate::exit_code::ExitCode;
use crate::progress::Progress;

/// Runs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List runs, newest first
    List(list::Arguments),
    /// Print where a run stands, step by step
    Show(show::Arguments),
    /// Let a run go on that waits for somebody to approve it
    Approve(approve::Approve),
    /// Let a run end that waits for somebody to approve it; nothing is touched
    Deny(approve::Deny),
    /// Go on with a run that stands: after a crash, a stop, a long wait, or parked
    Resume(steer::Resume),
    /// Take a run back to the old credential; possible until the new one was promoted
    Rollback(steer::Target),
    /// Stop a run: back if nothing was promoted, else to its end
    Cancel(steer::Cancel),
}

/// How long to wait for runs that sleep.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Waiting {
    /// Sleep at most so long in all (a grace, pauses between tries), then leave the run to a later `run resume`; or `end`
    #[arg(long, value_name = "SPAN", default_value = "1m", value_parser = parse_wait)]
    wait: WaitSpan,
}

/// The value of `--wait`; none: to the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitSpan(Option<Duration>);

fn parse_wait(text: &str) -> Result<WaitSpan, String> {
    if text == "end" {
        return Ok(WaitSpan(None));
    }
    let span: Duration =
        keywheel_config::parse_duration(text).map_err(|error| format!("{error}, or `end`"))?;
    Ok(WaitSpan(Some(span)))
}

impl Waiting {
    /// For a run that does not sleep.
    pub(crate) fn none() -> Wait {
        Wait::at_most(Duration::ZERO)
    }

    /// What a command may wait, all its runs together.
    pub(crate) fn whole(self) -> Wait {
        self.wait.0.map_or(Wait::ToTheEnd, Wait::at_most)
    }
}

/// # Errors
/// Whatever stops it.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<ExitCode, Failure> {
    match verb {
        Verb::List(arguments) => list::run(&arguments, context).await,
        Verb::Show(arguments) => show::run(&arguments, context).await,
        Verb::Approve(arguments) => approve::approve(&arguments, context).await,
        Verb::Deny(arguments) => approve::deny(&arguments, context).await,
        Verb::Resume(arguments) => steer::resume(&arguments, context).await,
        Verb::Rollback(arguments) => steer::steer(&arguments, Wish::RollBack, context).await,
        Verb::Cancel(arguments) => steer::cancel(&arguments, context).await,
    }
}

/// An order with the signals' stop and progress on standard error.
pub(crate) fn order<'p>(
    trigger: Trigger,
    reason: Option<String>,
    wait: Wait,
    stop: &Stop,
    progress: &'p Progress,
) -> Order<'p> {
    Order {
        trigger,
        reason,
        wait,
        ignores_offset: false,
        stop: stop.clone(),
        observer: progress,
    }
}

/// The run that is meant: by its id, or the newest one of a rotation.
///
/// # Errors
/// There is none.
pub(crate) async fn find(engine: &Engine, named: &str) -> Result<RunId, Failure> {
    if let Ok(run) = named.parse::<RunId>() {
        return Ok(run);
    }
    let rotation = named.parse::<RotationName>().ok();
    // Also of a rotation that the configuration does not have any more.
    let newest = match &rotation {
        Some(rotation) => engine.runs(Some(rotation), 1).await?.into_iter().next(),
        None => None,
    };
    if let Some(newest) = newest {
        return Ok(newest.run);
    }
    let not_found = |message| Failure::new(ExitCode::NotFound, "run.not-found", message);
    Err(
        match rotation.filter(|name| engine.config().rotation(name).is_some()) {
            Some(rotation) => not_found(format!("`{rotation}` has no run yet"))
                .hint(format!("`keywheel rotate {rotation}` starts one")),
            None => not_found(format!(
                "there is no run and no rotation `{}`",
                named.escape_debug()
            ))
            .hint("`keywheel run list` lists the runs"),
        },
    )
}

/// A refusal of the engine. Who has mended the configuration wonders why it makes no difference to the run that is in the way.
///
/// # Errors
/// That run cannot be read.
pub(crate) async fn refused(engine: &Engine, error: Error) -> Result<Failure, Failure> {
    let words = match &error {
        Error::OpenRun { run, .. } => engine.run(run).await?.configuration_words(),
        _ => None,
    };
    Ok(Failure::from(error).maybe_hint(words.map(|words| format!("it was {words}"))))
}

/// How a command ends that left a run like this.
pub(crate) fn exit_of(run: &RunView, left: Left) -> ExitCode {
    match (left, run.state) {
        (Left::Parked, _) | (_, RunWord::Parked) => ExitCode::Parked,
        (Left::Ended, RunWord::Succeeded) => ExitCode::Ok,
        (Left::Ended, RunWord::Failed) => exit_of_failed(run),
        (Left::Ended, RunWord::GivenUp) => ExitCode::Attention,
        (Left::Ended, _) => ExitCode::RolledBack,
        // The new credential is current; only the old one's grace is left. With a failure that the run has not got past, more than that is.
        (Left::Waiting(_), _) if run.past_no_return && run.trouble.is_none() => ExitCode::Ok,
        (Left::Waiting(_), _) if run.asks_a_consumer_again() => ExitCode::Ok,
        (Left::Waiting(_) | Left::Stopped, _) => ExitCode::TimedOut,
    }
}

/// A run that failed in its `plan` has begun nothing: it ends as `keywheel plan` would have.
fn exit_of_failed(run: &RunView) -> ExitCode {
    match run.steps.as_slice() {
        [plan] if plan.step == StepName::Plan => {
            plan.code.as_deref().map_or(ExitCode::Conflict, of_step_code)
        }
        _ => ExitCode::RolledBack,
    }
}
