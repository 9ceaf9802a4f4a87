//! `keywheel rotate`.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use clap::Args;
use keywheel_config::{Config, Rotation};
use keywheel_engine::view::RunView;
use keywheel_engine::{Engine, Fleet, Left, Order, Stop};
use keywheel_model::{RotationName, Trigger};

use crate::cmd::run::{Waiting, exit_of, order, refused, show};
use crate::cmd::{Context, host, no_such_rotation, plan};
use crate::errors::{Failure, counted};
use crate::exit_code::ExitCode;
use crate::output::word_of;
use crate::progress::Progress;

/// Rotates.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own on the command line"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Only print what would happen
    #[arg(long)]
    plan: bool,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Others know the credential: the old one is kept alive only for consumers that cannot have read the new one yet, and so is what an
    /// earlier run still keeps
    #[arg(long, requires = "reason", conflicts_with = "plan")]
    compromised: bool,
    /// So many at once
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "plan", value_parser = parse_at_once)]
    at_once: NonZeroUsize,
    /// Also within the offset of a linked group; never while another of the group is open
    #[arg(long, requires = "reason")]
    ignore_offset: bool,
    /// Do not ask before all of them are rotated
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// More would wait for the disk and for each other.
const AT_ONCE_MAX: usize = 256;

fn parse_at_once(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse::<NonZeroUsize>().ok();
    number
        .filter(|number| number.get() <= AT_ONCE_MAX)
        .ok_or_else(|| format!("expected a number from 1 to {AT_ONCE_MAX}"))
}

/// Which rotations.
#[derive(Clone, Debug, Args)]
pub(crate) struct Which {
    /// The rotations
    #[arg(value_name = "ROTATION", required_unless_present_any = ["all", "labels"], conflicts_with_all = ["all", "labels"])]
    names: Vec<RotationName>,
    /// All rotations of the configuration
    #[arg(long)]
    all: bool,
    /// Those with this label; given several times: with all of them
    #[arg(short = 'l', long = "label", value_name = "NAME=TEXT", value_parser = parse_label)]
    labels: Vec<Label>,
}

/// A label that is wanted.
#[derive(Clone, Debug)]
struct Label {
    name: String,
    text: String,
}

fn parse_label(text: &str) -> Result<Label, String> {
    match text.split_once('=') {
        Some((name, text)) if !name.is_empty() && !text.is_empty() => Ok(Label {
            name: name.to_owned(),
            text: text.to_owned(),
        }),
        _ => Err("expected NAME=TEXT, as under `labels` of a rotation".to_owned()),
    }
}

impl Which {
    /// Whether they are not named one by one.
    fn is_by_rule(&self) -> bool {
        self.all || !self.labels.is_empty()
    }

    /// The names, all of which the configuration has.
    ///
    /// # Errors
    /// One that it does not have; labels that no rotation has.
    pub(crate) fn of(&self, config: &Config) -> Result<Vec<RotationName>, Failure> {
        if !self.is_by_rule() {
            return match self.names.iter().find(|name| config.rotation(name).is_none()) {
                Some(name) => Err(no_such_rotation(config, name.as_str())),
                None => Ok(self.names.clone()),
            };
        }
        let has = |rotation: &Rotation, label: &Label| rotation.labels.get(&label.name) == Some(&label.text);
        let wanted = config
            .all()
            .filter(|rotation| self.labels.iter().all(|label| has(rotation, label)));
        let names: Vec<RotationName> = wanted.map(|rotation| rotation.name.clone()).collect();
        if names.is_empty() && !self.labels.is_empty() {
            return Err(self.nobody_has_them(config));
        }
        Ok(names)
    }

