//! Every crate takes the lints of its workspace: one that does not is held to none, and no other rule would notice.

use anyhow::Context as _;

use super::{Finding, Repository};

/// Lints that a crate which takes none of a workspace has to name itself: it is built alone, or copied by authors of plugins.
const NEEDED: [(&str, &str); 4] = [
    ("rust", "missing_docs"),
    ("rust", "unreachable_pub"),
    ("rust", "unused_must_use"),
    ("clippy", "pedantic"),
];

pub(super) fn check(repository: &Repository) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in repository.files.iter().filter(|file| is_manifest(file)) {
        let text = repository.text(file)?.unwrap_or_default();
        let manifest: toml::Table = toml::from_str(&text).with_context(|| format!("{file} is no TOML"))?;
        findings.extend(missing(&manifest).map(|(group, lint)| {
            let message = format!("nothing asks it for {lint}");
            let way_out = format!(
                "`[lints] workspace = true`; in a workspace or a crate alone `{lint}` in its lints of {group}"
            );
            Finding::new(file, message, way_out)
        }));
    }
    Ok(findings)
}

fn is_manifest(file: &str) -> bool {
    file == "Cargo.toml" || file.ends_with("/Cargo.toml")
}

/// The first lint that neither the workspace nor the manifest itself asks for. For a workspace: that it does not ask its crates for.
fn missing(manifest: &toml::Table) -> Option<(&'static str, &'static str)> {
    let own = manifest.get("lints");
    let of_workspace = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("lints"));
    let inherits = own
        .and_then(|lints| lints.get("workspace"))
        .and_then(toml::Value::as_bool);
    if inherits == Some(true) && !manifest.contains_key("workspace") {
        return None;
    }
    NEEDED
        .into_iter()
        .find(|(group, lint)| !is_asked_for(of_workspace.or(own), group, lint))
}

fn is_asked_for(lints: Option<&toml::Value>, group: &str, lint: &str) -> bool {
    let setting = lints
        .and_then(|lints| lints.get(group))
        .and_then(|group| group.get(lint));
    let level = setting.map(|setting| setting.get("level").unwrap_or(setting));
    level
        .and_then(toml::Value::as_str)
        .is_some_and(|level| level != "allow")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUST: &str = "missing_docs = 'warn'\nunreachable_pub = 'warn'\nunused_must_use = 'deny'\n";
    const PEDANTIC: &str = "pedantic = { level = 'warn', priority = -1 }";

    fn lint(manifest: &str) -> Option<&'static str> {
        missing(&toml::from_str(manifest).unwrap()).map(|(_, lint)| lint)
    }

    #[test]
    fn a_crate_without_the_lints_of_its_workspace_or_as_many_of_its_own_is_found() {
        let own = format!("[lints.rust]\n{RUST}[lints.clippy]\n");
        for (lints, expected) in [
            ("[lints]\nworkspace = true\n".to_owned(), None),
            (format!("{own}{PEDANTIC}\n"), None),
            (String::new(), Some("missing_docs")),
            ("[lints]\nworkspace = false\n".to_owned(), Some("missing_docs")),
            (format!("{own}pedantic = 'allow'\n"), Some("pedantic")),
            (own, Some("pedantic")),
        ] {
            assert_eq!(
                lint(&format!("[package]\nname = 'x'\n{lints}")),
                expected,
                "{lints}"
            );
        }
    }

    #[test]
    fn a_workspace_that_asks_for_less_is_found() {
        let workspace = |clippy: &str| {
            format!(
                "[workspace]\nresolver = '3'\n[workspace.lints.rust]\n{RUST}[workspace.lints.clippy]\n{clippy}\n"
            )
        };
        assert_eq!(lint(&workspace(PEDANTIC)), None);
        assert_eq!(lint(&workspace("pedantic = 'allow'")), Some("pedantic"));
        assert_eq!(lint(&workspace("")), Some("pedantic"));
        let alone = format!("[workspace]\n[lints.rust]\n{RUST}[lints.clippy]\n{PEDANTIC}\n");
        assert_eq!(lint(&alone), None);
    }
}
