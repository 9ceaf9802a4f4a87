//! `keywheel vault rewrap` and `keywheel vault rekey`.

use std::path::PathBuf;

use clap::Args;
use keywheel_config::Vault;
use keywheel_engine::{RewrappedView, Unlock};

use crate::cmd::{Context, host};
use crate::errors::{Failure, counted};
use crate::exit_code::ExitCode;
use crate::output::Text;
use crate::secret_input::Source;

/// Makes a new root.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A key file whose slot gets the new root, too; that of the configuration is taken by itself
    #[arg(long = "key-file", value_name = "FILE")]
    key_files: Vec<PathBuf>,
    /// The passphrase whose slot gets it: @FILE, or - for standard input or a prompt
    #[arg(long, value_name = "@FILE", allow_hyphen_values = true)]
    passphrase: Option<String>,
    /// A slot that does not get it, and is gone then
    #[arg(long = "drop", value_name = "SLOT")]
    dropped: Vec<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// # Errors
/// The vault cannot be opened; a record does not open.
pub(crate) async fn rewrap(context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open_vault(context).await?;
    show(&engine.rewrap().await?, context)?;
    Ok(ExitCode::Ok)
}

/// # Errors
/// The vault cannot be opened; a run is open; a slot's key is missing.
pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let passphrase = arguments.passphrase.as_deref();
    let source = passphrase.map(|word| Source::parse(Some(word))).transpose()?;
    let engine = host::open_vault(context).await?;
    if !arguments.yes {
        context
            .output
            .confirm("make a new root key for the vault? take a backup afterwards")?;
    }
    let given = arguments.key_files.iter().map(|file| context.path(file));
    let mut keys: Vec<Unlock> = given.map(Unlock::KeyFile).collect();
    match &engine.config().vault {
        Vault::Embedded { key_file: Some(file) } if file.exists() => keys.push(Unlock::KeyFile(file.clone())),
        Vault::Embedded { .. } => {}
    }
    if let Some(source) = source {
        keys.push(Unlock::Passphrase(
            source.read("passphrase of the vault", &context.output)?,
        ));
    }
    let rekeyed = engine.rekey(keys, arguments.dropped).await?;
    show(&rekeyed, context)?;
    context
        .output
        .say("checkpoints that were taken before are checked with the public key of before: `audit verify --public-key`");
    context
        .output
        .next("keywheel vault backup FILE: a backup that was made before opens with the keys of before");
    Ok(ExitCode::Ok)
}

fn show(view: &RewrappedView, context: &Context) -> Result<(), Failure> {
    context.output.data(view, |_| {
        let mut text = Text::default();
        let records = usize::try_from(view.records).unwrap_or(usize::MAX);
        text.fact(
            "wrapped anew",
            format_args!("{}, under key term {}", counted(records, "value"), view.term),
        );
        text.fact("public key", view.public_key);
        text.finish()
    })
}
