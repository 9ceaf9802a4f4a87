//! `keywheel schedule`: when rotations run by themselves, and why.

mod pause;
mod shown;

use std::sync::Arc;

use clap::{Args, Subcommand};
use keywheel_config::{Config, Rotation};
use keywheel_engine::{Engine, SystemClock};
use keywheel_model::{Clock as _, RotationName, Timestamp};
use keywheel_schedule::{Facts, Planned};
use serde::Serialize;

use crate::cmd::{Context, no_such_rotation, ours};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::time;
use shown::{Shown, Time};

/// How many times are printed of each rotation, where nothing is said.
const COUNT: usize = 5;
/// The most that are printed of each.
const COUNT_MAX: usize = 1000;

/// Schedules.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List every rotation with its schedule and the next time at which it is due
    List,
    /// Print the next times, as the clocks of their zones show them, and what each is because of
    Next(Next),
    /// Let nothing of a rotation be due by itself for a while; what runs goes on, and `rotate` still starts it
    Pause(Pause),
    /// Let its schedule count again; what was held back is due once
    Unpause(Unpause),
    /// Start what was late together after the host was away or its clock jumped, and was held back; or let go of rotations that are parked
    Release(Release),
}

/// Releases.
#[derive(Debug, Args)]
pub(crate) struct Release {
    /// Rotations that are parked; left out: what was held back together
    #[arg(value_name = "ROTATION")]
    names: Vec<RotationName>,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Pauses.
#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// The rotations
    #[arg(value_name = "ROTATION", required_unless_present = "target")]
    names: Vec<RotationName>,
    /// A target instead, like db.internal:5432: nothing is started on it, and open runs on it are not gone on with, by themselves
    #[arg(long, value_name = "NAME", conflicts_with = "names", requires = "until")]
    target: Option<String>,
    /// How long: a span like 8h, or a time; left out: until `unpause`
    #[arg(long, visible_alias = "for", value_name = "WHEN", value_parser = until)]
    until: Option<Until>,
    /// Why, for the audit trail and for whoever wonders
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Ends pauses.
#[derive(Debug, Args)]
pub(crate) struct Unpause {
    /// The rotations
    #[arg(value_name = "ROTATION", required_unless_present = "target")]
    names: Vec<RotationName>,
    /// A target instead
    #[arg(long, value_name = "NAME", conflicts_with = "names")]
    target: Option<String>,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Prints times.
#[derive(Debug, Args)]
pub(crate) struct Next {
    /// The rotations; left out: all of the configuration
    #[arg(value_name = "ROTATION")]
    names: Vec<RotationName>,
    /// How many times of each, at most 1000; left out: 5, or all with `--until`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: Option<u32>,
    /// None later than this: a span like 90d from then on, or a time
    #[arg(long, value_name = "WHEN", value_parser = until)]
    until: Option<Until>,
    /// As if it were that time; left out: now
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
enum Until {
    Span(std::time::Duration),
    Time(Timestamp),
}

impl Until {
    fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Span(span) => now + span,
            Self::Time(time) => time,
        }
    }
}

fn until(text: &str) -> Result<Until, String> {
    let span = keywheel_config::parse_duration(text).map(Until::Span);
    let expected =
        |_| "expected a span like 90d, or a time like 2026-11-25 or 2026-11-25T01:58:50Z".to_owned();
    span.or_else(|_| time::parse(text).map(Until::Time))
        .map_err(expected)
}

/// More rotations are not listed at once: a table may have a million.
const LISTED_MAX: usize = 1_000;

/// One rotation of `schedule list`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Listed {
    rotation: RotationName,
    /// What is configured, in words.
    schedule: String,
    zone: String,
    next: Option<Time>,
    /// Why there is none.
    none: Option<String>,
    /// What it waits for beside its time.
    waits: Option<String>,
    warnings: Vec<String>,
}

/// One rotation of `schedule next`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Upcoming {
    rotation: RotationName,
    zone: String,
    times: Vec<Time>,
    /// What it waits for beside its time.
    waits: Option<String>,
    /// Why there are no more, where there are fewer than were asked for.
    ends: Option<String>,
    warnings: Vec<String>,
}

/// # Errors
/// The configuration is not valid; a rotation is not in it; the state cannot be read.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<ExitCode, Failure> {
    let now = match &verb {
        Verb::Next(next) => next.at,
        Verb::Pause(arguments) => return pause::pause(arguments, context).await,
        Verb::Unpause(arguments) => return pause::unpause(arguments, context).await,
        Verb::Release(arguments) => return pause::release(arguments, context).await,
        Verb::List => None,
    };
    let now = now.unwrap_or_else(|| SystemClock.now());
    let mut draft = ours::draft(context)?;
    draft.examine_schedules(now);
    let known = Known::of(draft.finish()?, context).await?;
    let (exit, warned) = match verb {
        Verb::List => list(&known, now, context).await?,
        Verb::Next(arguments) => next(&arguments, &known, now, context).await?,
        Verb::Pause(_) | Verb::Unpause(_) | Verb::Release(_) => (ExitCode::Ok, Vec::new()),
    };
    for (place, warning) in known.config.schedule_warnings() {
        if warned.contains(&warning) && !context.output.is_json() {
            context.output.warn(&format!("{place}: {warning}"));
        }
    }
    Ok(exit)
}

