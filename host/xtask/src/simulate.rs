//! `cargo xtask simulate`: long random histories of the rotation machine, by seed. The explorer's own binary does it; this builds and runs it.

use std::path::Path;

use crate::process;

/// How much.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many seeds. Each stands for a scene and a history of 10,000 turns.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed: repeats what was printed. Without it a random one.
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<bool> {
    // The explorer and the machine are optimised in every profile.
    let mut explorer = process::cargo(root);
    explorer.args([
        "run",
        "--locked",
        "-p",
        "keywheel-explorer",
        "--bin",
        "simulate",
        "--",
    ]);
    explorer.args(["--seeds", &options.seeds.to_string()]);
    if let Some(seed) = options.seed {
        explorer.args(["--seed", &seed.to_string()]);
    }
    process::stream(&mut explorer, |_| {})
}
