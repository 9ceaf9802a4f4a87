//! Texts with places for the facts of a notice: `{subject}`. There is nothing in them that is run.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with each `{name}` that `value` knows replaced; what it gives is not looked through again.
pub fn filled<'v>(template: &str, value: impl Fn(&str) -> Option<Cow<'v, str>>) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        text.push_str(&rest[..open]);
        rest = &rest[open..];
        let name = rest.find('}').map(|close| &rest[1..close]);
        if let Some((name, value)) = name.and_then(|name| Some((name, value(name)?))) {
            text.push_str(&value);
            rest = &rest[name.len() + 2..];
        } else {
            text.push('{');
            rest = &rest[1..];
        }
    }
    text.push_str(rest);
    text
}

/// As a part of a URL: only what means nothing in one stays as it is (RFC 3986, unreserved).
pub fn for_url(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            written.push(byte.into());
        } else {
            let _ = write!(written, "%{byte:02X}");
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_filled_in_once() {
        let value = |name: &str| match name {
            "a" => Some(Cow::from("{b}")),
            "b" => Some(Cow::from("ä")),
            _ => None,
        };
        for (template, text) in [
            ("", ""),
            ("{a}{b}", "{b}ä"),
            ("x {b} y", "x ä y"),
            ("{c} {b", "{c} {b"),
            ("{{b}}", "{ä}"),
            ("{", "{"),
        ] {
            assert_eq!(filled(template, value), text, "{template}");
        }
        assert_eq!(for_url("rotation ä/b?"), "rotation%20%C3%A4%2Fb%3F");
    }
}
