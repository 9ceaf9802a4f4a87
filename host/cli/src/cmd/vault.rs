//! `keywheel vault`: how the vault stands, and whether a key opens it.

pub(crate) mod slot;
pub(crate) mod status;
pub(crate) mod unseal;

use clap::Subcommand;

use crate::cmd::Context;
use crate::errors::Failure;
use crate::exit_code::ExitCode;

/// The vault.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Print whether it is sealed, and its key slots
    Status,
    /// Open it with a passphrase or the recovery identity
    Unseal(unseal::Arguments),
    /// List, add and remove the keys that open it
    #[command(subcommand)]
    Slot(slot::Verb),
}

/// # Errors
/// Whatever stops it.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Status => status::run(context).await,
        Verb::Unseal(arguments) => unseal::run(&arguments, context).await,
        Verb::Slot(verb) => slot::run(verb, context).await,
    }
}
