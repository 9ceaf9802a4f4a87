//! `keywheel plugin`: look at plugins, add them, pack one's manifest into its component.

pub(crate) mod folder;
pub(crate) mod pack;
pub(crate) mod show;

use clap::Subcommand;

use crate::cmd::Context;
use crate::errors::Failure;
use crate::exit_code::ExitCode;

/// Plugins.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Print what a plugin asks for: capabilities, inputs, modes, and every place a secret may enter
    Show(show::Arguments),
    /// Write a manifest into a component, as its one section `keywheel:manifest`
    Pack(pack::Arguments),
}

/// # Errors
/// Whatever stops it.
pub(crate) fn run(verb: Verb, context: &Context) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Show(arguments) => show::run(&arguments, context),
        Verb::Pack(arguments) => pack::run(&arguments, context),
    }
}

/// A failure of reading or writing a manifest.
pub(crate) fn manifest_failure(message: String, error: &keywheel_manifest::Error) -> Failure {
    Failure::because(ExitCode::ConfigInvalid, error.code(), message, error).maybe_hint(error.hint())
}
