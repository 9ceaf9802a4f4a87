//! `keywheel policy`: check the grants, explain them, test them.

pub(crate) mod check;
pub(crate) mod explain;
pub(crate) mod grants;
pub(crate) mod request;
pub(crate) mod test;
pub(crate) mod verdict;

use clap::Subcommand;

use crate::cmd::Context;
use crate::errors::Failure;
use crate::exit_code::ExitCode;

/// Grants.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Say everything that is wrong with the grants, by themselves and against the plugins
    Check,
    /// Print what a rotation's plugin may do, or whether it may do one thing and which lines would allow it
    Explain(explain::Arguments),
    /// Run tables of what must be allowed and what must be denied
    Test(test::Arguments),
}

/// # Errors
/// Whatever stops it.
pub(crate) fn run(verb: Verb, context: &Context) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Check => check::run(context),
        Verb::Explain(arguments) => explain::run(&arguments, context),
        Verb::Test(arguments) => test::run(&arguments, context),
    }
}
