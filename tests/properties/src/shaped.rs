//! Text in the shape of what is read: close enough to get past the first character.

use proptest::collection::vec;
use proptest::prelude::*;

/// Any text, short more often than long.
pub fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => vec(any::<char>(), 0..24).prop_map(|chars| chars.into_iter().collect()),
        2 => "[ -~]{0,80}",
        1 => "[a-z0-9./:\\[\\]_-]{0,300}",
    ]
}

/// A key of TOML: one of `words`, or any.
fn key(words: Vec<String>) -> impl Strategy<Value = String> {
    prop_oneof![
        8 => proptest::sample::select(words),
        1 => "[a-z_-]{1,8}",
        1 => any_text().prop_map(|text| toml_string(&text)),
    ]
}

fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.escape_unicode())
        .replace("\\u{", "\\U{")
        .split("\\U{")
        .enumerate()
        .map(|(at, piece)| match piece.split_once('}') {
            Some((digits, rest)) if at > 0 => format!("\\U{digits:0>8}{rest}"),
            _ => piece.to_owned(),
        })
        .collect()
}

fn scalar(words: Vec<String>) -> impl Strategy<Value = String> {
    prop_oneof![
        4 => proptest::sample::select(words).prop_map(|word| toml_string(&word)),
        2 => any_text().prop_map(|text| toml_string(&text)),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => any::<f64>().prop_map(|number| format!("{number:e}")),
        1 => proptest::sample::select(vec!["true", "false", "nan", "inf", "1979-05-27T07:32:00Z", "0x10", "''", "'''\n'''"])
            .prop_map(str::to_owned),
    ]
}

fn value(words: Vec<String>) -> impl Strategy<Value = String> {
    let keys = words.clone();
    scalar(words).prop_recursive(3, 12, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            vec((key(keys.clone()), inner), 0..4).prop_map(|pairs| {
                let pairs: Vec<String> = pairs
                    .iter()
                    .map(|(key, value)| format!("{key} = {value}"))
                    .collect();
                format!("{{ {} }}", pairs.join(", "))
            }),
        ]
    })
}

/// Text in the shape of TOML, with these words as its keys and values.
pub fn toml_text(words: &[&str]) -> impl Strategy<Value = String> + use<> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let line = prop_oneof![
        6 => (key(words.clone()), value(words.clone())).prop_map(|(key, value)| format!("{key} = {value}")),
        2 => key(words.clone()).prop_map(|key| format!("[[{key}]]")),
        1 => vec(key(words.clone()), 1..3).prop_map(|keys| format!("[{}]", keys.join("."))),
        1 => (vec(key(words.clone()), 2..4), value(words)).prop_map(|(keys, value)| format!("{} = {value}", keys.join("."))),
        1 => any_text(),
    ];
    vec(line, 0..16).prop_map(|lines| lines.join("\n"))
}

/// A JSON document.
pub fn json_text() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<u64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        any_text().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            vec((any_text(), inner), 0..6)
                .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
        ]
    })
}
