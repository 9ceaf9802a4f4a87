//! Names that say nothing: what is in such a file could be anything, and soon is.

use std::path::Path;

use super::{Finding, Repository};

const BANNED: [&str; 9] = [
    "util", "utils", "helper", "helpers", "misc", "common", "manager", "managers", "shared",
];

pub(super) fn check(repository: &Repository) -> anyhow::Result<Vec<Finding>> {
    let found = |place: String, name: &str| {
        let message = format!("`{name}` says nothing");
        Finding::new(place, message, "name it after the one thing that it is about")
    };
    let mut findings = Vec::new();
    for file in &repository.files {
        findings.extend(of_path(file).map(|name| found(file.clone(), name)));
        if Path::new(file).extension().is_some_and(|ending| ending == "rs") {
            let text = repository.text(file)?.unwrap_or_default();
            let modules = modules(&text).map(|(line, name)| found(format!("{file}:{line}"), name));
            findings.extend(modules);
        }
    }
    Ok(findings)
}

fn banned(name: &str) -> Option<&'static str> {
    BANNED.into_iter().find(|banned| *banned == name)
}

/// A banned name among the folders of a path, or as the name of its file.
fn of_path(file: &str) -> Option<&'static str> {
    file.split('/')
        .find_map(|part| banned(part.split_once('.').map_or(part, |(stem, _)| stem)))
}

/// Modules of such a name, with their lines.
fn modules(source: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let lines = source.lines().enumerate();
    let code = lines.filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.filter_map(|(at, line)| {
        let mut words = line
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty());
        let first = words.find(|word| !["pub", "crate", "super", "in", "self"].contains(word))?;
        let name = words.next().filter(|_| first == "mod")?;
        banned(name).map(|name| (at + 1, name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_are_found_by_their_whole_name() {
        assert_eq!(of_path("host/x/src/utils.rs"), Some("utils"));
        assert_eq!(of_path("tests/common/scene.rs"), Some("common"));
        assert_eq!(of_path("plugins/helpers/src/lib.rs"), Some("helpers"));
        assert_eq!(of_path("docs/misc.md"), Some("misc"));
        assert_eq!(of_path("host/x/src/commonly_used.rs"), None);
    }

    #[test]
    fn modules_are_found_however_visible_and_other_words_are_not() {
        let source = "mod utils;\n// mod misc;\n    pub(crate) mod helpers {\npub mod common;\nmod commons;\nlet common = 1;\n";
        let found: Vec<_> = modules(source).collect();
        assert_eq!(found, [(1, "utils"), (3, "helpers"), (4, "common")]);
    }
}
