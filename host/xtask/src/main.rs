//! The chores of this repository: `cargo xtask NAME`. Never shipped.
//!
//! One file a chore. A chore says what it does and what it installs, ends in one line that a script can read, and exits with
//! 0 only if all is well.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a chore speaks to the terminal")]

mod bench;
mod check;
mod crash;
mod demo;
mod plugins;
mod process;
mod properties;
mod simulate;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

/// The chores of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    /// Rotate two real credentials end to end, and show it.
    Demo(demo::Options),
    /// Build every plugin into one folder.
    Plugins(plugins::Options),
    /// Build the plugins, then run every test.
    Test(test::Options),
    /// Kill the host at every point there is, on real servers.
    Crash(crash::Options),
    /// Simulate long random histories of rotations, with faults.
    Simulate(simulate::Options),
    /// Try every parser and store with random input, for longer than the tests.
    Properties(properties::Options),
    /// Hold the repository to its rules.
    Check(check::Options),
    /// Measure, beside what the figures are to be compared with.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let root = root();
    // A host takes no configuration and no plugin that others can write: what is built and copied here has to be none, whatever the shell is set to.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let done = match Chore::parse() {
        Chore::Demo(options) => demo::run(&root, &options),
        Chore::Plugins(options) => plugins::chore(&root, &options),
        Chore::Test(options) => test::run(&root, &options),
        Chore::Crash(options) => crash::run(&root, &options),
        Chore::Simulate(options) => simulate::run(&root, &options),
        Chore::Properties(options) => properties::run(&root, &options),
        Chore::Check(options) => check::run(&root, &options),
        Chore::Bench(options) => bench::run(&root, &options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The top of the repository: two folders above this crate.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .map_or_else(PathBuf::new, Path::to_path_buf)
}
