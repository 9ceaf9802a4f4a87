//! The committed JSON Schema is the one of this crate's types. `KEYWHEEL_BLESS=1` writes it.

#![cfg(test)]

use std::path::Path;

#[test]
fn the_committed_schema_is_the_schema_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/keywheel.schema.json");
    let schema = serde_json::to_string_pretty(&keywheel_config::schema()).unwrap() + "\n";
    if std::env::var_os("KEYWHEEL_BLESS").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == schema,
        "{} is out of date: run this test with KEYWHEEL_BLESS=1",
        path.display()
    );
}

#[test]
fn the_schema_allows_no_unknown_key_outside_of_a_plugins_own_table() {
    fn walk(value: &serde_json::Value, way: &str) {
        let Some(map) = value.as_object() else { return };
        if map.contains_key("properties") {
            assert_eq!(map["additionalProperties"], false, "{way}");
        }
        for (key, child) in map {
            walk(child, &format!("{way}/{key}"));
        }
    }
    walk(&keywheel_config::schema(), "");
}
