//! `keywheel vault restored`. Nothing in a copy that was put back tells the host what it is: a person does (rule P2).

use clap::Args;

use crate::cmd::vault::status;
use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;

/// Raises the restore epoch.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// # Errors
/// The vault is sealed, or the state cannot be opened.
pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open_unsealed(context).await?;
    let epoch = engine.restored(arguments.reason).await?;
    let vault = engine.vault_view().await?;
    context.output.data(&vault, |style| status::text(&vault, style))?;
    context.output.say(&format!(
        "restore epoch {}: the next run of each secret only verifies it, and deletes nothing on its target",
        epoch.0
    ));
    let rotations = &engine.config().rotations;
    for rotation in rotations {
        context.output.next(&format!("keywheel rotate {}", rotation.name));
    }
    Ok(ExitCode::Ok)
}
