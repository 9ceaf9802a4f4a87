//! Crates that are unmaintained, unsound or in the way: `host/xtask/banned.toml`, kept by hand.

use anyhow::Context as _;
use semver::{Version, VersionReq};
use serde::Deserialize;

use super::{Finding, Repository};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Banned {
    /// When somebody last looked the list through.
    #[serde(rename = "date")]
    _date: toml::value::Datetime,
    #[serde(rename = "crate")]
    crates: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    /// Left out: every version.
    versions: Option<VersionReq>,
    reason: String,
    instead: String,
}

pub(super) fn check(repository: &Repository) -> anyhow::Result<Vec<Finding>> {
    let banned: Banned = toml::from_str(&repository.list("banned.toml")?).context("banned.toml is wrong")?;
    let packages = repository
        .host
        .packages
        .iter()
        .chain(&repository.plugins.packages);
    Ok(packages
        .filter_map(|package| banned.finding(&package.name, &package.version))
        .collect())
}

impl Banned {
    fn finding(&self, name: &str, version: &Version) -> Option<Finding> {
        let fits = |entry: &&Entry| {
            entry.name == name
                && entry
                    .versions
                    .as_ref()
                    .is_none_or(|versions| versions.matches(version))
        };
        let entry = self.crates.iter().find(fits)?;
        let way_out = format!(
            "use {}; `cargo tree -i {name}` says who brings it in",
            entry.instead
        );
        Some(Finding::new(
            format!("{name} {version}"),
            entry.reason.as_str(),
            way_out,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banned_version_is_found_and_a_newer_one_is_not() {
        let text = "date = 2026-01-01\n[[crate]]\nname = 'ring'\nversions = '<0.17'\nreason = 'old'\ninstead = '0.17'\n\
                    [[crate]]\nname = 'atty'\nreason = 'dead'\ninstead = 'std'";
        let banned: Banned = toml::from_str(text).unwrap();
        let found = |name: &str, version: &str| banned.finding(name, &version.parse().unwrap()).is_some();
        assert!(found("ring", "0.16.20") && found("atty", "0.2.14"));
        assert!(!found("ring", "0.17.14") && !found("rustls", "0.23.0"));
    }

    #[test]
    fn the_list_that_is_kept_can_be_read() {
        let banned: Banned = toml::from_str(include_str!("../../banned.toml")).unwrap();
        assert!(banned.finding("openssl-sys", &"0.9.1".parse().unwrap()).is_some());
    }
}
