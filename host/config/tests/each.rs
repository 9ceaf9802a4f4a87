//! One table for many rotations: what is made of rows, and what is wrong with them, at its place.

#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use keywheel_config::{Config, Draft, Problem};
use keywheel_manifest::Manifest;
use keywheel_model::Timestamp;

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object", "additionalProperties": false, "required": ["host", "role"],
  "properties": { "host": { "type": "string" }, "role": { "type": "string", "pattern": "^[a-z]+$" } }
}"#;

const MANIFEST: &str = r#"
format = 1
name = "demo"
version = "0.1.0"
summary = "For these tests"
config-schema = "schema.json"
capabilities = ["core", "net"]
target = ["/host"]
account = ["/role"]
inputs = ["admin"]

[[mode]]
class = "A"
strategy = "two-slot"
proof = "none"
belief = "0s"
"#;

const TEMPLATE: &str = r#"
[[rotation]]
each = "roles.csv"
name = "db-{role}"
plugin = "demo"
secret = "{server}/{role}"
inputs = { admin = "db/admin" }
proof = "accept"
labels = { server = "{server}" }
config = { host = "{server}.internal", role = "{role}" }
"#;

const ROWS: &str = "role,server\nann,eu\nbob,us\n";

fn read(folder: &Path, template: &str, rows: &str) -> Result<Config, Vec<Problem>> {
    fs::write(folder.join("roles.csv"), rows).unwrap();
    fs::write(folder.join("keywheel.toml"), template).unwrap();
    let manifest = Manifest::from_toml(MANIFEST, SCHEMA).unwrap();
    let manifests = BTreeMap::from([(manifest.name.clone(), manifest)]);
    let draft = Draft::open(&folder.join("keywheel.toml")).unwrap();
    let config = draft.check(&manifests, &BTreeMap::new());
    let config = config.map_err(|problems| problems.iter().cloned().collect::<Vec<_>>())?;
    let checked = config.check_all_rows(Timestamp::from_unix_ms(1_800_000_000_000));
    checked.map_err(|problems| problems.iter().cloned().collect::<Vec<_>>())?;
    Ok(config)
}

/// The code, the place and the message of the only problem.
#[track_caller]
fn only(template: &str, rows: &str) -> (&'static str, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let found = read(folder.path(), template, rows).unwrap_err();
    assert_eq!(found.len(), 1, "{found:#?}");
    let problem = &found[0];
    assert!(problem.hint.is_some(), "{problem:#?}");
    let file = problem.place.file.file_name().unwrap().to_str().unwrap();
    let place = format!("{file}:{}:{}", problem.place.line, problem.place.column);
    (problem.code, place, problem.message.clone())
}

#[test]
fn each_row_is_a_rotation_that_is_found_by_its_name_and_by_its_secret() {
    let folder = tempfile::tempdir().unwrap();
    // With a mark of the byte order, line ends of another system, quotes, an empty line, and a column that nobody takes.
    let rows = "\u{feff}role,note,server\r\nann,\"a \"\"b\"\", c\",eu\r\n\r\n\"bob\",,us\r\n";
    let config = read(folder.path(), TEMPLATE, rows).unwrap();
    assert_eq!((config.rotations.len(), config.count()), (0, 2));
    let bob = config.rotation(&"db-bob".parse().unwrap()).unwrap();
    assert_eq!(bob.secret.as_str(), "us/bob");
    assert_eq!(bob.config["host"], "us.internal");
    assert_eq!(bob.labels["server"], "us");
    let ann = config.rotation_of(&"eu/ann".parse().unwrap()).unwrap();
    assert_eq!(ann.name.as_str(), "db-ann");
    assert!(config.rotation(&"db-carl".parse().unwrap()).is_none());
    let names: Vec<String> = config.all().map(|rotation| rotation.name.to_string()).collect();
    assert_eq!(names, ["db-ann", "db-bob"]);
    let effective = config.effective();
    let each = effective.iter().find(|entry| entry.value == "db-{role}");
    assert!(each.is_some(), "{effective:#?}");
}

#[test]
fn what_is_wrong_with_the_file_is_pinned_in_it() {
    let at = |rows: &str| only(TEMPLATE, rows);
    for (rows, place, words) in [
        ("", "roles.csv:1:1", "the file is empty"),
        ("role,server\n", "roles.csv:1:1", "there is no row"),
        (
            "role,sever\nann,eu\n",
            "roles.csv:1:1",
            "there is no column `server`",
        ),
        (
            "role,server,role\nann,eu,x\n",
            "roles.csv:1:13",
            "two columns are named `role`",
        ),
        (
            "role,server\nann,eu\nbob\n",
            "roles.csv:3:1",
            "the cells of this row are 1",
        ),
        (
            "role,server\nann,eu\nbob,us,x\n",
            "roles.csv:3:1",
            "the cells of this row are 3",
        ),
        (
            "role,server\nann,eu\nbob,\n",
            "roles.csv:3:5",
            "the column `server` is empty",
        ),
        ("role,server\nann,\"e\nu\"\n", "roles.csv:2:5", "a line break"),
    ] {
        let (code, found, message) = at(rows);
        assert_eq!(
            (code, found.as_str()),
            ("config.each", place),
            "{rows:?}: {message}"
        );
        assert!(message.contains(words), "{rows:?}: {message}");
    }
    let open = format!("role,server\nann,\"{}\n", "x".repeat(200_000));
    let (code, _, message) = at(&open);
    assert_eq!(code, "config.each");
    assert!(message.contains("more than"), "{message}");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("keywheel.toml"), TEMPLATE).unwrap();
    let draft = Draft::open(&folder.path().join("keywheel.toml")).unwrap();
    assert_eq!(
        draft.finish().unwrap_err().code(),
        "config.each",
        "it is not there"
    );
}

