//! Every dependency of both workspaces has a licence that `host/xtask/licences.toml` allows.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde::Deserialize;

use super::{Finding, Repository};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Licences {
    allow: BTreeSet<String>,
}

pub(super) fn check(repository: &Repository) -> anyhow::Result<Vec<Finding>> {
    let licences: Licences =
        toml::from_str(&repository.list("licences.toml")?).context("licences.toml is wrong")?;
    let mut findings = BTreeMap::new();
    for package in repository
        .host
        .packages
        .iter()
        .chain(&repository.plugins.packages)
    {
        let expression = package.license.as_deref().unwrap_or("");
        if !is_met(expression, &licences.allow) {
            let message = format!("its licence is `{expression}`, and no choice of it is on the list");
            let place = format!("{} {}", package.name, package.version);
            let finding = Finding::new(
                &place,
                message,
                "take another crate; or, if it is permissive, add it to host/xtask/licences.toml",
            );
            findings.insert(place, finding);
        }
    }
    Ok(findings.into_values().collect())
}

/// Whether a choice of an SPDX expression has allowed licences only. What is no expression is not.
fn is_met(expression: &str, allow: &BTreeSet<String>) -> bool {
    // `/` is how crates wrote `OR` before there were expressions.
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut reader = Reader {
        words: spaced.split_whitespace().collect(),
        at: 0,
        allow,
    };
    reader.any() == Some(true) && reader.at == reader.words.len()
}

struct Reader<'a> {
    words: Vec<&'a str>,
    at: usize,
    allow: &'a BTreeSet<String>,
}

/// `None`: no expression.
impl Reader<'_> {
    fn next_is(&mut self, word: &str) -> bool {
        let is = self.words.get(self.at) == Some(&word);
        self.at += usize::from(is);
        is
    }

    fn any(&mut self) -> Option<bool> {
        let mut met = self.all()?;
        while self.next_is("OR") {
            met |= self.all()?;
        }
        Some(met)
    }

    fn all(&mut self) -> Option<bool> {
        let mut met = self.one()?;
        while self.next_is("AND") {
            met &= self.one()?;
        }
        Some(met)
    }

    fn one(&mut self) -> Option<bool> {
        if self.next_is("(") {
            let met = self.any()?;
            return self.next_is(")").then_some(met);
        }
        let mut name = self
            .words
            .get(self.at)
            .filter(|word| !["AND", "OR", "WITH", ")"].contains(*word))?
            .to_string();
        self.at += 1;
        if self.next_is("WITH") {
            name = format!("{name} WITH {}", self.words.get(self.at)?);
            self.at += 1;
        }
        Some(self.allow.contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(expression: &str) -> bool {
        is_met(
            expression,
            &[
                "MIT",
                "Apache-2.0",
                "Apache-2.0 WITH LLVM-exception",
                "Unicode-3.0",
            ]
            .map(str::to_owned)
            .into(),
        )
    }

    #[test]
    fn one_allowed_choice_is_enough_and_every_needed_part_must_be_allowed() {
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/MIT",
            "Apache-2.0 / MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "GPL-3.0 AND Zlib OR MIT",
        ] {
            assert!(met(good), "{good}");
        }
        for bad in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR GPL-3.0) AND GPL-2.0",
            "GPL-3.0 OR MIT AND GPL-2.0",
        ] {
            assert!(!met(bad), "{bad}");
        }
    }

    #[test]
    fn an_exception_is_part_of_the_name() {
        assert!(met("Apache-2.0 WITH LLVM-exception"));
        assert!(!met("MIT WITH Classpath-exception-2.0"));
    }

    #[test]
    fn what_is_no_expression_is_not_met() {
        for broken in [
            "", "MIT OR", "(MIT", "MIT)", "MIT MIT", "OR MIT", "MIT WITH", "AND",
        ] {
            assert!(!met(broken), "{broken}");
        }
    }
}
