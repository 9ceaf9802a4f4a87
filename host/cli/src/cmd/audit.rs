//! `keywheel audit`: search the trail, sign its head, and check that it holds together.

pub(crate) mod checkpoint;
pub(crate) mod search;
pub(crate) mod verify;

use clap::Subcommand;

use crate::cmd::Context;
use crate::errors::Failure;
use crate::exit_code::ExitCode;

/// The audit trail.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Print who did what to which secret and when, newest first
    Search(search::Arguments),
    /// Sign the head of the trail, to be kept outside of this machine
    Checkpoint(checkpoint::Arguments),
    /// Check the whole chain, and against checkpoints that were kept elsewhere
    Verify(verify::Arguments),
}

/// # Errors
/// Whatever stops it.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Search(arguments) => search::run(arguments, context).await,
        Verb::Checkpoint(arguments) => checkpoint::run(&arguments, context).await,
        Verb::Verify(arguments) => verify::run(&arguments, context).await,
    }
}
