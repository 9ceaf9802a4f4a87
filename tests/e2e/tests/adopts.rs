//! Adoption (rule P15): `plan`, `test`, `promote`; and the ways out of one that does not come to its end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::OnceLock;

use keywheel_e2e::{Host, Output, Rotation, postgres_pair, rotation};
use keywheel_kit::{Postgres, PostgresOptions, free_port, random_password};
use serde_json::{Value, json};

/// One server for all cases: each has a role of its own.
fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::start(PostgresOptions::default()).unwrap())
}

/// A role of the server, and a host whose administrator's credential is imported and whose role's is not.
struct Subject {
    host: Host,
    role: &'static str,
    password: String,
    /// `keywheel.toml` without a rotation.
    bare: String,
    /// Where nobody listens.
    nobody: u16,
}

impl Subject {
    fn new(role: &'static str, attributes: &str) -> Self {
        let password = random_password();
        server()
            .sql(&format!(
                "CREATE ROLE {role} LOGIN {attributes} PASSWORD '{password}'"
            ))
            .unwrap();
        let host = Host::init();
        let nobody = free_port().unwrap();
        let bare = std::fs::read_to_string(host.file("keywheel.toml")).unwrap();
        let subject = Self {
            host,
            role,
            password,
            bare,
            nobody,
        };
        subject.configure(server().port(), server().admin_user());
        subject.host.add_plugin("postgres", &[server().port(), nobody]);
        let _ = subject.host.import("admin/db", server().admin_password()).ends(0);
        subject
    }

    /// The rotation `app-db` of the role, on the server's port or another.
    fn configure(&self, port: u16, admin: &str) {
        let text = rotation(&Rotation {
            name: "app-db",
            plugin: "postgres",
            secret: "app/db",
            admin_secret: "admin/db",
            grace: "0s",
            ca: &server().ca_file(),
            config: &format!(
                "mode = \"role\"\nhost = \"localhost\"\nport = {port}\ntrust = \"app-db\"\nadmin = \"{admin}\"\nrole = \"{}\"",
                self.role
            ),
        });
        let text = text
            .replace("consumers = [{ name = \"shop\", staleness = \"1s\" }]\n", "")
            .replace("{ step = \"3s\" }", "{ step = \"3s\", run = \"1s\" }");
        std::fs::write(self.host.file("keywheel.toml"), format!("{}\n{text}", self.bare)).unwrap();
    }

    fn import(&self, value: &str) -> Output {
        self.host.import("app/db", value)
    }

    fn run(&self, words: &[&str]) -> Output {
        self.host.run(words, "")
    }

    fn shown(&self) -> Value {
        self.run(&["run", "show", "app-db", "-o", "json"]).json()
    }

    fn stages(&self) -> Vec<String> {
        let versions = self.host.versions("app/db").into_iter();
        versions.map(|(_, stage)| stage).collect()
    }
}

/// A code stands before its message, and not once more in it.
#[track_caller]
fn is_told_once(output: &Output, code: &str) {
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(
        said.contains(code) && !said.contains(&format!("{code}{code}")),
        "{said}"
    );
}

fn steps(run: &Value) -> Vec<(&str, &str)> {
    let steps = run["steps"].as_array().unwrap().iter();
    steps
        .map(|step| (step["step"].as_str().unwrap(), step["state"].as_str().unwrap()))
        .collect()
}

#[test]
fn an_adoption_is_plan_test_promote() {
    let subject = Subject::new("adopts_well", "");
    let output = subject.import(&subject.password).ends(0);
    let output = output.says(&["plan       done", "test       done", "next: keywheel plan app-db"]);
    assert!(output.stdout.contains("detail:  adopted\n"), "{output:?}");
    let run = subject.shown();
    assert_eq!(
        steps(&run),
        [("plan", "done"), ("test", "done"), ("promote", "done")],
        "{run:#}"
    );
    // There is one credential, before and after.
    assert_eq!(run["safety"], "old-valid", "{run:#}");
    for step in run["steps"].as_array().unwrap() {
        assert_eq!(step["safety"], "old-valid", "{run:#}");
    }
    assert_eq!(run["pending"], Value::Null, "{run:#}");
    assert_eq!(subject.stages(), ["current"]);
}

