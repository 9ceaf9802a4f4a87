//! `keywheel secret import`.

use std::collections::BTreeMap;

use clap::Args;
use keywheel_engine::view::RunView;
use keywheel_engine::{Import, Imported};
use keywheel_model::{SecretName, Trigger, VersionId};
use serde::Serialize;

use crate::cmd::run::{Waiting, exit_of, order, show, steer};
use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::progress::Progress;
use crate::secret_input::Source;

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
struct Done {
    name: SecretName,
    /// The new version, where no rotation has the secret.
    version: Option<VersionId>,
    /// The run that verified it, where one has.
    run: Option<RunView>,
}

/// # Errors
/// The value cannot be read or is none, the secret has a current version already, the state cannot be opened.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let source = Source::parse(arguments.value.as_deref())?;
    let engine = host::open_checked(context).await?;
    let value = source.read(&format!("value of {}", arguments.name), context.output)?;
    let annotations: BTreeMap<String, String> = arguments.facts.iter().cloned().collect();
    let import = Import {
        name: arguments.name.clone(),
        value,
        annotations,
    };
    if import.is_weak() {
        context.output.warn(&format!(
            "the value of {} is weak (short, or a plain word): what a plugin reads cannot be watched for it; rotate it soon",
            arguments.name
        ));
    }
    let stop = host::stop_on_signal(context.output)?;
    let progress = Progress::new(context.output);
    let order = order(Trigger::Adopt, None, arguments.waiting.whole(), &stop, &progress);
    let imported = engine.import(import, order).await?;
    drop(progress);
    let name = arguments.name.clone();
    match imported {
        Imported::Stored(version) => {
            let done = Done {
                name,
                version: Some(version.clone()),
                run: None,
            };
            context
                .output
                .data(&done, |_| format!("imported {} as {version}\n", arguments.name))?;
            context
                .output
                .next(&format!("keywheel secret history {}", arguments.name));
            Ok(ExitCode::Ok)
        }
        Imported::Adopted(view, left) => {
            let done = Done {
                name,
                version: None,
                run: Some((*view).clone()),
            };
            context.output.data(&done, |style| show::summary(&view, style))?;
            steer::say_next(&view, left, context);
            Ok(exit_of(&view, left))
        }
    }
}
