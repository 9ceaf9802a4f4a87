//! Places in a JSON document (RFC 8259), found without changing a byte of the rest.

use std::ops::Range;

use keywheel_model::SecretBytes;
use zeroize::Zeroizing;

const MAX_DEPTH: usize = 64;

/// The most values of a document in which places are looked for.
pub const MAX_VALUES: usize = 16 * 1024;

/// The most bytes of all their pointers together: each holds the names of everything that it is in, so that a megabyte of text can name terabytes.
pub const MAX_POINTER_BYTES: usize = 4 << 20;

/// A value in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it is (RFC 6901).
    pub pointer: String,
    /// Its bytes, quotes included.
    pub span: Range<usize>,
    /// Whether it is a string.
    pub string: bool,
}

impl Node {
    /// The bytes between the quotes of a string.
    pub fn inside(&self) -> Range<usize> {
        self.span.start + 1..self.span.end - 1
    }
}

/// Every value of a document, the inner ones after the outer. `None`: it is no document, a name stands twice in an object, or it is over
/// [`MAX_VALUES`] or [`MAX_POINTER_BYTES`].
pub fn scan(text: &[u8]) -> Option<Vec<Node>> {
    let mut scanner = Scanner::of(text)?;
    scanner.document()?;
    Some(scanner.nodes)
}

/// Where the first name is that stands twice in its object: which of the two counts, readers do not agree on.
pub(crate) fn doubled(text: &[u8]) -> Option<String> {
    let mut scanner = Scanner::of(text)?;
    match scanner.document() {
        Some(()) => None,
        None => scanner.doubled,
    }
}

/// The value of a string at a pointer.
pub fn string_at(document: &[u8], pointer: &str) -> Option<SecretBytes> {
    let node = scan(document)?
        .into_iter()
        .find(|node| node.pointer == pointer && node.string)?;
    unescaped(&document[node.span])
}

/// The value of a string, quotes included.
pub fn unescaped(quoted: &[u8]) -> Option<SecretBytes> {
    let text: Zeroizing<String> = serde_json::from_slice(quoted).map(Zeroizing::new).ok()?;
    Some(SecretBytes::copy_of(text.as_bytes()))
}

struct Scanner<'t> {
    text: &'t [u8],
    at: usize,
    nodes: Vec<Node>,
    doubled: Option<String>,
    pointer_bytes: usize,
}

impl<'t> Scanner<'t> {
    fn of(text: &'t [u8]) -> Option<Self> {
        Some(Self {
            text: std::str::from_utf8(text).ok()?.as_bytes(),
            at: 0,
            nodes: Vec::new(),
            doubled: None,
            pointer_bytes: 0,
        })
    }

    fn document(&mut self) -> Option<()> {
        self.space();
        self.value(String::new(), 0)?;
        self.space();
        (self.at == self.text.len()).then_some(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, pointer: String, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        let (start, index) = (self.at, self.nodes.len());
        self.pointer_bytes += pointer.len();
        if index == MAX_VALUES || self.pointer_bytes > MAX_POINTER_BYTES {
            return None;
        }
        self.nodes.push(Node {
            pointer: pointer.clone(),
            span: start..start,
            string: self.peek()? == b'"',
        });
        match self.peek()? {
            b'{' => self.object(&pointer, depth)?,
            b'[' => self.array(&pointer, depth)?,
            b'"' => drop(self.string()?),
            _ => self.scalar()?,
        }
        self.nodes[index].span.end = self.at;
        Some(())
    }

    fn object(&mut self, pointer: &str, depth: usize) -> Option<()> {
        self.at += 1;
        self.space();
        let mut names = std::collections::BTreeSet::new();
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            let name = self.string()?;
            let inner = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
            if !names.insert(name) {
                self.doubled = Some(inner);
                return None;
            }
            self.space();
            self.take(b':')?;
            self.space();
            self.value(inner, depth + 1)?;
            self.space();
            if self.take(b'}').is_some() {
                return Some(());
            }
            self.take(b',')?;
            self.space();
        }
    }

    fn array(&mut self, pointer: &str, depth: usize) -> Option<()> {
        self.at += 1;
        self.space();
        if self.take(b']').is_some() {
            return Some(());
        }
        for index in 0_usize.. {
            self.value(format!("{pointer}/{index}"), depth + 1)?;
            self.space();
            if self.take(b']').is_some() {
                return Some(());
            }
            self.take(b',')?;
            self.space();
        }
        None
    }

    /// Skips a string; its value.
    fn string(&mut self) -> Option<String> {
        let start = self.at;
        self.take(b'"')?;
        while self.peek()? != b'"' {
            self.at += if self.peek()? == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        serde_json::from_slice(self.text.get(start..self.at)?).ok()
    }

    fn scalar(&mut self) -> Option<()> {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.'))
        {
            self.at += 1;
        }
        let value: serde_json::Value = serde_json::from_slice(&self.text[start..self.at]).ok()?;
        (!value.is_object() && !value.is_array()).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_at_their_bytes() {
        let text = br#" {"a/b": [1, "x\"y"], "c": {"d": null}} "#;
        let nodes = scan(text).unwrap();
        let found: Vec<(&str, &str)> = nodes
            .iter()
            .map(|node| {
                (
                    node.pointer.as_str(),
                    std::str::from_utf8(&text[node.span.clone()]).unwrap(),
                )
            })
            .collect();
        assert_eq!(
            found[1..],
            [
                ("/a~1b", r#"[1, "x\"y"]"#),
                ("/a~1b/0", "1"),
                ("/a~1b/1", r#""x\"y""#),
                ("/c", r#"{"d": null}"#),
                ("/c/d", "null"),
            ]
        );
        assert_eq!(string_at(text, "/a~1b/1").unwrap().expose(), b"x\"y");
        assert!(string_at(text, "/c/d").is_none());
    }

    /// Without the bound it is a hundred gigabytes of pointers, and the end of the host.
    #[test]
    fn a_long_name_of_many_values_is_refused() {
        let document = |name: usize, values: usize| {
            let (name, values) = ("n".repeat(name), vec!["1"; values].join(","));
            scan(format!("{{\"{name}\":[{values}]}}").as_bytes()).map(|nodes| nodes.len())
        };
        assert_eq!(document(1, MAX_VALUES - 2), Some(MAX_VALUES));
        assert_eq!(document(1, MAX_VALUES - 1), None);
        assert_eq!(document(400_000, 5), Some(7));
        assert_eq!(document(400_000, 300_000), None);
    }

    #[test]
    fn a_name_that_stands_twice_is_found_where_it_is() {
        for (text, place) in [
            (r#"{"a":1,"a":2}"#, Some("/a")),
            (r#"{"x":{"a\/b":1,"a\u002fb":2}}"#, Some("/x/a~1b")),
            (r#"[{"a":1},{"a":2}]"#, None),
            (r#"{"a":1,"a""#, Some("/a")),
            (r#"{"a":1"#, None),
        ] {
            assert_eq!(doubled(text.as_bytes()).as_deref(), place, "{text}");
        }
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for bad in [
            "",
            "{",
            r#"{"a":1,}"#,
            "[1 2]",
            "truex",
            r#""a"#,
            r#"{"a":1,"a":2}"#,
            "1 1",
            r#""\"#,
            "\u{1}",
            "[\"\u{1}\"]",
            "nul",
        ] {
            assert!(scan(bad.as_bytes()).is_none(), "{bad:?}");
        }
        assert!(scan("[".repeat(100).as_bytes()).is_none());
        assert!(scan(b"\"\xff\"").is_none());
    }
}