#[test]
fn what_would_stop_a_rotation_is_told_by_an_adoption_and_the_credential_is_not_lost() {
    let boss = Subject::new("adopts_boss", "SUPERUSER");
    let output = boss
        .import(&boss.password)
        .ends(0)
        .says(&["plan       failed", "postgres.superuser"]);
    assert!(
        output
            .stdout
            .contains("adopted; it cannot be rotated yet: postgres.superuser: "),
        "{output:?}"
    );
    assert_eq!(steps(&boss.shown())[0], ("plan", "failed"));
    assert_eq!(boss.stages(), ["current"]);

    // The administrator cannot even log in.
    let wrong = Subject::new("adopts_wrong_admin", "");
    let _ = wrong.host.import("admin/db", &random_password()).ends(0);
    let output = wrong.import(&wrong.password).ends(0);
    assert!(
        output
            .stdout
            .contains("adopted; it cannot be rotated yet: sql.28p01: "),
        "{output:?}"
    );
    assert_eq!(wrong.stages(), ["current"]);

    // It can, and may not change anybody.
    let weak = Subject::new("adopts_weak", "");
    let password = random_password();
    server()
        .sql(&format!("CREATE ROLE adopts_clerk LOGIN PASSWORD '{password}'"))
        .unwrap();
    weak.configure(server().port(), "adopts_clerk");
    let _ = weak.host.import("admin/db", &password).ends(0);
    let output = weak.import(&weak.password).ends(0);
    assert!(
        output
            .stdout
            .contains("adopted; it cannot be rotated yet: postgres.createrole: "),
        "{output:?}"
    );
}

#[test]
fn a_refused_import_leaves_the_way_open_however_often_it_is_tried() {
    let subject = Subject::new("adopts_refused", "");
    for tries in 1..=3 {
        let output = subject.import(&random_password()).ends(40);
        let output = output.says(&["test       failed", "next: keywheel secret import app/db"]);
        assert!(
            output.stdout.contains("import the credential that is in use"),
            "{output:?}"
        );
        assert_eq!(subject.stages(), vec!["abandoned"; tries]);
    }
    let _ = subject.import(&subject.password).ends(0);
    assert_eq!(subject.stages()[0], "current");
    assert_eq!(subject.host.read("app/db", None), subject.password);
}

#[test]
fn a_cancelled_adoption_gives_the_import_up_and_a_corrected_one_is_taken() {
    let subject = Subject::new("adopts_late", "");
    subject.configure(subject.nobody, server().admin_user());
    let output = subject.import("not-the-password").ends(41);
    assert!(output.stdout.contains("net.unreachable: "), "{output:?}");
    is_told_once(&output, "net.unreachable: ");
    let open = subject.shown();
    assert_eq!(open["parked"]["cause"], "target", "{open:#}");
    let run = open["run"].as_str().unwrap();

    // Another import is refused; it says by which run and what can be done, and leaves everything as it is.
    let (before, runs) = (subject.stages(), subject.host.json(&["run", "list"]));
    assert_eq!(before, ["pending"]);
    let _ = subject.import(&subject.password).ends(24).says(&[
        "run.open",
        run,
        &format!("keywheel run cancel {run}"),
        &format!("keywheel run resume {run}"),
    ]);
    assert_eq!(subject.stages(), before);
    assert_eq!(subject.host.json(&["run", "list"]), runs);
    // To go on with it is no way out for whoever has corrected the configuration meanwhile.
    subject.configure(server().port(), server().admin_user());
    let _ = subject.import(&subject.password).ends(24).says(&[
        "run.open",
        &format!("it was started with another configuration, which it keeps: `keywheel run cancel {run}` and start again"),
    ]);
    subject.configure(subject.nobody, server().admin_user());

    let _ = subject.run(&["run", "cancel", run]).ends(0);
    assert_eq!(subject.shown()["state"], "cancelled");
    assert_eq!(subject.stages(), ["abandoned"]);
    subject.configure(server().port(), server().admin_user());
    let _ = subject.import(&subject.password).ends(0);
    assert_eq!(subject.stages(), ["current", "abandoned"]);
    assert_eq!(subject.host.read("app/db", None), subject.password);
}

