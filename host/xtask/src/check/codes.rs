//! Every code that the product can print stands in the reference, and the reference names none that is printed by nothing.
//!
//! Codes are string constants of lower-case words with dots between them. All such constants are looked at, so that a new one
//! cannot be forgotten: it is an error's code, an action of the audit trail, or it is named here as neither.

use std::collections::BTreeMap;

use anyhow::Context as _;

use super::{Finding, Repository};

const ERRORS: &str = "docs/reference/errors.md";
const ACTIONS: &str = "docs/reference/audit-actions.md";
/// The names of the configuration's keys.
const KEYS: &str = "host/config/src/effective.rs";
/// Dotted like a code: derivations of secrets, and keys of the store's own.
const OTHER_WORDS: [&str; 4] = ["postgres.scram-sha-256", "redis.sha256", "audit.key", "vault.key"];
/// Dotted like a code: names of files.
const FILES: [&str; 4] = ["toml", "lock", "json", "db"];

pub(super) fn check(repository: &Repository) -> anyhow::Result<Vec<Finding>> {
    let mut printed = BTreeMap::new();
    for file in repository.files.iter().filter(|file| is_source(file)) {
        for (line, code) in constants(&repository.text(file)?.unwrap_or_default()) {
            printed.entry(code).or_insert_with(|| format!("{file}:{line}"));
        }
    }
    let mut documented = BTreeMap::new();
    for page in [ERRORS, ACTIONS] {
        let text = repository
            .text(page)?
            .with_context(|| format!("{page} is no text"))?;
        documented.extend(rows(&text).map(|(line, code)| (code, format!("{page}:{line}"))));
    }
    Ok(compare(&printed, &documented))
}

fn is_source(file: &str) -> bool {
    let is_product = file.starts_with("host/") && !file.starts_with("host/xtask/")
        || file.starts_with("plugins/") && !file.starts_with("plugins/templates/");
    is_product
        && file.contains("/src/")
        && matches!(file.rsplit_once('.'), Some((stem, "rs")) if !stem.ends_with("/tests"))
        && file != KEYS
}

fn compare(printed: &BTreeMap<String, String>, documented: &BTreeMap<String, String>) -> Vec<Finding> {
    let missing = printed.iter().filter(|(code, _)| !documented.contains_key(*code));
    let missing = missing.map(|(code, place)| {
        let way_out = format!("add a row to {ERRORS}, or, for an action of the audit trail, to {ACTIONS}");
        Finding::new(place, format!("`{code}` is not documented"), way_out)
    });
    let stale = documented.iter().filter(|(code, _)| !printed.contains_key(*code));
    let stale = stale.map(|(code, place)| {
        Finding::new(
            place,
            format!("`{code}` is printed by nothing"),
            "remove its row, or correct the code",
        )
    });
    missing.chain(stale).collect()
}

/// The codes among the string constants of a source, and at the beginning of one that goes on with `: `, with their lines.
/// Comments and the tests at the end are left out.
fn constants(source: &str) -> impl Iterator<Item = (usize, String)> {
    let product = source.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = product.lines().enumerate();
    let code = lines.filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.flat_map(|(at, line)| {
        // Whether a quote opens or closes does not matter: between a closing and an opening one stands no dotted word.
        let texts = line.split('"').skip(1);
        let words = texts.filter_map(|text| text.split(": ").next().filter(|word| is_code(word)));
        words
            .map(move |word| (at + 1, word.to_owned()))
            .collect::<Vec<_>>()
    })
}

fn is_code(word: &str) -> bool {
    let is_word = |part: &str| {
        let is_code_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        part.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
            && part.bytes().all(is_code_byte)
    };
    let is_file = word
        .rsplit('.')
        .next()
        .is_some_and(|ending| FILES.contains(&ending));
    word.contains('.') && word.split('.').all(is_word) && !is_file && !OTHER_WORDS.contains(&word)
}

/// The codes in the first cells of a page's tables, with their lines. A pattern (`sql.<sqlstate>`) is none.
fn rows(page: &str) -> impl Iterator<Item = (usize, String)> {
    let cells = page.lines().enumerate().filter_map(|(at, line)| {
        let cell = line.strip_prefix("| ")?.split('|').next()?;
        Some((at + 1, cell.to_owned()))
    });
    cells.flat_map(|(at, cell)| {
        let codes = cell.split('`').skip(1).step_by(2).filter(|word| is_code(word));
        codes.map(|code| (at, code.to_owned())).collect::<Vec<_>>()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(found: impl Iterator<Item = (usize, String)>) -> Vec<(usize, String)> {
        found.collect()
    }

    #[test]
    fn constants_are_found_in_code_and_not_in_comments_tests_or_names_of_files() {
        let source = r#"
            Self::Full => "store.full", // and "tls.name" behind it
            // "store.comment"
            format!("run.gap: {what}, and: so on");
            let (a, b) = ("keywheel.toml", "redis.sha256");
            let no = ["Store.full", "store", "store.", "two words.x", "{name}.x", "/a.b"];
            #[cfg(test)]
            mod tests { "store.test" }
        "#;
        let expected = [
            (2, "store.full".to_owned()),
            (2, "tls.name".to_owned()),
            (4, "run.gap".to_owned()),
        ];
        assert_eq!(codes(constants(source)), expected);
    }

    #[test]
    fn rows_give_the_codes_of_their_first_cell_only() {
        let page = "`a.b` in text\n| code | cause |\n|---|---|\n| `a.c`, `a.d` | see `a.e` |\n| `sql.<sqlstate>` | x |\n";
        assert_eq!(codes(rows(page)), [(4, "a.c".to_owned()), (4, "a.d".to_owned())]);
    }

    #[test]
    fn what_is_missing_and_what_is_stale_is_found_where_it_stands() {
        let map = |codes: &[&str], place: &str| -> BTreeMap<String, String> {
            codes
                .iter()
                .map(|code| ((*code).to_owned(), place.to_owned()))
                .collect()
        };
        let printed = map(&["a.both", "a.new"], "x.rs:1");
        let documented = map(&["a.both", "a.old"], "errors.md:2");
        let places: Vec<_> = compare(&printed, &documented)
            .into_iter()
            .map(|finding| (finding.place, finding.message))
            .collect();
        let expected = [
            ("x.rs:1".to_owned(), "`a.new` is not documented".to_owned()),
            (
                "errors.md:2".to_owned(),
                "`a.old` is printed by nothing".to_owned(),
            ),
        ];
        assert_eq!(places, expected);
    }
}
