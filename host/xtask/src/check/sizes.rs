//! A file that is too long to read is two files.

use super::{Finding, Repository};

const MOST_LINES: usize = 500;
const KINDS: [&str; 14] = [
    "rs", "wit", "py", "ts", "tsx", "js", "mjs", "go", "c", "h", "sql", "sh", "css", "html",
];
/// In the first lines of a file that a tool wrote.
const GENERATED: &str = "@generated";

pub(super) fn check(repository: &Repository) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in &repository.files {
        let is_source = file
            .rsplit_once('.')
            .is_some_and(|(_, ending)| KINDS.contains(&ending));
        if is_source && let Some(text) = repository.text(file)? {
            findings.extend(measure(file, &text));
        }
    }
    Ok(findings)
}

fn measure(file: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    if lines <= MOST_LINES || text.lines().take(3).any(|line| line.contains(GENERATED)) {
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
    fn the_line_too_many_is_found_unless_a_tool_wrote_the_file() {
        assert_eq!(measure("a.rs", &"\n".repeat(500)), None);
        assert!(measure("a.rs", &"\n".repeat(501)).is_some());
        assert_eq!(
            measure("a.rs", &format!("// @generated\n{}", "\n".repeat(501))),
            None
        );
    }
}
