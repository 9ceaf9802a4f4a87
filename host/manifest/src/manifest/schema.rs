use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// A validator for a plugin's schema. References lead nowhere outside the document, and patterns are matched in linear time:
/// a schema is a stranger's.
pub(super) fn compile(schema: &Value) -> Result<Validator, String> {
    jsonschema::draft202012::options()
        .with_pattern_options(PatternOptions::regex())
        .should_validate_formats(true)
        .build(schema)
        .map_err(|error| error.to_string())
}

/// What is wrong with a schema: (path below the schema, message).
pub(super) fn check(schema: &Value) -> Vec<(String, String)> {
    let dialect = schema.get("$schema").and_then(Value::as_str);
    if dialect != Some("https://json-schema.org/draft/2020-12/schema") {
        return vec![(
            "$schema".into(),
            "expected \"https://json-schema.org/draft/2020-12/schema\"".into(),
        )];
    }
    if schema.get("type").and_then(Value::as_str) != Some("object")
        || schema.get("additionalProperties") != Some(&Value::Bool(false))
    {
        return vec![(
            String::new(),
            "the schema of a configuration has `\"type\": \"object\"` and `\"additionalProperties\": false`"
                .into(),
        )];
    }
    if let Err(error) = jsonschema::draft202012::meta::validate(schema) {
        return vec![(
            String::new(),
            format!("not a valid JSON Schema at `{}`: {error}", error.instance_path()),
        )];
    }
    compile(schema)
        .err()
        .map(|message| (String::new(), message))
        .into_iter()
        .collect()
}
