//! A relative link in a page leads to a file of the repository, and its fragment to a heading.

use std::collections::BTreeSet;

use super::{Finding, Repository};

pub(super) fn check(repository: &Repository) -> anyhow::Result<Vec<Finding>> {
    let mut headings = BTreeSet::new();
    let mut links = Vec::new();
    for file in repository.files.iter().filter(|file| is_page(file)) {
        let text = repository.text(file)?.unwrap_or_default();
        let prose = prose(&text);
        headings.extend(
            prose
                .iter()
                .filter_map(|(_, line)| Some(format!("{file}#{}", anchor(line)?))),
        );
        for (at, line) in prose {
            links.extend(targets(line).map(|target| (format!("{file}:{at}"), resolve(file, target))));
        }
    }
    let leads_somewhere = |to: &str| match to.split_once('#') {
        Some((page, _)) if is_page(page) => headings.contains(to),
        Some((file, _)) => is_there(&repository.files, file),
        None => is_there(&repository.files, to),
    };
    let broken = links.into_iter().filter(|(_, to)| !leads_somewhere(to));
    Ok(broken
        .map(|(place, to)| {
            Finding::new(
                place,
                format!("leads to `{to}`, which is not there"),
                "correct the link",
            )
        })
        .collect())
}

pub(super) fn is_page(file: &str) -> bool {
    file.rsplit_once('.').is_some_and(|(_, ending)| ending == "md")
}

/// A file, or a folder of files.
fn is_there(files: &[String], wanted: &str) -> bool {
    files.iter().any(|file| {
        file.strip_prefix(wanted)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || wanted.is_empty())
    })
}

/// The lines that are no code, with their numbers.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut is_code = false;
    let lines = text.lines().enumerate().filter(|(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    lines.map(|(at, line)| (at + 1, line)).collect()
}

/// The fragment that leads to a heading.
fn anchor(line: &str) -> Option<String> {
    let title = line
        .strip_prefix('#')?
        .trim_start_matches('#')
        .strip_prefix(' ')?;
    let kept = title.to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(kept.map(|c| if c == ' ' { '-' } else { c }).collect())
}

/// The relative targets of the links in a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    links.filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
}

/// A target as a path from the root.
fn resolve(page: &str, target: &str) -> String {
    let (path, fragment) = target
        .split_once('#')
        .map_or((target, None), |(path, name)| (path, Some(name)));
    let mut parts: Vec<&str> = page.split('/').collect();
    if !path.is_empty() {
        parts.pop();
    }
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    let path = parts.join("/");
    fragment.map_or(path.clone(), |name| format!("{path}#{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_resolved_from_its_page() {
        for (target, wanted) in [
            ("b.md", "docs/b.md"),
            ("../README.md", "README.md"),
            ("reference/", "docs/reference"),
            ("#a-b", "docs/a.md#a-b"),
            ("./b.md#c", "docs/b.md#c"),
        ] {
            assert_eq!(resolve("docs/a.md", target), wanted);
        }
    }

    #[test]
    fn links_of_prose_are_found_and_those_to_the_web_and_in_code_are_not() {
        let text = "[a](b.md) and [c](https://d) [e](f#g)\n```\n[h](i)\n```\n[j](k)";
        let found: Vec<_> = prose(text)
            .into_iter()
            .flat_map(|(at, line)| targets(line).map(move |to| (at, to)))
            .collect();
        assert_eq!(found, [(1, "b.md"), (1, "f#g"), (5, "k")]);
    }

    #[test]
    fn headings_have_the_fragments_that_readers_use() {
        assert_eq!(
            anchor("## Exit codes: `run`, and 2 more").as_deref(),
            Some("exit-codes-run-and-2-more")
        );
        assert_eq!(anchor("#hash"), None);
    }

    #[test]
    fn files_and_their_folders_are_there_and_beginnings_of_names_are_not() {
        let files = ["docs/reference/errors.md".to_owned()];
        for (wanted, there) in [
            ("docs/reference/errors.md", true),
            ("docs/reference", true),
            ("docs/ref", false),
        ] {
            assert_eq!(is_there(&files, wanted), there, "{wanted}");
        }
    }
}