/// The journal may lag behind a run that has changed nothing on the target; what an import has stored is given up all the same.
#[test]
fn an_adoption_that_is_killed_in_its_first_step_is_given_up_whole() {
    let subject = Subject::new("adopts_killed", "");
    for (wish, ends) in [("cancel", "cancelled"), ("rollback", "rolled-back")] {
        subject.configure(subject.nobody, server().admin_user());
        // Takes the connection of the first step, and never answers.
        let hole = TcpListener::bind(("127.0.0.1", subject.nobody)).unwrap();
        let words = ["secret", "import", "app/db", "-", "--wait", "end"];
        let mut started = subject.host.start(&mut subject.host.command(&words));
        let mut pipe = started.child.stdin.take().unwrap();
        pipe.write_all(subject.password.as_bytes()).unwrap();
        drop(pipe);
        let _held = hole.accept().unwrap();
        started.child.kill().unwrap();
        let _ = subject.host.wait(started).ends(-1);
        drop(hole);
        assert_eq!(subject.stages()[0], "pending");
        let _ = subject.run(&["run", wish, "app-db"]).ends(0);
        assert_eq!(subject.shown()["state"], ends);
        assert_eq!(subject.stages()[0], "abandoned");
    }
    subject.configure(server().port(), server().admin_user());
    let _ = subject.import(&subject.password).ends(0);
    assert_eq!(subject.stages(), ["current", "abandoned", "abandoned"]);
}

/// Also while its plugin has no grant any more: nothing on the target has to be undone.
#[test]
fn an_adoption_without_its_grant_can_be_cancelled() {
    let subject = Subject::new("adopts_withdrawn", "");
    let grant = subject.host.file("policies/postgres.toml");
    let granted = std::fs::read(&grant).unwrap();
    subject.configure(subject.nobody, server().admin_user());
    let _ = subject.import(&subject.password).ends(41);
    std::fs::remove_file(&grant).unwrap();
    let _ = subject.run(&["run", "resume", "app-db"]).ends(41);
    assert_eq!(subject.shown()["parked"]["cause"], "withdrawn");
    let _ = subject.run(&["run", "cancel", "app-db"]).ends(0);
    assert_eq!(subject.stages(), ["abandoned"]);
    std::fs::write(&grant, granted).unwrap();
    subject.configure(server().port(), server().admin_user());
    let _ = subject.import(&subject.password).ends(0);
}

/// An import that fails before its run begins leaves none behind.
#[test]
fn an_import_that_cannot_be_stored_leaves_no_run_open() {
    let subject = Subject::new("adopts_unstored", "");
    let too_long = "x".repeat(65 * 1024);
    let _ = subject.import(&too_long).ends(2);
    let open = subject.host.json(&["run", "list", "--open"]);
    assert_eq!(open.as_array().unwrap().len(), 0, "{open:#}");
    let _ = subject.import(&subject.password).ends(0);
}

