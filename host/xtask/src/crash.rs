//! `cargo xtask crash`: kills the release binary at every point there is, on real servers. A program of its own does it; this builds both and
//! runs it.

use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::process::Command;

use crate::{plugins, process};

/// What to kill, and how often.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Kill the debug binary, which is built much sooner
    #[arg(long)]
    debug: bool,
    /// Handed on: `--targets a,b`, `--vault v`, `--kills N`, `--seed S`, `--point WORD`, `--path NAME`, `--soak MINUTES`, `--emergency`, `--keep`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<bool> {
    // A name that is none, and the seed, are told before anything takes minutes.
    let mut arguments = options.arguments.clone();
    if !arguments
        .iter()
        .any(|word| word == "--seed" || word.starts_with("--seed="))
    {
        arguments.extend(["--seed".to_owned(), RandomState::new().hash_one(0).to_string()]);
    }
    let mut look = crash(root);
    look.arg("--look").args(&arguments);
    if !process::stream(&mut look, |_| {})? {
        return Ok(false);
    }
    let built = plugins::run(root, &plugins::Options::default())?;
    let mut build = process::cargo(root);
    build.args(["build", "--locked", "-p", "keywheel-cli"]);
    if !options.debug {
        build.arg("--release");
    }
    process::run(&mut build)?;
    let mut failing = process::cargo(root);
    failing.args(["build", "--locked", "-p", "keywheel-cli"]);
    failing.args(["--features", "failpoints", "--bin", "keywheel-failpoints"]);
    process::run(&mut failing)?;
    let profile = if options.debug { "debug" } else { "release" };
    let mut crash = crash(root);
    crash
        .arg("--binary")
        .arg(root.join("target").join(profile).join("keywheel"))
        .arg("--failpoints")
        .arg(root.join("target/debug/keywheel-failpoints"))
        .arg("--plugins")
        .arg(built)
        .arg("--evidence")
        .arg(root.join("target/crash"))
        .args(&arguments);
    process::stream(&mut process::with_own_mounts(crash), |_| {})
}

/// The program that kills. Its own speed does not matter: it waits, and its arithmetic is optimised in every profile.
fn crash(root: &Path) -> Command {
    let mut crash = process::cargo(root);
    crash.args(["run", "--locked", "--quiet", "-p", "keywheel-crash", "--"]);
    crash
}
