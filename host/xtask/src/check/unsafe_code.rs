//! Every crate of the host forbids unsafe code in its own words.

use std::fs;

use anyhow::Context as _;

use super::{Finding, Repository};

/// Crates that may have some, with `deny` and an `#[expect]` with its reason at each place.
const MAY_EXPECT: [&str; 1] = ["keywheel-plugin"];

pub(super) fn check(repository: &Repository) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in repository.host.members() {
        let roots = package
            .targets
            .iter()
            .filter(|target| target.kind.iter().any(|kind| kind == "lib" || kind == "bin"));
        for file in roots.map(|target| &target.src_path) {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            let place = file
                .strip_prefix(&repository.root)
                .unwrap_or(file)
                .display()
                .to_string();
            findings.extend(look(&place, &text, MAY_EXPECT.contains(&package.name.as_str())));
        }
    }
    Ok(findings)
}

fn look(place: &str, text: &str, may_expect: bool) -> Option<Finding> {
    let has = |word: &str| {
        text.lines()
            .any(|line| line.trim() == format!("#![{word}(unsafe_code)]"))
    };
    if has("forbid") || may_expect && has("deny") {
        return None;
    }
    Some(Finding::new(
        place,
        "does not forbid unsafe code",
        "add `#![forbid(unsafe_code)]`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbid_is_needed_and_deny_only_where_it_may_be() {
        assert_eq!(look("a", "//! x\n#![forbid(unsafe_code)]\n", false), None);
        assert!(look("a", "// #![forbid(unsafe_code)]\n", false).is_some());
        assert!(look("a", "#![deny(unsafe_code)]\n", false).is_some());
        assert_eq!(look("a", "#![deny(unsafe_code)]\n", true), None);
    }
}
