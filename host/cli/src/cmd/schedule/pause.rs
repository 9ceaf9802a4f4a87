//! Pauses of rotations, and the release of what was held back.

use keywheel_engine::Paused;
use keywheel_model::{Clock as _, RotationName};
use serde::Serialize;

use super::{Pause, Release, Unpause};
use crate::cmd::{Context, host, no_such_rotation};
use crate::errors::{Failure, counted};
use crate::exit_code::ExitCode;
use crate::output::Text;
use crate::time;

/// One rotation, as it stands now.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Stands {
    rotation: RotationName,
    paused: Option<Paused>,
}

/// # Errors
/// A rotation is not in the configuration: then none is paused. The time has passed.
pub(super) async fn pause(arguments: &Pause, context: &Context) -> Result<ExitCode, Failure> {
    // What a target is called the plugins know.
    let engine = match &arguments.target {
        Some(_) => host::open(context).await?,
        None => host::open_vault_to_look(context).await?,
    };
    known(&arguments.names, engine.config())?;
    let now = keywheel_engine::SystemClock.now();
    let until = arguments.until.map(|until| until.from(now));
    if until.is_some_and(|until| until <= now) {
        let failure = Failure::new(
            ExitCode::Usage,
            "schedule.past",
            "that time has passed: nothing was paused",
        );
        return Err(failure.hint("give a time that is still to come, or a span like 8h"));
    }
    if let (Some(target), Some(until)) = (&arguments.target, until) {
        let begun = engine.begin_maintenance(target, until, &arguments.reason).await?;
        context.output.data(&begun, |_| {
            let lines = begun.iter().map(|one| {
                format!(
                    "target {} is left alone until {}\n",
                    one.target,
                    time::show(until)
                )
            });
            lines.collect()
        })?;
        return Ok(ExitCode::Ok);
    }
    let mut stand = Vec::new();
    for name in &arguments.names {
        let paused = engine.pause(name, until, &arguments.reason).await?;
        stand.push(Stands {
            rotation: name.clone(),
            paused: Some(paused),
        });
    }
    print(&stand, context)
}

/// # Errors
/// A rotation is not in the configuration: then nothing is changed.
pub(super) async fn unpause(arguments: &Unpause, context: &Context) -> Result<ExitCode, Failure> {
    if let Some(target) = &arguments.target {
        let engine = host::open(context).await?;
        if !engine.end_maintenance(target, &arguments.reason).await? {
            context.output.say(&format!("target {target} was not left alone"));
        }
        return Ok(ExitCode::Ok);
    }
    let engine = host::open_vault_to_look(context).await?;
    known(&arguments.names, engine.config())?;
    let mut stand = Vec::new();
    for name in &arguments.names {
        if !engine.unpause(name, &arguments.reason).await? {
            context.output.say(&format!("{name} was not paused"));
        }
        stand.push(Stands {
            rotation: name.clone(),
            paused: None,
        });
    }
    print(&stand, context)
}

/// # Errors
/// No host is running: nothing is held back then.
pub(super) async fn release(arguments: &Release, context: &Context) -> Result<ExitCode, Failure> {
    if !arguments.names.is_empty() {
        return unpark(arguments, context).await;
    }
    let Some(host) = &context.host else {
        let failure = Failure::new(
            ExitCode::Conflict,
            "schedule.no-host",
            "no host is running, so that nothing is held back",
        );
        return Err(failure.hint("`keywheel serve` asks when it is started, if there is anything to ask"));
    };
    let released = host.engine.release(&arguments.reason).await?;
    context.output.data(&Released { released }, |_| {
        format!("{} released\n", counted(released, "rotation"))
    })?;
    Ok(ExitCode::Ok)
}

async fn unpark(arguments: &Release, context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open_vault_to_look(context).await?;
    known(&arguments.names, engine.config())?;
    let mut released = 0;
    for name in &arguments.names {
        if engine.unpark(name, &arguments.reason).await? {
            released += 1;
        } else {
            context.output.say(&format!("{name} was not parked"));
        }
    }
    context.output.data(&Released { released }, |_| {
        format!("{} released\n", counted(released, "rotation"))
    })?;
    Ok(ExitCode::Ok)
}

/// `-o json` of `schedule release`.
#[derive(Debug, Serialize)]
struct Released {
    released: usize,
}

fn known(names: &[RotationName], config: &keywheel_config::Config) -> Result<(), Failure> {
    match names.iter().find(|name| config.rotation(name).is_none()) {
        Some(name) => Err(no_such_rotation(config, name.as_str())),
        None => Ok(()),
    }
}

fn print(stand: &[Stands], context: &Context) -> Result<ExitCode, Failure> {
    context.output.data(stand, |_| {
        let mut text = Text::default();
        for one in stand {
            match &one.paused {
                Some(Paused {
                    until: Some(until), ..
                }) => {
                    text.line(format_args!(
                        "{} is paused until {}",
                        one.rotation,
                        time::show(*until)
                    ));
                }
                Some(_) => text.line(format_args!("{} is paused", one.rotation)),
                None => text.line(format_args!("{} goes by its schedule", one.rotation)),
            }
        }
        text.finish()
    })?;
    Ok(ExitCode::Ok)
}
