//! `keywheel policy test`: tables of what grants must allow and must deny.

use std::path::PathBuf;

use clap::Args;
use keywheel_policy::table::Table;
use serde::Serialize;

use crate::cmd::plugin::folder;
use crate::cmd::policy::grants;
use crate::cmd::{Context, ours};
use crate::errors::{Failure, counted};
use crate::exit_code::ExitCode;
use crate::output::Text;

/// What a table is, for whoever has none yet.
const TABLE: &str = "NAME.toml with `plugin`, `rotation`, `secret`, `configuration`, and a `[[case]]` for each question, like `connect = \"db:5432 tls\"` \
                     with `expect = \"allow\"` (docs/operators.md, Plugins and grants); `keywheel policy explain ROTATION` shows what is granted without one";

/// Runs tables.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The tables; left out, all of `tests/` in the policies' folder
    tables: Vec<PathBuf>,
}

/// `-o json` of `policy test`.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    /// Rows that hold.
    passed: usize,
    /// Rows that do not.
    failed: Vec<Failed>,
}

#[derive(Debug, Serialize)]
struct Failed {
    table: PathBuf,
    /// What was asked and expected.
    case: String,
    /// What came instead.
    failure: String,
}

/// # Errors
/// A table or a grant is not valid, a table's plugin is not there, or there is no table.
pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let config = ours::config(context)?;
    let policy = grants::read(&config.policies_dir)?;
    let plugins = folder::read(&config.plugins.dir)?;
    let folder = config.policies_dir.join("tests");
    let files = if arguments.tables.is_empty() {
        grants::toml_files(&folder)?
    } else {
        arguments.tables.clone()
    };
    if files.is_empty() {
        let message = format!("there is no table in \"{}\"", folder.display());
        let failure = Failure::new(ExitCode::NotFound, "policy.no-tables", message);
        return Err(failure.hint(format!("a table says what grants must allow and deny: {TABLE}")));
    }
    let mut outcome = Outcome::default();
    for file in files {
        let table = Table::from_toml(&file.display().to_string(), &grants::text(&file)?)
            .map_err(|error| grants::failure(&error))?;
        let Some(manifest) = plugins.manifests.get(table.plugin()) else {
            return Err(crate::cmd::plugin::no_such_plugin(
                table.plugin().as_str(),
                &plugins,
                &config.plugins.dir,
            ));
        };
        for result in table.run(&policy, manifest) {
            match result.failure {
                None => outcome.passed += 1,
                Some(failure) => {
                    outcome.failed.push(Failed {
                        table: file.clone(),
                        case: result.case,
                        failure,
                    });
                }
            }
        }
    }
    context.output.data(&outcome, |style| {
        let mut text = Text::default();
        for Failed { table, case, failure } in &outcome.failed {
            text.line(format_args!(
                "{} \"{}\": {case}",
                style.bad("failed"),
                table.display()
            ));
            text.line(format_args!("  {}", failure.replace('\n', "\n  ")));
        }
        text.line(format_args!(
            "{} passed, {} failed",
            counted(outcome.passed, "row"),
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
