//! `keywheel drift`: whether targets still accept what the vault calls current.

use clap::{Args, Subcommand};
use keywheel_config::Config;
use keywheel_engine::{DriftView, Found};
use keywheel_model::{RotationName, Trigger};

use crate::cmd::rotate::worse;
use crate::cmd::run::{Waiting, order};
use crate::cmd::{Context, host, no_such_rotation};
use crate::errors::Failure;
use crate::errors::engine::of_step_code;
use crate::exit_code::ExitCode;
use crate::output::{Style, Table, word_of};
use crate::progress::Progress;
use crate::time;

/// Drift.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Log in with the current credential of rotations; where one is refused, find out why, and put it on again or ask for a person
    Check(Check),
}

/// Checks.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The rotations; left out: all of the configuration
    #[arg(value_name = "ROTATION")]
    names: Vec<RotationName>,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    waiting: Waiting,
}

/// # Errors
/// The configuration is not valid, or the state cannot be opened.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<ExitCode, Failure> {
    let Verb::Check(arguments) = verb;
    let engine = host::open_checked(context).await?;
    let names = names(&arguments, engine.config())?;
    let stop = context.stop()?;
    let wait = arguments.waiting.whole();
    let (mut checked, mut worst) = (Vec::new(), ExitCode::Ok);
    for name in &names {
        let progress = Progress::new(&context.output);
        let reason = arguments.reason.clone();
        let order = order(Trigger::Drift, reason, wait.clone(), &stop, &progress);
        let end = engine.drift_check(name, order).await.map_err(Failure::from);
        drop(progress);
        match end {
            Ok(view) => {
                worst = worse(worst, exit_of(&view));
                checked.push(view);
            }
            Err(failure) if names.len() > 1 => {
                context.output.fail(&failure);
                worst = worse(worst, failure.exit());
            }
            Err(failure) => return Err(failure),
        }
        if stop.is_requested() {
            break;
        }
    }
    context.output.data(&checked, |style| text(&checked, style))?;
    for view in &checked {
        for warning in &view.warnings {
            context.output.warn(&format!("{}: {warning}", view.rotation));
        }
        let when = view.not_before.map(|at| format!("not before {}", time::show(at)));
        let words: Vec<String> = when.into_iter().chain(view.way_out.clone()).collect();
        if !words.is_empty() {
            context
                .output
                .say(&format!("{}: {}", view.rotation, words.join(": ")));
        }
    }
    let is_cut_short = stop.is_requested()
        && (checked.len() < names.len() || checked.last().is_some_and(|view| is_unanswered(view.found)));
    // A check that was stopped says nothing of its targets.
    Ok(if is_cut_short && worst != ExitCode::Parked {
        ExitCode::TimedOut
    } else {
        worst
    })
}

fn is_unanswered(found: Found) -> bool {
    matches!(found, Found::NotAsked | Found::Waiting)
}

fn names(arguments: &Check, config: &Config) -> Result<Vec<RotationName>, Failure> {
    if arguments.names.is_empty() {
        let all = config.all().map(|rotation| rotation.name.clone());
        return Ok(all.collect());
    }
    match arguments
        .names
        .iter()
        .find(|name| config.rotation(name).is_none())
    {
        Some(name) => Err(no_such_rotation(config, name.as_str())),
        None => Ok(arguments.names.clone()),
    }
}

fn exit_of(view: &DriftView) -> ExitCode {
    match view.found {
        Found::InPlace | Found::CannotBeAsked => ExitCode::Ok,
        // It is well now; that it was not is for a person to know.
        Found::Repaired | Found::RolledForward => ExitCode::Attention,
        Found::Parked => ExitCode::Parked,
        Found::Waiting => ExitCode::TimedOut,
        Found::NotAsked => view.code.as_deref().map_or(ExitCode::Unreachable, of_step_code),
        Found::RunOpen | Found::NotAdopted => ExitCode::Conflict,
    }
}

fn text(checked: &[DriftView], style: Style) -> String {
    let mut table = Table::new(["ROTATION", "SECRET", "FOUND", "DETAIL"]);
    for view in checked {
        table.row([
            view.rotation.to_string(),
            view.secret.to_string(),
            word_of(&view.found),
            view.detail.clone(),
        ]);
    }
    table.to_text(style)
}
