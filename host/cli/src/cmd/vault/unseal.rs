//! `keywheel vault unseal`. The vault is open for as long as a host holds it; without a running one that is this command: it shows whether a
//! key opens the vault, records that, and says that nothing stays open.

use std::sync::Arc;

use clap::Args;
use keywheel_config::Vault;
use keywheel_engine::{Engine, SystemClock, Unlock};

use crate::cmd::vault::status;
use crate::cmd::{Context, host, ours};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::secret_input::Source;

/// Unseals.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where the key is: @FILE, or - for standard input; left out on a terminal, it is asked for
    #[arg(value_name = "@FILE", allow_hyphen_values = true)]
    key: Option<String>,
    /// The key is the recovery identity, not a passphrase; left out, one is known by how it begins
    #[arg(long)]
    recovery: bool,
}

/// # Errors
/// The key does not open the vault, or the state cannot be opened.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let source = Source::parse(arguments.key.as_deref())?;
    let engine = if let Some(host) = &context.host {
        host.engine.clone()
    } else {
        let mut config = ours::config(context)?;
        // A key file that is lost or wrong must not be in the way.
        config.vault = Vault::Embedded { key_file: None };
        Engine::open(config, Arc::new(SystemClock)).await?
    };
    let asked = if arguments.recovery {
        "recovery identity"
    } else {
        "passphrase of the vault, or its recovery identity"
    };
    let key = match host::unlock_by(source.read(asked, &context.output)?) {
        // What is no identity is told to be none.
        Unlock::Passphrase(key) if arguments.recovery => Unlock::Recovery(key),
        key => key,
    };
    let name = match &key {
        Unlock::Recovery(_) => "recovery identity",
        _ => "passphrase",
    };
    engine.unseal(key).await?;
    let vault = engine.vault_view().await?;
    context.output.data(&vault, |style| status::text(&vault, style))?;
    if context.host.is_some() {
        context
            .output
            .say("the running host holds the vault open until it is stopped");
        return Ok(ExitCode::Ok);
    }
    context.output.say(&format!(
        "the {name} opens the vault; nothing stays open after this command: no host is running that could hold it, so that each command opens \
         the vault itself"
    ));
    Ok(ExitCode::Ok)
}
