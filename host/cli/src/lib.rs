//! The command `keywheel`: reads the command line, calls the engine, prints. Knows no protocol and keeps no state.

#![forbid(unsafe_code)]

mod args;
mod cmd;
mod errors;
mod exit_code;
mod log;
mod output;

use clap::Parser as _;

use crate::args::Cli;
use crate::cmd::Context;
use crate::output::Output;

pub use crate::exit_code::ExitCode;

/// Runs the command that the process was started with, and says how it ended.
pub fn run() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let output = Output::new(&global);
    log::start(&global);
    match cmd::run(command, &Context { global, output }) {
        Ok(exit) => exit,
        Err(failure) => {
            output.fail(&failure);
            failure.exit()
        }
    }
}
