//! Words that say that something is not done. What is not built is said in the documentation, not in the code.

use super::{Finding, Repository};

const KINDS: [&str; 12] = [
    "rs", "toml", "md", "wit", "sh", "json", "py", "ts", "js", "go", "c", "sql",
];
/// In two pieces, so that this file holds none of them.
const WORDS: [(&str, &str); 6] = [
    ("TO", "DO"),
    ("FIX", "ME"),
    ("X", "XX"),
    ("HA", "CK"),
    ("todo", "!("),
    ("unimplemented", "!("),
];

pub(super) fn check(repository: &Repository) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in &repository.files {
        let is_text = file.starts_with(".ci/")
            || file
                .rsplit_once('.')
                .is_some_and(|(_, ending)| KINDS.contains(&ending));
        if is_text && let Some(text) = repository.text(file)? {
            findings.extend(text.lines().enumerate().filter_map(|(at, line)| {
                let word = unfinished(line)?;
                let place = format!("{file}:{}", at + 1);
                Some(Finding::new(
                    place,
                    format!("`{word}`"),
                    "do it, or say in the documentation what is not there",
                ))
            }));
        }
    }
    Ok(findings)
}

fn unfinished(line: &str) -> Option<String> {
    let is_word = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    WORDS
        .iter()
        .map(|(first, second)| format!("{first}{second}"))
        .find(|word| {
            line.match_indices(word.as_str()).any(|(at, _)| {
                let before = at.checked_sub(1).map(|before| line.as_bytes()[before]);
                let after = line.as_bytes().get(at + word.len()).copied();
                !is_word(before) && (word.ends_with('(') || !is_word(after))
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_are_found_and_parts_of_others_are_not() {
        for (first, second) in WORDS {
            let word = format!("{first}{second}");
            assert_eq!(unfinished(&format!("// {word} later")), Some(word.clone()));
            assert_eq!(unfinished(&format!("A{word}")), None, "{word}");
        }
        assert_eq!(unfinished("todo = \"warn\"  # a lint's name, base64: XXXX"), None);
    }
}
