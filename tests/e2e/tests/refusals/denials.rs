//! What a policy does not allow is refused with the exact lines that would allow it.

use std::fs;

use crate::Subject;

/// Writes the lines that a refusal printed into the grant that it names.
#[track_caller]
fn write_lines(subject: &Subject, said: &str) {
    let (_, printed) = said
        .split_once("to allow it, write in policies/postgres.toml:\n")
        .unwrap_or_else(|| panic!("no lines in {said}"));
    let (lines, _) = printed.split_once("\nhint: ").unwrap();
    let path = subject.host.file("policies/postgres.toml");
    let mut grant = fs::read_to_string(&path).unwrap();
    if let Some(shape) = lines.strip_prefix("[shapes]\n") {
        grant.push_str(&format!("{shape}\n"));
    } else {
        let (key, _) = lines.split_once(" = ").unwrap();
        let old = grant
            .lines()
            .find(|line| line.starts_with(&format!("{key} = ")))
            .unwrap()
            .to_owned();
        grant = grant.replace(&old, lines);
    }
    fs::write(&path, grant).unwrap();
}

#[test]
fn a_denial_prints_the_lines_that_allow_it_and_with_them_the_same_command_goes_through() {
    let subject = Subject::ready("deny");
    let grant = subject.host.file("policies/postgres.toml");
    let least = "plugin = \"postgres\"\ncapabilities = [\"core\", \"sql\"]\nhosts = []\nsecrets = []\nreveal = []\n\n[shapes]\n";
    fs::write(&grant, least).unwrap();
    let runs = subject.host.json(&["run", "list"]);
    let mut denials = 0;
    loop {
        let output = subject.host.run(&["plan", "app-db"], "");
        if output.code == 10 {
            let told = format!("{}{}", output.stdout, output.stderr);
            assert!(
                told.contains("is not granted in"),
                "what the run will need: {told}"
            );
            break;
        }
        let output = output
            .ends(21)
            .says(&["policy.denied", "hint: nothing was written; write those lines"]);
        write_lines(&subject, &output.stderr);
        denials += 1;
        assert!(denials < 20, "{}", output.stderr);
    }
    assert!(denials >= 3, "hosts, secrets and shapes were missing");
    assert_eq!(subject.host.json(&["run", "list"]), runs);
    subject.is_as_before("after denials");

    // What `plan` does not call is denied in the run: it parks, and goes on once the lines are there.
    let mut output = subject.rotate().ends(41);
    while output.code == 41 {
        assert!(output.stdout.contains("parked: "), "{output:?}");
        write_lines(&subject, &output.stdout);
        output = subject.resume();
        denials += 1;
        assert!(denials < 20, "{output:?}");
    }
    let _ = output.ends(0);
    subject.has_rotated();
    subject.leaves_no_trace();
}

#[test]
fn a_plugin_that_calls_more_than_was_granted_does_not_run_until_it_is_granted() {
    let subject = Subject::ready("deny_more");
    let grant = subject.host.file("policies/postgres.toml");
    let whole = fs::read_to_string(&grant).unwrap();
    fs::write(&grant, whole.replace("\"core\", \"sql\"", "\"core\"")).unwrap();
    for command in [&["plan", "app-db"][..], &["rotate", "app-db"]] {
        let output = subject.host.run(command, "").ends(21);
        let _ = output.says(&[
            "plugin.more-than-granted",
            "it calls sql",
            "plugins/postgres.wasm",
            "keywheel plugin add",
        ]);
    }
    let _ = subject.host.run(&["plugin", "verify"], "").ends(42);
    subject.is_as_before("after denials");
    let _ = subject
        .host
        .run(&["plugin", "add", "postgres", "--yes"], "")
        .ends(0);
    assert_eq!(fs::read_to_string(&grant).unwrap(), whole);
    let _ = subject.rotate().ends(0);
    subject.has_rotated();
    subject.leaves_no_trace();
}
