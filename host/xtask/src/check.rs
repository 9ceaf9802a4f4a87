//! `cargo xtask check`: holds the repository to its rules. Each rule its own file; a finding names its place and the way out.

use std::path::Path;

/// Which rules.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these; left out: all.
    rules: Vec<String>,
}

pub(crate) fn run(_root: &Path, options: &Options) -> anyhow::Result<bool> {
    Ok(options.rules.is_empty())
}
