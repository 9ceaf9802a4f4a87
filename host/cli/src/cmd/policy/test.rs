//! `keywheel policy test`: tables of what grants must allow and must deny.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use keywheel_config::Draft;
use keywheel_manifest::Manifest;
use keywheel_model::{PluginName, RotationName, SecretName};
use keywheel_policy::{Binding, Decision, Policy};
use serde::{Deserialize, Serialize};

use crate::cmd::Context;
use crate::cmd::plugin::folder;
use crate::cmd::policy::grants;
use crate::cmd::policy::request::{FORMS, Words};
use crate::errors::{Failure, counted};
use crate::exit_code::ExitCode;
use crate::output::Text;

/// Runs tables.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The tables; left out, all of `tests/` in the policies' folder
    tables: Vec<PathBuf>,
}

/// A table: one rotation, as the grants would see it, and what it may and may not do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    plugin: PluginName,
    rotation: RotationName,
    secret: SecretName,
    #[serde(default)]
    inputs: BTreeMap<String, SecretName>,
    #[serde(default)]
    config: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
}

/// `-o json` of `policy test`.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    /// Lines that hold.
    passed: usize,
    /// Lines that do not.
    failed: Vec<Failed>,
}

#[derive(Debug, Serialize)]
struct Failed {
    table: PathBuf,
    request: String,
    /// What the table says.
    expected: &'static str,
    /// What the grants say.
    found: &'static str,
}

/// # Errors
/// A table or a grant is not valid, or there is no table.
pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let config = Draft::open(&context.global.config)?.finish()?;
    let policy = grants::read(&config.policies_dir)?;
    let plugins = folder::read(&config.plugins.dir)?;
    let folder = config.policies_dir.join("tests");
    let tables = if arguments.tables.is_empty() {
        grants::toml_files(&folder)?
    } else {
        arguments.tables.clone()
    };
    if tables.is_empty() {
        let message = format!("there is no table in \"{}\"", folder.display());
        return Err(Failure::new(ExitCode::NotFound, "policy.no-tables", message));
    }
    let mut outcome = Outcome::default();
    for path in tables {
        let table = read(&path)?;
        table.run(&path, &policy, plugins.manifests.get(&table.plugin), &mut outcome)?;
    }
    context.output.data(&outcome, |style| {
        let mut text = Text::default();
        for failed in &outcome.failed {
            let Failed {
                table,
                request,
                expected,
                found,
            } = failed;
            let table = table.display();
            text.line(format_args!(
                "{} \"{table}\": {request}: expected {expected}, found {found}",
                style.bad("failed")
            ));
        }
        text.line(format_args!(
            "{} passed, {} failed",
            counted(outcome.passed, "line"),
            outcome.failed.len()
        ));
        text.finish()
    })?;
    Ok(if outcome.failed.is_empty() {
        ExitCode::Ok
    } else {
        ExitCode::VerifyFailed
    })
}

fn read(path: &Path) -> Result<Table, Failure> {
    toml::from_str(&grants::text(path)?).map_err(|error| {
        let message = format!("\"{}\" is no table of tests", path.display());
        Failure::because(ExitCode::ConfigInvalid, "policy.table", message, &error)
    })
}

impl Table {
    fn run(
        &self,
        path: &Path,
        policy: &Policy,
        manifest: Option<&Manifest>,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let configuration = serde_json::Value::Object(self.config.clone());
        let scope = policy.scope(Binding {
            plugin: &self.plugin,
            rotation: &self.rotation,
            configuration: &configuration,
            secret: &self.secret,
            inputs: &self.inputs,
        });
        let allow = self.allow.iter().map(|line| (line, "allow"));
        for (line, expected) in allow.chain(self.deny.iter().map(|line| (line, "deny"))) {
            let words: Words = line.parse().map_err(|error| {
                let message = format!("\"{}\" is no table of tests", path.display());
                Failure::because(ExitCode::ConfigInvalid, "policy.table", message, &error)
                    .hint(format!("requests are {FORMS}"))
            })?;
            let found = match words.decide(&scope, manifest) {
                Some(Decision::Allow(_)) => "allow",
                Some(Decision::Deny(_)) => "deny",
                None => "no such call in the plugin's manifest",
            };
            if found == expected {
                outcome.passed += 1;
            } else {
                let failed = Failed {
                    table: path.to_owned(),
                    request: line.clone(),
                    expected,
                    found,
                };
                outcome.failed.push(failed);
            }
        }
        Ok(())
    }
}
