//! `cargo xtask crash` builds this and runs it.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it speaks to the terminal")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use keywheel_crash::{Options, Programs, run};

/// Kills the built `keywheel` at every point there is, on real servers.
#[derive(Parser)]
#[command(name = "crash")]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// The built `keywheel`
    #[arg(long, value_name = "FILE")]
    binary: PathBuf,
    /// The same with failpoints: `keywheel-failpoints`
    #[arg(long, value_name = "FILE")]
    failpoints: PathBuf,
    /// The folder of the built plugins
    #[arg(long, value_name = "FOLDER")]
    plugins: PathBuf,
    /// Where what was seen of a failed run is kept
    #[arg(long, value_name = "FOLDER")]
    evidence: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let programs = Programs {
        binary: arguments.binary,
        failpoints: arguments.failpoints,
        plugins: arguments.plugins,
        evidence: arguments.evidence,
    };
    match run(&arguments.options, &programs, &mut |line| println!("{line}")) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
