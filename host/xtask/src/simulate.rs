//! `cargo xtask simulate`: the explorer's seeded simulation of the rotation machine.

use std::path::Path;

use crate::process;

/// How much, and from where.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many random histories.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed; the same seed gives the same history.
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<bool> {
    let mut cargo = process::cargo(root);
    // The development profile optimises the machine and the explorer as a release does, and shares the tests' build.
    cargo.args([
        "run",
        "--quiet",
        "--package",
        "keywheel-explorer",
        "--bin",
        "simulate",
        "--",
    ]);
    for (name, value) in [("--seeds", options.seeds), ("--seed", options.seed)] {
        if let Some(value) = value {
            cargo.arg(name).arg(value.to_string());
        }
    }
    process::run(&mut cargo)?;
    Ok(true)
}
