//! `keywheel secret list` and `secret show`.

use std::time::Duration;

use clap::Args;
use keywheel_engine::view::{ConsumerView, SecretView};
use keywheel_model::SecretName;

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::{Table, Text};
use crate::time;

/// Shows a secret.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Its name in the vault
    name: SecretName,
}

/// # Errors
/// The state cannot be opened.
pub(crate) async fn run(context: &Context) -> Result<ExitCode, Failure> {
    let secrets = host::open_vault(context).await?.secrets().await?;
    context.output.data(&secrets, |style| {
        if secrets.is_empty() {
            return "no secrets; `keywheel secret import NAME` adds one\n".to_owned();
        }
        let mut table = Table::new(["SECRET", "ROTATION", "CURRENT", "SINCE", "EXPIRES", "VERSIONS"]);
        for secret in &secrets {
            table.row([
                secret.name.to_string(),
                dash(secret.rotation.as_ref()),
                dash(secret.current.as_ref()),
                time::show_or_dash(secret.current_since),
                time::show_or_dash(secret.expires_at),
                secret.versions.to_string(),
            ]);
        }
        table.to_text(style)
    })?;
    Ok(ExitCode::Ok)
}

/// # Errors
/// There is no such secret, or the state cannot be opened.
pub(crate) async fn show(arguments: &Show, context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open_vault(context).await?;
    let secret = engine.secret(&arguments.name).await?;
    let is_known =
        secret.versions > 0 || secret.rotation.is_some() || is_input(engine.config(), &arguments.name);
    if !is_known {
        let message = format!("there is no secret `{}`", arguments.name);
        return Err(Failure::new(ExitCode::NotFound, "secret.not-found", message)
            .hint("`keywheel secret list` lists the secrets; `keywheel secret import NAME` adds one"));
    }
    context.output.data(&secret, |_| text(&secret))?;
    Ok(ExitCode::Ok)
}

fn is_input(config: &keywheel_config::Config, name: &SecretName) -> bool {
    config
        .samples()
        .any(|rotation| rotation.inputs.values().any(|input| input == name))
}

fn text(secret: &SecretView) -> String {
    let mut text = Text::default();
    text.line(&secret.name);
    text.fact("rotation", dash(secret.rotation.as_ref()));
    text.fact("current", dash(secret.current.as_ref()));
    text.fact("since", time::show_or_dash(secret.current_since));
    text.fact("expires", time::show_or_dash(secret.expires_at));
    text.fact("versions", secret.versions);
    text.fact("open run", dash(secret.open_run.as_ref()));
    for consumer in &secret.consumers {
        text.fact("consumer", consumed(consumer));
    }
    text.finish()
}

/// Who reads it, how far behind it may be, and what it said last.
pub(crate) fn consumed(consumer: &ConsumerView) -> String {
    let staleness = keywheel_config::show_duration(Duration::from_millis(consumer.staleness_ms));
    let said = consumer.said.as_ref().zip(consumer.said_at);
    let said = said.map(|(version, at)| format!("; said {version} at {}", time::show(at)));
    format!(
        "{} (up to {staleness} behind) {}{}",
        consumer.name,
        consumer.words(),
        said.unwrap_or_default()
    )
}

fn dash(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}
