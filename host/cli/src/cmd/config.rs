//! `keywheel config`: check, print and describe the configuration.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::sync::Arc;

use clap::{Args, Subcommand};
use keywheel_config::{Config, Entry, Origin};
use keywheel_engine::view::RunView;
use keywheel_engine::{Error, SystemClock};
use keywheel_model::{Clock as _, PluginName};
use keywheel_policy::{Binding, Policy};
use serde::Serialize;

use crate::cmd::plugin::folder;
use crate::cmd::policy::grants;
use crate::cmd::{Context, ours};
use crate::errors::{Failure, counted};
use crate::exit_code::ExitCode;
use crate::forward;
use crate::output::{Style, Table, Text};

/// The configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Say everything that is wrong with the configuration, by itself and against the plugins
    Check,
    /// Print the JSON Schema of the configuration file, for editors
    Schema,
    /// Print the values of the configuration
    Show(Show),
}

/// Prints values.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// All values that count, with the defaults
    #[arg(long)]
    effective: bool,
    /// Where each value comes from
    #[arg(long)]
    origins: bool,
}

/// The outcome of a check that found nothing: `-o json` of `config check`.
#[derive(Debug, Serialize)]
struct Checked {
    /// Rotations in the file, and in those of its tables.
    rotations: usize,
    /// Plugins found in the plugin folder.
    plugins: Vec<String>,
}

/// # Errors
/// Every problem of the configuration.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Check => check(context).await,
        Verb::Schema => schema(context),
        Verb::Show(arguments) => show(&arguments, context),
    }
}

async fn check(context: &Context) -> Result<ExitCode, Failure> {
    let mut draft = ours::draft(context)?;
    draft.examine_trust(keywheel_engine::examine_trust_file);
    draft.examine_hooks(keywheel_engine::examine_program);
    draft.examine_sinks(keywheel_engine::examine_program);
    draft.examine_schedules(SystemClock.now());
    let found = folder::read(&draft.plugins().dir)?;
    for broken in &found.broken {
        context.output.warn(&broken.to_string());
    }
    let policy = grants::read(draft.policies_dir())?;
    let config = draft.check(&found.manifests, &grants::subjects(&policy))?;
    config.check_all_rows(SystemClock.now())?;
    let unseen = keywheel_engine::check_settings(&config).await?;
    tell_idle(&config, &unseen, &policy, context);
    check_runs(&config, context).await?;
    for (place, warning) in config.schedule_warnings() {
        context.output.warn(&format!("{place}: {warning}"));
    }
    let checked = Checked {
        rotations: config.count(),
        plugins: found.manifests.keys().map(ToString::to_string).collect(),
    };
    context.output.data(&checked, |style| {
        let file = context.global.config.display();
        format!(
            "{} \"{file}\": {}\n",
            style.good("ok"),
            counted(checked.rotations, "rotation")
        )
    })?;
    Ok(ExitCode::Ok)
}

/// Plugins that can do nothing yet: their settings are right, and their rotations would still be refused.
fn tell_idle(config: &Config, unseen: &BTreeSet<PluginName>, policy: &Policy, context: &Context) {
    for plugin in unseen {
        context.output.warn(&format!(
            "`{plugin}` has not looked at its settings: it is not pinned yet, or the file that was pinned is not in the plugin folder; `keywheel plugin list` says what is to be done"
        ));
    }
    for rotation in config.samples() {
        let (name, plugin) = (&rotation.name, &rotation.plugin);
        let counts = policy.scope(Binding {
            plugin,
            rotation: name,
            configuration: &rotation.config,
            secret: &rotation.secret,
            inputs: &rotation.inputs,
        });
        if counts.is_empty() {
            context.output.warn(&format!(
                "nothing is granted to `{plugin}` in the rotation `{name}`: `keywheel plugin add {plugin}` shows what it asks for, and writes the grant"
            ));
        }
    }
}

/// Rule P12: no rotation is taken out under its open run. What cannot be looked at now is no fault of the configuration's.
async fn check_runs(config: &Config, context: &Context) -> Result<(), Failure> {
    let looked = match keywheel_engine::runs_without_rotation(config, Arc::new(SystemClock)).await {
        // A running host has the state, and knows.
        Err(error) if error.code() == "store.in-use" => runs_of_host(config, context).await.ok_or(error),
        looked => looked,
    };
    match looked {
        Ok(runs) if runs.is_empty() => Ok(()),
        Ok(runs) => Err(Error::RotationGone { runs }.into()),
        Err(Error::NoState { .. }) => Ok(()),
        Err(error) => {
            let mut words = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                words = format!("{words}: {error}");
                cause = error.source();
            }
            let what = "whether each open run still has its rotation was not looked at";
            context.output.warn(&format!("{what}: {words}"));
            Ok(())
        }
    }
}

/// The same by the word of the host that is running; none: it does not say.
async fn runs_of_host(config: &Config, context: &Context) -> Option<Vec<RunView>> {
    let told = forward::told(&context.global, &["run", "list", "--open", "-o", "json"]).await?;
    let mut runs: Vec<RunView> = serde_json::from_slice(&told).ok()?;
    runs.retain(|run| config.rotation(&run.rotation).is_none());
    for run in &mut runs {
        // The host's own configuration may still have it.
        run.removed = true;
    }
    Some(runs)
}

fn schema(context: &Context) -> Result<ExitCode, Failure> {
    let schema = serde_json::to_string_pretty(&keywheel_config::schema());
    let schema = schema.map_err(|error| Failure::from_error(ExitCode::Unexpected, "output.json", &error))?;
    context.output.raw((schema + "\n").as_bytes())?;
    Ok(ExitCode::Ok)
}

fn show(arguments: &Show, context: &Context) -> Result<ExitCode, Failure> {
    let config = ours::config(context)?;
    let mut entries = config.effective();
    if !arguments.effective {
        entries.retain(|entry| matches!(entry.origin, Origin::File(_)));
    }
    context
        .output
        .data(&entries, |style| table(&entries, arguments.origins, style))?;
    Ok(ExitCode::Ok)
}

fn table(entries: &[Entry], origins: bool, style: Style) -> String {
    if !origins {
        let mut text = Text::default();
        for entry in entries {
            text.line(format_args!("{} = {}", entry.key, entry.value));
        }
        return text.finish();
    }
    let mut table = Table::new(["KEY", "VALUE", "ORIGIN"]);
    for entry in entries {
        let origin = match &entry.origin {
            Origin::File(place) => format!("{}:{}", place.file.display(), place.line),
            Origin::Default => "default".to_owned(),
        };
        table.row([entry.key.clone(), entry.value.to_string(), origin]);
    }
    table.to_text(style)
}
