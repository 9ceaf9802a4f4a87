//! `keywheel run resume`, `run rollback`, `run cancel`.

use clap::Args;
use keywheel_engine::view::RunView;
use keywheel_engine::{Engine, Error, Left, RunWord, Wait, Wish};
use keywheel_model::{RunId, Safety, Trigger};

use crate::cmd::rotate::worse;
use crate::cmd::run::{Waiting, exit_of, find, order, show};
use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::progress::Progress;
use crate::time;

/// A run, and how long to follow it.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The run's id, or a rotation for its newest run
    run: String,
    #[command(flatten)]
    how: How,
}

/// Why, and how long to follow it.
#[derive(Debug, Args)]
struct How {
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    waiting: Waiting,
}

/// Goes on.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The run's id, or a rotation for its newest run
    #[arg(required_unless_present = "all")]
    run: Option<String>,
    /// Every open run that needs no person, one after the other: for a timer
    #[arg(long, conflicts_with_all = ["run", "answer"])]
    all: bool,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    answer: Answer,
}

/// What is not said: try again; of a run that waits for consumers, see that the target still accepts current.
#[derive(Debug, Args)]
#[group(id = "answer", multiple = false)]
#[expect(clippy::struct_excessive_bools, reason = "options of which one may be given")]
struct Answer {
    /// Put the vault's current version on the target again first
    #[arg(long)]
    apply_current: bool,
    /// The version that somebody wrote by hand is the right one
    #[arg(long)]
    accept_head: bool,
    /// Wait for consumers no longer than they have declared (`staleness`): the rest of the grace is over
    #[arg(long, requires = "reason")]
    end_grace: bool,
    /// Revoke the old credential now, because it is in wrong hands: consumers that have not read the new one are locked out until they do
    #[arg(long, requires = "reason")]
    revoke_now: bool,
}

impl Answer {
    fn wish(&self) -> Wish {
        match self {
            Self {
                apply_current: true, ..
            } => Wish::ApplyCurrent,
            Self {
                accept_head: true, ..
            } => Wish::AcceptHead,
            Self { end_grace: true, .. } => Wish::EndGrace,
            Self { revoke_now: true, .. } => Wish::RevokeNow,
            _ => Wish::Resume,
        }
    }
}

/// Stops one.
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    #[command(flatten)]
    target: Target,
    /// End it as it stands, because its target is gone or stands elsewhere: the target is not asked, no version is called revoked
    #[arg(long, requires = "reason")]
    give_up: bool,
}

/// # Errors
/// There is no such run, or it is over.
pub(crate) async fn resume(arguments: &Resume, context: &Context) -> Result<ExitCode, Failure> {
    match &arguments.run {
        Some(run) => go_on(run, &arguments.how, arguments.answer.wish(), context).await,
        None => resume_all(&arguments.how, context).await,
    }
}

async fn resume_all(how: &How, context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open_unsealed(context).await?;
    let stop = context.stop()?;
    let (mut went, mut worst) = (Vec::new(), ExitCode::Ok);
    let wait = how.waiting.whole();
    let runs = engine.open_runs().await?;
    let goes_on =
        |run: &&RunView| (run.parked.is_none() || run.is_decided()) && run.maintained_until.is_none();
    for run in runs.iter().filter(goes_on) {
        warn_of_configuration(&engine, &run.run, context).await?;
        let progress = Progress::new(&context.output);
        let order = order(
            Trigger::Manual,
            how.reason.clone(),
            wait.clone(),
            &stop,
            &progress,
        );
        let end = engine.go_on(&run.run, Wish::GoOn, order).await;
        drop(progress);
        match end {
            Ok((view, left)) => {
                worst = worse(worst, exit_of(&view, left));
                went.push((view, left));
            }
            Err(error) => {
                let failure = Failure::from(error);
                context.output.fail(&failure);
                worst = worse(worst, failure.exit());
            }
        }
        if stop.is_requested() {
            break;
        }
    }
    show::all(&went, context)?;
    Ok(worst)
}

/// # Errors
/// There is no such run, it is over, or past the point of no return.
pub(crate) async fn steer(target: &Target, wish: Wish, context: &Context) -> Result<ExitCode, Failure> {
    go_on(&target.run, &target.how, wish, context).await
}

/// # Errors
/// As [`steer`]; a run that cannot be given up where it stands.
pub(crate) async fn cancel(arguments: &Cancel, context: &Context) -> Result<ExitCode, Failure> {
    let wish = if arguments.give_up {
        Wish::GiveUp
    } else {
        Wish::Cancel
    };
    steer(&arguments.target, wish, context).await
}

