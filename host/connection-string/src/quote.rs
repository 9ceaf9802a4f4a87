//! How a value is written so that nothing in it ends it: for every place of that kind, in a connection string or not.

use std::fmt::Write as _;

use zeroize::Zeroizing;

/// Between two marks, the closing one doubled inside: `"a""b"`, `{a}}b}`.
pub fn within(value: &str, opening: char, closing: char) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(value.len() * 2 + 2));
    text.push(opening);
    for char in value.chars() {
        text.push(char);
        if char == closing {
            text.push(char);
        }
    }
    text.push(closing);
    text
}

/// In single quotes, with a backslash before each quote and backslash (libpq).
pub fn backslashed(value: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(value.len() * 2 + 2));
    text.push('\'');
    for char in value.chars() {
        if ['\'', '\\'].contains(&char) {
            text.push('\\');
        }
        text.push(char);
    }
    text.push('\'');
    text
}

/// All bytes but what RFC 3986 calls unreserved as `%XX`, a space as it is given: right in each place of a URL.
pub fn percent(value: &[u8], space: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(value.len() * 3));
    for &byte in value {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else if byte == b' ' {
            text.push_str(space);
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}