/// What is no document of the rotation's two users is bad input, and no outage.
#[test]
fn a_malformed_import_for_two_users_ends_at_once_and_a_corrected_one_is_taken() {
    let password = random_password();
    let roles = format!("CREATE ROLE app_a LOGIN PASSWORD '{password}'; CREATE ROLE app_b LOGIN");
    server().sql(&roles).unwrap();
    let host = Host::init();
    host.configure(&postgres_pair(server(), "1s"));
    host.add_plugin("postgres", &[server().port()]);
    let _ = host.import("admin/db", server().admin_password()).ends(0);
    let stranger = format!("{{\"username\":\"zz\",\"password\":\"{password}\"}}");
    for (tries, value) in ["nojson", "{\"username\":\"app_a\"}", &stranger]
        .into_iter()
        .enumerate()
    {
        let output = host
            .import("pair/db", value)
            .ends(40)
            .says(&["test       failed"]);
        assert!(
            output
                .stdout
                .contains("the imported value is not what the rotation needs"),
            "{output:?}"
        );
        let form = "{\"username\": \"app_a\" or \"app_b\", \"password\": \"…\"}";
        assert!(tries == 2 || output.stdout.contains(form), "{output:?}");
        let open = host.json(&["run", "list", "--open"]);
        assert_eq!(open.as_array().unwrap().len(), 0, "{open:#}");
        let stages: Vec<String> = host
            .versions("pair/db")
            .into_iter()
            .map(|(_, stage)| stage)
            .collect();
        assert_eq!(stages, vec!["abandoned"; tries + 1]);
    }
    let right = format!("{{\"username\":\"app_a\",\"password\":\"{password}\"}}");
    let _ = host.import("pair/db", &right).ends(0);
}

/// Words that stand in every text about the rotation: its role, its host, the server's own words.
#[test]
fn a_password_that_is_a_plain_word_is_adopted_planned_and_rotated_to_the_end() {
    for (role, password) in [
        ("shop", "shop"),
        ("shop_eu_1_production", "shop_eu_1_production"),
        ("word_super", "super"),
        ("word_host", "localhost"),
        ("word_word", "password"),
        ("word_admin", "administrator"),
    ] {
        let mut subject = Subject::new(role, "");
        server()
            .sql(&format!("ALTER ROLE {role} PASSWORD '{password}'"))
            .unwrap();
        password.clone_into(&mut subject.password);
        let output = subject.import(password).ends(0);
        assert_eq!(
            output.stderr.contains("is weak"),
            role != "shop_eu_1_production",
            "{output:?}"
        );
        let plan = subject
            .host
            .run(&["plan", "app-db", "-o", "json"], "")
            .ends(10)
            .json();
        assert_eq!(
            plan[0]["warnings"].to_string().contains("is weak"),
            role != "shop_eu_1_production",
            "{plan:#}"
        );
        let _ = subject.run(&["rotate", "app-db", "--wait", "end"]).ends(0);
        assert_eq!(subject.stages(), ["current", "revoked"]);
        assert!(!server().login(role, password).unwrap().is_accepted());
        let new = subject.host.read("app/db", None);
        assert!(server().login(role, &new).unwrap().is_accepted());
        let plan = subject
            .host
            .run(&["plan", "app-db", "-o", "json"], "")
            .ends(10)
            .json();
        assert!(!plan[0]["warnings"].to_string().contains("is weak"), "{plan:#}");
    }
}

