//! `keywheel secret rollback`.

use clap::Args;
use keywheel_engine::view::RunView;
use keywheel_engine::{RolledBack, Wait};
use keywheel_model::{SecretName, Trigger, VersionId};
use serde::Serialize;

use crate::cmd::run::steer::say_next;
use crate::cmd::run::{Waiting, exit_of, order, refused, show};
use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::progress::Progress;

/// Goes back.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The secret's name in the vault
    name: SecretName,
    /// The version whose value becomes current again, as a new version; a run puts it on the target where that does not take it any more
    version: VersionId,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    waiting: Waiting,
}

/// `-o json` of `secret rollback`.
#[derive(Debug, Serialize)]
struct Done<'a> {
    name: &'a SecretName,
    /// The version that was named.
    from: &'a VersionId,
    /// The new one, which is current; none as long as it is not.
    version: Option<&'a VersionId>,
    /// The run that puts it on the target; none where the target takes it anyway.
    run: Option<&'a RunView>,
}

/// # Errors
/// There is no such version, the target does not accept it and cannot be made to, or a run is open.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open_checked(context).await?;
    let stop = context.stop()?;
    let (name, from) = (&arguments.name, &arguments.version);
    let wait: Wait = arguments.waiting.whole();
    let progress = Progress::new(&context.output);
    let order = order(
        Trigger::Rollback,
        arguments.reason.clone(),
        wait,
        &stop,
        &progress,
    );
    let end = engine.roll_back(name, from, order).await;
    drop(progress);
    match end {
        Ok(RolledBack::Current(version)) => {
            let done = Done {
                name,
                from,
                version: Some(&version),
                run: None,
            };
            let words = format!("{name} is {from} again, as {version}\n");
            context.output.data(&done, |_| words.clone())?;
            context.output.next(&format!("keywheel secret history {name}"));
            Ok(ExitCode::Ok)
        }
        Ok(RolledBack::Run(view, left)) => {
            let done = Done {
                name,
                from,
                version: view.current.as_ref().filter(|_| view.past_no_return),
                run: Some(&view),
            };
            context.output.data(&done, |style| show::summary(&view, style))?;
            say_next(&view, left, context);
            Ok(exit_of(&view, left))
        }
        Err(error) => Err(refused(&engine, error).await?),
    }
}
