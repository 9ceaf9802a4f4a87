//! `keywheel target`: whether a rotation's target can be reached, lets itself be rotated, and accepts the current credential.

use clap::{Args, Subcommand};
use keywheel_engine::view::PlanView;
use keywheel_model::{RotationName, StepError, Verdict};
use serde::Serialize;

use crate::cmd::{Context, host, no_such_rotation, plan};
use crate::errors::Failure;
use crate::errors::engine::of_step_code;
use crate::exit_code::ExitCode;
use crate::output::{Style, Text};

/// Targets.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Plan a rotation, then log in with its current credential; nothing is changed
    Test(Test),
}

/// Tests.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The rotation
    rotation: RotationName,
}

/// `-o json` of `target test`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Tested {
    plan: PlanView,
    /// What the target says of the current credential; none if the plan has problems.
    verdict: Option<Verdict>,
    /// Why it could not be asked.
    error: Option<StepError>,
    /// What to do about that.
    way_past: Option<String>,
}

/// # Errors
/// Whatever stops it.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<ExitCode, Failure> {
    let Verb::Test(arguments) = verb;
    let engine = host::open_checked(context).await?;
    if engine.config().rotation(&arguments.rotation).is_none() {
        return Err(no_such_rotation(engine.config(), arguments.rotation.as_str()));
    }
    let plan = engine.plan(&arguments.rotation).await?;
    let answer = if plan.problems.is_empty() {
        Some(engine.test_current(&arguments.rotation).await?)
    } else {
        None
    };
    let (verdict, error) = match answer {
        None => (None, None),
        Some(Ok(verdict)) => (Some(verdict), None),
        Some(Err(error)) => (None, Some(error)),
    };
    let rotation = engine.config().rotation(&arguments.rotation);
    let way_past = match (&verdict, &error) {
        (Some(Verdict::Rejected), _) => Some(after_a_refusal(&arguments.rotation)),
        (_, Some(error)) => keywheel_engine::way_past(&error.code, &error.message, rotation.as_deref()),
        _ => None,
    };
    let tested = Tested {
        plan,
        verdict,
        error,
        way_past,
    };
    context.output.data(&tested, |style| text(&tested, style))?;
    Ok(match (&tested.verdict, &tested.error) {
        (Some(Verdict::Accepted), _) => ExitCode::Ok,
        (Some(Verdict::Unknown(_)), _) => ExitCode::Unreachable,
        (Some(Verdict::Limited(_) | Verdict::Rejected | Verdict::Account(_)), _) => ExitCode::Auth,
        (None, Some(error)) => of_step_code(&error.code),
        (None, None) => ExitCode::Conflict,
    })
}

/// The target holds something else: whoever has put it there is overwritten by either way.
fn after_a_refusal(rotation: &RotationName) -> String {
    format!(
        "somebody has changed it on the target. `keywheel drift check {rotation}` puts the vault's value on again where it can, `keywheel rotate {rotation}` \
         makes a new one: both take the place of what was set there by hand"
    )
}

fn text(tested: &Tested, style: Style) -> String {
    let mut text = Text::default();
    text.lines(&plan::text(&tested.plan, style));
    let label = "current credential:";
    match (&tested.verdict, &tested.error) {
        (Some(Verdict::Accepted), _) => text.line(format_args!("{label} {}", style.good("accepted"))),
        (Some(Verdict::Rejected), _) => text.line(format_args!("{label} {}", style.bad("rejected"))),
        (Some(Verdict::Limited(why)), _) => {
            text.line(format_args!(
                "{label} {}: {why}",
                style.attention("accepted with too few rights")
            ));
        }
        (Some(Verdict::Account(why)), _) => {
            text.line(format_args!(
                "{label} {}: {why}",
                style.attention("the account is refused")
            ));
        }
        (Some(Verdict::Unknown(why)), _) => {
            text.line(format_args!("{label} {}: {why}", style.attention("unknown")));
        }
        (None, Some(error)) => {
            text.line(format_args!(
                "{label} {}: {}",
                style.bad(&error.code),
                error.message
            ));
        }
        (None, None) => text.line(format_args!("{label} not asked: first the problems above")),
    }
    if let Some(hint) = &tested.way_past {
        text.line(format_args!("{} {hint}", style.hint("hint:")));
    }
    text.finish()
}
