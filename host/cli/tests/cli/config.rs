//! `keywheel config`.

use std::os::unix::fs::PermissionsExt as _;

use crate::kit::{Place, same_as_file};

const GOOD: &str = "[limits]\nmemory = \"64 MiB\"\n\n[[rotation]]\nname = \"app-db\"\nplugin = \"demo\"\nsecret = \"app/db\"\ngap = \"accept\"\n\n[rotation.config]\nhost = \"db\"\nrole = \"x\"\n";

fn with_plugin() -> Place {
    let place = Place::new();
    crate::plugin::write_sources(&place);
    place.write("plugins/demo.wasm", crate::plugin::EMPTY_COMPONENT);
    assert_eq!(place.run("plugin pack plugins/demo.wasm manifest.toml").exit, 0);
    place
}

#[test]
fn a_good_configuration_is_ok_on_standard_output() {
    let place = with_plugin();
    place.write("keywheel.toml", GOOD);
    let ran = place.run("config check");
    assert_eq!(
        (ran.exit, ran.out.as_str()),
        (0, "ok \"keywheel.toml\": 1 rotation\n")
    );
    // It is right, and does nothing before the plugin is added.
    let warned = ran.err.matches("warning: ").count();
    assert_eq!(warned, 2, "{}", ran.err);
    assert!(
        ran.err
            .contains("it is not pinned yet, or the file that was pinned")
            && ran.err.contains("`keywheel plugin add demo`"),
        "{}",
        ran.err
    );
    let ran = place.run("-o json config check");
    let checked: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        checked,
        serde_json::json!({ "rotations": 1, "plugins": ["demo"] })
    );
}

#[test]
fn every_problem_is_shown_with_place_line_and_hint() {
    let place = with_plugin();
    let bad = GOOD
        .replace("memory", "memroy")
        .replace("gap = \"accept\"", "grace = \"1 week\"")
        .replace("host =", "hots =");
    place.write("keywheel.toml", bad);
    let ran = place.run("config check");
    assert_eq!((ran.exit, ran.out.as_str()), (20, ""));
    same_as_file("tests/cli/snapshots/problems.txt", &ran.err);
}

#[test]
fn a_trust_file_that_verifies_nothing_is_refused_at_its_place() {
    let place = with_plugin();
    let trust = "\n[trust.own]\npem = [\"ca.pem\", \"more.pem\"]\n";
    place.write("keywheel.toml", format!("{GOOD}{trust}"));
    let authority = keywheel_kit::Authority::new().unwrap();
    let issued = authority.issue(&["db"]).unwrap().certificate_pem;
    let own = keywheel_kit::Identity::self_signed(&["db"], false).unwrap();
    place.write("more.pem", authority.pem());
    for (pem, what, hint) in [
        (None, "cannot be read: No such file", "relative to the folder"),
        (
            Some("no certificate"),
            "has no certificate in it",
            "BEGIN CERTIFICATE",
        ),
        (
            Some(issued.as_str()),
            "has only a server's own certificate in it",
            "-noout -issuer",
        ),
    ] {
        if let Some(pem) = pem {
            place.write("ca.pem", pem);
        }
        let ran = place.run("config check");
        assert_eq!((ran.exit, ran.out.as_str()), (20, ""), "{what}");
        for word in [
            "error[config.trust]: \"ca.pem\" ",
            what,
            hint,
            "keywheel.toml:15:8",
            "1 problem",
        ] {
            assert!(ran.err.contains(word), "{word}:\n{}", ran.err);
        }
    }
    for pem in [
        authority.pem(),
        &own.certificate_pem,
        &format!("{issued}{}", authority.pem()),
    ] {
        place.write("ca.pem", pem);
        let ran = place.run("config check");
        assert_eq!(ran.exit, 0, "{}", ran.err);
    }
}

#[test]
fn a_planted_password_is_refused_and_never_printed() {
    let place = with_plugin();
    place.write("keywheel.toml", format!("{GOOD}password = \"planted-7f3a\"\n"));
    for words in [
        "config check",
        "-o json config check",
        "-v config check",
        "config show",
        "config show --effective",
    ] {
        let ran = place.run(words);
        assert_eq!(ran.exit, 20, "{words}");
        assert!(
            !ran.err.contains("planted") && !ran.out.contains("planted"),
            "{words}: {}",
            ran.err
        );
    }
}