async fn go_on(run: &str, how: &How, wish: Wish, context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open_unsealed(context).await?;
    let run = find(&engine, run).await?;
    let stop = context.stop()?;
    if wish == Wish::Resume {
        warn_of_configuration(&engine, &run, context).await?;
    }
    let progress = Progress::new(&context.output);
    let order = order(
        Trigger::Manual,
        how.reason.clone(),
        how.waiting.whole(),
        &stop,
        &progress,
    );
    let (view, left) = engine.go_on(&run, wish, order).await?;
    drop(progress);
    context.output.data(&view, |style| show::summary(&view, style))?;
    say_next(&view, left, context);
    if wish == Wish::EndGrace && view.waits_for_consumers {
        let what = match view.backup_way_out() {
            Some(_) => "a backup that holds the new credential",
            None => "what consumers have declared (`staleness`)",
        };
        context.output.say(&format!(
            "the grace is over; {what} is waited for still: --revoke-now would not wait"
        ));
    }
    let is_as_wanted = match wish {
        Wish::RollBack | Wish::Cancel => matches!(view.state, RunWord::RolledBack | RunWord::Cancelled),
        Wish::GiveUp => view.state == RunWord::GivenUp,
        _ => false,
    };
    Ok(if is_as_wanted && left == Left::Ended {
        ExitCode::Ok
    } else {
        exit_of(&view, left)
    })
}

/// Goes on with a run that somebody has decided about, and prints how it ended. The keeper may have been faster: then its run is left to it.
pub(crate) async fn follow(
    engine: &Engine,
    run: &RunId,
    wait: Wait,
    context: &Context,
) -> Result<(RunView, Left), Failure> {
    let stop = context.stop()?;
    let progress = Progress::new(&context.output);
    let order = order(Trigger::Manual, None, wait, &stop, &progress);
    let went = match engine.go_on(run, Wish::Resume, order).await {
        Err(Error::Over { .. }) => (engine.run(run).await?, Left::Ended),
        went => went?,
    };
    drop(progress);
    context
        .output
        .data(&went.0, |style| show::summary(&went.0, style))?;
    Ok(went)
}

/// What to do next about a run that was left. The way out of a parked one stands below its cause.
pub(crate) fn say_next(view: &RunView, left: Left, context: &Context) {
    let output = &context.output;
    let (run, adopts) = (&view.run, view.trigger == Trigger::Adopt);
    match (left, view.state) {
        (Left::Parked, _) => {}
        (Left::Ended, RunWord::Succeeded) if adopts => {
            output.next(&format!("keywheel plan {}", view.rotation));
        }
        (Left::Ended, RunWord::Succeeded) => output.next(&format!("keywheel secret history {}", view.secret)),
        (Left::Ended, _) if adopts => output.next(&format!("keywheel secret import {}", view.secret)),
        (Left::Ended, _) => output.next(&format!("keywheel plan {}", view.rotation)),
        (Left::Waiting(_), _)
            if view.trouble.is_none()
                && let Some(backup) = view.backup_way_out() =>
        {
            output.say(
                "the new credential is current; the old one is not revoked before a backup holds the new one",
            );
            output.next(&format!("{backup}; then keywheel run resume {run}"));
        }
        (Left::Waiting(until), _) => {
            let until = time::show(until);
            let trouble = view.trouble.as_ref();
            output.say(&match (view.past_no_return, view.safety) {
                (true, _) if view.asks_a_consumer_again() => format!(
                    "the new credential is current, and a consumer does not say that it holds it: {}; it is asked again at {until}",
                    trouble.map_or("", |trouble| trouble.message.as_str())
                ),
                (true, _) if trouble.is_some() => format!(
                    "the new credential is current, and the run does not get on: {}; its next try is at {until}",
                    trouble.map_or_else(String::new, |trouble| format!("{}: {}", trouble.code, trouble.message))
                ),
                (true, _) if view.proof_is_old => format!(
                    "the new credential is current; whether the target still takes it was not asked again; the run sleeps until {until} before it proves that, and before the old one is revoked"
                ),
                (true, Safety::NewValid) => format!(
                    "the new credential is current, and the only one that the target takes; the run sleeps until {until} before it proves that"
                ),
                (true, _) => format!(
                    "the new credential is current; the run sleeps until {until} before the old one is revoked"
                ),
                (false, _) => format!("the run sleeps until {until}; it is safe to leave it"),
            });
            output.next(&format!("keywheel run resume {run}"));
        }
        (Left::Stopped, _) => {
            output.say(&format!(
                "the run stands at a journalled point; safety: {}",
                view.safety
            ));
            output.next(&format!("keywheel run resume {run}"));
        }
    }
}

/// Says beforehand that a run goes on with a configuration that is not the present one.
async fn warn_of_configuration(engine: &Engine, run: &RunId, context: &Context) -> Result<(), Failure> {
    if let Some(words) = engine.run(run).await?.configuration_words() {
        context.output.warn(&format!("run {run} was {words}"));
    }
    Ok(())
}
