//! A wrong configuration: every command that would start something refuses it at its place.

use std::fs;

use serde_json::json;

use crate::{Subject, server};

/// What is typed where a value is asked for.
const TYPED: &str = "no-password-of-anybody";

/// What is wrong, the file, where the problem must be pinned, and what must be said.
type Case<'a> = (&'a str, String, &'a str, &'a [&'a str]);

/// Refused with 20 by each command, at the line that holds `at`; nothing was begun.
#[track_caller]
fn is_refused(subject: &Subject, commands: &[&[&str]], (what, text, at, words): &Case<'_>) {
    subject.configure(text);
    let whole = fs::read_to_string(subject.host.file("keywheel.toml")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let line = 1 + lines.iter().rposition(|line| line.contains(at)).unwrap();
    for command in commands {
        let output = subject.host.run(command, TYPED);
        assert_eq!(output.code, 20, "{what}: {command:?}: {output:?}");
        assert_eq!(output.stdout, "", "{what}");
        let output = output
            .says(words)
            .says(&["error[config.", &format!("keywheel.toml:{line}:"), "hint: "]);
        assert!(
            output.stderr.len() < 20_000,
            "{what}: {} bytes",
            output.stderr.len()
        );
        let odd = |c: char| c.is_control() && c != '\n' || ('\u{200b}'..'\u{202f}').contains(&c);
        assert!(!output.stderr.contains(odd), "{what}: {:?}", output.stderr);
    }
}

#[test]
fn a_wrong_configuration_is_refused_at_its_place_before_anything_is_started() {
    let subject = Subject::new("conf");
    let good = subject.rotation();
    let huge = "x".repeat(1024 * 1024);
    let other = good.replace("app-db", "other-db");
    let secret = |name: &str| good.replace("\"app/db\"", &format!("\"{name}\""));
    let cases: Vec<Case<'_>> = vec![
        (
            "an unknown key",
            good.replace("grace =", "grase ="),
            "grase",
            &["grase", "did you mean `grace`?"],
        ),
        (
            "a missing key",
            good.replace("plugin = \"postgres\"\n", ""),
            "[[rotation]]",
            &["plugin"],
        ),
        (
            "a wrong type",
            good.replace("grace = \"0s\"", "grace = 5"),
            "grace = 5",
            &["grace"],
        ),
        (
            "an unknown unit",
            good.replace("grace = \"0s\"", "grace = \"5 parsecs\""),
            "parsecs",
            &["parsecs"],
        ),
        (
            "two rotations on one secret",
            format!("{good}{other}"),
            "secret = \"app/db\"",
            &["`app/db`"],
        ),
        (
            "an unknown plugin",
            good.replace("\"postgres\"\nsecret", "\"postgrez\"\nsecret"),
            "postgrez",
            &["did you mean \"postgres\"?"],
        ),
        (
            "a way out of the vault",
            secret("../app/db"),
            "../app/db",
            &["config.name"],
        ),
        (
            "a control character",
            secret("app\\u0007db"),
            "u0007",
            &["config.name"],
        ),
        (
            "a look-alike character",
            secret("p\\u0430ss"),
            "u0430",
            &["config.name"],
        ),
        (
            "a character that turns the line",
            secret("app/\\u202edb"),
            "u202e",
            &["config.name"],
        ),
        ("a name of a megabyte", secret(&huge), "xxxx", &["config.name"]),
        (
            "a setting that the plugin does not know",
            good.replace("role = ", "rule = "),
            "rule",
            &["rule"],
        ),
        (
            "a setting of a wrong type",
            good.replace("port = ", "port = \"1\" #"),
            "port = ",
            &["port"],
        ),
    ];
    is_refused(
        &subject,
        &[
            &["plan", "app-db"],
            &["target", "test", "app-db"],
            &["secret", "import", "app/db", "-"],
        ],
        &cases[0],
    );
    for case in &cases {
        is_refused(&subject, &[&["config", "check"], &["rotate", "app-db"]], case);
    }
    subject.configure(&good);
    assert_eq!(subject.host.json(&["run", "list"]), json!([]));
    let secrets = subject.host.json(&["secret", "list"]);
    assert!(
        secrets
            .as_array()
            .unwrap()
            .iter()
            .all(|secret| secret["versions"] == 0),
        "{secrets:#}"
    );
    subject.host.left_no_trace(&[TYPED.to_owned()], &[]);
}

#[test]
fn a_wrong_name_on_the_command_line_is_a_usage_error_and_is_not_repeated_at_length() {
    let subject = Subject::new("conf_names");
    // As long as one argument may be.
    let long = "x".repeat(100 * 1024);
    for name in [
        "../app",
        "app//db",
        "a\u{7}b",
        "p\u{430}ss",
        "app/\u{202e}db",
        "",
        &long,
    ] {
        for command in [
            &["secret", "import", name, "-"][..],
            &["secret", "read", name, "--reason", "test", "--to", "value"],
            &["rotate", name],
            &["plugin", "add", name, "--yes"],
        ] {
            let output = subject.host.run(command, TYPED);
            assert_eq!(output.code, 2, "{command:?}: {output:?}");
            assert_eq!(output.stdout, "");
            assert!(output.stderr.len() < 2_000, "{} bytes", output.stderr.len());
            let odd = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
            assert!(!output.stderr.contains(odd), "{:?}", output.stderr);
        }
    }
    assert!(!subject.host.file("value").exists());
    subject.host.left_no_trace(&[TYPED.to_owned()], &[]);
}

#[test]
fn a_setting_that_only_the_plugins_own_check_refuses_stops_every_command_that_would_run_it() {
    let subject = Subject::ready("conf_own");
    let admin = server().admin_user();
    let wrong = subject
        .rotation()
        .replace("role = \"conf_own\"", &format!("role = \"{admin}\""));
    subject.configure(&wrong);
    let runs = subject.host.json(&["run", "list"]);
    for command in [
        &["plan", "app-db"][..],
        &["rotate", "app-db"],
        &["target", "test", "app-db"],
    ] {
        let output = subject.host.run(command, "").ends(20);
        let _ = output.says(&[
            "must be another role",
            "keywheel.toml:",
            &format!("admin = \"{admin}\""),
            "hint: ",
        ]);
    }
    subject.configure(&subject.rotation());
    assert_eq!(subject.host.json(&["run", "list"]), runs);
    subject.is_as_before("after refusals");
    let _ = subject.rotate().ends(0);
    subject.has_rotated();
    subject.leaves_no_trace();
}
