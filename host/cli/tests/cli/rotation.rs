//! A whole life on a real PostgreSQL: init, pin, import, plan, rotate, look, go back; and what goes wrong on the way.

use std::path::Path;
use std::sync::OnceLock;

use keywheel_kit::{Postgres, PostgresOptions, random_password};
use serde_json::Value;

use crate::kit::{Place, Ran};
use crate::touched;

/// One server for all tests of this file; each has a role and a host of its own.
fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::start(PostgresOptions::default()).unwrap())
}

/// A host with the plugin `postgres` in its folder, and a rotation of `role`.
fn host(role: &str) -> Place {
    let place = Place::new();
    let ran = place.run("init --recovery-to recovery.txt");
    assert_eq!(ran.exit, 0, "{}", ran.err);
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins/postgres.wasm");
    let plugin = std::fs::read(&plugin).expect("`cargo xtask plugins` builds the plugins first");
    place.write("plugins/postgres.wasm", plugin);
    // The server's own file is its account's: a host goes by a copy that is its own.
    let ca = place.write("ca.pem", server().ca_pem());
    let (port, admin) = (server().port(), server().admin_user());
    let text = String::from_utf8(place.read("keywheel.toml")).unwrap()
        + &format!(
            r#"
[trust.test]
pem = ["{}"]

[[rotation]]
name = "app-db"
plugin = "postgres"
secret = "app/db"
inputs = {{ admin = "admin/db" }}
grace = "1s"
gap = "accept"
deadlines = {{ step = "5s", run = "5s" }}

[rotation.config]
mode = "role"
host = "localhost"
port = {port}
trust = "test"
admin = "{admin}"
role = "{role}"
"#,
            ca.display()
        );
    place.write("keywheel.toml", text);
    place
}

/// The same with the plugin granted and the administrator's password imported.
pub(crate) fn ready(role: &str) -> Place {
    let place = host(role);
    let port = server().port();
    let rules = [
        "--host",
        &format!("localhost:{port} tls"),
        "--host",
        &format!("127.0.0.1:{port} tls"),
    ]
    .map(str::to_owned);
    let ran = place.run_words(
        &[
            &["plugin", "add", "postgres", "--yes"],
            rules.each_ref().map(String::as_str).as_slice(),
        ]
        .concat(),
        "",
    );
    assert_eq!(ran.exit, 0, "{}", ran.err);
    let ran = place.run_with("secret import admin/db", server().admin_password());
    assert_eq!(ran.exit, 0, "{}", ran.err);
    place
}

fn role(name: &str) -> String {
    let password = random_password();
    server()
        .sql(&format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'"))
        .unwrap();
    password
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {} {}", ran.out, ran.err))
}

#[test]
fn a_role_is_imported_planned_rotated_and_proved() {
    let old = role("cli_life");
    let place = ready("cli_life");
    assert_eq!(place.run("config check").exit, 0);
    let ran = place.run_with("secret import app/db -", &old);
    assert_eq!(ran.exit, 0, "{}", ran.err);
    assert!(ran.err.contains("test       done  old-valid"), "{}", ran.err);
    assert!(server().login("cli_life", &old).unwrap().is_accepted());

    let ran = place.run("plan app-db");
    assert_eq!(ran.exit, 10, "{}", ran.err);
    assert!(
        ran.out.contains("point of no return") && ran.out.contains("gap:"),
        "{}",
        ran.out
    );
    assert!(ran.err.ends_with("next: keywheel rotate app-db\n"), "{}", ran.err);

    let ran = place.run("rotate app-db --wait end --reason test");
    assert_eq!(ran.exit, 0, "{}", ran.err);
    assert!(ran.out.contains("succeeded, new-valid"), "{}", ran.out);
    assert!(server().login("cli_life", &old).unwrap().is_refused());

    let ran = place.run("secret read app/db --reason test --to new.txt");
    assert_eq!(ran.exit, 0, "{}", ran.err);
    let new = String::from_utf8(place.read("new.txt")).unwrap();
    assert!(server().login("cli_life", &new).unwrap().is_accepted());
    assert_eq!(
        place.run("secret read app/db --reason test --to new.txt").exit,
        24
    );

    let history = json(&place.run("-o json secret history app/db"));
    let stages: Vec<&str> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|version| version["stage"].as_str().unwrap())
        .collect();
    assert_eq!(stages, ["current", "revoked"]);

    let runs = json(&place.run("-o json run list"));
    assert_eq!(runs.as_array().unwrap().len(), 2);
    assert_eq!(
        (runs[0]["state"].as_str(), runs[0]["trigger"].as_str()),
        (Some("succeeded"), Some("manual"))
    );
    assert_eq!(place.run("run show app-db").exit, 0);
    assert_eq!(place.run("run rollback app-db").exit, 24);
    assert_eq!(place.run("target test app-db").exit, 0);
    assert_eq!(place.run("status").exit, 0);
    let ran = place.run("doctor");
    assert_eq!(ran.exit, 0, "{}", ran.out);
    assert_eq!(place.run("plugin verify").exit, 0);
    crate::doctor::says_who_could_not_approve(&place);

    let ran = place.run("audit verify --save head.json");
    assert_eq!(ran.exit, 0, "{}", ran.err);
    assert_eq!(place.run("audit verify --checkpoint head.json").exit, 0);
    let rows = json(&place.run("-o json audit search --action secret.read"));
    assert_eq!(rows.as_array().unwrap().len(), 1);
    touched::assert_the_trail_says_who_touched_what_and_when(&place);
    // What is printed anywhere holds neither password.
    let printed = [
        "run show app-db",
        "audit search",
        "secret list",
        "secret show app/db",
        "-o json run list",
    ];
    for words in printed {
        let ran = place.run(words);
        for secret in [old.as_str(), new.as_str(), server().admin_password()] {
            assert!(!ran.out.contains(secret) && !ran.err.contains(secret), "{words}");
        }
    }
}

