//! Which files are taken for plugins (rule P12's pins come in `pinning`).

use std::os::unix::fs::PermissionsExt;

use keywheel_plugin::{Error, Limits, Registry};

use crate::guest::{Guest, ROTATOR_ONLY, WORLD, manifest};
use crate::world::{World, plugin, refusal, status};

fn probe() -> Vec<u8> {
    Guest::default().plugin(&manifest("probe", "1.0.0", r#""core""#, ""))
}

/// What a folder with these bytes in it says of them, and that a good plugin beside them is listed all the same.
fn refused(bytes: &[u8]) -> String {
    let world = World::new();
    world.drop_in("a-bad.wasm", bytes);
    world.drop_in("probe.wasm", &probe());
    let registry = world.scan();
    assert_eq!(status(&registry, "probe"), "new");
    refusal(&registry)
}

#[test]
fn a_file_that_is_no_component_is_refused_and_stops_no_other() {
    assert_eq!(refused(b"#!/bin/sh"), "manifest.not-wasm");
    assert_eq!(refused(b""), "manifest.not-wasm");
    assert_eq!(
        refused(&wat::parse_str("(module)").unwrap()),
        "manifest.core-module"
    );
    let cut = probe();
    assert_eq!(refused(&cut[..cut.len() / 2]), "manifest.damaged-component");
}

#[test]
fn a_component_without_a_manifest_or_with_two_is_refused() {
    let bare = Guest::default().component();
    assert_eq!(refused(&bare), "manifest.none");
    let one = probe();
    let section = &one[bare.len()..];
    assert_eq!(refused(&[one.as_slice(), section].concat()), "manifest.two");
}

#[test]
fn a_component_that_lacks_an_export_is_refused() {
    let guest = Guest {
        world: ROTATOR_ONLY.into(),
        ..Guest::default()
    };
    assert_eq!(
        refused(&guest.plugin(&manifest("lame", "1.0.0", r#""core""#, ""))),
        "plugin.export"
    );
}

#[test]
fn a_component_that_wants_another_world_is_refused() {
    let foreign = wat::parse_str(r#"(component (import "evil:door/open@0.1.0" (instance)))"#).unwrap();
    let good = keywheel_manifest::Manifest::from_toml(
        &manifest("foreign", "1.0.0", r#""core""#, ""),
        crate::guest::SCHEMA,
    )
    .unwrap();
    // It lacks the exports too; the missing export is named first.
    assert_eq!(
        refused(&keywheel_manifest::pack(&foreign, &good).unwrap()),
        "plugin.export"
    );
    let guest = Guest {
        world: format!("{WORLD} import keywheel:plaintext/reveal@0.1.0;"),
        imports: r#"(import "keywheel:plaintext/reveal@0.1.0" "reveal" (func (param i32 i32 i32 i32)))"#
            .into(),
        ..Guest::default()
    };
    assert_eq!(
        refused(&guest.plugin(&manifest("reader", "1.0.0", r#""core""#, ""))),
        "plugin.plaintext"
    );
    assert_eq!(
        refused(&Guest::default().plugin(&manifest("signer", "1.0.0", r#""core", "keys""#, ""))),
        "plugin.capability"
    );
}

#[test]
fn compiled_code_links_and_pipes_are_refused() {
    let world = World::new();
    world.drop_in("code.cwasm", &probe());
    assert_eq!(refusal(&world.scan()), "plugin.precompiled");
    std::fs::remove_file(world.path("plugins").join("code.cwasm")).unwrap();

    std::fs::write(world.path("elsewhere.wasm"), probe()).unwrap();
    std::os::unix::fs::symlink(
        world.path("elsewhere.wasm"),
        world.path("plugins").join("link.wasm"),
    )
    .unwrap();
    assert_eq!(refusal(&world.scan()), "plugin.symlink");
    std::fs::remove_file(world.path("plugins").join("link.wasm")).unwrap();

    std::fs::create_dir(world.path("plugins").join("folder.wasm")).unwrap();
    assert_eq!(refusal(&world.scan()), "plugin.not-a-file");
}

#[test]
fn what_others_could_write_is_refused() {
    for mode in [0o664, 0o646] {
        let world = World::new();
        let path = world.drop_in("probe.wasm", &probe());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(refusal(&world.scan()), "plugin.writable");
    }
    let world = World::new();
    std::fs::set_permissions(world.path("plugins"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let scanned = Registry::scan(&world.runtime, world.places(), keywheel_plugin::Rules::default());
    assert!(matches!(scanned.err(), Some(Error::Writable { .. })));
}

#[test]
fn a_file_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::new();
    let path = world.drop_in("probe.wasm", &probe());
    std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
    assert_eq!(refusal(&world.scan()), "plugin.owner");
}

#[test]
fn a_file_over_the_limit_is_refused() {
    let world = World::with(Limits {
        file_bytes: 100,
        ..Limits::default()
    });
    world.drop_in("probe.wasm", &probe());
    assert_eq!(refusal(&world.scan()), "plugin.too-large");
}

#[test]
fn two_files_that_say_they_are_the_same_plugin_are_both_refused_unless_one_is_pinned() {
    let world = World::new();
    let (one, two) = (
        probe(),
        Guest::default().plugin(&manifest("probe", "1.0.1", r#""core""#, "")),
    );
    world.drop_in("one.wasm", &one);
    world.add("probe");
    world.drop_in("two.wasm", &two);
    let registry = world.scan();
    assert_eq!(refusal(&registry), "plugin.duplicate");
    registry.plugin(&plugin("probe")).unwrap();

    std::fs::remove_file(world.path("plugins.lock")).unwrap();
    let registry = world.scan();
    assert_eq!(
        registry
            .listed()
            .iter()
            .filter(|listed| listed.status.as_str() == "refused")
            .count(),
        2
    );
    assert!(registry.plugin(&plugin("probe")).is_err());
}

#[test]
fn every_refusal_says_where_and_what_to_do() {
    let world = World::new();
    world.drop_in("bad.wasm", b"no");
    let registry = world.scan();
    let keywheel_plugin::Status::Refused(error) = &registry.listed()[0].status else {
        panic!("it is refused")
    };
    assert!(
        error
            .path()
            .is_some_and(|path| path.ends_with("plugins/bad.wasm"))
    );
    assert!(error.hint().is_some());
}
