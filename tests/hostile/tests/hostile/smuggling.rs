//! A secret on its way to where it has no business: to where the target shows it, into another account, under another name, to
//! another server, into another step (rules H1, H2, H3, H9, H12, H13; spec/engine.md 4.4, 1, 8, 10, 11, 15, 30).

use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use keywheel_hostile::{Attack, On, Seen, attack, postgres, redis, scene};

#[track_caller]
fn smuggle(plugin: &str, does: &str, step: &str, with: &str) -> Seen {
    let on = if plugin == "hostile-postgres" {
        On::Postgres
    } else {
        On::Redis
    };
    attack(&Attack {
        plugin,
        on,
        does,
        step,
        with,
        lines: "",
    })
}

/// Refused before anything is sent: no shape of the manifest is that call.
#[track_caller]
fn no_shape(plugin: &str, does: &str) {
    smuggle(plugin, does, "create", "")
        .gives_up(40, "create", "shape.none")
        .denied("shape.none");
}

macro_rules! undeclared {
    ($($name:ident = $plugin:literal $does:literal;)+) => {
        $(#[test]
        fn $name() {
            no_shape($plugin, $does);
        })+
    };
}

undeclared! {
    to_a_command_that_echoes_it = "hostile-redis" "echo";
    to_a_key_that_is_read_back_in_ranges = "hostile-redis" "store";
    into_another_account = "hostile-redis" "store-in-another-account";
    into_the_account_in_the_clear = "hostile-redis" "store-without-a-hash";
    to_a_query_that_returns_it = "hostile-postgres" "select";
    into_a_table = "hostile-postgres" "insert";
}

#[test]
fn with_a_second_statement() {
    smuggle("hostile-postgres", "second-statement", "create", "").gives_up(40, "create", "target.invalid");
}

/// Whoever stands in between and owns another name would have a certificate for it.
#[test]
fn to_a_server_whose_certificate_is_for_another_name() {
    smuggle("hostile-redis", "another-server-name", "create", "other.example")
        .parks("create", "net.server-name", "withdrawn")
        .denied("net.server-name");
}

#[test]
fn out_of_an_answer_that_is_read_as_bytes_after_a_login() {
    smuggle("hostile-redis", "raw-after-a-login", "create", "")
        .parks("create", "net.carried", "withdrawn")
        .denied("net.carried");
}

/// The server would take the whole login, password and all, for the text of a script that says it in a form that no scan can know.
#[test]
fn into_a_command_that_was_left_unfinished() {
    smuggle("hostile-redis", "swallow", "create", "")
        .parks("create", "net.not-fresh", "target")
        .denied("net.not-fresh");
}

#[track_caller]
fn is_denied(plugin: &str, does: &str, step: &str, with: &str, code: &str) {
    smuggle(plugin, does, step, with)
        .parks(step, code, "withdrawn")
        .denied(code);
}

#[test]
fn as_bytes_on_a_channel() {
    is_denied(
        "hostile-redis",
        "write-secret",
        "create",
        "",
        "net.undeclared-secret",
    );
}

#[test]
fn to_the_target_before_it_is_stored() {
    is_denied("hostile-redis", "unstored", "create", "", "secret.not-durable");
}

#[test]
fn a_change_in_the_step_that_only_looks() {
    is_denied("hostile-redis", "set-in-plan", "plan", "", "step.effect");
}

#[test]
fn undeclared_bytes_in_the_step_that_only_looks() {
    is_denied("hostile-redis", "write-in-plan", "plan", "", "step.effect");
}

#[test]
fn to_another_port_of_the_same_host() {
    is_denied("hostile-redis", "another-server", "create", "1", "policy.denied");
}

#[test]
fn to_the_same_server_without_tls() {
    let port = redis().port().to_string();
    let seen = smuggle("hostile-redis", "another-scheme", "create", &port);
    seen.parks("create", "net.unsafe-stream", "withdrawn");
}

#[test]
fn another_rotations_secret() {
    is_denied(
        "hostile-vault",
        "another-secret",
        "create",
        "someone/else",
        "policy.denied",
    );
}

#[test]
fn another_rotations_secret_without_the_capability() {
    is_denied(
        "hostile-redis",
        "another-secret",
        "create",
        "someone/else",
        "manifest.capability",
    );
}

