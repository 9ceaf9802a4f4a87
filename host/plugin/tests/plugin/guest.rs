//! Guests written by hand: a core module in text, made a component by the same encoder that plugins are built with.

use std::path::Path;

use keywheel_manifest::Manifest;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Packages in the order in which they use each other.
const PACKAGES: [&str; 10] = [
    "core",
    "keys",
    "plaintext",
    "vault",
    "http",
    "sql",
    "net",
    "challenge",
    "notify",
    "plugin",
];

/// A plugin in the making: each export's body in WebAssembly text, with `(param $run i32) (result i32)`.
pub struct Guest {
    pub world: String,
    pub imports: String,
    pub fields: String,
    pub plan: String,
    pub create: String,
    pub test: String,
    pub check: String,
    pub memory_pages: u32,
}

pub const WORLD: &str = "
    import keywheel:core/runtime@0.1.0;
    import keywheel:plugin/runs@0.1.0;
    export keywheel:plugin/configuration@0.1.0;
    export keywheel:plugin/rotator@0.1.0;
";

pub const ROTATOR_ONLY: &str = "export keywheel:plugin/rotator@0.1.0;";

impl Default for Guest {
    /// Says `done` to everything, `accepted` in `test`, and shows an empty plan.
    fn default() -> Self {
        Self {
            world: WORLD.into(),
            imports: String::new(),
            fields: String::new(),
            plan: answer_plan(r#"{"steps":[],"problems":[],"warnings":[],"gap":null}"#),
            create: "(i32.const 0)".into(),
            test: "(i32.const 0)".into(),
            check: "(i32.const 0)".into(),
            memory_pages: 1,
        }
    }
}

/// `ok` with a text, laid out at address 1024.
pub fn answer_plan(json: &str) -> String {
    let mut body = String::new();
    for (at, byte) in json.bytes().enumerate() {
        body += &format!("(i32.store8 (i32.const {}) (i32.const {byte}))\n", 2048 + at);
    }
    body + &format!(
        "(i32.store (i32.const 1028) (i32.const 2048)) (i32.store (i32.const 1032) (i32.const {})) (i32.const 1024)",
        json.len()
    )
}

impl Guest {
    pub fn component(&self) -> Vec<u8> {
        let mut resolve = Resolve::default();
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        for package in PACKAGES {
            resolve.push_dir(wit.join(package)).unwrap();
        }
        let text = format!("package test:guest; world guest {{ {} }}", self.world);
        let package = resolve.push_str("guest.wit", &text).unwrap();
        let world = resolve.select_world(&[package], Some("guest")).unwrap();
        let mut module = wat::parse_str(self.module()).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default()
            .validate(true)
            .module(&module)
            .unwrap()
            .encode()
            .unwrap()
    }

    /// The component with a manifest in it.
    pub fn plugin(&self, manifest: &str) -> Vec<u8> {
        keywheel_manifest::pack(&self.component(), &Manifest::from_toml(manifest, SCHEMA).unwrap()).unwrap()
    }

    fn module(&self) -> String {
        let Self {
            imports,
            fields,
            plan,
            create,
            test,
            check,
            memory_pages,
            ..
        } = self;
        let configuration = if self.world.contains("configuration") {
            format!(
                r#"(func (export "keywheel:plugin/configuration@0.1.0#check") (param $ptr i32) (param $len i32) (result i32) {check})"#
            )
        } else {
            String::new()
        };
        let step = |name: &str, body: &str| {
            format!(
                r#"(func (export "keywheel:plugin/rotator@0.1.0#{name}") (param $run i32) (result i32) {body})"#
            )
        };
        let steps = if self.world.contains("rotator") {
            [
                step("plan", plan),
                step("create", create),
                step("apply", "(i32.const 0)"),
                step("test", test),
                step("revoke", "(i32.const 0)"),
                step("rollback", "(i32.const 0)"),
            ]
            .concat()
        } else {
            String::new()
        };
        // Memory from 0 to 1023 stays zero: at address 0 stands `ok(done)`, `ok(accepted)` and the empty list.
        format!(
            r#"(module
                {imports}
                (memory (export "memory") {memory_pages})
                (global $free (mut i32) (i32.const 32768))
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    (local $at i32)
                    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
                    (global.set $free (i32.add (local.get $at) (local.get 3)))
                    (local.get $at))
                {fields}
                {configuration}
                {steps})"#
        )
    }
}

pub const SCHEMA: &str = r#"{
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": false,
    "properties": { "host": { "type": "string" }, "port": { "type": "integer" }, "user": { "type": "string" } },
    "required": ["host", "port", "user"]
}"#;

/// A manifest of plugin `name` in a version, with more lines after it.
pub fn manifest(name: &str, version: &str, capabilities: &str, more: &str) -> String {
    format!(
        r#"
format = 1
name = "{name}"
version = "{version}"
summary = "A guest for tests"
config-schema = "schema.json"
capabilities = [{capabilities}]
target = ["/host", "/port"]
account = ["/user"]
inputs = ["admin"]

[[mode]]
class = "A"
strategy = "two-slot"
proof = "login"
belief = "0s"
{more}
"#
    )
}
