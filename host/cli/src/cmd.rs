//! One file a verb.

pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod plugin;
pub(crate) mod policy;

use keywheel_config::Config;

use crate::args::{Command, Global};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::Output;

/// What every verb gets.
#[derive(Debug)]
pub(crate) struct Context {
    /// The options of every command.
    pub(crate) global: Global,
    /// Where words go.
    pub(crate) output: Output,
}

/// Runs a verb.
///
/// # Errors
/// Whatever stops it.
pub(crate) fn run(command: Command, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        Command::Config(verb) => config::run(verb, context),
        Command::Plugin(verb) => plugin::run(verb, context),
        Command::Policy(verb) => policy::run(verb, context),
        Command::Completion(arguments) => completion::run(&arguments),
    }
}

/// The failure for a rotation that the configuration does not have; names the nearest or all.
pub(crate) fn no_such_rotation(config: &Config, name: &str) -> Failure {
    let names: Vec<&str> = config
        .rotations
        .iter()
        .map(|rotation| rotation.name.as_str())
        .collect();
    let hint = match keywheel_config::nearest(name, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "the configuration has no `[[rotation]]`".to_owned(),
        None => format!("there are {}", names.join(", ")),
    };
    Failure::new(
        ExitCode::NotFound,
        "rotation.not-found",
        format!("there is no rotation `{name}`"),
    )
    .hint(hint)
}
