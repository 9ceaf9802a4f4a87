//! A plugin's settings as a table: what stands in its JSON Schema, as far as a person needs it to write `[rotation.config]`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::output::{Style, Table};

/// One setting.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Setting {
    /// Its name; of an object's or a list's fields with what they stand in: `nodes[].host`.
    name: String,
    /// Its type, or the values that it may have.
    r#type: String,
    /// `yes`, `no`, or with which other setting.
    required: String,
    /// What it is.
    what: String,
}

/// The settings of a schema, the required ones first.
pub(crate) fn of(schema: &Value) -> Vec<Setting> {
    let mut settings = Vec::new();
    fields(schema, schema, "", &mut settings);
    settings
}

/// As a table; nothing for a plugin without settings.
pub(crate) fn table(settings: &[Setting], style: Style) -> String {
    if settings.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["SETTING", "TYPE", "REQUIRED", "WHAT"]);
    for setting in settings {
        table.row([
            setting.name.clone(),
            setting.r#type.clone(),
            setting.required.clone(),
            setting.what.clone(),
        ]);
    }
    table.to_text(style)
}

fn fields(root: &Value, object: &Value, within: &str, settings: &mut Vec<Setting>) {
    let Some(properties) = object.get("properties").and_then(Value::as_object) else {
        return;
    };
    let cases = cases(object);
    let own = |name: &str| requires(object, name);
    let mut names: Vec<&String> = properties.keys().collect();
    names.sort_by_key(|name| (!own(name), !cases.contains_key(name.as_str()), name.as_str()));
    for name in names {
        let property = resolved(root, &properties[name]);
        let required = match (own(name), cases.get(name.as_str())) {
            (true, _) => "yes".to_owned(),
            (false, Some(case)) => format!("with {case}"),
            (false, None) => "no".to_owned(),
        };
        let place = format!("{within}{name}");
        settings.push(Setting {
            name: place.clone(),
            r#type: kind(root, property),
            required,
            what: described(&properties[name], property),
        });
        fields(root, property, &format!("{place}."), settings);
        if let Some(items) = property.get("items") {
            fields(root, resolved(root, items), &format!("{place}[]."), settings);
        }
    }
}

fn requires(object: &Value, name: &str) -> bool {
    let required = object.get("required").and_then(Value::as_array);
    required.is_some_and(|names| names.iter().any(|one| one == name))
}

/// What only one case of several requires, and what that case is.
fn cases(object: &Value) -> BTreeMap<&str, String> {
    let mut cases: BTreeMap<&str, String> = BTreeMap::new();
    let branches = ["oneOf", "anyOf"].into_iter().filter_map(|word| object.get(word));
    for branch in branches.filter_map(Value::as_array).flatten() {
        let words: Vec<String> = branch
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(name, property)| Some(format!("{name} = {}", property.get("const")?)))
            .collect();
        let names = branch.get("required").and_then(Value::as_array);
        for name in names.into_iter().flatten().filter_map(Value::as_str) {
            if !words.is_empty() {
                let case = cases.entry(name).or_default();
                if !case.is_empty() {
                    case.push_str(" or ");
                }
                case.push_str(&words.join(", "));
            }
        }
    }
    cases
}

/// The schema that a reference within the document leads to.
fn resolved<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let target = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| root.pointer(reference.strip_prefix('#')?));
    target.unwrap_or(schema)
}

fn described(property: &Value, resolved: &Value) -> String {
    let text = property
        .get("description")
        .or_else(|| resolved.get("description"));
    text.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn kind(root: &Value, schema: &Value) -> String {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        return values.join(" or ");
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => "text".to_owned(),
        Some("integer") => "whole number".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some("object") => "table".to_owned(),
        Some("array") => match schema.get("items") {
            Some(items) => format!("list of {}", kind(root, resolved(root, items))),
            None => "list".to_owned(),
        },
        Some(other) => other.to_owned(),
        None => "any".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(plugin: &str) -> Vec<String> {
        let path = format!(
            "{}/../../plugins/{plugin}/schema.json",
            env!("CARGO_MANIFEST_DIR")
        );
        let schema = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let settings = of(&schema);
        let lines = settings.iter().map(|setting| {
            let Setting {
                name,
                r#type,
                required,
                what,
            } = setting;
            assert!(!what.is_empty(), "{name} is not described");
            format!("{name}: {type}: {required}")
        });
        lines.collect()
    }

    #[test]
    fn settings_that_one_mode_requires_name_that_mode() {
        assert_eq!(
            shipped("postgres"),
            [
                "admin: text: yes",
                "host: text: yes",
                "mode: \"role\" or \"alternating\": yes",
                "port: whole number: yes",
                "role: text: with mode = \"role\"",
                "roles: list of text: with mode = \"alternating\"",
                "database: text: no",
                "format: \"password\" or \"json\" or \"connection-string\": no",
                "replicas: list of table: no",
                "replicas[].host: text: yes",
                "replicas[].port: whole number: yes",
                "template: text: no",
                "transport: \"tls\" or \"plaintext\": no",
                "trust: text: no",
            ]
        );
    }

    #[test]
    fn the_fields_of_a_list_stand_below_it() {
        let redis = shipped("redis");
        let at = redis.iter().position(|line| line == "nodes: list of table: yes");
        let below: Vec<&str> = redis[at.unwrap() + 1..][..2].iter().map(String::as_str).collect();
        assert_eq!(
            below,
            ["nodes[].host: text: yes", "nodes[].port: whole number: yes"]
        );
    }
}
