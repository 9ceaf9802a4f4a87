//! What the manifests of the plugins object to: code, place, way out.

#![cfg(test)]

use std::collections::BTreeMap;
use std::path::Path;

use keywheel_config::{Draft, GrantSubject, Problem};
use keywheel_manifest::Manifest;

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "required": ["host", "mode"],
  "properties": {
    "host": { "type": "string", "description": "The server." },
    "port": { "type": "integer", "minimum": 1, "maximum": 65535 },
    "mode": { "enum": ["one", "two", "hook"] },
    "copies": { "type": "array", "items": { "type": "string" } },
    "role": { "type": "string", "pattern": "^[a-z]+$" },
    "roles": { "type": "array", "items": { "type": "string" }, "minItems": 2, "maxItems": 2 },
    "trust": { "type": "string", "format": "trust-set" },
    "size": { "type": "integer", "description": "How long." }
  },
  "oneOf": [
    { "properties": { "mode": { "const": "one" }, "roles": false } },
    { "properties": { "mode": { "const": "two" }, "role": false }, "required": ["roles"] },
    { "properties": { "mode": { "const": "hook" } }, "required": ["size"] }
  ]
}"#;

const MANIFEST: &str = r#"
format = 1
name = "demo"
version = "0.1.0"
summary = "For these tests"
config-schema = "schema.json"
capabilities = ["core", "net"]
target = ["/host"]
replicas = ["/copies/*"]
account = ["/role"]
inputs = ["admin"]

[[mode]]
when = { "/mode" = "one" }
class = "C"
strategy = "one-slot"
proof = "login"
belief = "0s"

[[mode]]
when = { "/mode" = "two" }
class = "A"
strategy = "two-slot"
proof = "login"
belief = "0s"
account = ["/roles/*"]

[[mode]]
when = { "/mode" = "hook" }
class = "A"
strategy = "two-slot"
proof = "none"
belief = "0s"

[[frame]]
id = "auth"
framing = "resp"
send = ["AUTH", "{subject}"]
effect = "login"
reply = "status"
"#;

fn rotation(name: &str, keys: &str, config: &str) -> String {
    format!(
        "[[rotation]]\nname = \"{name}\"\nplugin = \"demo\"\nsecret = \"app/{name}\"\ninputs = {{ admin = \"db/admin\" }}\n{keys}\n\
         [rotation.config]\nhost = \"db\"\n{config}\n"
    )
}

fn problems(text: &str) -> Vec<Problem> {
    let manifest = Manifest::from_toml(MANIFEST, SCHEMA).unwrap();
    let grant = |rotation: Option<&str>| GrantSubject {
        plugin: manifest.name.clone(),
        rotation: rotation.map(|rotation| rotation.parse().unwrap()),
    };
    let grants = BTreeMap::from([
        ("demo".to_owned(), grant(None)),
        ("only-a".to_owned(), grant(Some("a"))),
    ]);
    let manifests = BTreeMap::from([(manifest.name.clone(), manifest)]);
    match Draft::read(text, Path::new("keywheel.toml")).check(&manifests, &grants) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().cloned().collect(),
    }
}

fn only(text: &str) -> (Problem, String) {
    let all = problems(text);
    assert_eq!(all.len(), 1, "{all:#?}");
    let problem = all.into_iter().next().unwrap();
    let hint = problem.hint.clone().unwrap_or_default();
    (problem, hint)
}

#[test]
fn a_rotation_that_fits_its_plugin_is_accepted() {
    assert_eq!(
        problems(&rotation("a", "", "mode = \"two\"\nroles = [\"x\", \"y\"]")),
        []
    );
    assert_eq!(
        problems(&rotation("a", "gap = \"accept\"", "mode = \"one\"\nrole = \"x\"")),
        []
    );
    assert_eq!(
        problems(&rotation(
            "a",
            "proof = \"accept\"",
            "mode = \"hook\"\nsize = 1\nrole = \"x\""
        )),
        []
    );
}

#[test]
fn a_trust_set_that_is_not_there_is_refused_where_it_is_named() {
    let uses = |set: &str| {
        rotation(
            "a",
            "gap = \"accept\"",
            &format!("mode = \"one\"\nrole = \"x\"\ntrust = \"{set}\""),
        )
    };
    let sets = |name: &str| format!("[trust.{name}]\npem = [\"ca.pem\"]\n\n");
    assert_eq!(problems(&(sets("own") + &uses("own"))), []);

    let (problem, hint) = only(&uses("mine"));
    assert_eq!(
        (
            problem.code,
            problem.message.as_str(),
            problem.place.line,
            problem.place.column
        ),
        ("config.trust", "there is no trust set `mine`", 11, 9)
    );
    assert!(
        hint.contains("[trust.NAME]") && hint.contains("leave `trust` out"),
        "{hint}"
    );
    let (problem, hint) = only(&(sets("own") + &uses("onw")));
    assert_eq!(
        (problem.code, hint.as_str()),
        ("config.trust", "did you mean \"own\"?")
    );
}

