//! Reading and packing manifests: every problem with its place, one canonical form, one section.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::time::Duration;

use keywheel_manifest::{Error, MAX_COMPONENT_BYTES, Manifest, SECTION, pack, read};
use serde_json::{Value, json};

const SCHEMA: &str = r#"{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "additionalProperties": false,
    "properties": {"host": {"type": "string"}, "name": {"type": "string", "pattern": "^[a-z]+$"}}}"#;
const GOOD: &str = r#"format = 1
name = "example"
version = "1.0"
summary = "An example"
config-schema = "schema.json"
capabilities = ["core", "sql", "net"]
target = ["/nodes/*/host", "/nodes/*/port"]
account = ["/role"]
inputs = ["admin"]

[[mode]]
when = { "/mode" = "pair", "/big" = true }
class = "A"
strategy = "two-slot"
proof = "login"
belief = "1500ms"
lockout = "none"
account = ["/roles/*"]

[[mode]]
class = "C"
strategy = "one-slot"
proof = "login"
belief = "2m"

[[sql]]
id = "set"
dialect = "postgres"
text = "ALTER ROLE {ident:/role} PASSWORD {pending}"
effect = "set"
"#;

/// The smallest component, and the smallest core module.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

fn good() -> Manifest {
    Manifest::from_toml(GOOD, SCHEMA).unwrap()
}

/// The problems of the good manifest with one text replaced.
fn problems(from: &str, to: &str) -> Vec<String> {
    assert!(GOOD.contains(from), "{from}");
    match Manifest::from_toml(&GOOD.replacen(from, to, 1), SCHEMA) {
        Err(Error::Invalid(problems)) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{to}: {other:?}"),
    }
}

#[track_caller]
fn refused(from: &str, to: &str, place_and_words: &str) {
    let problems = problems(from, to);
    assert!(
        problems.iter().any(|problem| problem.contains(place_and_words)),
        "{to}: {problems:#?}"
    );
}