#[test]
fn a_file_in_the_plugin_folder_that_is_no_plugin_is_a_warning() {
    let place = with_plugin();
    place.write("keywheel.toml", GOOD);
    place.write("plugins/junk.wasm", "junk");
    let ran = place.run("-q config check");
    assert_eq!(ran.exit, 0);
    assert!(
        ran.err
            .starts_with("warning: \"plugins/junk.wasm\" is not used: "),
        "{}",
        ran.err
    );
}

#[test]
fn show_prints_what_stands_in_the_file_and_with_effective_the_defaults_too() {
    let place = Place::new();
    place.write("keywheel.toml", GOOD);
    let ran = place.run("config show");
    assert!(
        ran.out
            .starts_with("limits.memory = \"64 MiB\"\nrotation.app-db.plugin = \"demo\"\n"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains("limits.cpu"), "{}", ran.out);
    assert!(
        place
            .run("config show --effective")
            .out
            .contains("limits.cpu = \"5s\"\n")
    );
    let ran = place.run("config show --effective --origins");
    let line = |start: &str| {
        ran.out
            .lines()
            .find(|line| line.starts_with(start))
            .unwrap()
            .to_owned()
    };
    assert!(line("limits.memory").ends_with("keywheel.toml:2"), "{}", ran.out);
    assert!(line("limits.cpu").ends_with("default"), "{}", ran.out);
}

#[test]
fn what_is_no_file_or_has_no_end_is_refused_with_the_way_out() {
    let place = Place::new();
    place.write("long.toml", vec![b'#'; 9 << 20]);
    for (file, code) in [
        ("/dev/zero", "config.unreadable"),
        (".", "config.unreadable"),
        ("long.toml", "config.too-large"),
    ] {
        let ran = place.run_words(&["--config", file, "config", "check"], "");
        assert_eq!(ran.exit, 20, "{file}: {}", ran.err);
        assert!(ran.err.contains(&format!("error[{code}]")), "{file}: {}", ran.err);
        assert!(ran.err.contains("hint: "), "{file}: {}", ran.err);
    }
}

#[test]
fn the_first_byte_that_is_no_utf8_is_named_with_its_line_and_column() {
    let place = Place::new();
    place.write(
        "keywheel.toml",
        b"# \xc3\xbc\n[limits]\ncpu = \"\xc3\xa4\xe9s\"\n",
    );
    let ran = place.run("config check");
    assert_eq!(ran.exit, 20, "{}", ran.err);
    for words in [
        "error[config.encoding]: not UTF-8 text: 0xe9",
        "keywheel.toml:3:9\n",
        "hint: save the file as UTF-8",
    ] {
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
}

#[test]
fn schema_prints_the_committed_schema_without_any_file() {
    let ran = Place::new().run("config schema");
    assert_eq!(ran.exit, 0);
    same_as_file("../../docs/reference/keywheel.schema.json", &ran.out);
}

/// Whoever is to be told is told nothing by a program that cannot be started: that is seen before it is needed.
#[test]
fn a_sink_whose_program_cannot_be_started_is_refused_at_its_place() {
    let place = with_plugin();
    let program = place.path().join("page");
    let sink = format!(
        "\n[[notify]]\nname = \"pager\"\nkind = \"command\"\ncommand = [\"{}\"]\n",
        program.display()
    );
    place.write("keywheel.toml", format!("{GOOD}{sink}"));
    let ran = place.run("config check");
    assert_eq!(ran.exit, 20, "{}", ran.err);
    assert!(
        ran.err.contains("config.notify") && ran.err.contains("keywheel.toml:"),
        "{}",
        ran.err
    );
    place.write("page", "#!/bin/sh\n");
    let mode = |mode| std::fs::set_permissions(&program, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o755);
    assert_eq!(place.run("config check").exit, 0);
    mode(0o757);
    assert!(place.run("config check").err.contains("can be changed by others"));
}
