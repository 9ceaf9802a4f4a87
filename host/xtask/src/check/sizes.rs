//! A file that is too long to read is two files; a plugin that is too long to read before it is trusted does too much.

use std::collections::BTreeMap;

use super::{Finding, Repository};

const MOST_LINES: usize = 500;
/// Of all sources of one plugin.
const MOST_LINES_OF_PLUGIN: usize = 299;
/// Those that have more to look at before they change anything: a directory's password policies, hashes and rights; of SQL Server the rights of two logins
/// that have to be the same, and the rules of Windows; of PostgreSQL replicas, and all that two roles have to have in common; of RabbitMQ the same of two
/// users; of IAM whose the other key of a user is, since keys have no names.
const LARGER: [(&str, usize); 5] = [
    ("plugins/aws-iam", 530),
    ("plugins/rabbitmq", 420),
    ("plugins/openldap", 550),
    ("plugins/mssql", 670),
    ("plugins/postgres", 700),
];
const KINDS: [&str; 14] = [
    "rs", "wit", "py", "ts", "tsx", "js", "mjs", "go", "c", "h", "sql", "sh", "css", "html",
];

pub(super) fn check(repository: &Repository) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut plugins = BTreeMap::new();
    for file in &repository.files {
        let is_source = file
            .rsplit_once('.')
            .is_some_and(|(_, ending)| KINDS.contains(&ending));
        if is_source && let Some(text) = repository.text(file)? {
            findings.extend(measure(file, &text));
            if let Some(plugin) = plugin_of(file, &repository.files) {
                *plugins.entry(plugin).or_insert(0) += text.lines().count();
            }
        }
    }
    findings.extend(
        plugins
            .into_iter()
            .filter_map(|(plugin, lines)| measure_plugin(plugin, lines)),
    );
    Ok(findings)
}

/// The folder of the plugin that a file is a source of: it has a manifest.
fn plugin_of<'f>(file: &'f str, files: &[String]) -> Option<&'f str> {
    let (folder, _) = file.split_once("/src/")?;
    let manifest = format!("{folder}/manifest.toml");
    (folder.starts_with("plugins/") && files.contains(&manifest)).then_some(folder)
}

fn measure_plugin(plugin: &str, lines: usize) -> Option<Finding> {
    let larger = LARGER.iter().find(|(name, _)| *name == plugin);
    let most = larger.map_or(MOST_LINES_OF_PLUGIN, |(_, most)| *most);
    (lines > most).then(|| {
        let message = format!("its sources have {lines} lines, at most {most} are allowed");
        Finding::new(
            plugin,
            message,
            "what other plugins need too belongs into plugins/sdk",
        )
    })
}

fn measure(file: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    if lines <= MOST_LINES {
        return None;
    }
    let message = format!("has {lines} lines, at most {MOST_LINES} are allowed");
    Some(Finding::new(
        file,
        message,
        "split it by what it is about: `name.rs` and a folder `name/`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sources_beside_a_manifest_are_a_plugins() {
        let files = [
            "plugins/x/manifest.toml",
            "plugins/x/src/lib.rs",
            "plugins/sdk/src/lib.rs",
        ]
        .map(str::to_owned);
        assert_eq!(plugin_of(&files[1], &files), Some("plugins/x"));
        assert_eq!(plugin_of(&files[2], &files), None);
        assert_eq!(measure_plugin("plugins/x", 299), None);
        assert!(measure_plugin("plugins/x", 300).is_some());
    }

    #[test]
    fn the_line_too_many_is_found_whatever_the_file_says_of_itself() {
        assert_eq!(measure("a.rs", &"\n".repeat(500)), None);
        assert!(measure("a.rs", &"\n".repeat(501)).is_some());
        assert!(measure("a.rs", &format!("//! @generated\n{}", "\n".repeat(501))).is_some());
    }
}