/// The configuration, and the state as far as it can be looked at.
struct Known {
    config: Config,
    engine: Option<Engine>,
}

impl Known {
    /// Without a state, or while another command works on it, nothing is known of the past: that is said, and stops nothing.
    async fn of(config: Config, context: &Context) -> Result<Self, Failure> {
        if let Some(host) = &context.host {
            return Ok(Self {
                config,
                engine: Some(host.engine.clone()),
            });
        }
        let opened = Engine::open_vault_alone(config.clone(), Arc::new(SystemClock)).await;
        let engine = match opened {
            Ok(engine) => Some(engine),
            Err(keywheel_engine::Error::NoState { .. }) => {
                context
                    .output
                    .say("there is no state yet: nothing is known of past runs");
                None
            }
            Err(error) if error.code() == "store.in-use" => {
                context
                    .output
                    .warn("another command works on the state: past runs and expiries are not looked at");
                None
            }
            Err(error) => return Err(error.into()),
        };
        if engine.as_ref().is_some_and(|engine| engine.vault().is_sealed()) {
            context
                .output
                .warn("the vault is sealed: expiries are not looked at");
        }
        Ok(Self { config, engine })
    }

    async fn facts(&self, rotation: &Rotation) -> Result<Facts, Failure> {
        match &self.engine {
            Some(engine) => Ok(engine.facts(&rotation.name).await?),
            None => Ok(Facts::default()),
        }
    }
}

impl Known {
    async fn waits_for(&self, rotation: &Rotation) -> Result<Option<String>, Failure> {
        match &self.engine {
            Some(engine) => Ok(engine.waits_for(&rotation.name).await?),
            None => Ok(None),
        }
    }
}

type Told = (ExitCode, Vec<String>);

async fn list(known: &Known, now: Timestamp, context: &Context) -> Result<Told, Failure> {
    let mut listed = Vec::new();
    let mut exit = ExitCode::Ok;
    let all = known.config.count();
    if all > LISTED_MAX {
        context.output.say(&format!(
            "these are {LISTED_MAX} of {all} rotations; `keywheel schedule next ROTATION` has each of the others"
        ));
    }
    let some: Vec<_> = known.config.all().take(LISTED_MAX).collect();
    for rotation in &some {
        let shown = Shown::of(rotation);
        let planned = rotation
            .schedule
            .plan(&rotation.name)
            .next(&known.facts(rotation).await?, now);
        if matches!(planned, Planned::Blocked(_)) {
            exit = ExitCode::Attention;
        }
        let due = match planned {
            Planned::Due(next) => Some(shown.time(&next, now)),
            Planned::Idle(_) | Planned::Blocked(_) => None,
        };
        listed.push(Listed {
            rotation: rotation.name.clone(),
            schedule: shown.schedule(),
            zone: rotation.schedule.zone.name().to_owned(),
            none: due.is_none().then(|| shown.ends(planned)),
            next: due,
            waits: known.waits_for(rotation).await?,
            warnings: rotation.schedule_warnings(),
        });
    }
    context
        .output
        .data(&listed, |style| shown::list(&listed, style))?;
    Ok((
        exit,
        listed
            .into_iter()
            .flat_map(|rotation| rotation.warnings)
            .collect(),
    ))
}

async fn next(arguments: &Next, known: &Known, now: Timestamp, context: &Context) -> Result<Told, Failure> {
    let last = arguments.until.map(|until| until.from(now));
    let count = arguments
        .count
        .map_or(if last.is_some() { COUNT_MAX } else { COUNT }, |count| {
            count as usize
        });
    let mut all = Vec::new();
    let mut exit = ExitCode::Ok;
    for rotation in chosen(arguments, &known.config)? {
        let rotation = &*rotation;
        let shown = Shown::of(rotation);
        let plan = rotation.schedule.plan(&rotation.name);
        let mut upcoming = plan.upcoming(known.facts(rotation).await?, now);
        let times = upcoming
            .by_ref()
            .take(count)
            .take_while(|next| last.is_none_or(|last| next.due <= last));
        let times: Vec<Time> = times.map(|next| shown.time(&next, now)).collect();
        if matches!(upcoming.ended(), Some(Planned::Blocked(_))) {
            exit = ExitCode::Attention;
        }
        all.push(Upcoming {
            rotation: rotation.name.clone(),
            zone: rotation.schedule.zone.name().to_owned(),
            times,
            waits: known.waits_for(rotation).await?,
            ends: upcoming.ended().map(|planned| shown.ends(planned)),
            warnings: rotation.schedule_warnings(),
        });
    }
    context.output.data(&all, |style| shown::next(&all, style))?;
    Ok((
        exit,
        all.into_iter().flat_map(|rotation| rotation.warnings).collect(),
    ))
}

/// Those that were named; of all, where none was, those that have a schedule.
fn chosen(arguments: &Next, config: &Config) -> Result<Vec<Arc<Rotation>>, Failure> {
    if arguments.names.is_empty() {
        let scheduled = config
            .all()
            .filter(|rotation| !rotation.schedule.is_manual())
            .take(LISTED_MAX);
        return Ok(scheduled.collect());
    }
    let named = arguments.names.iter();
    named
        .map(|name| {
            config
                .rotation(name)
                .ok_or_else(|| no_such_rotation(config, name.as_str()))
        })
        .collect()
}
