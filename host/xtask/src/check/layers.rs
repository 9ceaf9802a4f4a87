//! Dependencies point one way: `host/xtask/layers.toml` says which, cargo's metadata says what is.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde::Deserialize;

use super::metadata::Metadata;
use super::{Finding, Repository};

const PREFIX: &str = "keywheel-";
const LIST: &str = "host/xtask/layers.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Layers {
    tests: BTreeSet<String>,
    crates: BTreeMap<String, BTreeSet<String>>,
}

/// One crate uses another of this repository.
#[derive(Clone, Debug)]
struct Use {
    from: String,
    to: String,
    only_in_tests: bool,
}

pub(super) fn check(repository: &Repository) -> anyhow::Result<Vec<Finding>> {
    let layers: Layers =
        toml::from_str(&repository.list("layers.toml")?).with_context(|| format!("{LIST} is wrong"))?;
    let crates: Vec<_> = repository
        .host
        .members()
        .map(|package| short(&package.name).to_owned())
        .collect();
    Ok(layers.findings(&crates, &uses(&repository.host)))
}

/// Plugins stand on `wit/` alone: nothing of theirs comes from outside their workspace, and nothing outside uses them.
pub(super) fn check_plugins(repository: &Repository) -> Vec<Finding> {
    let folder = repository.root.join("plugins");
    let mut findings = Vec::new();
    for (metadata, inside) in [(&repository.plugins, true), (&repository.host, false)] {
        for package in metadata.members() {
            for dependency in &package.dependencies {
                if dependency
                    .path
                    .as_ref()
                    .is_some_and(|path| path.starts_with(&folder) != inside)
                {
                    let message = format!(
                        "depends on {}: plugins and host share wit/ and nothing else",
                        dependency.name
                    );
                    findings.push(Finding::new(
                        place(repository, &package.name, inside),
                        message,
                        "say it in wit/ instead",
                    ));
                }
            }
        }
    }
    findings
}

fn place(repository: &Repository, name: &str, plugin: bool) -> String {
    let metadata = if plugin {
        &repository.plugins
    } else {
        &repository.host
    };
    let manifest = metadata
        .members()
        .find(|package| package.name == name)
        .map(|package| &package.manifest_path);
    manifest
        .and_then(|path| path.strip_prefix(&repository.root).ok())
        .map_or_else(|| name.to_owned(), |path| path.display().to_string())
}

fn short(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

fn uses(metadata: &Metadata) -> Vec<Use> {
    let members: BTreeSet<_> = metadata.members().map(|package| package.name.as_str()).collect();
    let of = |package: &super::metadata::Package| {
        let own = package
            .dependencies
            .iter()
            .filter(|dependency| members.contains(dependency.name.as_str()));
        let from = short(&package.name).to_owned();
        own.map(|dependency| Use {
            from: from.clone(),
            to: short(&dependency.name).to_owned(),
            only_in_tests: dependency.kind.as_deref() == Some("dev"),
        })
        .collect::<Vec<_>>()
    };
    metadata.members().flat_map(of).collect()
}

impl Layers {
    fn findings(&self, crates: &[String], uses: &[Use]) -> Vec<Finding> {
        let mut findings = Vec::new();
        for name in crates.iter().filter(|name| !self.crates.contains_key(*name)) {
            findings.push(Finding::new(
                LIST,
                format!("the crate {name} is not in it"),
                "add the crate and what it may depend on",
            ));
        }
        for name in self.crates.keys().filter(|name| !crates.contains(name)) {
            findings.push(Finding::new(
                LIST,
                format!("there is no crate {name}"),
                "take the line out",
            ));
        }
        for name in self.crates.keys().filter(|name| self.below(name).contains(*name)) {
            findings.push(Finding::new(
                LIST,
                format!("{name} lies below itself"),
                "layers point one way: take one of the lines out",
            ));
        }
        for Use {
            from,
            to,
            only_in_tests,
        } in uses
        {
            let Some(allowed) = self.crates.get(from) else {
                continue;
            };
            let in_tests = || *only_in_tests && (self.tests.contains(to) || self.below(from).contains(to));
            if !allowed.contains(to) && !in_tests() {
                let way_out = format!(
                    "let {from} define a trait that a crate above both implements; or change {LIST} with a reason"
                );
                findings.push(Finding::new(
                    format!("crate {from}"),
                    format!("must not depend on {to}"),
                    way_out,
                ));
            }
        }
        findings
    }

    /// Everything that a crate may reach.
    fn below(&self, name: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open: Vec<_> = self.crates.get(name).into_iter().flatten().collect();
        while let Some(next) = open.pop() {
            if found.insert(next.clone()) {
                open.extend(self.crates.get(next).into_iter().flatten());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: &str =
        "tests = ['kit']\n[crates]\nmodel = []\nstore = ['model']\nvault = ['store']\nkit = []\n";

    fn findings(layers: &str, uses: &[(&str, &str, bool)]) -> Vec<String> {
        let layers: Layers = toml::from_str(layers).unwrap();
        let crates: Vec<_> = ["model", "store", "vault", "kit"].map(str::to_owned).into();
        let uses: Vec<_> = uses
            .iter()
            .map(|(from, to, only_in_tests)| Use {
                from: (*from).into(),
                to: (*to).into(),
                only_in_tests: *only_in_tests,
            })
            .collect();
        layers
            .findings(&crates, &uses)
            .into_iter()
            .map(|finding| format!("{} {}", finding.place, finding.message))
            .collect()
    }

    #[test]
    fn a_dependency_against_the_picture_is_found_and_one_along_it_is_not() {
        assert!(findings(LAYERS, &[("store", "model", false), ("vault", "store", false)]).is_empty());
        assert_eq!(
            findings(LAYERS, &[("model", "store", false)]),
            ["crate model must not depend on store"]
        );
        // Not named, although it could be reached.
        assert_eq!(
            findings(LAYERS, &[("vault", "model", false)]),
            ["crate vault must not depend on model"]
        );
    }

    #[test]
    fn tests_may_use_what_lies_below_and_the_kit_but_nothing_above() {
        assert!(findings(LAYERS, &[("vault", "model", true), ("model", "kit", true)]).is_empty());
        assert_eq!(
            findings(LAYERS, &[("model", "vault", true)]),
            ["crate model must not depend on vault"]
        );
    }

    #[test]
    fn an_unlisted_crate_a_stale_line_and_a_circle_are_found() {
        let stale = LAYERS.replace("kit = []\n", "gone = []\n");
        assert_eq!(
            findings(&stale, &[]),
            [
                format!("{LIST} the crate kit is not in it"),
                format!("{LIST} there is no crate gone")
            ]
        );
        let circle = LAYERS.replace("model = []", "model = ['vault']");
        assert!(findings(&circle, &[]).contains(&format!("{LIST} model lies below itself")));
    }
}