#[test]
fn a_wrong_import_ends_with_40_and_leaves_the_target_alone() {
    let old = role("cli_wrong");
    let place = ready("cli_wrong");
    let ran = place.run_with("secret import app/db", "not-the-password");
    assert_eq!(ran.exit, 40, "{}\n{}", ran.out, ran.err);
    assert!(server().login("cli_wrong", &old).unwrap().is_accepted());
    let ran = place.run_with("secret import app/db", &old);
    assert_eq!(ran.exit, 0, "{}\n{}", ran.out, ran.err);
}

#[test]
fn without_an_import_a_rotation_is_refused_before_the_first_write() {
    let old = role("cli_adopt");
    let place = ready("cli_adopt");
    let ran = place.run("plan app-db");
    assert_eq!(ran.exit, 24, "{}", ran.err);
    assert!(ran.out.contains("keywheel secret import app/db"), "{}", ran.out);
    let ran = place.run("status");
    assert_eq!(
        (ran.exit, ran.out.contains("secret app/db")),
        (10, true),
        "{}",
        ran.out
    );
    assert!(server().login("cli_adopt", &old).unwrap().is_accepted());
}

#[test]
fn a_plugin_that_nobody_added_does_not_run() {
    let place = host("cli_unpinned");
    let ran = place.run("plugin list");
    assert_eq!(ran.exit, 0);
    assert!(
        ran.out.contains("new") && ran.err.contains("next: keywheel plugin add postgres"),
        "{}{}",
        ran.out,
        ran.err
    );
    let ran = place.run("plan app-db");
    assert_eq!(ran.exit, 21, "{}", ran.err);
    let ran = place.run("plugin add postgres");
    assert_eq!((ran.exit, ran.err.contains("--yes")), (2, true), "{}", ran.err);
    assert!(!place.path().join("plugins.lock").exists());
}

/// What a plugin used for it is told in the plugin's name: who had it look stands beside it, under the same id.
#[test]
fn who_had_a_plugin_look_at_a_target_stands_in_the_trail() {
    let place = ready("cli_look");
    let ran = place.run("plan app-db");
    assert_eq!(ran.exit, 24, "nothing is adopted: {}", ran.err);
    let rows = |action: &str| {
        let ran = place.run(&format!("-o json audit search --action {action}"));
        serde_json::from_str::<serde_json::Value>(&ran.out).unwrap()
    };
    let asked = rows("plugin.ask");
    let [row] = asked.as_array().unwrap().as_slice() else {
        panic!("{asked:#}")
    };
    assert!(row["actor"].as_str().unwrap().starts_with("uid:"), "{row:#}");
    assert!(row["details"].to_string().contains("plan"), "{row:#}");
    let used = rows("secret.use");
    let mut used = used.as_array().unwrap().iter();
    assert!(used.any(|other| other["run"] == row["run"]), "{row:#}");
}

/// A grant that is there belongs to the operator: it is not widened by the way.
#[test]
fn a_host_for_a_plugin_that_has_its_grant_is_said_to_be_left_out() {
    let place = ready("cli_hosts");
    let before = place.read("policies/postgres.toml");
    let ran = place.run_words(
        &[
            "plugin",
            "add",
            "postgres",
            "--yes",
            "--host",
            "elsewhere:5432 tls",
        ],
        "",
    );
    assert_eq!(ran.exit, 0, "{}", ran.err);
    let said = "`--host \"elsewhere:5432 tls\"` is not granted: \"policies/postgres.toml\" is there already";
    assert!(ran.err.contains(said), "{}", ran.err);
    assert_eq!(place.read("policies/postgres.toml"), before);
}

