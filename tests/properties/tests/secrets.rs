//! The forms of secrets: JSON documents in which places are looked for, and every encoding in which a value is written.

#![allow(clippy::expect_used, reason = "a test may stop")]

use keywheel_capability::Encoding;
use keywheel_capability::json::{self, MAX_POINTER_BYTES, MAX_VALUES};
use keywheel_model::SecretBytes;
use keywheel_properties::{ENCODINGS, any_text, budget, edited_bytes, json_text};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

/// Each place that was found is the one that the pointer names in the document as another reader reads it.
fn places_are_right(text: &[u8], document: &Value) -> Result<(), TestCaseError> {
    let Some(nodes) = json::scan(text) else {
        return Err(TestCaseError::fail("a document was refused"));
    };
    prop_assert_eq!(nodes.len(), count(document));
    for node in nodes {
        let there = document.pointer(&node.pointer);
        let bytes = &text[node.span.clone()];
        let read = serde_json::from_slice::<Value>(bytes).ok();
        prop_assert_eq!(read.as_ref(), there, "{}", node.pointer);
        prop_assert_eq!(node.string, there.is_some_and(Value::is_string));
        let found = json::string_at(text, &node.pointer);
        prop_assert_eq!(
            found.as_ref().map(SecretBytes::expose),
            there.and_then(Value::as_str).map(str::as_bytes)
        );
    }
    Ok(())
}

fn written(name: &str, value: &[u8]) -> Vec<u8> {
    let encoding = Encoding::named(name).expect("known");
    let mut out = zeroize::Zeroizing::default();
    encoding.write(value, &mut out);
    out.to_vec()
}

/// What is between these, with each pair of `(written, meant)` taken back.
fn inside(text: &[u8], quote: char, escapes: &[(&str, &str)]) -> Option<String> {
    let text = std::str::from_utf8(text)
        .ok()?
        .strip_prefix(quote)?
        .strip_suffix(quote)?;
    let (mut meant, mut rest) = (String::new(), text);
    while let Some(next) = rest.chars().next() {
        if let Some((written, means)) = escapes.iter().find(|(written, _)| rest.starts_with(written)) {
            meant.push_str(means);
            rest = &rest[written.len()..];
            continue;
        }
        // A quote that nothing escapes would be the end.
        if next == quote {
            return None;
        }
        meant.push(next);
        rest = &rest[next.len_utf8()..];
    }
    Some(meant)
}

/// What a percent-encoded text means; `None` if a character stands there that has to be written otherwise.
fn percent_decoded(text: &[u8], plus: bool) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                out.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[2..];
            }
            b'+' if plus => out.push(b' '),
            plain if plain.is_ascii_alphanumeric() || b"-._~".contains(plain) => out.push(*plain),
            _ => return None,
        }
    }
    Some(out)
}

proptest! {
    #![proptest_config(budget(512))]

    #[test]
    fn every_place_of_a_document_is_found_at_its_bytes(document in json_text(), pretty: bool) {
        let text = if pretty { serde_json::to_vec_pretty(&document) } else { serde_json::to_vec(&document) }.expect("text");
        // As it is read again: a fraction may be written in other digits.
        let document: Value = serde_json::from_slice(&text).expect("JSON");
        places_are_right(&text, &document)?;
    }

    #[test]
    fn what_another_reader_refuses_is_refused(text in edited_bytes(vec![
        br#"{"username":"a","password":"p\u00e9\"","more":[1,-2.5e3,true,null,{"x~/y":""}]}"#.to_vec(),
        br#" [ "x" , { } , [ ] ] "#.to_vec(),
    ])) {
        match (json::scan(&text), serde_json::from_slice::<Value>(&text)) {
            (Some(_), Ok(document)) => places_are_right(&text, &document)?,
            (Some(_), Err(error)) => return Err(TestCaseError::fail(error.to_string())),
            // A name that stands twice: the other reader takes the last.
            // For a name that stands twice, and nothing else: the other reader takes the last of them.
            (None, Ok(document)) => places_are_right(document.to_string().as_bytes(), &document)?,
            (None, Err(_)) => {}
        }
        prop_assert!(json::string_at(&text, "/none/of/these").is_none());
    }

    #[test]
    fn what_is_found_is_bounded(name in 0..200_000_usize, values in 0..40_000_usize, depth in 0..90_usize) {
        let text = format!("{}{{\"{}\":[{}]}}{}", "[".repeat(depth), "n".repeat(name), vec!["1"; values].join(","), "]".repeat(depth));
        if let Some(nodes) = json::scan(text.as_bytes()) {
            prop_assert!(nodes.len() <= MAX_VALUES && depth + 2 <= 65);
            prop_assert!(nodes.iter().map(|node| node.pointer.len()).sum::<usize>() <= MAX_POINTER_BYTES);
        }
    }

    #[test]
    fn every_encoding_is_within_its_size_and_says_the_same(text in any_text()) {
        let value = text.as_bytes();
        for name in ENCODINGS {
            let most = Encoding::named(name).expect("known").most(value.len());
            let written = written(name, value);
            prop_assert!(written.len() <= most, "{}: {} bytes of {}", name, written.len(), most);
        }
        let quoted = format!("\"{}\"", String::from_utf8(written("json", value)).expect("text"));
        prop_assert_eq!(serde_json::from_str::<String>(&quoted).ok(), Some(text.clone()));
        for (name, plus) in [("percent", false), ("jdbc", false), ("userinfo", false), ("form", true)] {
            prop_assert_eq!(percent_decoded(&written(name, value), plus), Some(value.to_vec()), "{}", name);
        }
        let double = inside(&written("connection-string", value), '"', &[("\"\"", "\"")]);
        prop_assert_eq!(double.as_ref(), Some(&text));
        let libpq = inside(&written("libpq", value), '\'', &[("\\'", "'"), ("\\\\", "\\")]);
        prop_assert_eq!(libpq.as_ref(), Some(&text));
        let shell = inside(&written("shell", value), '\'', &[("'\\''", "'")]);
        prop_assert_eq!(shell.as_ref(), Some(&text));
        let units: Vec<u16> = written("utf-16le", value).chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        prop_assert_eq!(String::from_utf16(&units).ok(), Some(text.clone()));
        let xml = String::from_utf8(written("xml", value)).expect("text");
        prop_assert!(!xml.contains(['<', '>', '"', '\'', '\n', '\r', '\t']));
    }

    #[test]
    fn encodings_of_bytes_take_all_bytes(value in vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(&written("raw", &value), &value);
        let hex = written("hex", &value);
        let back: Option<Vec<u8>> = hex.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
        prop_assert_eq!(back.as_ref(), Some(&value));
        prop_assert_eq!(percent_decoded(&written("percent", &value), false), Some(value.clone()));
        for name in ["base64", "base64url"] {
            let text = written(name, &value);
            prop_assert!(text.len() <= Encoding::named(name).expect("known").most(value.len()));
            prop_assert!(text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=-_".contains(byte)));
        }
    }

    #[test]
    fn no_other_name_is_an_encoding(name in any_text()) {
        prop_assert_eq!(Encoding::named(&name).is_ok(), ENCODINGS.contains(&name.as_str()));
        for known in ENCODINGS {
            prop_assert_eq!(Encoding::named(known).expect("known").name(), known);
        }
    }
}
