//! A component that imports the whole world is loaded; what is not offered is refused by what the manifest asks, or at the call.

use std::borrow::Cow;

use keywheel_capability::capability::Capabilities;
use keywheel_capability::refuse::{self, Refused};
use keywheel_capability::{HostState, HostView as _};
use keywheel_manifest::Manifest;
use keywheel_model::StepName;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, Store};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::{ManglingAndAbi, Resolve};

use crate::world::{MANIFEST, SCHEMA, manifest, world};

fn engine() -> Engine {
    let mut config = Config::new();
    config.concurrency_support(false);
    Engine::new(&config).unwrap()
}

/// A component that imports a world of the contract as interpreted languages do: all of it.
fn whole_world(name: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/");
    let mut packages = Vec::new();
    for package in [
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
    ] {
        packages.push(resolve.push_path(format!("{wit}{package}")).unwrap().0);
    }
    let world = resolve
        .select_world(&packages[packages.len() - 1..], Some(name))
        .unwrap();
    let mut module = wit_component::dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .validate(true)
        .encode()
        .unwrap()
}

fn link(bytes: &[u8], manifest: &Manifest) -> (Linker<HostState>, Component, Result<(), Refused>) {
    let engine = engine();
    let component = Component::new(&engine, bytes).unwrap();
    let mut linker = Linker::new(&engine);
    Capabilities::link(&mut linker).unwrap();
    let mut linker = Cow::Owned(linker);
    let linked = refuse::link(&mut linker, &component, manifest);
    (linker.into_owned(), component, linked)
}

fn with_capability(capability: &str) -> Manifest {
    let text = MANIFEST.replace(
        "capabilities = [\"core\"",
        &format!("capabilities = [\"{capability}\", \"core\""),
    );
    Manifest::from_toml(&text, SCHEMA).unwrap()
}

#[test]
fn a_component_that_imports_the_whole_world_links() {
    let (linker, component, linked) = link(&whole_world("rotator-plugin"), &manifest());
    linked.unwrap();
    linker.instantiate_pre(&component).unwrap();
}

#[test]
fn a_manifest_that_lists_what_is_not_offered_is_refused_by_name() {
    for capability in ["keys", "notify", "challenge"] {
        let (_, _, linked) = link(&whole_world("rotator-plugin"), &with_capability(capability));
        let error = linked.unwrap_err();
        assert_eq!(error.code(), "plugin.capability");
        assert!(error.to_string().contains(&format!("`{capability}`")), "{error}");
    }
}

#[test]
fn importing_plaintext_is_refused_whatever_the_manifest_says() {
    let (_, _, linked) = link(&whole_world("plaintext-rotator-plugin"), &manifest());
    let error = linked.unwrap_err();
    assert_eq!(error.code(), "plugin.plaintext");
    assert!(
        error.to_string().contains("keywheel:plaintext/reveal@0.1.0"),
        "{error}"
    );
}

#[test]
fn what_is_not_of_this_contract_is_refused() {
    for (import, code) in [
        ("evil:door/open@0.1.0", "plugin.import"),
        ("keywheel:core/types@0.2.0", "plugin.contract-version"),
        ("keywheel:core/backdoor@0.1.0", "plugin.import"),
    ] {
        let text = format!(r#"(component (import "{import}" (instance)))"#);
        let (_, _, linked) = link(&wat::parse_str(text).unwrap(), &manifest());
        assert_eq!(linked.unwrap_err().code(), code, "{import}");
    }
}

/// Calls `notify.send` and gives back whether the answer was an error, and its kind.
const CALLER: &str = r#"
(component
  (import "keywheel:core/types@0.1.0" (instance $types
    (type $k (enum "denied" "invalid" "not-found" "conflict" "unauthenticated" "unavailable" "timeout" "limit" "cancelled" "other"))
    (export "error-kind" (type $kind (eq $k)))
    (type $f (enum "none" "maybe" "applied"))
    (export "effect" (type $effect (eq $f)))
    (type $r (record (field "kind" $kind) (field "effect" $effect) (field "code" string) (field "message" string) (field "retry-after" (option u32))))
    (export "error" (type $error (eq $r)))
  ))
  (alias export $types "error" (type $error))
  (import "keywheel:notify/notify@0.1.0" (instance $notify
    (alias outer 1 $error (type $e))
    (export "error" (type $error (eq $e)))
    (type $s (enum "info" "warning" "critical"))
    (export "severity" (type $severity (eq $s)))
    (export "send" (func (param "key" string) (param "severity" $severity) (param "title" string) (param "text" string) (result (result (error $error)))))
  ))
  (core module $memory
    (memory (export "memory") 2)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $mem))
  (alias core export $memory "realloc" (core func $realloc))
  (core func $send (canon lower (func $notify "send") (memory $mem) (realloc $realloc)))
  (core module $main
    (import "host" "memory" (memory 1))
    (import "host" "send" (func $send (param i32 i32 i32 i32 i32 i32 i32 i32)))
    (func (export "call") (result i32)
      (call $send (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64))
      (i32.or (i32.shl (i32.load8_u (i32.const 64)) (i32.const 8)) (i32.load8_u (i32.const 68)))))
  (core instance $main (instantiate $main (with "host" (instance (export "memory" (memory $mem)) (export "send" (func $send))))))
  (func (export "call") (result u32) (canon lift (core func $main "call")))
)"#;

#[tokio::test]
async fn a_call_of_what_is_not_offered_is_denied_audited_and_names_the_capability() {
    let (linker, component, linked) = link(&wat::parse_str(CALLER).unwrap(), &manifest());
    linked.unwrap();
    let mut store = Store::new(linker.engine(), world(StepName::Create).state);
    let instance = linker.instantiate_async(&mut store, &component).await.unwrap();
    let call = instance.get_typed_func::<(), (u32,)>(&mut store, "call").unwrap();
    assert_eq!(
        call.call_async(&mut store, ()).await.unwrap(),
        (0x100,),
        "an error of the kind `denied`"
    );
    let report = std::mem::replace(store.data_mut().host(), world(StepName::Create).state).into_report();
    assert_eq!(report.denied[0].code, "host.not-offered");
    assert!(
        report.denied[0].message.contains("the capability `notify`"),
        "{}",
        report.denied[0].message
    );
}
