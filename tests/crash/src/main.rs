//! `cargo xtask crash` builds this and runs it.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it speaks to the terminal")]

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Parser;
use keywheel_crash::{Options, Programs, run};

/// Kills the built `keywheel` at every point there is, on real servers.
#[derive(Parser)]
#[command(name = "crash")]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Say the seed, and look at the names; kill nothing
    #[arg(long)]
    look: bool,
    #[command(flatten)]
    programs: Option<Programs>,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    let mut say = |line: &str| println!("{line}");
    let found = match &arguments.programs {
        _ if arguments.look => arguments.options.look(&mut say).map(|()| true),
        Some(programs) => run(&arguments.options, programs, &mut say),
        None => Err(anyhow!(
            "there is nothing to kill: give `--binary`, `--failpoints`, `--plugins` and `--evidence`, as `cargo xtask crash` does"
        )),
    };
    match found {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
