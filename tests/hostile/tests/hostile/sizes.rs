//! Components that no compiler makes of a plugin: with tables, memories and instances that would take the host. The hostile guest is changed byte
//! by byte; in every other step it is honest, and the rotations beside it go on.

use std::fs;

use keywheel_hostile::{Attack, Scene, Seen, attack_in, scene};

use crate::components::{content, named};
use crate::wasm::{custom, guest_beside, guest_that};

/// A table of functions with one element, and no bound.
const TABLE: &[u8] = &[0x70, 0x00, 0x01];
/// A memory of one page, and no bound.
const MEMORY: &[u8] = &[0x00, 0x01];

/// An endless loop around this.
fn for_ever(inside: &[u8]) -> Vec<u8> {
    // loop … br 0 end, and nothing that would be an answer.
    [&[0x03, 0x40][..], inside, &[0x0c, 0x00, 0x0b, 0x00]].concat()
}

/// Ten thousand elements more (`ref.null func`, `i32.const 10000`, `table.grow`, `drop`).
fn grow_table(table: usize) -> Vec<u8> {
    let table = u8::try_from(table).unwrap();
    vec![0xd0, 0x70, 0x41, 0x90, 0xce, 0x00, 0xfc, 0x0f, table, 0x1a]
}

/// Sixteen pages more (`i32.const 16`, `memory.grow`, `drop`).
fn grow_memory(memory: usize) -> Vec<u8> {
    vec![0x41, 0x10, 0x40, u8::try_from(memory).unwrap(), 0x1a]
}

/// Puts it into the plugin folder as an operator would.
fn pack(scene: &Scene, name: &str, component: &[u8]) {
    let manifest = custom(keywheel_manifest::SECTION, &content(&named(name)));
    fs::write(
        scene.host.file(&format!("plugins/{name}.wasm")),
        [component, &manifest].concat(),
    )
    .unwrap();
}

/// Pinned and granted, it is stopped in the step `create`: in the run, in the audit trail, and nothing has changed. What is honest goes on.
#[track_caller]
fn is_stopped(name: &str, component: &[u8], code: &str) {
    let scene = scene();
    pack(&scene, name, component);
    scene.add(name);
    let bomb = Attack {
        plugin: name,
        lines: "[limits]\nmemory = \"32 MiB\"\ncpu = \"30s\"",
        ..Attack::HONEST
    };
    attack_in(&scene, &bomb).gives_up(40, "create", code);
    attack_in(&scene, &Attack::HONEST).goes_through();
}

/// Pinned and granted, it gets no instance, not even to look at its configuration: no run begins.
#[track_caller]
fn has_no_instance(name: &str, component: &[u8], code: &str) {
    let scene = scene();
    pack(&scene, name, component);
    scene.add(name);
    let bomb = Attack {
        plugin: name,
        ..Attack::HONEST
    };
    let subject = scene.prepare(&bomb, |_| String::new());
    let checked = scene.host.run(&["config", "check"], "").ends(24);
    let _ = checked.says(&["plan.failed", code]);
    let seen: Seen = scene.rotate(&bomb, subject, "end");
    seen.ends_old(24);
    let _ = seen.output.clone().says(&["plan.failed", code]);
    assert_eq!(seen.audit, Vec::<serde_json::Value>::new());
    attack_in(&scene, &Attack::HONEST).goes_through();
}

#[test]
fn a_table_that_grows_for_ever() {
    let component = guest_that(&[TABLE], &[], |table, _| for_ever(&grow_table(table)));
    is_stopped("hostile-table-grows", &component, "plugin.tables");
}

/// Each of them alone would be within the bound.
#[test]
fn tables_that_grow_by_turns() {
    let component = guest_that(&[TABLE; 20], &[], |first, _| {
        for_ever(&(first..first + 20).flat_map(grow_table).collect::<Vec<_>>())
    });
    is_stopped("hostile-tables-grow", &component, "plugin.tables");
}

#[test]
fn memories_that_grow_by_turns() {
    let component = guest_that(&[], &[MEMORY; 20], |_, first| {
        for_ever(&(first..first + 20).flat_map(grow_memory).collect::<Vec<_>>())
    });
    is_stopped("hostile-memories-grow", &component, "plugin.memory");
}

#[test]
fn a_table_that_is_enormous_from_the_first_instant() {
    let component = guest_beside("(module (table 10000000 funcref))", 1);
    has_no_instance("hostile-large-table", &component, "plugin.tables");
}

#[test]
fn tables_that_are_enormous_together() {
    let component = guest_beside("(module (table 40000 funcref))", 3);
    has_no_instance("hostile-large-tables", &component, "plugin.tables");
}

/// Four billion elements.
#[test]
fn a_table_larger_than_any() {
    let component = guest_beside("(module (table 4294967295 funcref))", 1);
    has_no_instance("hostile-vast-table", &component, "plugin.tables");
}

/// 4 GiB.
#[test]
fn a_memory_that_is_enormous_from_the_first_instant() {
    let component = guest_beside("(module (memory 65536))", 1);
    has_no_instance("hostile-large-memory", &component, "plugin.memory");
}

#[test]
fn memories_that_are_enormous_together() {
    let component = guest_beside("(module (memory 320))", 7);
    has_no_instance("hostile-large-memories", &component, "plugin.memory");
}

/// Each costs the host some memory of its own, whatever is in it.
#[test]
fn instances_without_number() {
    let component = guest_beside("(module)", 900);
    has_no_instance("hostile-instances", &component, "plugin.instances");
}

#[test]
fn memories_and_tables_without_number() {
    let memories = format!("(module {})", "(memory 0)".repeat(90));
    has_no_instance(
        "hostile-memories",
        &guest_beside(&memories, 1),
        "plugin.instances",
    );
    let tables = format!("(module {})", "(table 0 funcref)".repeat(90));
    has_no_instance("hostile-tables", &guest_beside(&tables, 1), "plugin.instances");
}
