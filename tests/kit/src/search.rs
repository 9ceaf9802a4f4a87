//! Looks for values in whatever came out, plain or in a usual encoding ([`crate::forms`]). This crate is compiled with optimisation in every build: a
//! search by bytes takes a hundred times as long without.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::forms;

/// The first bytes of a form, by which it is looked up.
const HEAD: usize = 4;

/// What is looked for.
#[derive(Debug)]
pub struct Search {
    forms: Vec<Form>,
    by_head: HashMap<[u8; HEAD], Vec<usize>>,
    /// Whether a form begins with bytes of this hash: most places of a text are left by that alone.
    may_begin: Vec<bool>,
}

#[derive(Debug)]
struct Form {
    value: String,
    name: &'static str,
    bytes: Vec<u8>,
}

impl Search {
    /// For values, each with the name that it is found under.
    ///
    /// # Panics
    /// When a value is too short to be looked for.
    pub fn of<'v>(values: impl IntoIterator<Item = (&'v str, &'v [u8])>) -> Self {
        let mut search = Self {
            forms: Vec::new(),
            by_head: HashMap::new(),
            may_begin: vec![false; 1 << 16],
        };
        let mut known = BTreeSet::new();
        for (value, bytes) in values {
            for (name, form) in forms::of(bytes) {
                if form.len() >= forms::LEAST && known.insert((value.to_owned(), form.clone())) {
                    search.add(value, name, form);
                }
            }
        }
        search
    }

    fn add(&mut self, value: &str, name: &'static str, bytes: Vec<u8>) {
        if let Some(head) = bytes.first_chunk::<HEAD>() {
            self.may_begin[hash(*head)] = true;
            self.by_head.entry(*head).or_default().push(self.forms.len());
        }
        self.forms.push(Form {
            value: value.to_owned(),
            name,
            bytes,
        });
    }

    /// The values that show in a text, with the names of the forms.
    pub fn find(&self, text: &[u8]) -> BTreeMap<&str, BTreeSet<&'static str>> {
        let mut found: BTreeMap<&str, BTreeSet<&'static str>> = BTreeMap::new();
        let mut at = 0;
        while let Some(head) = text[at..].first_chunk::<HEAD>() {
            if self.may_begin[hash(*head)] {
                let candidates = self.by_head.get(head).into_iter().flatten();
                for form in candidates.map(|index| &self.forms[*index]) {
                    if text[at..].starts_with(&form.bytes) {
                        found.entry(&form.value).or_default().insert(form.name);
                    }
                }
            }
            at += 1;
        }
        found
    }
}

fn hash(head: [u8; HEAD]) -> usize {
    let [high, low, ..] = u32::from_le_bytes(head).wrapping_mul(0x9e37_79b1).to_be_bytes();
    usize::from(u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    /// With a quote, a slash, an ampersand, a space, and a letter that is no ASCII.
    const VALUE: &str = "Planted \"ä/&'\\x<y>+7f3e";

    /// As other programs write it: `base64`, `xxd -p`, `jq -R`, `iconv`, Python's `urllib` and `repr`.
    #[test]
    fn a_value_is_found_in_every_form_that_other_programs_write() {
        let search = Search::of([("it", VALUE.as_bytes())]);
        let utf16: Vec<u8> = VALUE.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let forms: [(&str, &[u8]); 14] = [
            ("plain", VALUE.as_bytes()),
            ("base64", b"UGxhbnRlZCAiw6QvJidceDx5Pis3ZjNl"),
            ("base64", b"eHggUGxhbnRlZCAiw6QvJidceDx5Pis3ZjNl"),
            ("base64", b"eCBQbGFudGVkICLDpC8mJ1x4PHk+KzdmM2U="),
            ("base64url", b"eCBQbGFudGVkICLDpC8mJ1x4PHk-KzdmM2U"),
            ("hex", b"506c616e7465642022c3a42f26275c783c793e2b37663365"),
            ("hex", b"506C616E7465642022C3A42F26275C783C793E2B37663365"),
            ("percent", b"Planted%20%22%C3%A4%2F%26%27%5Cx%3Cy%3E%2B7f3e"),
            ("percent", b"Planted+%22%c3%a4%2f%26%27%5cx%3cy%3e%2b7f3e"),
            ("JSON", "Planted \\\"ä/&'\\\\x<y>+7f3e".as_bytes()),
            ("XML", "Planted \"ä/&amp;'\\x&lt;y&gt;+7f3e".as_bytes()),
            ("bytes of Rust", b"Planted \\\"\\xc3\\xa4/&\\'\\\\x<y>+7f3e"),
            (
                "number list",
                b"80, 108, 97, 110, 116, 101, 100, 32, 34, 195, 164, 47, 38, 39, 92, 120, 60, 121, 62, 43, 55, 102, 51, 101",
            ),
            ("UTF-16", &utf16),
        ];
        for (name, form) in forms {
            let text = [b"before ", form, b" after"].concat();
            let found = search.find(&text);
            assert!(
                found["it"].contains(name),
                "{name}: {found:?} in {}",
                String::from_utf8_lossy(form)
            );
        }
        let reversed: String = VALUE.chars().rev().collect();
        assert!(search.find(reversed.as_bytes())["it"].contains("reversed"));
    }

    #[test]
    fn a_value_that_was_cut_is_found_and_another_one_is_not() {
        let value = "0123456789abcdefghijklmnopqrstuvwxyz";
        let search = Search::of([("it", value.as_bytes())]);
        assert!(search.find(&value.as_bytes()[..20])["it"].contains("its first part"));
        assert!(search.find(&value.as_bytes()[10..])["it"].contains("its last part"));
        for (cut, form, name) in [
            (&value[..20], "number list", "its first part as a number list"),
            (&value[10..], "number list", "its last part as a number list"),
            (&value[..20], "hex", "its first part in hex"),
            (&value[10..], "hex", "its last part in hex"),
            (&value[..20], "base64", "its first part in base64"),
            (&value[10..], "base64", "its last part in base64"),
        ] {
            let text = match form {
                "hex" => cut.bytes().map(|byte| format!("{byte:02x}")).collect(),
                "base64" => BASE64_STANDARD.encode(cut),
                _ => format!("{:?}", cut.as_bytes()),
            };
            let found = search.find(text.as_bytes());
            assert!(found["it"].contains(name), "{name}: {found:?} in {text}");
        }
        for other in [
            &b""[..],
            b"012",
            b"0123456789",
            b"another value of this length, at all",
        ] {
            assert!(search.find(other).is_empty());
        }
    }
}
