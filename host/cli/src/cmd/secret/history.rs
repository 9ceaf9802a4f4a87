//! `keywheel secret history`.

use clap::Args;
use keywheel_model::SecretName;

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::Table;
use crate::time;

/// Prints versions.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The secret's name in the vault
    name: SecretName,
}

/// # Errors
/// There is no such secret, or the state cannot be opened.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let versions = host::open_vault(context).await?.history(&arguments.name).await?;
    context.output.data(&versions, |style| {
        let mut table = Table::new(["VERSION", "STAGE", "CREATED", "EXPIRES", "RUN", "FACTS"]);
        for version in &versions {
            let annotations = version.annotations.iter();
            let facts = annotations.map(|(key, value)| format!("{key}={value}"));
            let same = version.same_value.iter();
            let same = same.map(|same| format!("same value as {} ({})", same.version, same.stage));
            let facts: Vec<String> = facts.chain(same).collect();
            table.row([
                version.version.to_string(),
                version.stage.to_string(),
                time::show(version.created_at),
                time::show_or_dash(version.expires_at),
                version
                    .run
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), ToString::to_string),
                facts.join(", "),
            ]);
        }
        table.to_text(style)
    })?;
    Ok(ExitCode::Ok)
}
