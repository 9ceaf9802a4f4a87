//! Before a credential is adopted, `plan` and `target test` look at the target as far as the administrator sees it, and say what comes next.

use keywheel_e2e::Output;

use crate::{Subject, server};

/// What a command printed, without line breaks in its way.
#[track_caller]
fn has(output: &Output, words: &[&str]) {
    for word in words {
        assert!(output.stdout.contains(word), "{word}:\n{}", output.stdout);
    }
}

#[test]
fn before_an_adoption_the_target_is_looked_at_and_the_next_command_is_named() {
    let subject = Subject::new("adopt_look");
    let host = &subject.host;
    host.add_plugin("postgres", &[server().port()]);

    // Nobody can look: the administrator comes first.
    let output = host.run(&["plan", "app-db"], "").ends(24);
    let first = output.stdout.find("keywheel secret import admin/db").unwrap();
    assert!(
        first < output.stdout.find("keywheel secret import app/db").unwrap(),
        "{output:?}"
    );
    has(&output, &["nothing was asked of the target: it takes admin/db"]);
    assert!(!output.stdout.contains("ALTER ROLE"), "{output:?}");

    let _ = host.import("admin/db", server().admin_password()).ends(0);
    for command in [&["plan", "app-db"][..], &["target", "test", "app-db"]] {
        let output = host.run(command, "").ends(24);
        has(
            &output,
            &[
                "ALTER ROLE adopt_look PASSWORD",
                "run.adoption-required: app/db is not adopted yet",
                "`keywheel secret import app/db` takes over the credential in use",
            ],
        );
        assert!(!output.stdout.contains("nothing was asked"), "{output:?}");
    }

    // A role that is not there is seen before anything is imported, and named with its server.
    let elsewhere = subject
        .rotation()
        .replace("role = \"adopt_look\"", "role = \"adopt_nobody\"");
    subject.configure(&elsewhere);
    let place = format!(
        "the server at localhost:{} has no role adopt_nobody",
        server().port()
    );
    for command in [&["plan", "app-db"][..], &["target", "test", "app-db"]] {
        let output = host.run(command, "").ends(24);
        has(
            &output,
            &[
                "run.adoption-required",
                "postgres.role-missing",
                &place,
                "is it this server, and this name?",
            ],
        );
    }
    // The administrator's password is wrong: one more problem, and not the only thing that is said.
    let _ = host.import("admin/db", &keywheel_kit::random_password()).ends(0);
    let output = host.run(&["plan", "app-db"], "").ends(24);
    has(&output, &["run.adoption-required", "problem: sql.28p01"]);
    assert!(subject.takes(&subject.old));

    let _ = host.import("admin/db", server().admin_password()).ends(0);
    subject.configure(&subject.rotation());
    let _ = host.import("app/db", &subject.old).ends(0);
    let output = host.run(&["target", "test", "app-db"], "").ends(0);
    has(&output, &["current credential: accepted"]);
}

#[test]
fn what_is_planned_for_one_role_is_what_becomes_of_it() {
    let subject = Subject::ready("adopt_plan");
    let output = subject.host.run(&["plan", "app-db"], "").ends(10);
    has(
        &output,
        &[
            &format!("postgres localhost:{}\n", server().port()),
            "account:         adopt_plan\n",
            "old credential:  dead from `apply` on",
            "from apply on consumers with the old credential are refused",
            "VALID UNTIL 'infinity'; the old one is dead from here on",
            "point of no return: until here `keywheel run rollback` goes back",
            "nothing to take away; a login with the old one must be refused",
        ],
    );
    // The word beside each step is the one that the run then shows.
    let plan = subject
        .host
        .run(&["-o", "json", "plan", "app-db"], "")
        .ends(10)
        .json();
    let _ = subject.rotate().ends(0);
    let run = subject.host.json(&["run", "show", "app-db"]);
    let words = |steps: &serde_json::Value| -> Vec<(String, String)> {
        let word = |step: &serde_json::Value, field: &str| step[field].as_str().unwrap().to_owned();
        let steps = steps.as_array().unwrap().iter();
        steps
            .map(|step| (word(step, "step"), word(step, "safety")))
            .collect()
    };
    assert_eq!(words(&plan[0]["steps"]), words(&run["steps"]));
    subject.has_rotated();
}

