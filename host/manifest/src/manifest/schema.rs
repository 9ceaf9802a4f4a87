use jsonschema::{PatternOptions, Validator};
use keywheel_model::SocketFolder;
use keywheel_model::address::Host;
use serde_json::Value;

use crate::reader::{Problems, join};

/// The format of a setting that is a host: a name or an address as it can be dialled, and as a grant can name it.
pub const HOST_FORMAT: &str = "network-host";

/// The format of a setting that is a host or, in its place, the folder of a Unix socket.
pub const HOST_OR_SOCKET_FORMAT: &str = "host-or-socket";

fn is_host(text: &str) -> bool {
    text.parse::<Host>().is_ok()
}

fn is_host_or_socket(text: &str) -> bool {
    is_host(text) || text.parse::<SocketFolder>().is_ok()
}

/// A validator for a plugin's schema. References lead nowhere outside the document, and patterns are matched in linear time:
/// a schema is a stranger's.
pub(super) fn compile(schema: &Value) -> Result<Validator, String> {
    jsonschema::draft202012::options()
        .with_pattern_options(PatternOptions::regex())
        .with_format(HOST_FORMAT, is_host)
        .with_format(HOST_OR_SOCKET_FORMAT, is_host_or_socket)
        .should_validate_formats(true)
        .build(schema)
        .map_err(|error| error.to_string())
}

/// Adds what is wrong with the schema at a path of the document.
pub(super) fn check(schema: &Value, path: &str, problems: &mut Problems) {
    let dialect = schema.get("$schema").and_then(Value::as_str);
    if dialect != Some("https://json-schema.org/draft/2020-12/schema") {
        problems.add(
            join(path, "$schema"),
            "expected \"https://json-schema.org/draft/2020-12/schema\"",
        );
    } else if schema.get("type").and_then(Value::as_str) != Some("object")
        || schema.get("additionalProperties") != Some(&Value::Bool(false))
    {
        problems.add(
            path,
            "the schema of a configuration has `\"type\": \"object\"` and `\"additionalProperties\": false`",
        );
    } else if let Err(error) = jsonschema::draft202012::meta::validate(schema) {
        let place = error.instance_path();
        problems.add(path, format!("not a valid JSON Schema at `{place}`: {error}"));
    } else if let Err(message) = compile(schema) {
        problems.add(path, message);
    }
}
