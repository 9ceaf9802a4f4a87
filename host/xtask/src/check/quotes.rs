//! What a page quotes from a file stands in that file: a block of code after `<!-- from PATH -->`.

use super::links::is_page;
use super::{Finding, Repository};

pub(super) fn check(repository: &Repository) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for page in repository.files.iter().filter(|file| is_page(file)) {
        for Quote { line, from, text } in quotes(&repository.text(page)?.unwrap_or_default()) {
            let is_there = repository.files.contains(&from);
            let original = if is_there { repository.text(&from)? } else { None };
            if !original.is_some_and(|original| original.contains(&text)) {
                let message = format!("`{from}` does not hold this");
                findings.push(Finding::new(
                    format!("{page}:{line}"),
                    message,
                    "quote it as it is now",
                ));
            }
        }
    }
    Ok(findings)
}

/// A block of code and the file that it is said to be from.
#[derive(Debug, PartialEq, Eq)]
struct Quote {
    line: usize,
    from: String,
    text: String,
}

fn quotes(page: &str) -> Vec<Quote> {
    let mut lines = page.lines().enumerate();
    let mut quotes = Vec::new();
    while let Some((at, line)) = lines.next() {
        let from = line
            .strip_prefix("<!-- from ")
            .and_then(|rest| rest.strip_suffix(" -->"));
        let Some(from) = from else { continue };
        let block = lines
            .by_ref()
            .skip_while(|(_, line)| !line.starts_with("```"))
            .skip(1);
        let text = block
            .map(|(_, line)| line)
            .take_while(|line| !line.starts_with("```"));
        let text = text.fold(String::new(), |text, line| text + line + "\n");
        quotes.push(Quote {
            line: at + 1,
            from: from.to_owned(),
            text,
        });
    }
    quotes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_after_their_mark_are_quotes_and_others_are_not() {
        let page = "```\nno\n```\n<!-- from a/b.rs -->\n\n```rust\nfn a() {\n}\n```\n```\nno\n```\n<!-- from c -->\n```\nd\n```\n";
        let quote = |line, from: &str, text: &str| Quote {
            line,
            from: from.to_owned(),
            text: text.to_owned(),
        };
        assert_eq!(
            quotes(page),
            [quote(4, "a/b.rs", "fn a() {\n}\n"), quote(13, "c", "d\n")]
        );
    }
}
