//! `keywheel secret import`.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use keywheel_config::{Config, Rotation};
use keywheel_engine::view::RunView;
use keywheel_engine::{Import, Imported};
use keywheel_model::{RotationName, SecretName, StepError, Timestamp, Trigger, Verdict, VersionId};
use serde::Serialize;

use crate::cmd::run::{Waiting, exit_of, order, refused, show, steer};
use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::errors::engine::of_step_code;
use crate::exit_code::ExitCode;
use crate::progress::Progress;
use crate::secret_input::Source;
use crate::time;

/// Imports.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The secret's name in the vault
    name: SecretName,
    /// Where the value is: @FILE, or - for standard input; left out on a terminal, it is asked for
    #[arg(value_name = "@FILE", allow_hyphen_values = true)]
    value: Option<String>,
    /// A fact that goes with it and is no secret, as the plugin names it: user=app_a
    #[arg(long = "fact", value_name = "KEY=VALUE", value_parser = parse_fact)]
    facts: Vec<(String, String)>,
    /// When it stops to be valid, where that is known: people are told before. 2027-01-31, or 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    expires: Option<Timestamp>,
    #[command(flatten)]
    waiting: Waiting,
}

fn parse_fact(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    if key.is_empty()
        || key.len() > 63
        || !key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    {
        return Err("a key has letters, digits, `-`, `_`, `.`, at most 63".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// `-o json` of `secret import`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Done {
    name: SecretName,
    /// The new version, where no run has verified it.
    version: Option<VersionId>,
    /// Whether the target has accepted it; null where nobody asked.
    accepted: Option<bool>,
    /// The rotations that take it as an input.
    input_of: Vec<RotationName>,
    /// The run that verified it, where one has.
    run: Option<RunView>,
}

/// # Errors
/// The value cannot be read or is none, the secret has a current version already, the state cannot be opened.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let source = Source::parse(arguments.value.as_deref())?;
    let engine = host::open_checked(context).await?;
    let value = source.read(&format!("value of {}", arguments.name), &context.output)?;
    let annotations: BTreeMap<String, String> = arguments.facts.iter().cloned().collect();
    let import = Import {
        name: arguments.name.clone(),
        value,
        annotations,
        expires: arguments.expires,
    };
    if import.is_weak() {
        context.output.warn(&format!(
            "the value of {} is weak (short, or a plain word): what a plugin reads cannot be watched for it; rotate it soon",
            arguments.name
        ));
    }
    let is_composed = import.is_composed();
    for words in engine.copies_in(&import) {
        context.output.warn(&words);
    }
    let stop = context.stop()?;
    let progress = Progress::new(&context.output);
    let order = order(Trigger::Adopt, None, arguments.waiting.whole(), &stop, &progress);
    let imported = match engine.import(import, order).await {
        Ok(imported) => imported,
        Err(error) => return Err(refused(&engine, error).await?),
    };
    drop(progress);
    let mut done = Done {
        name: arguments.name.clone(),
        version: None,
        accepted: None,
        input_of: input_of(engine.config(), &arguments.name),
        run: None,
    };
    match imported {
        Imported::Stored(version) => {
            done.version = Some(version);
            stored(&done, engine.config(), context)?;
            Ok(ExitCode::Ok)
        }
        Imported::Replaced(version, verdict) => {
            done.version = Some(version);
            done.accepted = Some(matches!(verdict, Ok(Verdict::Accepted)));
            replaced(&done, &verdict, context)
        }
        Imported::Adopted(view, left) => {
            done.run = Some((*view).clone());
            context.output.data(&done, |style| show::summary(&view, style))?;
            steer::say_next(&view, left, context);
            let as_bare = |rotation: &Rotation| rotation.secret == arguments.name && is_bare(rotation);
            if is_composed
                && exit_of(&view, left) != ExitCode::Ok
                && engine.config().samples().any(|one| as_bare(one))
            {
                context.output.warn(
                    "the value looks like a connection string or a document, and was taken for the password itself: if it is one, `format` in the rotation's `config` has to say so",
                );
            }
            Ok(exit_of(&view, left))
        }
    }
}

/// Whether nothing says that its secret has parts.
fn is_bare(rotation: &Rotation) -> bool {
    let said = |name: &str| rotation.config.get(name).is_some();
    !said("format") && !said("users") && !said("roles")
}

fn input_of(config: &Config, name: &SecretName) -> Vec<RotationName> {
    let takes = |rotation: &&Arc<Rotation>| rotation.inputs.values().any(|input| input == name);
    let rotations = config.samples().filter(takes);
    rotations.map(|rotation| rotation.name.clone()).collect()
}

fn line(done: &Done) -> String {
    let version = done.version.as_ref().map(ToString::to_string);
    format!("imported {} as {}\n", done.name, version.unwrap_or_default())
}

/// No rotation has it: nothing verifies it, and whoever mistyped its name is told which names there are.
fn stored(done: &Done, config: &Config, context: &Context) -> Result<(), Failure> {
    let (output, name) = (&context.output, &done.name);
    output.data(done, |_| line(done))?;
    if let Some(rotation) = done.input_of.first() {
        let all: Vec<&str> = done.input_of.iter().map(RotationName::as_str).collect();
        output.say(&format!(
            "it is an input of {}, and proved by the first login that uses it",
            all.join(", ")
        ));
        output.next(&format!("keywheel target test {rotation}"));
        return Ok(());
    }
    if let Some(writer) = config.writer_of(name) {
        output.say(&format!(
            "it is written with {} by {}: the password in it is replaced, the rest stays",
            writer.secret, writer.name
        ));
        output.next(&format!("keywheel plan {}", writer.name));
        return Ok(());
    }
    let mut names: Vec<&str> = config
        .samples()
        .flat_map(|rotation| std::iter::once(&rotation.secret).chain(rotation.inputs.values()))
        .map(SecretName::as_str)
        .collect();
    names.sort_unstable();
    names.dedup();
    let known = match keywheel_config::nearest(name.as_str(), &names) {
        Some(near) => format!("; did you mean `{near}`?"),
        None if names.is_empty() => "; there is no rotation yet".to_owned(),
        None => format!("; rotations have {}", names.join(", ")),
    };
    output.warn(&format!(
        "no rotation has the name {name}: the value is stored, and nothing has verified it{known}"
    ));
    output.next(&format!("keywheel secret history {name}"));
    Ok(())
}

/// It took the place of a value that the target does not take.
fn replaced(
    done: &Done,
    verdict: &Result<Verdict, StepError>,
    context: &Context,
) -> Result<ExitCode, Failure> {
    let (output, name) = (&context.output, &done.name);
    output.data(done, |_| line(done))?;
    let told = |words: &str| {
        output.warn(&format!(
            "{words}; the value is stored, and no rotation goes on before one is accepted"
        ));
        output.next(&format!("keywheel secret import {name}"));
    };
    Ok(match verdict {
        Ok(Verdict::Accepted) => {
            output.say("the target accepts it");
            output.next(&format!("keywheel secret history {name}"));
            ExitCode::Ok
        }
        Ok(Verdict::Unknown(why)) => {
            told(&format!("the target did not say whether it accepts it: {why}"));
            ExitCode::Unreachable
        }
        Ok(_) => {
            told("the target refuses it");
            ExitCode::RolledBack
        }
        Err(error) => {
            told(&format!(
                "the target could not be asked: {}: {}",
                error.code, error.message
            ));
            of_step_code(&error.code)
        }
    })
}
