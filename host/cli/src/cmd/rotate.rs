//! `keywheel rotate`.

use clap::Args;
use keywheel_config::Config;
use keywheel_engine::view::RunView;
use keywheel_engine::{Engine, Left, Order};
use keywheel_model::{RotationName, Trigger};

use crate::cmd::run::{Waiting, exit_of, order, refused, show};
use crate::cmd::{Context, host, no_such_rotation, plan};
use crate::errors::{Failure, counted};
use crate::exit_code::ExitCode;
use crate::progress::Progress;

/// Rotates.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Only print what would happen
    #[arg(long)]
    plan: bool,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Also within the offset of a linked group; never while another of the group is open
    #[arg(long, requires = "reason")]
    ignore_offset: bool,
    /// Do not ask before all of them are rotated
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// Which rotations.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// The rotations
    #[arg(value_name = "ROTATION")]
    names: Vec<RotationName>,
    /// All rotations of the configuration
    #[arg(long)]
    all: bool,
}

impl Which {
    /// The names, all of which the configuration has.
    ///
    /// # Errors
    /// One that it does not have.
    pub(crate) fn of(&self, config: &Config) -> Result<Vec<RotationName>, Failure> {
        if self.all {
            return Ok(config
                .rotations
                .iter()
                .map(|rotation| rotation.name.clone())
                .collect());
        }
        match self.names.iter().find(|name| config.rotation(name).is_none()) {
            Some(name) => Err(no_such_rotation(config, name.as_str())),
            None => Ok(self.names.clone()),
        }
    }
}

/// # Errors
/// The configuration is not valid, or the state cannot be opened.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    if arguments.plan {
        return plan::run(&plan::Arguments::of(&arguments.which), context).await;
    }
    let engine = host::open_checked(context).await?;
    let names = arguments.which.of(engine.config())?;
    if arguments.which.all && !arguments.yes {
        context
            .output
            .confirm(&format!("rotate {}?", counted(names.len(), "credential")))?;
    }
    let stop = context.stop()?;
    let wait = arguments.waiting.whole();
    let (mut went, mut worst) = (Vec::new(), ExitCode::Ok);
    for name in &names {
        let progress = Progress::new(&context.output);
        let order = order(
            Trigger::Manual,
            arguments.reason.clone(),
            wait.clone(),
            &stop,
            &progress,
        );
        let order = Order {
            ignores_offset: arguments.ignore_offset,
            ..order
        };
        let end = rotate(&engine, name, order).await;
        drop(progress);
        match end {
            Ok((view, left)) => {
                worst = worse(worst, exit_of(&view, left));
                went.push((view, left));
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
    show::all(&went, context)?;
    Ok(worst)
}

async fn rotate(engine: &Engine, name: &RotationName, order: Order<'_>) -> Result<(RunView, Left), Failure> {
    match engine.rotate(name, order).await {
        Ok(went) => Ok(went),
        Err(error) => Err(refused(engine, error).await?),
    }
}

/// The one of two codes that a person should know of first.
pub(crate) fn worse(a: ExitCode, b: ExitCode) -> ExitCode {
    let rank = |code: ExitCode| match code {
        ExitCode::Ok => 0,
        ExitCode::Attention => 1,
        ExitCode::TimedOut => 2,
        ExitCode::RolledBack => 3,
        ExitCode::Parked => 5,
        _ => 4,
    };
    if rank(b) > rank(a) { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_runs_the_one_that_needs_a_person_decides() {
        assert_eq!(worse(ExitCode::Ok, ExitCode::TimedOut), ExitCode::TimedOut);
        assert_eq!(worse(ExitCode::Parked, ExitCode::RolledBack), ExitCode::Parked);
        assert_eq!(worse(ExitCode::RolledBack, ExitCode::Denied), ExitCode::Denied);
        assert_eq!(worse(ExitCode::Ok, ExitCode::Ok), ExitCode::Ok);
    }
}
