//! A role that has no connection left: no login can prove its new password.

use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Subject, server};

fn limit(subject: &Subject, most: i32) {
    let set = format!("ALTER ROLE {} CONNECTION LIMIT {most}", subject.role);
    server().sql(&set).unwrap();
}

fn shown(subject: &Subject) -> Value {
    subject
        .host
        .run(&["run", "show", "app-db", "-o", "json"], "")
        .json()
}

#[test]
fn a_role_at_its_connection_limit_is_refused_before_its_password_is_changed() {
    let subject = Subject::ready("crowded");
    limit(&subject, 0);
    let plan = subject.host.run(&["plan", "app-db"], "").ends(24);
    let said = format!("{}{}", plan.stdout, plan.stderr);
    assert!(
        said.contains("postgres.connection-limit") && said.contains("CONNECTION LIMIT"),
        "{said}"
    );

    limit(&subject, 1);
    let held = server().hold(subject.role, &subject.old).unwrap();
    let output = subject.rotate();
    assert_ne!(output.code, 0, "{output:?}");
    assert!(
        format!("{output:?}").contains("postgres.connection-limit"),
        "{output:?}"
    );
    limit(&subject, 2);
    subject.is_as_before("at its limit");
    let _ = subject.rotate().ends(0);
    subject.has_rotated();
    drop(held);
    subject.leaves_no_trace();
}

/// Waits until the server says so.
fn wait_for(condition: &str) {
    let begun = Instant::now();
    while server().sql(&format!("SELECT {condition}")).unwrap() != "t" {
        assert!(begun.elapsed() < Duration::from_mins(1), "{condition}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Rotates while somebody takes the role's last connection away: `plan` has not seen it, and `apply` waits for it.
fn rotates_into_the_limit(subject: &Subject) -> Value {
    let mut other = server()
        .hold(server().admin_user(), server().admin_password())
        .unwrap();
    let role = subject.role;
    writeln!(other, "BEGIN; ALTER ROLE {role} CONNECTION LIMIT 0;").unwrap();
    let of = |what: &str| format!("EXISTS (SELECT FROM pg_stat_activity WHERE {what})");
    wait_for(&of(&format!(
        "state = 'idle in transaction' AND query LIKE 'ALTER ROLE {role} %'"
    )));
    let rotate = subject.host.command(&["rotate", "app-db", "--wait", "end"]);
    let started = subject.host.start(&mut { rotate });
    wait_for(&of(&format!(
        "wait_event_type = 'Lock' AND query LIKE 'ALTER ROLE%{role}%'"
    )));
    writeln!(other, "COMMIT;").unwrap();
    let _ = subject.host.wait(started).ends(41);
    let run = shown(subject);
    assert_eq!(run["parked"]["cause"], "target", "{run:#}");
    run
}

#[track_caller]
fn way_out_has(run: &Value, words: &[&str]) {
    for word in words {
        assert!(
            run["parked"]["way-out"].as_str().unwrap().contains(word),
            "{word}: {run:#}"
        );
    }
}

#[test]
fn a_login_that_finds_no_connection_left_parks_with_what_is_valid_and_the_way_out() {
    let subject = Subject::ready("crowded_late");
    let run = rotates_into_the_limit(&subject);
    let given = "the target has been given the new value and refuses the old one";
    way_out_has(&run, &["CONNECTION LIMIT", "run resume", given, "run cancel"]);
    limit(&subject, -1);
    let _ = subject.resume().ends(0);
    subject.has_rotated();

    // Taken back instead: the old one is set at once, and its proof waits for a connection.
    let before = subject.host.read("app/db", None);
    let _ = rotates_into_the_limit(&subject);
    let _ = subject
        .host
        .run(&["run", "cancel", "app-db", "--wait", "end"], "")
        .ends(41);
    way_out_has(
        &shown(&subject),
        &["CONNECTION LIMIT", "was set on the target again"],
    );
    limit(&subject, -1);
    assert!(subject.takes(&before));
    let _ = subject.resume();
    assert_eq!(shown(&subject)["state"], "cancelled");
    assert_eq!(subject.host.read("app/db", None), before);
    subject.leaves_no_trace();
}