#[test]
fn an_import_whose_input_is_missing_begins_nothing_and_names_it() {
    let subject = Subject::new("adopt_no_input");
    let host = &subject.host;
    host.add_plugin("postgres", &[server().port()]);
    let output = host.import("app/db", &subject.old).ends(24);
    let _ = output.says(&[
        "rotation.input-missing",
        "input `admin` (secret admin/db) of rotation app-db has no value",
        "nothing was stored",
        "`keywheel secret import admin/db`",
    ]);
    assert_eq!(host.json(&["run", "list"]), serde_json::json!([]));
    let app = host.json(&["secret", "show", "app/db"]);
    assert_eq!(app["versions"], 0, "{app:#}");
    has(
        &host.run(&["plan", "app-db"], "").ends(24),
        &[
            "input `admin` of rotation app-db, secret admin/db, has no value (first `keywheel secret import admin/db`)",
        ],
    );

    let _ = host.import("admin/db", server().admin_password()).ends(0);
    let _ = host.import("app/db", &subject.old).ends(0);
}

/// Neither is accepted: whether the role's password is wrong, only the administrator could say.
#[test]
fn an_import_whose_administrator_is_refused_is_tried_once_and_names_the_input() {
    let subject = Subject::new("adopt_bad_input");
    let host = &subject.host;
    // Time for many tries.
    subject.configure(&subject.rotation().replace("run = \"1s\"", "run = \"5m\""));
    host.add_plugin("postgres", &[server().port()]);
    let _ = host.import("admin/db", &keywheel_kit::random_password()).ends(0);
    let output = host.import("app/db", &keywheel_kit::random_password()).ends(41);
    has(
        &output,
        &[
            "sql.28p01: the administrator's login",
            "input `admin` of rotation app-db is secret admin/db: `keywheel secret import admin/db`",
            "then `keywheel run resume run-",
        ],
    );
    let run = host
        .run(&["run", "show", "app-db", "-o", "json"], "")
        .ends(10)
        .json();
    let tries: Vec<_> = run["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| &step["tries"])
        .collect();
    assert_eq!(tries, [1, 1], "{run:#}");

    // The way out; then it is the imported value that is known to be wrong.
    let _ = host.import("admin/db", server().admin_password()).ends(0);
    let _ = host.run(&["run", "resume", "app-db"], "").ends(40);
    let _ = host.import("app/db", &subject.old).ends(0);
    assert!(subject.takes(&subject.old));
}

/// What an adoption found is told until a plan finds it no more, and again where it is back.
#[test]
fn what_would_stop_a_rotation_is_in_the_status_until_it_is_mended() {
    let subject = Subject::new("adopt_mended");
    let host = &subject.host;
    host.add_plugin("postgres", &[server().port()]);
    let _ = host.import("admin/db", server().admin_password()).ends(0);
    server().sql("ALTER ROLE adopt_mended SUPERUSER").unwrap();
    let _ = host.import("app/db", &subject.old).ends(0);
    let told = "adopted; it cannot be rotated yet: postgres.superuser: ";
    has(
        &host.run(&["status"], "").ends(10),
        &[told, "a `keywheel plan app-db` that finds nothing ends this"],
    );
    let _ = host.run(&["plan", "app-db"], "").ends(24);
    has(&host.run(&["status"], "").ends(10), &[told]);

    server().sql("ALTER ROLE adopt_mended NOSUPERUSER").unwrap();
    let _ = host.run(&["plan", "app-db"], "").ends(10);
    let status = host.run(&["status"], "").ends(0);
    assert!(!status.stdout.contains("cannot be rotated"), "{status:?}");

    server().sql("ALTER ROLE adopt_mended SUPERUSER").unwrap();
    let _ = host.run(&["plan", "app-db"], "").ends(24);
    has(&host.run(&["status"], "").ends(10), &[told]);
    server().sql("ALTER ROLE adopt_mended NOSUPERUSER").unwrap();
}
