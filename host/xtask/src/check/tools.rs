//! What cargo's own tools say, of every workspace.

use std::process::Command;

use super::{Finding, Repository};
use crate::process;

pub(super) fn format(repository: &Repository) -> anyhow::Result<Vec<Finding>> {
    each(
        repository,
        "is not formatted",
        "`cargo fmt --all`, in its folder",
        |cargo| {
            cargo.args(["fmt", "--all", "--check", "--", "--files-with-diff"]);
        },
    )
}

pub(super) fn lints(repository: &Repository) -> anyhow::Result<Vec<Finding>> {
    each(
        repository,
        "has warnings",
        "mend each place above; an `#[expect]` needs a reason",
        |cargo| {
            cargo.args([
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ]);
        },
    )
}

pub(super) fn docs(repository: &Repository) -> anyhow::Result<Vec<Finding>> {
    each(
        repository,
        "has documentation with warnings",
        "mend each place above",
        |cargo| {
            cargo.args([
                "doc",
                "--locked",
                "--workspace",
                "--no-deps",
                "--document-private-items",
            ]);
            cargo.env("RUSTDOCFLAGS", "-D warnings");
        },
    )
}

/// Runs a tool in each workspace; its output is shown. The hostile guest is built of what the plugins are, so they share a folder.
fn each(
    repository: &Repository,
    message: &str,
    way_out: &str,
    prepare: fn(&mut Command),
) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (name, folder, target) in [
        ("the host's workspace", "", "target"),
        ("plugins", "plugins", "plugins/target"),
        ("tests/hostile/guests", "tests/hostile/guests", "plugins/target"),
    ] {
        let mut cargo = process::cargo(&repository.root.join(folder));
        prepare(cargo.env("CARGO_TARGET_DIR", repository.root.join(target)));
        if !process::stream(&mut cargo, |_| ())? {
            findings.push(Finding::new(name, message, way_out));
        }
    }
    Ok(findings)
}
