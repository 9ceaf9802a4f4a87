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
/// The names of what spans say, which a test holds against their own reference.
const ATTRIBUTES: &str = "host/traces/src/fact.rs";
/// Dotted like a code: derivations of secrets, signatures, and keys of the store's own.
const OTHER_WORDS: [&str; 10] = [
    "aws.sigv4",
    "postgres.scram-sha-256",
    "redis.sha256",
    "mysql.native-password",
    "ldap.ssha",
    "ldap.ssha512",
    "rabbitmq.sha256",
    "mysql.caching-sha2",
    "audit.key",
    "vault.key",
];
const TEST_ONLY: &str = "#[cfg(test)]";
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
        && file != ATTRIBUTES
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
/// Comments and what is built for tests alone are left out.
fn constants(source: &str) -> impl Iterator<Item = (usize, String)> {
    let code = product(source);
    code.flat_map(|(at, line)| {
        // Whether a quote opens or closes does not matter: between a closing and an opening one stands no dotted word.
        let texts = line.split('"').skip(1);
        let words = texts.filter_map(|text| text.split(": ").next().filter(|word| is_code(word)));
        words
            .map(move |word| (at + 1, word.to_owned()))
            .collect::<Vec<_>>()
    })
}

/// The lines of a source that are built for users, with their places from 0. What follows `#[cfg(test)]` goes on to its end alone: the line that
/// closes it, indented as the attribute is, or the end of the line where that opens nothing.
fn product(source: &str) -> impl Iterator<Item = (usize, &str)> {
    let indentation = |line: &str| line.len() - line.trim_start().len();
    // Of what is for tests alone: its indentation, and whether a block was opened.
    let mut tested: Option<(usize, bool)> = None;
    let lines = source.lines().enumerate().filter(move |(_, line)| {
        let text = line.trim();
        match tested {
            None if text.starts_with(TEST_ONLY) => {
                let rest = &text[TEST_ONLY.len()..];
                let is_over = rest.ends_with([';', '}', ',']);
                tested = (!is_over).then(|| (indentation(line), rest.ends_with('{')));
                false
            }
            None => true,
            Some((at, opened)) => {
                let closes = opened && indentation(line) == at && text.starts_with(['}', ')', ']']);
                let stands_alone = !opened && text.ends_with([';', ',', '}']);
                tested = if closes || stands_alone {
                    None
                } else {
                    Some((at, opened || text.ends_with(['{', '(', '['])))
                };
                false
            }
        }
    });
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
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
    // What begins with a digit is an object identifier.
    let begins = word.starts_with(|first: char| first.is_ascii_lowercase());
    begins && word.contains('.') && word.split('.').all(is_word) && !is_file && !OTHER_WORDS.contains(&word)
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
            use crate::{"store.use"};
            let after = "store.after-use";
            #[cfg(test)]
            #[allow(reason = "store.reason")]
            mod tests {
                fn of_a_test() {
                    "store.test"
                }
            }
            let last = "store.last";
            #[cfg(test)] const X: &str = "store.same-line";
            "store.end"
        "#;
        let expected = [
            (2, "store.full".to_owned()),
            (2, "tls.name".to_owned()),
            (4, "run.gap".to_owned()),
            (9, "store.after-use".to_owned()),
            (17, "store.last".to_owned()),
            (19, "store.end".to_owned()),
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
