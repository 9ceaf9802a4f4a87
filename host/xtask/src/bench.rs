//! `cargo xtask bench`: builds the host, the plugins and the measuring program in release, and lets it print its table.

use std::path::Path;
use std::process::Command;

use crate::{plugins, process};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// More rounds with more roles: about an hour instead of some minutes.
    #[arg(long)]
    long: bool,
    /// One part alone: step, load, sandbox, deferred, login, emergency, due, herd, each, idle, day, facts.
    #[arg(long)]
    only: Option<String>,
    /// What else is for the measuring program: `--rounds N`, `--roles N`, `--herd N`, `--emergency N`, `--minutes N`, `--json FILE`.
    #[arg(last = true)]
    more: Vec<String>,
}

pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<bool> {
    let built = plugins::run(root, &plugins::Options::default())?;
    let hostile = plugins::hostile(root)?;
    let build = [
        "build",
        "--release",
        "--locked",
        "-p",
        "keywheel-bench",
        "-p",
        "keywheel-cli",
    ];
    process::run(process::cargo(root).args(build))?;
    // What was built, and not `cargo run`: of one package alone it would be built with other features.
    // The kit's server programs, the state folders: everything that it starts or makes is its own, and gone afterwards.
    let mut measure = Command::new(root.join("target/release/keywheel-bench"));
    measure.current_dir(root).arg("--plugins");
    measure.arg(built).arg("--hostile").arg(hostile);
    if options.long {
        measure.arg("--long");
    }
    if let Some(only) = &options.only {
        measure.args(["--only", only]);
    }
    measure.args(&options.more);
    process::run(&mut measure)?;
    Ok(true)
}
