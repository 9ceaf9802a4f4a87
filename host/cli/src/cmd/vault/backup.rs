//! `keywheel vault backup`.

use std::path::PathBuf;

use clap::Args;

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::Text;
use crate::time;

/// Backs up.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The file to make; one that is there is not overwritten
    file: PathBuf,
}

/// # Errors
/// The vault cannot be opened; the file is there, or cannot be written.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open_vault(context).await?;
    let backup = engine.backup(&context.path(&arguments.file)).await?;
    context.output.data(&backup, |_| {
        let mut text = Text::default();
        text.fact("backup", format_args!("\"{}\"", backup.file.display()));
        text.fact("sha256", &backup.sha256);
        text.fact("taken", time::show(backup.taken_at));
        text.fact("database", format_args!("{} bytes", backup.database_bytes));
        text.finish()
    })?;
    context
        .output
        .say("it opens with the recovery identity, or with a key of this vault; keep it, and none of those, elsewhere");
    context
        .output
        .next("before the next one `keywheel audit checkpoint --out FILE`, and keep that elsewhere, too: it tells whether a backup is the newest");
    Ok(ExitCode::Ok)
}
