//! The top level is what a newcomer sees first: it holds what it is meant to hold.

use std::collections::BTreeSet;

use super::{Finding, Repository};

const NEEDED: [&str; 11] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "SECURITY.md",
    "README.md",
    "docs",
    "host",
    "plugins",
    "policies",
    "tests",
    "wit",
];

pub(super) fn check(repository: &Repository) -> Vec<Finding> {
    compare(repository.files.iter().map(String::as_str))
}

fn compare<'a>(files: impl Iterator<Item = &'a str>) -> Vec<Finding> {
    let top: BTreeSet<&str> = files.filter_map(|file| file.split('/').next()).collect();
    let stray = top
        .iter()
        .filter(|name| !NEEDED.contains(name) && !name.starts_with('.'));
    let stray = stray.map(|name| {
        Finding::new(
            *name,
            "does not belong on the top level",
            "move it below docs/, host/ or tests/",
        )
    });
    let missing = NEEDED.iter().filter(|name| !top.contains(**name));
    let missing =
        missing.map(|name| Finding::new(*name, "is missing on the top level", "every clone has it: add it"));
    stray.chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stray_and_a_missing_name_are_found_and_dot_files_are_not() {
        let files: Vec<_> = NEEDED
            .iter()
            .filter(|name| **name != "wit")
            .copied()
            .chain([".gitignore", "scripts/x.sh"])
            .collect();
        let places: Vec<_> = compare(files.into_iter())
            .into_iter()
            .map(|finding| finding.place)
            .collect();
        assert_eq!(places, ["scripts", "wit"]);
    }
}