#[test]
fn an_unknown_plugin_is_refused_with_the_nearest_name() {
    let text = rotation("a", "gap = \"accept\"", "mode = \"one\"\nrole = \"x\"");
    let (problem, hint) = only(&text.replace("\"demo\"", "\"dmeo\""));
    assert_eq!(
        (problem.code, problem.place.line, problem.place.column),
        ("config.unknown-plugin", 3, 10)
    );
    assert_eq!(hint, "did you mean \"demo\"?");
    assert!(only(&text.replace("\"demo\"", "\"oracle\"")).1.contains(".wasm"));
}

/// The way out where a message says all but where to read on.
const DESCRIBED: &str = "`keywheel plugin show PLUGIN --schema` describes every setting";

#[test]
fn settings_are_checked_against_the_plugins_schema_at_their_place() {
    let found = problems(&rotation(
        "a",
        "gap = \"accept\"",
        "prot = 5432\nport = 70000\nmode = \"tow\"\nrole = \"X\"",
    ));
    let found: Vec<_> = found
        .iter()
        .map(|p| (p.message.as_str(), p.place.line, p.hint.as_deref()))
        .collect();
    let expected = [
        ("unknown key `prot`", 9, Some("did you mean `port`?")),
        ("more than 65535", 10, Some(DESCRIBED)),
        (
            "expected \"one\", \"two\" or \"hook\"",
            11,
            Some("did you mean \"two\"?"),
        ),
        ("does not fit the pattern `^[a-z]+$`", 12, Some(DESCRIBED)),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_setting_that_is_no_64_bit_number_gives_one_error() {
    for setting in [
        "role = \"x\"\nport = 99999999999999999999",
        "role = 99999999999999999999",
    ] {
        let config = format!("mode = \"one\"\n{setting}");
        let (problem, _) = only(&rotation("one", "gap = \"accept\"", &config));
        assert_eq!(problem.code, "config.number", "{setting}: {problem:?}");
    }
}

#[test]
fn a_missing_setting_is_named_with_its_description() {
    let text = rotation("a", "", "mode = \"two\"\nroles = [\"x\", \"y\"]").replace("host = \"db\"\n", "");
    let (problem, hint) = only(&text);
    assert_eq!(
        (problem.code, problem.message.as_str()),
        ("config.plugin-setting", "`rotation.config` needs the key `host`")
    );
    assert_eq!(hint, "`host`: The server.");
}

#[test]
fn an_unknown_or_missing_input_is_refused() {
    let text = rotation("a", "gap = \"accept\"", "mode = \"one\"\nrole = \"x\"");
    let found = problems(&text.replace("admin =", "amdin ="));
    let codes: Vec<_> = found.iter().map(|p| (p.code, p.place.line)).collect();
    assert_eq!(codes, [("config.missing-input", 1), ("config.unknown-input", 5)]);
    assert_eq!(found[1].hint.as_deref(), Some("did you mean `admin`?"));
}

#[test]
fn a_login_that_rotates_itself_is_refused() {
    let text = rotation("a", "gap = \"accept\"", "mode = \"one\"\nrole = \"x\"").replace("db/admin", "app/a");
    assert_eq!(only(&text).0.code, "config.self-target");
}

#[test]
fn a_gap_needs_words_and_the_refusal_says_both_ways_out() {
    let (problem, hint) = only(&rotation("a", "", "mode = \"one\"\nrole = \"x\""));
    assert_eq!(problem.code, "config.gap");
    assert!(
        hint.contains("keeps two credentials") && hint.contains("gap = \"accept\""),
        "{hint}"
    );
    // Consumers that hold both before the change need none; one that does not is enough for a gap.
    let with = |second: &str| {
        let hook = "hook = { exec = [\"/bin/true\"], announce = true }";
        let consumers = format!("consumers = [{{ name = \"web\", staleness = \"1m\", {hook} }}{second}]");
        problems(&rotation("a", &consumers, "mode = \"one\"\nrole = \"x\""))
    };
    assert_eq!(with(""), []);
    for second in [
        "{ name = \"shop\", staleness = \"1m\" }",
        "{ name = \"shop\", staleness = \"1m\", hook = { exec = [\"/bin/true\"] } }",
    ] {
        assert_eq!(with(&format!(", {second}"))[0].code, "config.gap");
    }
}

#[test]
fn a_target_that_cannot_be_asked_needs_words() {
    let (problem, hint) = only(&rotation("a", "", "mode = \"hook\"\nsize = 1\nrole = \"x\""));
    assert_eq!(
        (problem.code, hint.contains("proof = \"accept\"")),
        ("config.no-proof", true)
    );
    let (problem, _) = only(&rotation(
        "a",
        "gap = \"accept\"\nproof = \"accept\"",
        "mode = \"one\"\nrole = \"x\"",
    ));
    assert_eq!((problem.code, problem.place.line), ("config.needless-proof", 7));
}

#[test]
fn two_rotations_on_one_account_are_refused_even_in_other_modes() {
    let one = rotation("a", "gap = \"accept\"", "mode = \"one\"\nrole = \"x\"");
    let two = rotation("b", "", "mode = \"two\"\nroles = [\"y\", \"x\"]");
    let (problem, _) = only(&format!("{one}{two}"));
    assert_eq!(problem.code, "config.one-rotation-per-account");
    assert_eq!(
        problem.message,
        "this rotates the same account as the rotation `a`"
    );
    assert_eq!(problems(&format!("{one}{}", two.replace("\"x\"", "\"z\""))), []);
    assert_eq!(
        problems(&format!("{one}{}", two.replace("\"db\"", "\"other\""))),
        []
    );
}

#[test]
fn an_account_is_not_rotated_where_it_is_copied_to() {
    let one = rotation(
        "a",
        "gap = \"accept\"",
        "mode = \"one\"\nrole = \"x\"\ncopies = [\"db2\"]",
    );
    let at = |host: &str| {
        let other = rotation("b", "gap = \"accept\"", "mode = \"one\"\nrole = \"x\"");
        other.replace("host = \"db\"", &format!("host = \"{host}\""))
    };
    for text in [one.clone() + &at("DB2"), at("db2") + &one] {
        assert_eq!(only(&text).0.code, "config.one-rotation-per-account");
    }
    assert_eq!(problems(&(one + &at("db3"))), []);
}

#[test]
fn two_rotations_on_one_account_are_refused_however_the_host_is_spelled() {
    let one = rotation("a", "gap = \"accept\"", "mode = \"one\"\nrole = \"x\"");
    for host in ["DB", "db.", "Db."] {
        let two = one
            .replace("\"a\"", "\"b\"")
            .replace("app/a", "app/b")
            .replace("host = \"db\"", &format!("host = \"{host}\""));
        let (problem, hint) = only(&format!("{one}{two}"));
        assert_eq!(problem.code, "config.one-rotation-per-account", "{host}");
        assert!(problem.place.line > one.lines().count(), "{}", problem.place.line);
        assert!(hint.contains("rotate each account in one place"), "{hint}");
    }
}

#[test]
fn settings_that_name_no_account_are_refused() {
    assert_eq!(
        only(&rotation("a", "gap = \"accept\"", "mode = \"one\"")).0.code,
        "config.no-account"
    );
}

#[test]
fn alternating_users_with_a_second_name_are_refused() {
    let outputs = "outputs = { user = \"app/user\" }";
    let (problem, hint) = only(&rotation("a", outputs, "mode = \"two\"\nroles = [\"x\", \"y\"]"));
    assert_eq!((problem.code, problem.place.line), ("config.split-pair", 6));
    assert!(
        hint.contains("what holds user name and password together"),
        "{hint}"
    );
    let outputs = format!("{outputs}\ngap = \"accept\"");
    assert_eq!(
        problems(&rotation("a", &outputs, "mode = \"one\"\nrole = \"x\"")),
        []
    );
}

#[test]
fn problems_of_the_file_and_of_the_manifests_come_together() {
    let text = format!(
        "[limits]\nstep = \"16m\"\n{}",
        rotation("a", "", "mode = \"one\"\nrole = \"x\"")
    );
    let codes: Vec<_> = problems(&text).iter().map(|p| p.code).collect();
    assert_eq!(codes, ["config.range", "config.gap"]);
}

#[test]
fn a_grant_for_one_rotation_is_there_and_names_it() {
    let text = |name: &str, policy: &str| {
        rotation(
            name,
            &format!("gap = \"accept\"\npolicy = \"{policy}\""),
            "mode = \"one\"\nrole = \"x\"",
        )
    };
    assert_eq!(problems(&text("a", "only-a")), []);
    let (problem, hint) = only(&text("b", "only-a"));
    assert_eq!((problem.code, problem.place.line), ("config.other-grant", 7));
    assert_eq!(hint, "it begins with:\nplugin = \"demo\"\nrotation = \"b\"");
    assert_eq!(only(&text("a", "demo")).0.code, "config.other-grant");
    let (problem, hint) = only(&text("a", "gone"));
    assert_eq!(problem.code, "config.no-grant");
    assert!(hint.starts_with("write \"policies/gone.toml\""), "{hint}");
}

#[test]
fn of_several_forms_the_one_that_is_meant_is_explained() {
    let (problem, hint) = only(&rotation("a", "", "mode = \"hook\"\nrole = \"x\""));
    assert_eq!(problem.message, "`rotation.config` needs the key `size`");
    assert_eq!(hint, "`size`: How long.");
    let found = problems(&rotation("a", "", "mode = \"two\"\nrole = \"x\""));
    let found: Vec<_> = found.iter().map(|p| (p.message.as_str(), p.place.line)).collect();
    let expected = [
        ("`rotation.config` needs the key `roles`", 7),
        ("not allowed together with the other settings", 10),
    ];
    assert_eq!(found, expected);
}
