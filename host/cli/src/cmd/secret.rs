//! `keywheel secret`: look at secrets, bring one in, read one, go back to an older version.

pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod read;
pub(crate) mod rollback;

use clap::Subcommand;

use crate::cmd::Context;
use crate::errors::Failure;
use crate::exit_code::ExitCode;

/// Secrets.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List secrets, also those that a rotation names and nobody has imported yet
    List,
    /// Print what is known of a secret; never its value
    Show(list::Show),
    /// Print the versions of a secret, newest first
    History(history::Arguments),
    /// Take an existing credential over: it is verified, never changed because it is new
    Import(import::Arguments),
    /// Read a value, to a terminal or into a file; always audited
    Read(read::Arguments),
    /// Make an older version current again, once the target has accepted it
    Rollback(rollback::Arguments),
}

/// # Errors
/// Whatever stops it.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<ExitCode, Failure> {
    match verb {
        Verb::List => list::run(context).await,
        Verb::Show(arguments) => list::show(&arguments, context).await,
        Verb::History(arguments) => history::run(&arguments, context).await,
        Verb::Import(arguments) => import::run(&arguments, context).await,
        Verb::Read(arguments) => read::run(&arguments, context).await,
        Verb::Rollback(arguments) => rollback::run(&arguments, context).await,
    }
}