#[test]
fn a_changed_plugin_file_fails_the_verification() {
    let place = ready("cli_changed");
    let mut bytes = place.read("plugins/postgres.wasm");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    place.write("plugins/postgres.wasm", bytes);
    let ran = place.run("plugin verify");
    assert_eq!(ran.exit, 42, "{}", ran.out);
    assert_eq!(place.run("doctor").exit, 50);
}

#[test]
fn other_bytes_than_were_pinned_are_said_wherever_the_plugin_is_looked_at() {
    let place = ready("cli_bytes");
    let mut bytes = place.read("plugins/postgres.wasm");
    // One more custom section: it is a plugin still, and of the same version.
    bytes.extend_from_slice(b"\x00\x05\x04abcd");
    place.write("plugins/postgres.wasm", bytes);
    for (words, exit) in [("plugin list", 0), ("status", 10), ("plan app-db", 24)] {
        let ran = place.run(words);
        assert_eq!(ran.exit, exit, "{words}: {}{}", ran.out, ran.err);
        for part in [
            "plugin.digest",
            "with other bytes",
            "put the pinned file back",
            "the pinned bytes go on",
        ] {
            assert!(ran.out.contains(part), "{words}: {part}: {}", ran.out);
        }
    }
}

#[test]
fn init_overwrites_nothing_and_never_hides_the_recovery_identity() {
    let place = Place::new();
    let ran = place.run("init");
    assert_eq!(
        (ran.exit, ran.err.contains("--recovery-to")),
        (2, true),
        "{}",
        ran.err
    );
    assert_eq!(place.run("init --recovery-to recovery.txt").exit, 0);
    assert!(place.read("recovery.txt").starts_with(b"AGE-SECRET-KEY-1"));
    let ran = place.run("init --recovery-to other.txt");
    assert_eq!(
        (ran.exit, place.path().join("other.txt").exists()),
        (24, false),
        "{}",
        ran.err
    );
    assert_eq!(place.run("config check").exit, 0);
}

#[test]
fn a_passphrase_or_the_recovery_identity_opens_the_vault_and_another_does_not() {
    let place = Place::new();
    let ran = place.run_with(
        "init --passphrase - --no-key-file --recovery-to recovery.txt",
        "correct horse\n",
    );
    assert_eq!(ran.exit, 0, "{}", ran.err);
    let ran = place.run("vault status");
    assert!(
        ran.exit == 0 && ran.out.contains("sealed (needs the passphrase)"),
        "{}{}",
        ran.out,
        ran.err
    );
    let ran = place.run_with("vault unseal -", "correct horse\n");
    assert_eq!(ran.exit, 0, "{}", ran.err);
    assert!(
        ran.err
            .contains("the passphrase opens the vault; nothing stays open"),
        "{}",
        ran.err
    );
    let ran = place.run_with("vault unseal -", "wrong horse\n");
    assert_eq!((ran.exit, ran.out.as_str()), (22, ""), "{}", ran.err);
    assert_eq!(place.run("vault unseal --recovery @recovery.txt").exit, 0);
    let ran = place.run("secret list");
    assert_eq!((ran.exit, ran.err.contains("sealed")), (22, true), "{}", ran.err);
}

#[test]
fn a_secret_on_the_command_line_or_into_a_pipe_is_refused() {
    let place = ready("cli_pipe");
    let ran = place.run("secret import app/other hunter2-planted");
    assert_eq!(ran.exit, 2);
    assert!(!ran.err.contains("planted"), "{}", ran.err);
    let ran = place.run("secret read admin/db --reason test");
    assert_eq!((ran.exit, ran.out.as_str()), (21, ""), "{}", ran.err);
    assert!(ran.err.contains("secret.not-granted"), "{}", ran.err);
    assert_eq!(place.run("secret read admin/db --to new.txt").exit, 2);
}

#[test]
fn what_is_not_there_ends_with_23_and_says_what_is() {
    let place = ready("cli_missing");
    for words in [
        "rotate nope",
        "plan nope",
        "target test nope",
        "run show nope",
        "run resume run-00000000000000000000000000",
        "secret history nope",
        "secret show nope",
        "plugin add nope --yes",
        "plugin verify nope",
    ] {
        let ran = place.run(words);
        assert_eq!((ran.exit, ran.out.as_str()), (23, ""), "{words}: {}", ran.err);
        assert!(ran.err.contains("hint: "), "{words}: {}", ran.err);
    }
}

