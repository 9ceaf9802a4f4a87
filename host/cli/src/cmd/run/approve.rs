//! `keywheel run approve`, `run deny`: for runs that wait for a person before anything is made or written.

use clap::Args;
use keywheel_engine::{Left, RunWord};

use crate::cmd::run::{Waiting, exit_of, find, steer};
use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;

/// Approves.
#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// The run's id, or a rotation for its newest run
    run: String,
    /// The digest of the plan that you have looked at: `keywheel run show` prints it
    #[arg(long, value_name = "DIGEST")]
    plan: Option<String>,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    waiting: Waiting,
}

/// Denies.
#[derive(Debug, Args)]
pub(crate) struct Deny {
    /// The run's id, or a rotation for its newest run
    run: String,
    /// Why, for the audit trail and for whoever asked for the run
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// # Errors
/// There is no such run; it does not wait for that, or not with this plan; this user may not.
pub(crate) async fn approve(arguments: &Approve, context: &Context) -> Result<ExitCode, Failure> {
    let Some(plan) = &arguments.plan else {
        let message = "it is not said which plan is approved";
        let hint = format!(
            "`keywheel run show {0}` prints the plan and its digest; then `keywheel run approve {0} --plan DIGEST`",
            arguments.run
        );
        return Err(Failure::new(ExitCode::Usage, "usage.invalid", message).hint(hint));
    };
    let engine = host::open_unsealed(context).await?;
    let run = find(&engine, &arguments.run).await?;
    engine.approve(&run, plan, arguments.reason.as_deref()).await?;
    let (view, left) = steer::follow(&engine, &run, arguments.waiting.whole(), context).await?;
    steer::say_next(&view, left, context);
    Ok(exit_of(&view, left))
}

/// # Errors
/// As [`approve`].
pub(crate) async fn deny(arguments: &Deny, context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open_unsealed(context).await?;
    let run = find(&engine, &arguments.run).await?;
    engine.deny(&run, &arguments.reason).await?;
    let (view, left) = steer::follow(&engine, &run, Waiting::none(), context).await?;
    Ok(if left == Left::Ended && view.state == RunWord::Failed {
        ExitCode::Ok
    } else {
        exit_of(&view, left)
    })
}
