//! Components that no compiler makes of a plugin: with tables, memories and instances that would take the host. The hostile guest is changed byte
//! by byte; in every other step it is honest, and the rotations beside it go on.

use std::fs;

use keywheel_hostile::{Attack, Scene};

use crate::components::{content, named};
use crate::serving::{Serving, WAITING, succeeded};
use crate::wasm::{custom, guest_beside, guest_that, leb128};

/// A table of functions with one element, and no bound.
const TABLE: &[u8] = &[0x70, 0x00, 0x01];
/// A memory of one page, and no bound.
const MEMORY: &[u8] = &[0x00, 0x01];

/// An endless loop around this.
fn for_ever(inside: &[u8]) -> Vec<u8> {
    // loop … br 0 end, and nothing that would be an answer.
    [&[0x03, 0x40][..], inside, &[0x0c, 0x00, 0x0b, 0x00]].concat()
}

/// So many elements more (`ref.null func`, `i32.const`, `table.grow`): leaves -1 where there is no room.
fn grow_table(table: usize, elements: usize) -> Vec<u8> {
    let grow = [0xfc, 0x0f, u8::try_from(table).unwrap()];
    [&[0xd0, 0x70, 0x41][..], &signed(elements), &grow].concat()
}

/// So many pages more (`i32.const`, `memory.grow`).
fn grow_memory(memory: usize, pages: usize) -> Vec<u8> {
    let grow = [0x40, u8::try_from(memory).unwrap()];
    [&[0x41][..], &signed(pages), &grow].concat()
}

/// A number that is not negative, in signed LEB128: a further byte where the last one's sign would be set.
fn signed(value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    leb128(value, &mut bytes);
    let last = bytes.last_mut().unwrap();
    if *last & 0x40 != 0 {
        *last |= 0x80;
        bytes.push(0);
    }
    bytes
}

/// Whatever it was answered (`drop`).
fn whatever(grow: Vec<u8>) -> Vec<u8> {
    [grow, vec![0x1a]].concat()
}

/// Traps if it was not given that (`i32.const -1`, `i32.eq`, `if`, `unreachable`, `end`).
fn surely(grow: Vec<u8>) -> Vec<u8> {
    [grow, vec![0x41, 0x7f, 0x46, 0x04, 0x40, 0x00, 0x0b]].concat()
}

/// Of each of twenty in turn, so often. Behind it the guest traps, so that nothing but a bound of all together can have stopped it before.
fn by_turns(first: usize, times: usize, grow: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    let turn: Vec<u8> = (first..first + 20).flat_map(|at| surely(grow(at))).collect();
    turn.repeat(times)
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

/// Pinned and granted, it takes what it may have, and is held there: what is healthy comes to its end. Then it takes more, and is stopped in the step
/// `create`: in the run, in the audit trail, and what was in use is. What is healthy goes on.
#[track_caller]
fn is_stopped(name: &str, component: &[u8], code: &str) {
    let scene = Scene::set_up();
    pack(&scene, name, component);
    scene.add(name);
    let bomb = Attack {
        plugin: name,
        does: "idle-at-a-gate",
        ..WAITING
    };
    let limits = "[limits]\nmemory = \"32 MiB\"\ncpu = \"15m\"";
    let serving = Serving::of(scene, limits, &[bomb], &[]);
    let begun = serving.begin_all().pop().unwrap();
    serving.healthy_ones_go_through();
    serving.open_the_gates();
    let ended = serving.scene.host.wait(begun);
    serving.healthy_ones_go_on();
    // For a person: what it wrote to the server's gate may have been anything.
    serving
        .seen_of_held(ended)
        .parks("create", code, "target")
        .ends_old(41);
}

/// Pinned and granted, it gets no instance, not even to look at its configuration: no run begins. A healthy rotation is in its midst meanwhile, and
/// comes to its end.
#[track_caller]
fn has_no_instance(name: &str, component: &[u8], code: &str) {
    let scene = Scene::set_up();
    pack(&scene, name, component);
    scene.add(name);
    let bomb = Attack {
        plugin: name,
        ..Attack::HONEST
    };
    let serving = Serving::of(scene, "", &[WAITING], &[bomb]);
    let waiting = serving.begin_all().pop().unwrap();
    let checked = serving.scene.host.run(&["config", "check"], "").ends(24);
    let _ = checked.says(&["plan.failed", code]);
    let ended = serving.goes_off(0).says(&["plan.failed", code]);
    serving.all_are_open();
    serving.healthy_ones_go_through();
    serving.open_the_gates();
    succeeded(&serving.scene.host.wait(waiting));
    let seen = serving.seen_of_bomb(ended);
    seen.ends_old(24);
    assert_eq!(seen.audit, Vec::<serde_json::Value>::new());
}

#[test]
fn a_table_that_grows_for_ever() {
    let component = guest_that(
        &[TABLE],
        &[],
        |table, _| surely(grow_table(table, 90_000)),
        |table, _| for_ever(&whatever(grow_table(table, 10_000))),
    );
    is_stopped("hostile-table-grows", &component, "plugin.tables");
}

/// Each of them alone would be within the bound.
#[test]
fn tables_that_grow_by_turns() {
    let component = guest_that(
        &[TABLE; 20],
        &[],
        |first, _| by_turns(first, 1, |table| grow_table(table, 4_000)),
        |first, _| by_turns(first, 9, |table| grow_table(table, 10_000)),
    );
    is_stopped("hostile-tables-grow", &component, "plugin.tables");
}

/// Each of them alone would be within the bound.
#[test]
fn memories_that_grow_by_turns() {
    let component = guest_that(
        &[],
        &[MEMORY; 20],
        |_, first| by_turns(first, 1, |memory| grow_memory(memory, 16)),
        |_, first| by_turns(first, 20, |memory| grow_memory(memory, 16)),
    );
    is_stopped("hostile-memories-grow", &component, "plugin.memory");
}

#[test]
fn a_memory_that_grows_for_ever() {
    let component = guest_that(
        &[],
        &[MEMORY],
        |_, memory| surely(grow_memory(memory, 400)),
        |_, memory| for_ever(&whatever(grow_memory(memory, 16))),
    );
    is_stopped("hostile-memory-grows", &component, "plugin.memory");
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
fn memories_without_number() {
    let module = format!("(module {})", "(memory 0)".repeat(90));
    has_no_instance("hostile-memories", &guest_beside(&module, 1), "plugin.instances");
}

#[test]
fn tables_without_number() {
    let module = format!("(module {})", "(table 0 funcref)".repeat(90));
    has_no_instance("hostile-tables", &guest_beside(&module, 1), "plugin.instances");
}
