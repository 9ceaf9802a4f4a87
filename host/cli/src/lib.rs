//! The command `keywheel`: reads the command line, calls the engine, prints. Knows no protocol and keeps no state.

#![forbid(unsafe_code)]

mod args;
mod cmd;
mod errors;
mod exit_code;
mod forward;
mod log;
mod memory;
mod output;
mod progress;
mod recovery_file;
mod secret_input;
mod terminal;
mod time;
mod visible;
use clap::Parser as _;

use crate::args::{Cli, Command};
use crate::cmd::Context;
use crate::cmd::serve::LogFormat;
use crate::errors::Failure;
use crate::output::Output;

pub use crate::exit_code::ExitCode;

/// Runs the command that the process was started with, and says how it ended.
pub fn run() -> ExitCode {
    memory::keep_private();
    let Cli { global, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return args::refused(&error),
    };
    let serve = match &command {
        Command::Serve(arguments) => Some(arguments.log),
        _ => None,
    };
    let (_log, terminal) = log::start(&global, serve);
    let mut output = Output::new(&global, terminal);
    if serve == Some(LogFormat::Json) {
        output = output.into_log();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.fail(&Failure::because(
                ExitCode::Unexpected,
                "host.threads",
                "cannot start threads",
                &error,
            ));
            return ExitCode::Unexpected;
        }
    };
    outlive_file_limits(&runtime);
    let context = Context {
        global,
        output,
        host: None,
    };
    match runtime.block_on(here_or_there(command, &context)) {
        Ok(exit) => exit,
        Err(failure) => {
            context.output.fail(&failure);
            failure.exit()
        }
    }
}

/// A command that needs the state is done by the host that has it, if one is running.
async fn here_or_there(command: Command, context: &Context) -> Result<ExitCode, Failure> {
    if command.needs_state()
        && let Some(exit) = forward::to_host(&context.global, &context.output).await?
    {
        return Ok(exit);
    }
    cmd::run(command, context).await
}

/// A write beyond the limit on the size of files (`ulimit -f`) is an error that is told, not the end of the process.
fn outlive_file_limits(runtime: &tokio::runtime::Runtime) {
    // `SIGXFSZ` has this number on Linux (but for MIPS) and on the BSDs.
    const FILE_SIZE: i32 = 25;
    let _runtime = runtime.enter();
    // Once heard, it never ends the process again, also when nobody listens any more. Unheard, it only ends it as before.
    let _ = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(FILE_SIZE));
}
