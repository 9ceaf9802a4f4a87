//! What a policy does not allow is refused with the exact lines that would allow it.

use std::fs;

use keywheel_e2e::{Host, plugin_file, redis_user};
use keywheel_kit::{Redis, RedisOptions, random_password};

use crate::{Subject, server};

const GRANT: &str = "policies/postgres.toml";

/// Writes the lines that a refusal printed into the grant that it names.
#[track_caller]
fn write_lines(host: &Host, grant: &str, said: &str) {
    let (_, printed) = said
        .split_once(&format!("to allow it, write in {grant}:\n"))
        .unwrap_or_else(|| panic!("no lines in {said}"));
    let (lines, _) = printed.split_once("\nhint: ").unwrap();
    let path = host.file(grant);
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
    let grant = subject.host.file(GRANT);
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
        write_lines(&subject.host, GRANT, &output.stderr);
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
        write_lines(&subject.host, GRANT, &output.stdout);
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
            "grant it with `keywheel plugin add postgres`",
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

/// The plugin's `test` swallows what it is denied and answers that it does not know: the host has seen why.
#[test]
fn a_denial_while_an_import_is_verified_ends_it_at_once_with_the_lines_that_allow_it() {
    let subject = Subject::new("deny_import");
    subject.host.add_plugin("postgres", &[server().port()]);
    let _ = subject.host.import("admin/db", server().admin_password()).ends(0);
    let least = "plugin = \"postgres\"\ncapabilities = [\"core\", \"sql\"]\nhosts = []\nsecrets = [\"admin/db\", \"{secret}\"]\nreveal = []\n\n[shapes]\n";
    fs::write(subject.host.file(GRANT), least).unwrap();
    let mut output = subject.host.import("app/db", &subject.old).ends(41);
    let mut denials = 0;
    while output.code == 41 {
        let run = subject
            .host
            .run(&["run", "show", "app-db", "-o", "json"], "")
            .ends(10)
            .json();
        assert_eq!(run["parked"]["cause"], "withdrawn", "{run:#}");
        let steps = run["steps"].as_array().unwrap();
        let test = steps.iter().find(|step| step["step"] == "test").unwrap();
        assert_eq!(test["tries"], denials + 1, "{run:#}");
        write_lines(&subject.host, GRANT, &output.stdout);
        output = subject.resume();
        denials += 1;
        assert!(denials < 20, "{output:?}");
    }
    let _ = output.ends(0);
    assert!(denials > 0);
    subject.is_as_before("adopted");
    subject.leaves_no_trace();
}

/// A plugin whose code makes another statement than its manifest declares.
fn undeclared() -> Vec<u8> {
    let mut bytes = fs::read(plugin_file("postgres")).unwrap();
    let manifest = memchr::memmem::rfind(&bytes, b"keywheel:manifest").unwrap();
    let (from, to) = (b" VALID UNTIL 'infinity'", b" VALID UNTIL '21000101'");
    let places: Vec<usize> = memchr::memmem::find_iter(&bytes[..manifest], from).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn a_call_that_the_manifest_does_not_declare_parks_the_run_and_says_what_to_add() {
    let subject = Subject::new("undeclared");
    fs::write(subject.host.file("plugins/postgres.wasm"), undeclared()).unwrap();
    let port = server().port();
    let rules = [format!("localhost:{port} tls"), format!("127.0.0.1:{port} tls")];
    let add = [
        "plugin", "add", "postgres", "--yes", "--host", &rules[0], "--host", &rules[1],
    ];
    let _ = subject.host.run(&add, "").ends(0);
    let _ = subject.host.import("admin/db", server().admin_password()).ends(0);
    let _ = subject.host.import("app/db", &subject.old).ends(0);
    let output = subject.rotate().ends(41).says(&["shape.none"]);
    for words in [
        "parked: impossible: ",
        "add to manifest.toml:",
        "VALID UNTIL '21000101'",
        "keywheel run cancel run-",
    ] {
        assert!(output.stdout.contains(words), "{words}: {output:?}");
    }
    assert!(subject.takes(&subject.old));
    let _ = subject.host.run(&["run", "cancel", "app-db"], "").ends(0);
    assert!(subject.takes(&subject.old));
    assert_eq!(subject.host.read("app/db", None), subject.old);
    subject.leaves_no_trace();
}

/// The configuration says in words that the server has no TLS; the grant has to say it, too.
#[test]
fn a_secret_for_a_server_without_tls_is_not_sent_and_the_lines_that_allow_it_are_printed() {
    let server = Redis::start(RedisOptions {
        plaintext: true,
        ..RedisOptions::default()
    })
    .unwrap();
    let (port, old) = (server.plaintext_port().unwrap(), random_password());
    server.create_user("app", &old).unwrap();
    // No more rights than README.md names.
    let (admin, rights) = (random_password(), "+acl +config|get +config|rewrite +info +role");
    let set_password = format!(">{admin}");
    let command = ["ACL", "SETUSER", "rotator", "on", &set_password];
    let command: Vec<&str> = command.into_iter().chain(rights.split(' ')).collect();
    server.command(&command).unwrap();
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    assert!(readme.contains(&format!("ACL SETUSER rotator on >… {rights}\n")));
    let host = Host::init();
    let text = redis_user(&server, "1s")
        .replace("admin = \"admin\"", "admin = \"rotator\"")
        .replace(&format!("port = {}", server.port()), &format!("port = {port}"))
        .replace("user = \"app\"", "user = \"app\"\ntransport = \"plaintext\"");
    host.configure(&text);
    // What is granted by default is TLS, and the rotation has none.
    host.drop_plugin("redis");
    let add = ["plugin", "add", "redis", "--yes", "-o", "json"];
    let added = host.run(&add, "").ends(0).says(&[
        "rotation app-redis goes to its target in plaintext",
        "write \"{/nodes/*/host}:{/nodes/*/port} plaintext\" in `hosts` of policies/redis.toml",
    ]);
    assert_eq!(added.json()["in-plaintext"][0], "app-redis");
    fs::remove_file(host.file("policies/redis.toml")).unwrap();
    host.add_plugin("redis", &[port]);
    let _ = host.import("admin/redis", &admin).ends(0);
    // One of two problems before the adoption: its lines stand alone, to be copied.
    let plan = host.run(&["plan", "app-redis"], "").ends(24);
    assert!(
        plan.stdout.contains("problem: net.unsafe-stream: ")
            && plan.stdout.contains("plaintext\"]\n(use TLS"),
        "{plan:?}"
    );
    let destination = format!("localhost port {port} plaintext");
    let doubt = format!("{destination} (not granted: no secret is sent there)");
    assert!(
        plan.stdout.contains(&doubt) && !plan.stdout.contains(&format!("localhost port {port} tls")),
        "{plan:?}"
    );
    let grant = host.file("policies/redis.toml");
    let with_tls = fs::read_to_string(&grant).unwrap();
    fs::write(&grant, with_tls.replace(" tls\"", " plaintext\"")).unwrap();
    let _ = host.import("app/redis", &old).ends(0);

    fs::write(&grant, &with_tls).unwrap();
    let output = host.run(&["plan", "app-redis"], "").ends(21);
    let output = output.says(&[
        "net.unsafe-stream: ",
        "hint: nothing was written; use TLS; or, to send secrets in plaintext",
    ]);
    write_lines(&host, "policies/redis.toml", &output.stderr);
    let plan = host.run(&["plan", "app-redis"], "").ends(10);
    assert!(
        plan.stdout.contains(&destination) && !plan.stdout.contains("not granted"),
        "{plan:?}"
    );
    assert!(!host.run(&add, "").ends(0).stderr.contains("in plaintext"));
    let _ = host.run(&["rotate", "app-redis", "--wait", "end"], "").ends(0);
    let new = host.read("app/redis", None);
    assert!(server.login("app", &new).unwrap().is_accepted());
    host.left_no_trace(&[admin, old, new], &[("server log", &server.log())]);
}
