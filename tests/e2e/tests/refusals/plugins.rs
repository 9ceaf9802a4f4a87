//! Files that are no plugin, or another one than was pinned: never run, never pinned in silence.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use keywheel_e2e::{Host, Rotation, plugin_file, rotation};

use crate::{Subject, server};

/// A component with nothing in it.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

fn shipped() -> Vec<u8> {
    fs::read(plugin_file("postgres")).unwrap()
}

/// The component's last section: the manifest, as it was packed in.
fn manifest_section(component: &[u8]) -> &[u8] {
    let name = b"keywheel:manifest";
    let at = memchr::memmem::rfind(component, name).unwrap();
    // Before the name: its length in one byte, the section's length in two or three, and the id of a custom section.
    let begin = (2..=4)
        .map(|length| at - 1 - length)
        .find(|&begin| component[begin] == 0 && component[at - 2] < 0x80 && begin + 4 >= at - 3)
        .unwrap();
    &component[begin..]
}

/// The same bytes with one text in place of another of the same length, wherever it stands.
fn patched(component: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = component.to_vec();
    let places: Vec<usize> = memchr::memmem::find_iter(component, from.as_bytes()).collect();
    assert!(!places.is_empty(), "`{from}` is there");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

/// Refused in the list, in `verify` and in `add`, with a code and a way out; nothing is pinned or granted.
#[track_caller]
fn is_refused(host: &Host, what: &str, code: &str) {
    let list = host.run(&["plugin", "list"], "").ends(0);
    let detail = list
        .stdout
        .lines()
        .find(|line| line.contains(&format!(": {code}:")));
    assert!(
        detail.is_some_and(|line| line.ends_with(')')),
        "{what}: {}",
        list.stdout
    );
    let _ = host.run(&["plugin", "verify"], "").ends(42);
    for add in [
        &["plugin", "add", "postgres", "--yes"][..],
        &["plugin", "add", "postgres", "--yes", "--host", "db:5432 tls"],
    ] {
        let output = host.run(add, "");
        assert_eq!(output.code, 20, "{what}: {output:?}");
        let _ = output.says(&[&format!("error[{code}]"), "plugins/postgres.", "hint: "]);
    }
    assert!(!host.file("plugins.lock").exists(), "{what}");
    assert_eq!(fs::read_dir(host.file("policies")).unwrap().count(), 0, "{what}");
}

#[test]
fn a_file_that_is_no_plugin_is_never_pinned() {
    let host = Host::init();
    let file = host.file("plugins/postgres.wasm");
    let good = shipped();
    let section = manifest_section(&good);
    for (what, bytes, code) in [
        ("a text", b"#!/bin/sh\n".to_vec(), "manifest.not-wasm"),
        ("an empty file", Vec::new(), "manifest.not-wasm"),
        (
            "a core module",
            b"\0asm\x01\0\0\0".to_vec(),
            "manifest.core-module",
        ),
        (
            "half a component",
            good[..good.len() / 2].to_vec(),
            "manifest.damaged-component",
        ),
        ("no manifest", EMPTY.to_vec(), "manifest.none"),
        ("two manifests", [&good, section].concat(), "manifest.two"),
        ("no exports", [EMPTY, section].concat(), "plugin.export"),
        (
            "another world",
            patched(&good, "keywheel:sql/", "keywheel:sqx/"),
            "plugin.import",
        ),
    ] {
        fs::write(&file, bytes).unwrap();
        is_refused(&host, what, code);
    }
    fs::write(&file, &good).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
    is_refused(&host, "a file that others can write", "plugin.writable");
    fs::remove_file(&file).unwrap();
    symlink(plugin_file("postgres"), &file).unwrap();
    is_refused(&host, "a symbolic link", "plugin.symlink");
    fs::remove_file(&file).unwrap();
    fs::write(host.file("plugins/postgres.cwasm"), &good).unwrap();
    is_refused(&host, "compiled code", "plugin.precompiled");
    fs::remove_file(host.file("plugins/postgres.cwasm")).unwrap();

    // What stood there before leaves nothing behind.
    fs::write(&file, &good).unwrap();
    let _ = host.run(&["plugin", "add", "postgres", "--yes"], "").ends(0);
    let _ = host.run(&["plugin", "verify"], "").ends(0);
}

#[test]
fn a_plugin_folder_that_others_can_write_stops_every_command_until_it_is_closed() {
    let subject = Subject::ready("plug_open");
    let folder = subject.host.file("plugins");
    for mode in [0o775, 0o757] {
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        for command in [
            &["rotate", "app-db"][..],
            &["plan", "app-db"],
            &["plugin", "list"],
            &["plugin", "add", "postgres", "--yes"],
        ] {
            let output = subject.host.run(command, "").ends(20);
            let _ = output.says(&["plugin.writable", "plugins", "hint: chmod go-w"]);
        }
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    subject.is_as_before("after refusals");
    let _ = subject.rotate().ends(0);
    subject.has_rotated();
    subject.leaves_no_trace();
}

#[test]
fn a_pinned_file_that_is_not_to_be_trusted_any_more_is_not_called_gone() {
    let subject = Subject::ready("plug_opened");
    let file = subject.host.file("plugins/postgres.wasm");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
    for command in [&["plan", "app-db"][..], &["rotate", "app-db"]] {
        let output = subject.host.run(command, "").ends(20);
        let _ = output.says(&["plugin.writable", "postgres.wasm", "hint: chmod go-w"]);
    }
    // The control: where it is gone, that is said.
    fs::remove_file(&file).unwrap();
    let listed = subject.host.run(&["plugin", "list"], "").ends(0);
    assert!(listed.stdout.contains("missing"), "{}", listed.stdout);
}

#[test]
fn other_bytes_than_the_pinned_ones_do_not_run_and_the_pinned_ones_go_on() {
    let subject = Subject::ready("plug_pin");
    let host = &subject.host;
    let file = host.file("plugins/postgres.wasm");
    let (lock, good) = (fs::read(host.file("plugins.lock")).unwrap(), shipped());
    let listed = |code: &str| {
        let list = host.run(&["plugin", "list"], "").ends(0);
        assert!(list.stdout.contains(code), "{}", list.stdout);
    };
    // The same version with one custom section more.
    fs::write(&file, [&good[..], &[0, 2, 1, b'x']].concat()).unwrap();
    listed("plugin.digest");
    listed("pin it with `keywheel plugin add postgres`");
    let verify = host.run(&["plugin", "verify"], "").ends(42);
    assert!(verify.stdout.contains("with other bytes"), "{}", verify.stdout);
    let _ = host.run(&["plugin", "add", "postgres"], "").ends(2);
    let _ = subject.rotate().ends(0);
    subject.has_rotated();

    // A newer version waits; once it is pinned, the older one is refused.
    fs::write(
        &file,
        patched(&good, "\"version\":\"0.1.0\"", "\"version\":\"0.2.0\""),
    )
    .unwrap();
    listed("held");
    listed("a newer version waits for `keywheel plugin add postgres`");
    let _ = host.run(&["plugin", "verify"], "").ends(0);
    let _ = subject.rotate().ends(0);
    assert_eq!(fs::read(host.file("plugins.lock")).unwrap(), lock);
    let _ = host.run(&["plugin", "add", "postgres", "--yes"], "").ends(0);
    let newer = fs::read(host.file("plugins.lock")).unwrap();
    assert_ne!(newer, lock);
    fs::write(&file, &good).unwrap();
    listed("plugin.downgrade");
    let output = host.run(&["plugin", "add", "postgres", "--yes"], "").ends(24);
    let _ = output.says(&["plugin.downgrade", "0.1.0", "0.2.0", "hint: "]);
    assert_eq!(fs::read(host.file("plugins.lock")).unwrap(), newer);
    let _ = subject.rotate().ends(0);
    subject.has_rotated();
    subject.leaves_no_trace();
}

#[test]
fn a_plugin_that_is_dropped_in_later_rotates_without_a_new_host() {
    let subject = Subject::new("plug_late");
    let host = &subject.host;
    let file = host.file("plugins/postgres.wasm");
    fs::remove_file(&file).unwrap();
    let output = host.run(&["rotate", "app-db"], "").ends(20);
    let _ = output.says(&[
        "there is no plugin `postgres`",
        "keywheel.toml:",
        "hint: put its `.wasm` file into",
    ]);
    host.drop_plugin("postgres");
    let output = host.run(&["rotate", "app-db"], "").ends(21);
    let _ = output.says(&["plugin.not-pinned", "hint: ", "keywheel plugin add postgres"]);
    host.add_plugin("postgres", &[server().port()]);
    let _ = host.import("admin/db", server().admin_password()).ends(0);
    let _ = host.import("app/db", &subject.old).ends(0);
    let _ = subject.rotate().ends(0);
    subject.has_rotated();
    subject.leaves_no_trace();
}

#[test]
fn what_add_shows_has_each_call_once_and_tells_those_with_a_secret_apart() {
    let host = Host::init();
    host.drop_plugin("redis");
    let output = host.run(&["plugin", "add", "redis", "--yes"], "").ends(0);
    let shown = &output.stderr;
    let with = shown.find("Every call with a secret in it:").unwrap();
    let without = shown.find("Every call without one:").unwrap();
    for (call, is_secret) in [
        ("auth-admin", true),
        ("remove", true),
        ("rewrite", false),
        ("kill", false),
    ] {
        let lines: Vec<usize> = shown
            .match_indices(&format!("\n+  {call} "))
            .map(|(at, _)| at)
            .collect();
        assert_eq!(lines.len(), 1, "{call}: {shown}");
        assert!(
            with < lines[0] && (lines[0] < without) == is_secret,
            "{call}: {shown}"
        );
        assert!(!shown.contains(&format!("`{call}`")), "{call}: {shown}");
    }
    let output = host.run(&["plugin", "add", "postgres", "--yes"], "").ends(23);
    let _ = output.says(&[
        "plugin.not-found",
        "no file in the plugin folder is the plugin `postgres`",
        "hint: put its `.wasm` file into",
        "which has only redis",
    ]);
    let output = host.run(&["plugin", "add", "rediss", "--yes"], "").ends(23);
    let _ = output.says(&["hint: did you mean `redis`?"]);
}

/// A plugin's file, or a file of certificates, that is lost stops the rotations that need it.
#[test]
fn a_lost_file_stops_the_rotations_that_need_it_and_no_other() {
    let subject = Subject::ready("plugin_lost");
    let host = &subject.host;
    let file = host.outside("cache.pem");
    std::fs::write(&file, server().ca_pem()).unwrap();
    let cache = rotation(&Rotation {
        name: "cache",
        plugin: "redis",
        secret: "cache/app",
        admin_secret: "cache/admin",
        grace: "1s",
        ca: &file,
        config: "nodes = [{ host = \"localhost\", port = 1 }]\ntrust = \"cache\"\nadmin = \"boss\"\nuser = \"app\"",
    });
    subject.configure(&format!("{}\n{cache}", subject.rotation()));
    host.add_plugin("redis", &[1]);
    let _ = host.run(&["config", "check"], "").ends(0);

    let wasm = host.file("plugins/redis.wasm");
    let plugin = std::fs::read(&wasm).unwrap();
    for (lost, code) in [(&wasm, "config.unknown-plugin"), (&file, "config.trust")] {
        std::fs::remove_file(lost).unwrap();
        let _ = host.run(&["config", "check"], "").ends(20).says(&[code]);
        for command in [
            &["plan", "cache"][..],
            &["rotate", "cache"],
            &["target", "test", "cache"],
            &["secret", "import", "cache/app", "-"],
            &["drift", "check", "cache"],
        ] {
            let _ = host.run(command, "a value of somebody").ends(20).says(&[code]);
        }
        let _ = host.run(&["plan", "app-db"], "").ends(10);
        // Of several, the others are planned and looked at.
        let plan = host.run(&["plan", "--all"], "").ends(20).says(&[code]);
        assert!(plan.stdout.contains("app-db (app/db) by postgres"), "{plan:?}");
        let drift = host.run(&["drift", "check"], "").ends(20).says(&[code]);
        assert!(drift.stdout.contains("in-place"), "{drift:?}");
        let _ = subject.rotate().ends(0);
        let status = host.run(&["status"], "").ends(10);
        if code == "config.unknown-plugin" {
            assert!(
                status
                    .stdout
                    .contains("plugin redis: its file is missing: cache cannot be rotated"),
                "{status:?}"
            );
            std::fs::write(lost, &plugin).unwrap();
        } else {
            assert!(status.stdout.contains("trust set cache"), "{status:?}");
        }
    }
    subject.has_rotated();

    // A plugin that never was there.
    subject.configure(&format!(
        "{}\n{}",
        subject.rotation(),
        cache.replace("\"redis\"", "\"rediss\"")
    ));
    let _ = subject.rotate().ends(0);
    let status = host.run(&["status"], "").ends(10);
    assert!(
        status
            .stdout
            .contains("rotation cache: there is no plugin rediss: it cannot be rotated"),
        "{status:?}"
    );
}
