//! `cargo xtask properties`: what every parser and store promises, for more cases than the tests try, and from another seed.

use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;

use anyhow::Context as _;

use crate::process;

/// As `tests/properties/src/lib.rs` has them.
const CASES_VARIABLE: &str = "KEYWHEEL_PROPERTY_CASES";
const SEED_VARIABLE: &str = "KEYWHEEL_PROPERTY_SEED";

/// How much.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many cases of each property that costs little; one that costs more takes its share. The tests try 256.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    cases: u32,
    /// The seed: repeats what was printed. Without it a random one.
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<bool> {
    let seed = options.seed.unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("seed {seed}");
    let mut tests = process::cargo(root);
    // Of the whole workspace, as everywhere else: alone, the crate would be built with other features, and so anew.
    tests.args(["test", "--locked", "--no-fail-fast", "--workspace"]);
    for suite in suites(root)? {
        tests.args(["--test", &suite]);
    }
    tests
        .env(CASES_VARIABLE, options.cases.to_string())
        .env(SEED_VARIABLE, seed.to_string());
    let (mut passed, mut failed) = (0, 0);
    let well = process::stream(&mut tests, |line| {
        if line.starts_with("test ") {
            passed += u64::from(line.ends_with("... ok"));
            failed += u64::from(line.ends_with("... FAILED"));
        }
    })?;
    println!(
        "properties: cases={} seed={seed} held={passed} broken={failed}",
        options.cases
    );
    Ok(well)
}

/// The test programs of the crate: one for each file, and for each folder with a `main.rs`.
fn suites(root: &Path) -> anyhow::Result<Vec<String>> {
    let folder = root.join("tests/properties/tests");
    let mut suites = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "rs") || path.join("main.rs").is_file() {
            suites.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    suites.sort();
    anyhow::ensure!(!suites.is_empty(), "{} has no tests", folder.display());
    Ok(suites)
}
