//! Dependencies point one way: `host/xtask/layers.toml` says which, cargo's metadata says what is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

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

/// Plugins stand on `wit/` alone: nothing of the host is built into them, and nothing of theirs into the host. Looked at is what
/// cargo resolved, so that it does not matter how a dependency was written: by path, git, registry, under another name, or through others.
pub(super) fn check_plugins(repository: &Repository) -> Vec<Finding> {
    let plugins = Workspace::of(&repository.plugins, repository.root.join("plugins"));
    let host = Workspace::of(&repository.host, repository.root.clone());
    let from_host = plugins.built_of(&host, |path| !path.starts_with(&plugins.folder));
    let from_plugins = host.built_of(&plugins, |path| path.starts_with(&plugins.folder));
    let say = |place: &str, names: Vec<String>| {
        let findings = names.into_iter().map(|name| {
            let message = format!("{name} is built into it: plugins and host share wit/ and nothing else");
            Finding::new(
                place,
                message,
                "say it in wit/ instead; `cargo tree -i` names who asks for it",
            )
        });
        findings.collect::<Vec<_>>()
    };
    [
        say("plugins/Cargo.toml", from_host),
        say("Cargo.toml", from_plugins),
    ]
    .concat()
}

/// What is built in a workspace, and which of it is its own.
struct Workspace {
    folder: PathBuf,
    members: BTreeSet<String>,
    /// Every package by name and manifest.
    packages: Vec<(String, PathBuf)>,
}

impl Workspace {
    fn of(metadata: &Metadata, folder: PathBuf) -> Self {
        let packages = metadata.packages.iter();
        Self {
            folder,
            members: metadata.members().map(|package| package.name.clone()).collect(),
            packages: packages
                .map(|package| (package.name.clone(), package.manifest_path.clone()))
                .collect(),
        }
    }

    /// The packages that are not its own and are `other`'s: by their name, wherever they come from, or by where they lie.
    fn built_of(&self, other: &Self, lies_there: impl Fn(&Path) -> bool) -> Vec<String> {
        let root = [&self.folder, &other.folder]
            .into_iter()
            .min_by_key(|folder| folder.as_os_str().len());
        let foreign = self.packages.iter().filter(|(name, manifest)| {
            let of_repository = root.is_some_and(|root| manifest.starts_with(root));
            let lies_there = of_repository && lies_there(manifest);
            let is_own = self.members.contains(name) && !lies_there;
            !is_own && (lies_there || other.members.contains(name))
        });
        foreign.map(|(name, _)| name.clone()).collect()
    }
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
    fn what_is_built_across_the_wall_is_found_however_it_was_asked_for() {
        let workspace = |folder: &str, members: &[&str], packages: &[(&str, &str)]| Workspace {
            folder: folder.into(),
            members: members.iter().map(|name| (*name).to_owned()).collect(),
            packages: packages
                .iter()
                .map(|(name, manifest)| ((*name).to_owned(), manifest.into()))
                .collect(),
        };
        let host = workspace(
            "/r",
            &["keywheel-model"],
            &[("keywheel-model", "/r/host/model/Cargo.toml")],
        );
        let built = |packages: &[(&str, &str)]| {
            let own = ("keywheel-sdk", "/r/plugins/sdk/Cargo.toml");
            let plugins = workspace("/r/plugins", &["keywheel-sdk"], &[&[own], packages].concat());
            plugins.built_of(&host, |path| !path.starts_with("/r/plugins"))
        };
        assert!(built(&[("serde", "/registry/serde/Cargo.toml")]).is_empty());
        for (name, manifest) in [
            ("keywheel-model", "/r/host/model/Cargo.toml"),
            ("keywheel-model", "/git/checkouts/x/host/model/Cargo.toml"),
            ("keywheel-model", "/registry/keywheel-model/Cargo.toml"),
            ("helper", "/r/tests/helper/Cargo.toml"),
        ] {
            assert_eq!(built(&[(name, manifest)]), [name], "{manifest}");
        }
        let plugins = workspace("/r/plugins", &["keywheel-sdk"], &[]);
        let host = workspace(
            "/r",
            &["keywheel-model"],
            &[
                ("keywheel-model", "/r/host/model/Cargo.toml"),
                ("keywheel-sdk", "/git/plugins/sdk/Cargo.toml"),
                ("other", "/r/plugins/other/Cargo.toml"),
            ],
        );
        let found = host.built_of(&plugins, |path| path.starts_with("/r/plugins"));
        assert_eq!(found, ["keywheel-sdk", "other"]);
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