#[test]
fn into_another_rotations_name() {
    is_denied(
        "hostile-vault",
        "write-another-secret",
        "create",
        "someone/else",
        "policy.denied",
    );
}

#[test]
fn an_input_that_is_not_declared() {
    smuggle("hostile-redis", "another-input", "create", "other").gives_up(40, "create", "run.input");
}

macro_rules! never_a_credential {
    ($($name:ident = $does:literal;)+) => {
        $(#[test]
        fn $name() {
            is_denied("hostile-redis", $does, "create", "", "secret.not-a-credential");
        })+
    };
}

never_a_credential! {
    another_secret_as_the_credential = "input-as-pending";
    another_secret_inside_the_credential = "input-in-a-document";
    a_hash_that_the_target_lists_as_the_credential = "hash-as-pending";
    the_credential_in_use_as_the_new_one = "current-as-pending";
}

/// The number of a handle is worth nothing: neither one that an earlier step had, nor one that is made up.
#[test]
fn a_handle_that_an_earlier_step_had() {
    smuggle("hostile-redis", "keep-a-handle", "create", "").gives_up(40, "apply", "plugin.misuse");
}
#[test]
fn a_handle_that_is_made_up() {
    smuggle("hostile-redis", "guess-a-handle", "create", "").gives_up(40, "create", "plugin.misuse");
}

/// What was done in it is rolled back, and is never taken for done.
#[test]
fn a_change_in_a_transaction_that_is_left_open() {
    let seen = smuggle("hostile-postgres", "leave-a-transaction-open", "apply", "");
    seen.parks("apply", "plugin.open-transaction", "target");
}

/// Its SQLSTATE is all that comes back of a statement with a secret in it. Somebody else holds the role, so that the server gives up.
#[test]
fn what_the_server_says_of_a_statement_with_a_secret() {
    let attack = Attack {
        plugin: "hostile-postgres",
        on: On::Postgres,
        does: "read-an-error",
        ..Attack::HONEST
    };
    let scene = scene();
    let subject = scene.prepare(&attack, |_| String::new());
    let server = postgres();
    let mut holder = server.hold(server.admin_user(), server.admin_password()).unwrap();
    let name = &subject.name;
    writeln!(
        holder,
        "SET application_name = 'holder_{name}'; BEGIN; ALTER ROLE {name} CONNECTION LIMIT 9;"
    )
    .unwrap();
    let held = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holder_{name}' AND state = 'idle in transaction' \
         AND query LIKE 'ALTER%'"
    );
    let begun = Instant::now();
    while server.sql(&held).unwrap().trim() != "1" {
        assert!(begun.elapsed() < Duration::from_mins(1), "nobody holds the role");
        thread::sleep(Duration::from_millis(20));
    }
    let seen = scene.rotate(&attack, subject, "end");
    drop(holder);
    seen.parks("create", "sql.55p03", "target");
}

#[test]
fn a_host_that_nobody_granted() {
    let seen = smuggle("hostile-redis", "another-host", "create", "attacker.example");
    seen.parks("create", "policy.denied", "withdrawn")
        .denied("policy.denied");
}

/// Each of them is refused before anything is looked up or dialled.
#[test]
fn other_ways_to_write_a_host() {
    let seen = smuggle("hostile-redis", "odd-hosts", "create", "");
    let said = &seen.output.stderr;
    assert_eq!(said.matches("create: refused ").count(), 25, "{said}");
}

#[test]
fn services_of_this_machine_by_their_sockets() {
    let seen = smuggle("hostile-postgres", "sockets", "create", "");
    let said = &seen.output.stderr;
    assert_eq!(said.matches("create: refused ").count(), 36, "{said}");
    // No other driver has sockets, whatever is granted.
    assert_eq!(said.matches("\": sql.connector").count(), 16, "{said}");
    assert_eq!(said.matches("\": policy.denied").count(), 20, "{said}");
}

#[test]
fn the_credential_in_use_before_there_is_another() {
    smuggle("hostile-redis", "remove-current", "create", "").gives_up(40, "create", "shape.none");
}
#[test]
fn the_credential_in_use_before_another_is_proved() {
    smuggle("hostile-redis", "remove-current", "apply", "").parks("apply", "shape.none", "impossible");
}
