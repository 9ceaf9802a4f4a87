//! Text that came from elsewhere (names of files, words of plugins and servers) cannot paint on the terminal: what could is shown as what it is.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

/// Whether a character is shown as it is: no control character but the end of a line, nothing that reorders or cannot be seen.
pub(crate) fn is_plain(character: char) -> bool {
    character == '\n' || !character.is_control() && !reorders(character)
}

/// Marks that show text in another order than it has, and what cannot be seen at all.
fn reorders(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The text, with every character that is not plain written as `\u{1b}`; sequences in `own`, which begin with an escape, stay.
pub(crate) fn text<'t>(text: &'t str, own: &[&str]) -> Cow<'t, str> {
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if let Some(sequence) = own.iter().find(|sequence| rest.starts_with(**sequence)) {
            shown.push_str(sequence);
            rest = &rest[sequence.len()..];
            continue;
        }
        if is_plain(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_unicode());
        }
        rest = &rest[character.len_utf8()..];
    }
    Cow::Owned(shown)
}

/// A path within one line: a file may have any name.
pub(crate) fn path(path: &Path) -> String {
    text(&path.to_string_lossy(), &[]).replace('\n', "\\n")
}

/// A JSON document, with what JSON leaves as it is written as `\u009b`. Such characters stand in strings only.
pub(crate) fn json(document: &str) -> Cow<'_, str> {
    if document.chars().all(is_plain) {
        return Cow::Borrowed(document);
    }
    let mut shown = String::with_capacity(document.len());
    for character in document.chars() {
        if is_plain(character) {
            shown.push(character);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\u{:04x}", u32::from(character));
        }
    }
    Cow::Owned(shown)
}

/// An event of the host's own log as one line, whatever it says.
pub(crate) fn line(event: &[u8]) -> String {
    let line = String::from_utf8_lossy(event);
    let line = line.strip_suffix('\n').unwrap_or(&line).replace('\n', "\\n");
    format!("{}\n", text(&line, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_paints_is_shown_as_what_it_is_and_what_is_our_own_stays() {
        assert_eq!(text("plain ü\n", &[]), "plain ü\n");
        assert_eq!(
            text("a\u{1b}[2Jb\u{9b}c\u{202e}\r\t", &[]),
            "a\\u{1b}[2Jb\\u{9b}c\\u{202e}\\u{d}\\u{9}"
        );
        let own = ["\u{1b}[0m", "\u{1b}[1;31m"];
        assert_eq!(
            text("\u{1b}[1;31mx\u{1b}[8m\u{1b}[0m", &own),
            "\u{1b}[1;31mx\\u{1b}[8m\u{1b}[0m"
        );
    }

    #[test]
    fn json_stays_json_and_says_the_same() {
        let value = serde_json::json!({ "file": "a\u{9b}2J\u{202e}\u{7f}\u{1b}" });
        let written = serde_json::to_string_pretty(&value).unwrap();
        let shown = json(&written);
        assert!(shown.chars().all(is_plain), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
