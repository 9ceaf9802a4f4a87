//! `keywheel completion`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Cli;
use crate::cmd::Context;
use crate::errors::Failure;
use crate::exit_code::ExitCode;

/// Prints a completion script.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// # Errors
/// Standard output cannot be written.
pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "keywheel", &mut script);
    context.output.raw(&script)?;
    Ok(ExitCode::Ok)
}
