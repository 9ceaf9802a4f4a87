//! `keywheel secret rollback`.

use clap::Args;
use keywheel_model::{SecretName, VersionId};
use serde::Serialize;

use crate::cmd::run::refused;
use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;

/// Goes back.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The secret's name in the vault
    name: SecretName,
    /// The version whose value becomes current again, as a new version
    version: VersionId,
}

/// `-o json` of `secret rollback`.
#[derive(Debug, Serialize)]
struct Done<'a> {
    name: &'a SecretName,
    /// The version that was named.
    from: &'a VersionId,
    /// The new one, which is current.
    version: VersionId,
}

/// # Errors
/// There is no such version, the target does not accept it, or a run is open.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open_checked(context).await?;
    let version = match engine.roll_back(&arguments.name, &arguments.version).await {
        Ok(version) => version,
        Err(error) => return Err(refused(&engine, error).await?),
    };
    let done = Done {
        name: &arguments.name,
        from: &arguments.version,
        version,
    };
    context.output.data(&done, |_| {
        format!("{} is {} again, as {}\n", done.name, done.from, done.version)
    })?;
    context
        .output
        .next(&format!("keywheel secret history {}", arguments.name));
    Ok(ExitCode::Ok)
}