#[test]
fn config_check_runs_the_check_of_a_pinned_plugin_and_shows_all_that_it_finds() {
    let place = ready("cli_self");
    assert_eq!(place.run("config check").exit, 0);
    let text = String::from_utf8(place.read("keywheel.toml")).unwrap();
    let start = text.find("\n[[rotation]]\nname").unwrap();
    let first = text.replace(
        "role = \"cli_self\"",
        &format!("role = \"{}\"", server().admin_user()),
    );
    let second = first[start..]
        .replace("app-db", "other-db")
        .replace("app/db", "other/db")
        .replace("host = \"localhost\"", "host = \"127.0.0.1\"");
    place.write("keywheel.toml", first + &second);
    // A look needs no state, and makes none.
    std::fs::rename(place.path().join("state"), place.path().join("away")).unwrap();
    let ran = place.run("config check");
    assert_eq!(ran.exit, 20, "{}{}", ran.out, ran.err);
    assert!(!place.path().join("state").exists());
    let found = ran.err.matches("error[config.plugin-setting]").count();
    assert_eq!(
        (found, ran.err.matches("--> keywheel.toml:").count()),
        (2, 2),
        "{}",
        ran.err
    );
    // Bytes that nobody pinned run nothing.
    std::fs::remove_file(place.path().join("plugins.lock")).unwrap();
    assert_eq!(place.run("config check").exit, 0);
}

#[test]
fn an_unreachable_server_and_a_wrong_administrator_have_their_own_exit_codes() {
    let old = role("cli_down");
    let place = ready("cli_down");
    assert_eq!(place.run_with("secret import app/db", &old).exit, 0);
    assert_eq!(
        place.run_with("secret import admin/db", "not-the-password").exit,
        0
    );
    let ran = place.run("plan app-db");
    assert_eq!(ran.exit, 22, "{}", ran.err);
    let text = String::from_utf8(place.read("keywheel.toml")).unwrap();
    let port = server().port();
    let closed = keywheel_kit::free_port().unwrap();
    place.write(
        "keywheel.toml",
        text.replace(&format!("port = {port}"), &format!("port = {closed}")),
    );
    let grant = String::from_utf8(place.read("policies/postgres.toml")).unwrap();
    place.write(
        "policies/postgres.toml",
        grant.replace(&port.to_string(), &closed.to_string()),
    );
    let ran = place.run("plan app-db");
    assert_eq!(ran.exit, 30, "{}", ran.err);
}

#[test]
fn ctrl_c_stops_at_a_journalled_point_and_the_run_goes_on_from_there() {
    let old = role("cli_stop");
    let place = ready("cli_stop");
    assert_eq!(place.run_with("secret import app/db", &old).exit, 0);
    let text = String::from_utf8(place.read("keywheel.toml")).unwrap();
    place.write("keywheel.toml", text.replace("grace = \"1s\"", "grace = \"30s\""));
    let mut child = place.start("rotate app-db --wait end");
    child.wait_for("promote    done");
    child.interrupt();
    let ran = child.finish();
    assert!(
        ran.err.contains("stopping at the next journalled point"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("next: keywheel run resume run-"), "{}", ran.err);
    assert_eq!(ran.exit, 124, "{}", ran.err);
    let view = json(&place.run("-o json run show app-db"));
    assert_eq!(
        (view["past-no-return"].as_bool(), view["finished-at"].is_null()),
        (Some(true), true),
        "{view}"
    );
    let doctor = place.run("doctor");
    assert!(doctor.out.contains(" 1 is open\n"), "{}", doctor.out);
    let ran = place.run("run resume --all --wait end");
    assert_eq!(ran.exit, 0, "{}", ran.err);
    assert!(ran.out.contains("succeeded"), "{}", ran.out);
    let ran = place.run("run resume --all");
    assert_eq!((ran.exit, ran.out.as_str()), (0, ""), "{}", ran.err);
    assert!(server().login("cli_stop", &old).unwrap().is_refused());
}

#[test]
fn a_second_command_on_the_same_state_is_refused_and_names_the_holder() {
    let old = role("cli_second");
    let place = ready("cli_second");
    assert_eq!(place.run_with("secret import app/db", &old).exit, 0);
    let text = String::from_utf8(place.read("keywheel.toml")).unwrap();
    place.write("keywheel.toml", text.replace("grace = \"1s\"", "grace = \"30s\""));
    let mut child = place.start("rotate app-db --wait end");
    child.wait_for("promote    done");
    let ran = place.run("run list");
    assert_eq!(ran.exit, 24, "{}", ran.err);
    assert!(
        ran.err.contains("store.in-use") && ran.err.contains(&child.id().to_string()),
        "{}",
        ran.err
    );
    child.interrupt();
    child.finish();
}