#[test]
fn text_that_is_not_utf_8_is_refused_where_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    read(folder.path(), TEMPLATE, ROWS).unwrap();
    fs::write(
        folder.path().join("roles.csv"),
        b"role,server\nann,eu\nb\xff,us\n",
    )
    .unwrap();
    let config = Draft::open(&folder.path().join("keywheel.toml"))
        .unwrap()
        .finish()
        .unwrap();
    let found = config.check_all_rows(Timestamp::from_unix_ms(0)).unwrap_err();
    let problem = found.iter().next().unwrap();
    assert_eq!(
        (problem.place.line, problem.message.as_str()),
        (3, "not UTF-8 text")
    );
}

#[test]
fn a_row_is_checked_as_a_rotation_is_that_is_written_out() {
    for (rows, code, place) in [
        ("role,server\nann,eu\nBob,us\n", "config.name", "roles.csv:3:1"),
        (
            "role,server\nann,eu\nbob2,us\n",
            "config.plugin-setting",
            "roles.csv:3:1",
        ),
        (
            "role,server\nann,eu\nann,us\n",
            "config.duplicate",
            "roles.csv:3:1",
        ),
    ] {
        let (found, at, message) = only(TEMPLATE, rows);
        assert_eq!((found, at.as_str()), (code, place), "{rows:?}: {message}");
    }
    let own = TEMPLATE
        .replace("name = \"db-{role}\"", "name = \"{id}\"")
        .replace("/{role}\"", "/{id}\"");
    let (code, place, _) = only(&own, "id,role,server\na,ann,eu\nb,ann,eu\n");
    assert_eq!(
        (code, place.as_str()),
        ("config.one-rotation-per-account", "roles.csv:3:7")
    );
}

#[test]
fn a_row_takes_nothing_that_a_rotation_has_that_is_written_out() {
    let written = "[[rotation]]\nname = \"db-bob\"\nplugin = \"demo\"\nsecret = \"other/bob\"\ninputs = { admin = \"db/admin\" }\nproof = \"accept\"\n\
                   config = { host = \"elsewhere\", role = \"bob\" }\n";
    let (code, place, _) = only(&format!("{written}{TEMPLATE}"), ROWS);
    assert_eq!((code, place.as_str()), ("config.duplicate", "roles.csv:3:1"));
    let other = written.replace("db-bob", "other").replace("other/bob", "us/bob");
    let (code, place, _) = only(&format!("{other}{TEMPLATE}"), ROWS);
    assert_eq!(
        (code, place.as_str()),
        ("config.one-rotation-per-secret", "roles.csv:3:5")
    );
}

#[test]
fn what_is_wrong_with_the_template_is_pinned_in_the_configuration() {
    for (from, to, place, words) in [
        (
            "db-{role}",
            "db-role",
            "keywheel.toml:4:8",
            "each row needs a `name` of its own",
        ),
        (
            "{server}.internal",
            "{server.internal",
            "keywheel.toml:10:19",
            "a brace that is not closed",
        ),
        (
            "proof =",
            "policy = \"demo\"\nproof =",
            "keywheel.toml:8:1",
            "a grant for one rotation alone",
        ),
    ] {
        let (code, at, message) = only(&TEMPLATE.replace(from, to), ROWS);
        assert_eq!((code, at.as_str()), ("config.each", place), "{message}");
        assert!(message.contains(words), "{message}");
    }
    let start = TEMPLATE.replace("proof =", "schedule = { on_start = true }\nproof =");
    let folder = tempfile::tempdir().unwrap();
    let found = read(folder.path(), &start, ROWS).unwrap_err();
    assert!(found[0].message.contains("cannot run at the start"), "{found:#?}");
}

#[test]
fn the_digest_is_of_all_that_decides_and_the_basis_of_all_but_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let of = |template: &str, rows: &str| {
        let config = read(folder.path(), template, rows).unwrap();
        (config.digest().unwrap(), config.basis(), config.manifests())
    };
    let first = of(TEMPLATE, ROWS);
    assert!(first.2.is_some());
    assert_eq!(of(TEMPLATE, ROWS), first);
    let more = of(TEMPLATE, &format!("{ROWS}carl,us\n"));
    assert!(more.0 != first.0 && more.1 == first.1);
    let other = of(&TEMPLATE.replace("db-{role}", "pg-{role}"), ROWS);
    assert!(other.0 != first.0 && other.1 != first.1);
    let elsewhere = of(&format!("[serve]\nwatch = false\n{TEMPLATE}"), ROWS);
    assert_eq!(elsewhere, first, "what decides nothing of them changes nothing");
}
