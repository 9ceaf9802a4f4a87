//! `keywheel vault`: how the vault stands, whether a key opens it, backups of it, and that a copy was put back.

pub(crate) mod backup;
pub(crate) mod rekey;
pub(crate) mod restore;
pub(crate) mod restored;
pub(crate) mod slot;
pub(crate) mod status;
pub(crate) mod trim;
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
    /// See whether a passphrase or the recovery identity opens it; nothing stays open
    Unseal(unseal::Arguments),
    /// Write the whole state into one encrypted file, while the host goes on
    Backup(backup::Arguments),
    /// Put a backup where the state was; from now on each secret is verified before it is rotated
    Restore(restore::Arguments),
    /// Say that a copy of the state was put back: from now on each secret is verified before it is rotated
    Restored(restored::Arguments),
    /// Make a new key for the versions' keys and wrap each with it
    Rewrap,
    /// Make a new root key: a key that was removed opens nothing that is written from now on
    Rekey(rekey::Arguments),
    /// Forget what is older than `[retention]` says: finished runs, revoked versions, rows of the audit trail, delivered notices
    Trim,
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
        Verb::Backup(arguments) => backup::run(&arguments, context).await,
        Verb::Restore(arguments) => restore::run(arguments, context).await,
        Verb::Restored(arguments) => restored::run(arguments, context).await,
        Verb::Rewrap => rekey::rewrap(context).await,
        Verb::Rekey(arguments) => rekey::run(arguments, context).await,
        Verb::Trim => trim::run(context).await,
        Verb::Slot(verb) => slot::run(verb, context).await,
    }
}