#[test]
fn all_problems_are_listed_at_once_each_with_its_place() {
    let text = GOOD
        .replace("name = \"example\"", "name = \"../x\"\ncolour = 1")
        .replace("class = \"C\"", "class = \"Z\"")
        .replace("effect = \"set\"", "");
    let Err(Error::Invalid(problems)) = Manifest::from_toml(&text, SCHEMA) else {
        panic!("accepted")
    };
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 4, "{shown:#?}");
    for (line, words) in [
        (2, "name:"),
        (3, "colour: unknown key"),
        (22, "mode[1].class: expected one of"),
        (27, "sql[0]: key `effect` is missing"),
    ] {
        assert!(
            shown
                .iter()
                .any(|problem| problem.starts_with(&format!("{line}:")) && problem.contains(words)),
            "{line} {words}: {shown:#?}"
        );
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_no_declared_statement() {
    let text = "ALTER ROLE {ident:/role} PASSWORD {pending}";
    for (statement, words) in [
        ("SELECT {pending}", "begins with one of"),
        ("alter role {ident:/role} PASSWORD {pending}", "in capitals"),
        (
            "ALTER ROLE {ident:/role} PASSWORD {pending}; COMMIT",
            "one statement a shape",
        ),
        ("ALTER ROLE {ident:/role} PASSWORD '{pending}'", "not closed"),
        ("ALTER ROLE {ident:/role} PASSWORD E{pending}", "touches a piece"),
        ("ALTER ROLE {ident:/role}x PASSWORD {pending}", "touches a piece"),
        (
            "ALTER ROLE {ident:/role} PASSWORD {pending}{current}",
            "side by side",
        ),
        ("ALTER ROLE {ident:/role} PASSWORD {pending} -- x", "comments"),
        ("ALTER ROLE {ident:/role} /* x */ PASSWORD {pending}", "comments"),
        ("ALTER ROLE {ident:/role} PASSWORD $${{}}$$", "'$' is not allowed"),
        (
            "ALTER ROLE {ident:/role} SET x 'a\\\\' PASSWORD {pending}",
            "backslash",
        ),
        ("ALTER ROLE {any} PASSWORD {pending}", "HTTP bodies only"),
        ("ALTER ROLE {ident:role} PASSWORD {pending}", "not a JSON pointer"),
        ("ALTER ROLE {ident:/role} PASSWORD {penidng}", "is none of"),
        (
            "ALTER ROLE {ident:/role} PASSWORD {input:root}",
            "not among `inputs`",
        ),
    ] {
        refused(text, statement, words);
    }
}

#[test]
fn what_a_shape_may_not_claim_is_refused() {
    let shape = "[[sql]]\nid = \"set\"";
    let frame = |send: &str, reply: &str| {
        format!(
            "[[frame]]\nid = \"f\"\nframing = \"resp\"\nsend = {send}\neffect = \"set\"\nreply = \"{reply}\"\n{shape}"
        )
    };
    refused("effect = \"set\"", "effect = \"none\"", "at least a `login`");
    refused(
        shape,
        &frame("[\"GET\", \"{current}\"]", "all"),
        "without a secret",
    );
    refused(
        shape,
        &frame("[\"{text}\", \"{current}\"]", "status"),
        "the command, written out",
    );
    refused(
        shape,
        &frame("[\"SET\", \"a{text}\"]", "status"),
        "must be the whole element",
    );
    refused(
        shape,
        &frame("[\"SET\", \"{any}\"]", "status"),
        "HTTP bodies only",
    );
    refused(
        shape,
        &frame("[\"SET\", \"{ident:/role}\"]", "status"),
        "SQL only",
    );
    refused(
        shape,
        &frame("[\"PING\"]", "status").replace("\"resp\"", "\"ber\""),
        "expected `(TT`",
    );
    refused(
        shape,
        &frame("[\"(30\", \"04 x\"]", "status").replace("\"resp\"", "\"ber\""),
        "not closed",
    );
    refused(
        shape,
        &frame("[\")\"]", "status").replace("\"resp\"", "\"ber\""),
        "closes nothing",
    );
    refused("\"sql\", ", "", "needs `sql`");
    let twin = "[[sql]]\nid = \"other\"\ndialect = \"postgres\"\ntext = \"ALTER ROLE {ident:/role} PASSWORD {pending}\"\neffect = \"create\"\n";
    refused(shape, &format!("{twin}{shape}"), "looks the same as");
    refused(
        shape,
        &format!(
            "{}{shape}",
            twin.replace("other", "set").replace("{pending}", "{current}")
        ),
        "the id of another shape",
    );
}

#[test]
fn modes_targets_and_schema_are_checked() {
    refused(
        "when = { \"/mode\" = \"pair\", \"/big\" = true }\n",
        "",
        "never reached",
    );
    refused(
        "belief = \"2m\"",
        "belief = \"2 minutes\"",
        "a whole number and a unit",
    );
    refused("belief = \"2m\"", "belief = \"25h\"", "at most 24 h");
    refused("lockout = \"none\"", "lockout = \"never\"", "expected `none`");
    refused("\"/nodes/*/port\"", "\"/other/*/port\"", "share the array");
    refused(
        "account = [\"/roles/*\"]",
        "inputs = [\"root\"]",
        "not among the manifest's `inputs`",
    );
    refused("account = [\"/role\"]", "account = []", "expected pointers");
    refused("config-schema = \"schema.json\"", "config-schema = 3", "expected");
    refused("name = \"example\"", "name = \"Example\"", "2:1: name:");
    refused(
        "capabilities = [\"core\"",
        "capabilities = [\"root\"",
        "is no capability",
    );
    let schema = |schema: &str| Manifest::from_toml(GOOD, schema).unwrap_err().to_string();
    assert!(schema("{").contains("no JSON"));
    assert!(schema(r#"{"type": "object"}"#).contains("2020-12"));
    assert!(schema(&SCHEMA.replace("false", "true")).contains("additionalProperties"));
    assert!(schema(&SCHEMA.replace("\"string\"", "\"strnig\"")).contains("not a valid JSON Schema"));
    assert!(
        schema(&SCHEMA.replace("^[a-z]+$", "(a)\\\\1")).contains("config-schema"),
        "back references need exponential time"
    );
    assert!(
        schema(&SCHEMA.replace(
            "{\"type\": \"string\"}",
            "{\"$ref\": \"https://example.net/s.json\"}"
        ))
        .contains("config-schema")
    );
}

#[test]
fn a_newer_format_is_refused_with_the_way_out() {
    let error =
        Manifest::from_toml(&GOOD.replace("format = 1", "format = 2\nwhatever = 1"), SCHEMA).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the manifest has format 2, this host reads up to 1"
    );
    assert!(error.hint().unwrap().contains("upgrade the host"));
}

#[test]
fn the_first_mode_that_fits_counts() {
    let manifest = good();
    let belief = |configuration| manifest.mode(&configuration).map(|mode| mode.belief);
    assert_eq!(
        belief(json!({"mode": "pair", "big": true})),
        Some(Duration::from_millis(1500))
    );
    assert_eq!(belief(json!({"mode": "pair"})), Some(Duration::from_mins(2)));
    let never_locks = |configuration| manifest.mode(&configuration).map(|mode| mode.never_locks);
    assert_eq!(never_locks(json!({"mode": "pair", "big": true})), Some(true));
    assert_eq!(never_locks(json!({"mode": "pair"})), Some(false));
}

#[test]
fn a_principal_is_each_account_on_each_node_and_equal_for_equal_values() {
    let manifest = good();
    let one = manifest.principals(&json!({"nodes": [{"host": "a", "port": 1}], "role": "x"}));
    assert_eq!(one.len(), 1);
    let pair = json!({"mode": "pair", "big": true, "nodes": [{"host": "a", "port": 1}, {"host": "b", "port": 1}], "roles": ["x", "y"]});
    let four = manifest.principals(&pair);
    assert_eq!(four.len(), 4);
    assert!(
        one.is_subset(&four),
        "a rotation of one of the pair's roles collides with the pair"
    );
    assert!(
        manifest
            .principals(&json!({"nodes": [{"host": "a"}], "role": "x"}))
            .is_empty()
    );
    let joined = |host: &str, role: &str| {
        manifest.principals(&json!({"nodes": [{"host": host, "port": 1}], "role": role}))
    };
    assert!(joined("a\",\"b", "x").is_disjoint(&joined("a", "x")));
}

#[test]
fn the_servers_of_a_target_are_its_hosts_with_their_ports() {
    let manifest = good();
    let nodes = |list: Value| manifest.nodes(&json!({"nodes": list, "role": "x"}));
    let two =
        nodes(json!([{"host": "A.", "port": 1}, {"host": "::1", "port": "02"}, {"host": "a", "port": 1}]));
    let spelled = ["a:1", "[::1]:2"].map(keywheel_manifest::canonical_address);
    assert_eq!(two, spelled.into_iter().collect());
    // What is told by no host and port is not one server of several.
    assert!(nodes(json!([{"host": "a", "port": "main"}])).is_empty());
}

#[test]
fn what_copies_the_target_is_told_apart_from_it_and_has_the_same_accounts() {
    let target = "target = [\"/nodes/*/host\", \"/nodes/*/port\"]";
    let with = |replicas: &str| format!("{target}\nreplicas = {replicas}");
    let text = GOOD.replace(target, &with("[\"/copies/*/host\", \"/copies/*/port\"]"));
    let manifest = Manifest::from_toml(&text, SCHEMA).unwrap();
    let server = |host: &str| json!([{"host": host, "port": 1}]);
    let both = json!({"nodes": server("a"), "copies": server("B."), "role": "x"});
    assert_eq!(manifest.nodes(&both), ["a:1".to_owned()].into());
    assert_eq!(manifest.replicas(&both), ["b:1".to_owned()].into());
    let at_the_copy = json!({"nodes": server("b"), "role": "x"});
    assert_eq!(manifest.copies(&both), manifest.principals(&at_the_copy));
    assert!(manifest.copies(&both).is_disjoint(&manifest.principals(&both)));
    for without in [
        &at_the_copy,
        &json!({"nodes": server("a"), "copies": [], "role": "x"}),
    ] {
        assert!(manifest.copies(without).is_empty() && manifest.replicas(without).is_empty());
    }
    assert!(good().replicas(&both).is_empty());
    refused(
        target,
        &with("[\"/copies/*/host\"]"),
        "as many pointers as `target`",
    );
    refused(
        target,
        &with("[\"/copies/*/host\", \"/ports/*\"]"),
        "share the array",
    );
}

#[test]
fn another_spelling_of_the_host_is_the_same_principal_and_of_the_account_another() {
    let manifest = good();
    let of = |host: &str, port: Value, role: &str| {
        manifest.principals(&json!({"nodes": [{"host": host, "port": port}], "role": role}))
    };
    let one = of("localhost", json!(5432), "app");
    assert_eq!(one.len(), 1);
    for (host, port) in [
        ("LOCALHOST", json!(5432)),
        ("localhost.", json!(5432)),
        ("localhost", json!("05432")),
    ] {
        assert_eq!(of(host, port, "app"), one, "{host}");
    }
    assert_eq!(
        of("::ffff:10.0.0.1", json!(1), "app"),
        of("10.0.0.1", json!(1), "app")
    );
    for other in ["APP", "app."] {
        assert!(of("localhost", json!(5432), other).is_disjoint(&one), "{other}");
    }
    assert!(of("localhost", json!(5433), "app").is_disjoint(&one));
}

#[test]
fn a_configuration_is_checked_against_the_schema_with_pointers() {
    let found = good().check_configuration(&json!({"host": 3, "name": "A", "extra": 1}));
    let places: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        places.contains(&"/host") && places.contains(&"/name") && places.contains(&""),
        "{found:?}"
    );
}

#[test]
fn a_digest_is_of_the_shape_as_written_and_of_nothing_else() {
    let digest = |text: &str| {
        Manifest::from_toml(text, SCHEMA)
            .unwrap()
            .shape("set")
            .unwrap()
            .digest()
    };
    assert_eq!(
        digest(GOOD),
        digest(
            &GOOD
                .replace("1.0", "2.0")
                .replace("dialect = \"postgres\"\n", "dialect = 'postgres' # same\n")
        )
    );
    assert_ne!(
        digest(GOOD),
        digest(&GOOD.replace("effect = \"set\"", "effect = \"create\""))
    );
    assert_ne!(digest(GOOD), digest(&GOOD.replace("{pending}", "{current}")));
    assert_eq!(digest(GOOD).to_string().parse(), Ok(digest(GOOD)));
    assert_eq!(
        digest(GOOD).to_string(),
        keywheel_manifest::Digest::of(
            br#"{"sql":{"dialect":"postgres","effect":"set","id":"set","text":"ALTER ROLE {ident:/role} PASSWORD {pending}"}}"#
        )
        .to_string()
    );
}

#[test]
fn what_is_packed_reads_back_and_the_same_input_gives_the_same_bytes() {
    let packed = pack(COMPONENT, &good()).unwrap();
    assert_eq!(packed, pack(COMPONENT, &good()).unwrap());
    let back = read(&packed).unwrap();
    assert_eq!(back.to_canonical(), good().to_canonical());
    assert_eq!(back.shapes(), good().shapes());
    let again = pack(&packed, &good()).unwrap_err();
    assert_eq!(again.code(), "manifest.already-packed");
}

#[test]
fn every_wrong_file_has_its_own_words() {
    let section = |content: &[u8]| {
        [
            &[
                0,
                u8::try_from(SECTION.len() + 1 + content.len()).unwrap(),
                u8::try_from(SECTION.len()).unwrap(),
            ],
            SECTION.as_bytes(),
            content,
        ]
        .concat()
    };
    let with = |content: &[u8]| [COMPONENT, &section(content)].concat();
    let two = [pack(COMPONENT, &good()).unwrap(), section(b"{}")].concat();
    let mut cut = pack(COMPONENT, &good()).unwrap();
    cut.truncate(cut.len() - 1);
    let nested = [
        COMPONENT,
        &[1, 8 + u8::try_from(section(b"{}").len()).unwrap()],
        MODULE,
        &section(b"{}"),
    ]
    .concat();
    for (bytes, code) in [
        (b"#!/bin/sh".to_vec(), "manifest.not-wasm"),
        (b"\x7fELF".to_vec(), "manifest.not-wasm"),
        (Vec::new(), "manifest.not-wasm"),
        (MODULE.to_vec(), "manifest.core-module"),
        (COMPONENT.to_vec(), "manifest.none"),
        (nested, "manifest.none"),
        (two, "manifest.two"),
        (cut, "manifest.damaged-component"),
        (with(b"nonsense"), "manifest.not-json"),
        (with(b"{ }"), "manifest.not-canonical"),
        (with(b"{\"a\":1,\"a\":1}"), "manifest.not-canonical"),
        (with(b"{}"), "manifest.invalid"),
        (with(b"{\"format\":9}"), "manifest.newer-format"),
        (vec![0; MAX_COMPONENT_BYTES + 1], "manifest.too-large"),
    ] {
        let error = read(&bytes).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn an_unknown_key_in_the_section_is_refused() {
    let text =
        String::from_utf8(good().to_canonical())
            .unwrap()
            .replacen("\"account\"", "\"abc\":1,\"account\"", 1);
    let error = Manifest::from_canonical(text.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("abc: unknown key"), "{error}");
}

#[test]
fn a_schema_outside_the_manifests_folder_is_not_named() {
    for bad in ["../schema.json", "/etc/passwd", ".hidden", ""] {
        assert!(
            Manifest::schema_file(&format!("config-schema = \"{bad}\"")).is_err(),
            "{bad}"
        );
    }
    assert_eq!(Manifest::schema_file(GOOD).unwrap(), "schema.json");
}

#[test]
fn a_mode_may_need_fewer_inputs_than_the_manifest_has() {
    let without = GOOD.replacen("account = [\"/roles/*\"]", "inputs = []", 1);
    let manifest = Manifest::from_toml(&without, SCHEMA).unwrap();
    assert!(
        manifest
            .inputs_of(&json!({"mode": "pair", "big": true}))
            .is_empty()
    );
    assert!(manifest.inputs_of(&json!({})).contains("admin"));
}
