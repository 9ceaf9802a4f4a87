//! `keywheel plugin pack` and `plugin show`.

use crate::kit::Place;

/// A component without anything in it.
pub(crate) const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// What a compiler writes: a core module.
const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// The sections of a module that needs something that no contract has.
const IMPORT_OF_ENV: &[u8] = b"\x01\x04\x01\x60\0\0\x02\x09\x01\x03env\x01f\0\0";

const MANIFEST: &str = "format = 1\nname = \"demo\"\nversion = \"0.1.0\"\nsummary = \"For these tests\"\nconfig-schema = \"schema.json\"\n\
    capabilities = [\"core\", \"net\"]\ntarget = [\"/host\"]\naccount = [\"/role\"]\ninputs = []\n\n\
    [[mode]]\nclass = \"C\"\nstrategy = \"one-slot\"\nproof = \"login\"\nbelief = \"0s\"\n\n\
    [[frame]]\nid = \"auth\"\nframing = \"resp\"\nsend = [\"AUTH\", \"{subject}\"]\neffect = \"login\"\nreply = \"status\"\n";

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "required": ["host", "role"],
  "properties": { "host": { "type": "string", "description": "The server." }, "role": { "type": "string" } }
}"#;

pub(crate) fn write_sources(place: &Place) {
    place.write("manifest.toml", MANIFEST);
    place.write("schema.json", SCHEMA);
}

#[test]
fn pack_writes_the_manifest_in_and_show_reads_it_out() {
    let place = Place::new();
    write_sources(&place);
    place.write("demo.wasm", EMPTY_COMPONENT);
    let ran = place.run("plugin pack demo.wasm");
    assert_eq!((ran.exit, ran.err.as_str()), (0, ""));
    assert!(
        ran.out
            .starts_with("packed demo 0.1.0 into \"demo.wasm\" (sha256:"),
        "{}",
        ran.out
    );
    let ran = place.run("-o json plugin show demo.wasm");
    let shown: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(shown["capabilities"], serde_json::json!(["core", "net"]));
    assert_eq!(shown["shapes"][0]["secrets"], serde_json::json!(["subject"]));
    let ran = place.run("plugin show demo.wasm");
    assert!(
        ran.out.contains("\nMODE ") && ran.out.contains("\nalways "),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains("\nSETTING ")
            && ran
                .out
                .lines()
                .any(|line| line.starts_with("host ") && line.contains("yes")),
        "{}",
        ran.out
    );
    assert_eq!(shown["settings"][0]["name"], "host", "{shown:#}");
    let ran = place.run("plugin show --schema demo.wasm");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&ran.out).unwrap()["required"][0],
        "host"
    );
}

#[test]
fn a_core_module_is_made_a_component() {
    let place = Place::new();
    write_sources(&place);
    place.write("core.wasm", EMPTY_MODULE);
    assert_eq!(place.run("plugin pack core.wasm --to demo.wasm").exit, 0);
    assert!(place.read("demo.wasm").starts_with(EMPTY_COMPONENT));
    assert_eq!(place.run("plugin show demo.wasm").exit, 0);
}

#[test]
fn the_same_input_packs_to_the_same_bytes_and_leaves_nothing_beside_it() {
    let place = Place::new();
    write_sources(&place);
    place.write("demo.wasm", EMPTY_COMPONENT);
    for to in ["a.wasm", "b.wasm"] {
        assert_eq!(
            place
                .run(&format!("plugin pack demo.wasm manifest.toml --to {to}"))
                .exit,
            0
        );
    }
    assert_eq!(place.read("a.wasm"), place.read("b.wasm"));
    assert_eq!(place.read("demo.wasm"), EMPTY_COMPONENT);
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 5);
}

#[test]
fn what_cannot_be_packed_is_refused_with_the_way_out_and_nothing_is_written() {
    let place = Place::new();
    write_sources(&place);
    let refused = |words: &str, exit: i32, code: &str| {
        let ran = place.run(words);
        assert_eq!((ran.exit, ran.out.as_str()), (exit, ""), "{words}: {}", ran.err);
        assert!(
            ran.err.contains(code) && ran.err.contains("hint: "),
            "{words}: {}",
            ran.err
        );
    };
    place.write("core.wasm", [EMPTY_MODULE, IMPORT_OF_ENV].concat());
    refused("plugin pack core.wasm", 20, "plugin.core-module");
    place.write("text.wasm", "no component");
    refused("plugin pack text.wasm", 20, "manifest.not-wasm");
    place.write("demo.wasm", EMPTY_COMPONENT);
    assert_eq!(place.run("plugin pack demo.wasm --to packed.wasm").exit, 0);
    refused("plugin pack packed.wasm", 20, "manifest.already-packed");
    refused("plugin show demo.wasm", 20, "manifest.none");
    place.write("manifest.toml", MANIFEST.replace("summary", "sumary"));
    refused("plugin pack demo.wasm --to never.wasm", 20, "manifest.invalid");
    assert!(!place.path().join("never.wasm").exists());
}

#[test]
fn a_file_that_is_not_there_ends_with_23() {
    let place = Place::new();
    write_sources(&place);
    assert_eq!(place.run("plugin pack gone.wasm").exit, 23);
    assert_eq!(place.run("plugin show ./gone.wasm").exit, 23);
    place.write("keywheel.toml", "");
    let ran = place.run("plugin show demo");
    assert_eq!(ran.exit, 23);
    assert!(
        ran.err.contains("put its `.wasm` file into \"plugins\""),
        "{}",
        ran.err
    );
}