/// Rule H4: a group of one of two roles is named like the administrator's password, and its session lists the groups that the other is not in.
#[test]
fn a_run_that_was_shown_a_live_secret_parks_with_its_cause_and_can_be_cancelled() {
    let subject = Subject::new("adopts_shown", "");
    let file = subject.host.file("keywheel.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let pair = "\nmode = \"alternating\"\nroles = [\"adopts_shown\", \"adopts_other\"]";
    let text = text.replace("role = \"adopts_shown\"", "");
    std::fs::write(&file, text.replace("\nmode = \"role\"", pair)).unwrap();
    server().sql("CREATE ROLE adopts_other LOGIN").unwrap();
    let document = json!({ "username": subject.role, "password": subject.password });
    let _ = subject.import(&document.to_string()).ends(0);
    let group = server().admin_password();
    server()
        .sql(&format!(
            "CREATE ROLE \"{group}\"; GRANT \"{group}\" TO adopts_shown"
        ))
        .unwrap();
    for (wish, ends) in [("cancel", "cancelled"), ("rollback", "rolled-back")] {
        let _ = subject.run(&["rotate", "app-db", "--wait", "end"]).ends(41);
        let run = subject.shown();
        assert_eq!(run["parked"]["cause"], "reflection", "{run:#}");
        let detail = run["parked"]["detail"].as_str().unwrap();
        assert!(detail.contains(" in ") && detail.contains("ver-"), "{detail}");
        assert_eq!(run["steps"][0]["tries"], 1, "{run:#}");
        let _ = subject.run(&["run", wish, "app-db"]).ends(0);
        assert_eq!(subject.shown()["state"], ends);
        assert_eq!(subject.stages(), ["current"]);
    }
    server().sql(&format!("DROP ROLE \"{group}\"")).unwrap();
    let _ = subject.run(&["rotate", "app-db", "--wait", "end"]).ends(0);
}

/// A role that is not there can be neither unlocked nor waited for.
#[test]
fn an_account_that_does_not_exist_has_its_own_cause_and_way_out() {
    let subject = Subject::new("adopts_missing", "");
    server().sql("DROP ROLE adopts_missing").unwrap();
    let output = subject.import(&subject.password).ends(41);
    assert!(
        output
            .stdout
            .contains("account.missing: the role adopts_missing does not exist"),
        "{output:?}"
    );
    let run = subject.shown();
    assert_eq!(run["parked"]["cause"], "no-account", "{run:#}");
    let way_out = run["parked"]["way-out"].as_str().unwrap();
    assert!(
        way_out.contains("make the account") && way_out.contains("run cancel"),
        "{way_out}"
    );
    // The way out.
    server()
        .sql(&format!(
            "CREATE ROLE adopts_missing LOGIN PASSWORD '{}'",
            subject.password
        ))
        .unwrap();
    let _ = subject.run(&["run", "resume", "app-db", "--wait", "end"]).ends(0);
    assert_eq!(subject.stages(), ["current"]);
}

/// No retry gets past a certificate that nobody trusts here.
#[test]
fn a_certificate_that_is_not_trusted_parks_at_once_and_the_run_goes_on_when_it_is() {
    let subject = Subject::new("adopts_tls", "");
    let other = Postgres::start(PostgresOptions::default()).unwrap();
    let file = subject.host.file("keywheel.toml");
    let right = std::fs::read_to_string(&file).unwrap();
    let (good, bad) = (server().ca_file(), other.ca_file());
    let wrong = right.replace(&good.display().to_string(), &bad.display().to_string());
    assert_ne!(wrong, right);
    std::fs::write(&file, wrong).unwrap();

    let _ = subject.run(&["plan", "app-db"]).ends(24);
    let output = subject.import(&subject.password).ends(41);
    assert!(output.stdout.contains("tls.untrusted: "), "{output:?}");
    is_told_once(&output, "tls.untrusted: ");
    let run = subject.shown();
    assert_eq!(run["parked"]["cause"], "tls", "{run:#}");
    let way_out = run["parked"]["way-out"].as_str().unwrap();
    assert!(way_out.contains("docs/operators.md, Certificates"), "{way_out}");
    let tries = |run: &Value| run["steps"].as_array().unwrap().last().unwrap()["tries"].clone();
    assert_eq!(tries(&run), 1, "{run:#}");

    std::fs::write(&file, right.clone()).unwrap();
    let _ = subject.run(&["run", "resume", "app-db", "--wait", "end"]).ends(0);
    assert_eq!(subject.stages(), ["current"]);

    // A rotation that has changed nothing yet fails at once, and leaves nothing to resume.
    std::fs::write(
        &file,
        right.replace(&good.display().to_string(), &bad.display().to_string()),
    )
    .unwrap();
    let output = subject.run(&["rotate", "app-db", "--wait", "end"]);
    let run = subject.shown();
    assert_eq!(
        (output.code, &run["state"]),
        (30, &Value::from("failed")),
        "{output:?}\n{run:#}"
    );
    assert_eq!(tries(&run), 1, "{run:#}");
    assert_eq!(subject.stages(), ["current"]);
}
