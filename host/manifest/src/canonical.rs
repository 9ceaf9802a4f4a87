use std::fmt::Write as _;

use serde_json::Value;

/// Canonical JSON by RFC 8785: no white space, keys sorted by UTF-16 code units, the shortest escapes. Numbers must be
/// integers that a double holds exactly (RFC 8785 section 3.2.2.3 makes every number a double): a manifest has no others, and
/// its reader refuses them before they come here; a fraction is written as `serde_json` writes it.
pub fn canonical_json(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value);
    out
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_value(out, item);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (at, key) in keys.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_string(out, key);
                out.push(':');
                write_value(out, &map[key]);
            }
            out.push('}');
        }
    }
}

fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{9}' => out.push_str("\\t"),
            '\u{a}' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\u{d}' => out.push_str("\\r"),
            control if control < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// Whether every number in it has one canonical text: an integer within ±(2^53 - 1).
pub(crate) fn has_only_exact_numbers(value: &Value) -> bool {
    const LIMIT: i64 = (1 << 53) - 1;
    match value {
        Value::Number(number) => number
            .as_i64()
            .is_some_and(|integer| (-LIMIT..=LIMIT).contains(&integer)),
        Value::Array(items) => items.iter().all(has_only_exact_numbers),
        Value::Object(map) => map.values().all(has_only_exact_numbers),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_sort_by_utf_16_units_as_the_example_of_rfc_8785_does() {
        // Section 3.2.3: an emoji (surrogates) sorts before U+FB33.
        let value =
            json!({"\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5, "\u{80}": 6, "\u{f6}": 7});
        assert_eq!(
            canonical_json(&value),
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}"
        );
    }

    #[test]
    fn strings_use_the_shortest_escape() {
        // Section 3.2.2.2.
        assert_eq!(
            canonical_json(&json!("\u{20ac}$\u{f}\nA'B\"\\\"/")),
            "\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\"/\""
        );
    }

    #[test]
    fn the_order_in_which_a_document_was_written_does_not_matter() {
        let a = serde_json::from_str(r#"{"b": [1, {"d": null, "c": true}], "a": ""}"#).unwrap();
        assert_eq!(canonical_json(&a), r#"{"a":"","b":[1,{"c":true,"d":null}]}"#);
    }
}