    fn nobody_has_them(&self, config: &Config) -> Failure {
        let shown = |name: &str, text: &str| format!("`{name}={text}`");
        let wanted: Vec<_> = self
            .labels
            .iter()
            .map(|label| shown(&label.name, &label.text))
            .collect();
        let message = format!("no rotation has {}", wanted.join(" and "));
        let labels = config.samples().flat_map(|rotation| &rotation.labels);
        let known: BTreeSet<String> = labels.map(|(name, text)| shown(name, text)).collect();
        let hint = if known.is_empty() {
            "no rotation has labels: `labels = { server = \"db1\" }` in the configuration gives it one"
                .to_owned()
        } else {
            let some: Vec<String> = known.into_iter().take(LABELS_SHOWN_MAX).collect();
            format!("there are {}", some.join(", "))
        };
        Failure::new(ExitCode::NotFound, "rotation.not-found", message).hint(hint)
    }
}

/// So many labels are told when none fits.
const LABELS_SHOWN_MAX: usize = 20;

/// # Errors
/// The configuration is not valid, or the state cannot be opened.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    if arguments.plan {
        return plan::run(&plan::Arguments::of(&arguments.which), context).await;
    }
    let engine = host::open_checked(context).await?;
    let names = arguments.which.of(engine.config())?;
    if arguments.which.is_by_rule() && !arguments.yes {
        context
            .output
            .confirm(&format!("rotate {}?", counted(names.len(), "credential")))?;
    }
    let stop = context.stop()?;
    if arguments.at_once.get() > 1 && names.len() > 1 {
        return rotate_at_once(arguments, context, &engine, names, stop).await;
    }
    rotate_in_turn(arguments, context, &engine, &names, &stop).await
}

impl Arguments {
    fn trigger(&self) -> Trigger {
        if self.compromised {
            Trigger::Compromise
        } else {
            Trigger::Manual
        }
    }

    fn ignores_offset(&self) -> bool {
        self.ignore_offset || self.compromised
    }
}

async fn rotate_in_turn(
    arguments: &Arguments,
    context: &Context,
    engine: &Engine,
    names: &[RotationName],
    stop: &Stop,
) -> Result<ExitCode, Failure> {
    let wait = arguments.waiting.whole();
    let (mut went, mut worst) = (Vec::new(), ExitCode::Ok);
    for name in names {
        let progress = Progress::new(&context.output);
        let order = order(
            arguments.trigger(),
            arguments.reason.clone(),
            wait.clone(),
            stop,
            &progress,
        );
        let order = Order {
            ignores_offset: arguments.ignores_offset(),
            ..order
        };
        let end = engine.rotate(name, order).await;
        drop(progress);
        match end {
            Ok((view, left)) => {
                worst = worse(worst, exit_of(&view, left));
                went.push((view, left));
            }
            Err(error) => {
                let failure = refused(engine, error).await?;
                if names.len() == 1 {
                    return Err(failure);
                }
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

/// One line for each as it comes to where it is left, in place of its steps.
async fn rotate_at_once(
    arguments: &Arguments,
    context: &Context,
    engine: &Engine,
    names: Vec<RotationName>,
    stop: Stop,
) -> Result<ExitCode, Failure> {
    let fleet = Fleet {
        rotations: names,
        at_once: arguments.at_once,
        trigger: arguments.trigger(),
        reason: arguments.reason.clone(),
        wait: arguments.waiting.whole(),
        ignores_offset: arguments.ignores_offset(),
        stop,
    };
    let (mut went, mut failed): (Vec<(RunView, Left)>, _) = (Vec::new(), Vec::new());
    engine
        .rotate_many(fleet, |rotation, end| match end {
            Ok((view, left)) => {
                let word = word_of(&view.state);
                context.output.say(&format!("{rotation} {}: {word}", view.run));
                went.push((view, left));
            }
            Err(error) => {
                context.output.say(&format!("{rotation}: {}", error.code()));
                failed.push(error);
            }
        })
        .await;
    let mut worst = ExitCode::Ok;
    for (view, left) in &went {
        worst = worse(worst, exit_of(view, *left));
    }
    for error in failed {
        let failure = refused(engine, error).await?;
        context.output.fail(&failure);
        worst = worse(worst, failure.exit());
    }
    show::all(&went, context)?;
    Ok(worst)
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
