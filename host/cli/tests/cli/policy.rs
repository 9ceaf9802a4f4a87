//! `keywheel policy`.

use crate::kit::Place;
use crate::plugin::{EMPTY_COMPONENT, write_sources};

const CONFIG: &str = "[[rotation]]\nname = \"app-db\"\nplugin = \"demo\"\nsecret = \"app/db\"\ngap = \"accept\"\n\n[rotation.config]\nhost = \"db\"\nrole = \"x\"\n";

const TABLE: &str = r#"
plugin = "demo"
rotation = "app-db"
secret = "app/db"
configuration = { host = "db", role = "x" }

[[case]]
connect = "db:6379 tls"
expect = "allow"

[[case]]
shape = "auth"
expect = "allow"

[[case]]
call = "sql"
expect = "deny"
lines = 'capabilities = ["core", "net", "sql"]'
"#;

/// With the plugin `demo` and the grant that it asks for.
fn granted() -> Place {
    let place = Place::new();
    write_sources(&place);
    place.write("plugins/demo.wasm", EMPTY_COMPONENT);
    assert_eq!(place.run("plugin pack plugins/demo.wasm manifest.toml").exit, 0);
    let shown: serde_json::Value =
        serde_json::from_str(&place.run("-o json plugin show plugins/demo.wasm").out).unwrap();
    let digest = shown["shapes"][0]["digest"].as_str().unwrap();
    place.write("keywheel.toml", CONFIG);
    place.write("policies/demo.toml", grant(digest));
    place
}

fn grant(digest: &str) -> String {
    format!(
        "plugin = \"demo\"\ncapabilities = [\"core\", \"net\"]\nhosts = [\"{{/host}}:6379 tls\"]\nsecrets = [\"{{secret}}\"]\n\
         reveal = []\n\n[shapes]\nauth = \"{digest}\"\n"
    )
}

#[test]
fn grants_that_fit_the_plugins_are_ok() {
    let ran = granted().run("policy check");
    assert_eq!(
        (ran.exit, ran.out.as_str(), ran.err.as_str()),
        (0, "ok 1 grant file\n", "")
    );
}

#[test]
fn a_plugin_that_asks_for_more_needs_attention_and_the_next_command_is_printed() {
    let place = granted();
    let other = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    place.write("policies/demo.toml", grant(other).replace(", \"net\"", ""));
    let ran = place.run("policy check");
    assert_eq!(ran.exit, 10);
    assert!(
        ran.err.contains("+ calls `keywheel:net`") && ran.err.contains("~ makes the call `auth`"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.ends_with("next: keywheel plugin add demo\n"),
        "{}",
        ran.err
    );
}

#[test]
fn a_broken_grant_ends_with_20_at_its_place() {
    let place = granted();
    place.write(
        "policies/demo.toml",
        "plugin = \"demo\"\nhots = []\ncapabilities = [\"everything\"]\n",
    );
    let ran = place.run("policy check");
    assert_eq!(ran.exit, 20);
    assert!(
        ran.err.contains("policies/demo.toml:2:1") && ran.err.contains("policies/demo.toml:3:1"),
        "{}",
        ran.err
    );
}

#[test]
fn explain_prints_what_is_allowed_with_the_configurations_values() {
    let ran = granted().run("policy explain app-db");
    assert_eq!(ran.exit, 0);
    assert!(ran.out.contains("connects to: db port 6379 tls"), "{}", ran.out);
}

#[test]
fn a_denial_ends_with_21_and_its_lines_allow_it_when_they_are_written() {
    let place = granted();
    let request = "policy explain app-db connect other:6379 tls";
    let ran = place.run(request);
    assert_eq!(ran.exit, 21);
    let line = ran.out.lines().find(|line| line.starts_with("hosts = ")).unwrap();
    let grant = String::from_utf8(place.read("policies/demo.toml")).unwrap();
    place.write(
        "policies/demo.toml",
        grant.replace("hosts = [\"{/host}:6379 tls\"]", line),
    );
    let ran = place.run(request);
    assert_eq!(
        (ran.exit, ran.out.as_str()),
        (
            0,
            "allowed connect other:6379 tls by policies/demo.toml: hosts = [\"other:6379 tls\"]\n"
        )
    );
}

#[test]
fn without_a_grant_nothing_is_allowed() {
    let place = granted();
    std::fs::remove_file(place.path().join("policies/demo.toml")).unwrap();
    for request in ["call core", "connect db:6379 tls", "use {secret}", "shape auth"] {
        assert_eq!(
            place.run(&format!("policy explain app-db {request}")).exit,
            21,
            "{request}"
        );
    }
}

#[test]
fn an_unknown_rotation_or_request_says_what_there_is() {
    let place = granted();
    let ran = place.run("policy explain ap-db");
    assert_eq!((ran.exit, ran.err.contains("did you mean `app-db`?")), (23, true));
    let ran = place.run("policy explain app-db eat cake");
    assert_eq!(
        (ran.exit, ran.err.contains("requests are `call CAPABILITY`")),
        (2, true)
    );
    assert_eq!(place.run("policy explain app-db shape nope").exit, 23);
}

#[test]
fn a_table_passes_when_every_row_holds_and_names_each_that_does_not() {
    let place = granted();
    place.write("policies/tests/demo.toml", TABLE);
    let ran = place.run("policy test");
    assert_eq!(
        (ran.exit, ran.out.as_str()),
        (0, "3 rows passed, 0 failed\n"),
        "{}",
        ran.err
    );
    place.write(
        "policies/tests/demo.toml",
        TABLE.replace("db:6379 tls", "db:6379 plaintext"),
    );
    let ran = place.run("policy test");
    assert_eq!(ran.exit, 42);
    assert!(
        ran.out
            .contains("demo.toml\": connect db:6379 plaintext: allow\n"),
        "{}",
        ran.out
    );
    assert!(ran.out.ends_with("2 rows passed, 1 failed\n"), "{}", ran.out);
}

#[test]
fn a_table_with_an_unknown_key_or_no_table_at_all_is_refused() {
    let place = granted();
    assert_eq!(place.run("policy test").exit, 23);
    place.write("policies/tests/demo.toml", TABLE.replace("secret =", "secrte ="));
    assert_eq!(place.run("policy test").exit, 20);
}

/// Each decision that the shipped tables are about is explained by what has decided: the line of the grant that allows it, the lines that would, or why no
/// line can.
#[test]
fn every_row_of_the_shipped_tables_is_explained_by_what_decides_it() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut explained = 0;
    for plugin in [
        "aws-iam",
        "callback",
        "cloudflare",
        "datadog",
        "gitlab",
        "grafana",
        "mariadb",
        "mssql",
        "mysql",
        "openldap",
        "postgres",
        "rabbitmq",
        "redis",
        "sendgrid",
        "twilio",
    ] {
        let text = std::fs::read_to_string(root.join(format!("policies/tests/{plugin}.toml"))).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let place = with_rotation_of(&root, plugin, &table);
        for case in table["case"].as_array().unwrap() {
            let words = ["call", "connect", "shape", "use", "reveal"];
            let word = words.into_iter().find(|word| case.get(word).is_some()).unwrap();
            let address = case.get("address").and_then(toml::Value::as_str);
            let led = address.map_or_else(String::new, |address| format!(" at {address}"));
            let request = format!("{word} {}{led}", case[word].as_str().unwrap());
            let ran = place.run(&format!("-o json policy explain app {request}"));
            let answer: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
            let allowed = case["expect"].as_str() == Some("allow");
            assert_eq!(
                (ran.exit, &answer["allowed"]),
                (if allowed { 0 } else { 21 }, &allowed.into()),
                "{request}: {}{}",
                ran.out,
                ran.err
            );
            let key = match word {
                "call" => "capabilities = ",
                "connect" => "hosts = ",
                "shape" => "[shapes] ",
                "use" => "secrets = ",
                _ => "reveal = ",
            };
            let rule = if allowed {
                answer["by-lines"][0]
                    .as_str()
                    .filter(|line| line.starts_with(key))
            } else {
                answer["lines"].as_str().or_else(|| answer["never"].as_str())
            };
            assert!(rule.is_some_and(|rule| !rule.is_empty()), "{request}: {answer:#}");
            assert_eq!(answer["rule"].is_null(), allowed, "{request}: {answer:#}");
            // A table is about grants. Where it is no grant that is in the way, lines for one would be of no use.
            let above =
                ["host.not-offered", "manifest.capability", "run.input"].map(|code| answer["rule"] == code);
            match case.get("lines") {
                Some(lines) if above == [false; 3] => {
                    assert_eq!(answer["lines"].as_str(), lines.as_str(), "{request}");
                }
                _ => assert!(
                    allowed || answer["lines"].is_null() || !led.is_empty(),
                    "{request}: {answer:#}"
                ),
            }
            explained += 1;
        }
    }
    assert!(explained > 20, "{explained}");
}

/// The rotation that a table is about, under the name `app`, with the shipped plugin and its shipped grant.
fn with_rotation_of(root: &std::path::Path, plugin: &str, table: &toml::Table) -> Place {
    let place = Place::new();
    let wasm = std::fs::read(root.join(format!("target/plugins/{plugin}.wasm")))
        .expect("`cargo xtask plugins` builds the plugins first");
    place.write(&format!("plugins/{plugin}.wasm"), wasm);
    let grant = std::fs::read(root.join(format!("policies/{plugin}.toml"))).unwrap();
    place.write(&format!("policies/{plugin}.toml"), grant);
    let mut rotation = toml::Table::new();
    for (name, value) in [("name", "app"), ("plugin", plugin), ("gap", "accept")] {
        rotation.insert(name.to_owned(), value.into());
    }
    for name in ["secret", "inputs"] {
        rotation.insert(name.to_owned(), table[name].clone());
    }
    rotation.insert("config".to_owned(), table["configuration"].clone());
    let mut file = toml::Table::new();
    file.insert("rotation".to_owned(), vec![toml::Value::Table(rotation)].into());
    place.write("keywheel.toml", file.to_string());
    place
}

#[test]
fn without_tables_it_is_said_what_one_is() {
    let ran = granted().run("policy test");
    assert_eq!(ran.exit, 23, "{}", ran.err);
    for words in [
        "policy.no-tables",
        "policies/tests",
        "[[case]]",
        "keywheel policy explain ROTATION",
    ] {
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
}

/// What is asked, the rule that refuses it, and a word of why.
const NEVER: [(&str, &str, &str); 19] = [
    (
        "connect 169.254.169.254:80 plaintext",
        "policy.denied",
        "no grant opens this address",
    ),
    (
        "connect [fd00:ec2::254]:80 tls",
        "policy.denied",
        "no grant opens this address",
    ),
    (
        "connect 64:ff9b::a9fe:a9fe:80 tls",
        "policy.denied",
        "no grant opens this address",
    ),
    (
        "connect 0.0.0.0:6379 tls",
        "policy.denied",
        "no grant opens this address",
    ),
    (
        "connect 224.0.0.1:6379 tls",
        "policy.denied",
        "no grant opens this address",
    ),
    (
        "connect metadata.google.internal:80 plaintext",
        "policy.denied",
        "no grant opens this name",
    ),
    (
        "connect Metadata.Google.Internal.:80 tls",
        "policy.denied",
        "no grant opens this name",
    ),
    (
        "connect instance-data:80 tls",
        "policy.denied",
        "no grant opens this name",
    ),
    ("connect 2852039166:80 tls", "policy.denied", "not a host name"),
    ("connect user@db:6379 tls", "policy.denied", "not a host name"),
    (
        "connect db:6379 tls at 169.254.169.254",
        "net.forbidden-address",
        "closed for ever",
    ),
    (
        "connect db:6379 tls at ff02::1",
        "net.forbidden-address",
        "closed for ever",
    ),
    (
        "call notify",
        "host.not-offered",
        "does not offer `keywheel:notify`",
    ),
    ("call keys", "host.not-offered", "does not offer `keywheel:keys`"),
    (
        "reveal app/db",
        "host.not-offered",
        "does not offer `keywheel:plaintext`",
    ),
    ("call sql", "manifest.capability", "does not list `sql`"),
    ("use someone/else", "manifest.capability", "does not list `vault`"),
    ("use app/db", "vault.rotated", "through the run alone"),
    ("use {input:none}", "run.input", "names no input `none`"),
];

#[test]
fn what_no_grant_can_allow_comes_with_its_rule_and_no_lines() {
    let place = granted();
    for (request, rule, why) in NEVER {
        let ran = place.run(&format!("-o json policy explain app-db {request}"));
        assert_eq!(ran.exit, 21, "{request}: {}{}", ran.out, ran.err);
        let answer: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(
            (&answer["allowed"], &answer["rule"], &answer["lines"]),
            (&false.into(), &rule.into(), &serde_json::Value::Null),
            "{request}: {answer:#}"
        );
        assert!(
            answer["never"].as_str().unwrap().contains(why),
            "{request}: {answer:#}"
        );
        let told = place.run(&format!("policy explain app-db {request}")).out;
        let first = format!("denied {request} [{rule}]\nno grant can allow it: ");
        assert!(
            told.starts_with(&first) && !told.contains("to allow it"),
            "{told}"
        );
    }
}

/// A range may lie around an address that is closed, and a name may lead there.
#[test]
fn a_granted_range_or_name_opens_no_address_that_is_closed() {
    let place = granted();
    let grant = String::from_utf8(place.read("policies/demo.toml")).unwrap();
    let wider = grant.replace("hosts = [", "hosts = [\"169.254.0.0/16:6379 tls\", ");
    place.write("policies/demo.toml", wider);
    for request in [
        "connect 169.254.169.254:6379 tls",
        "connect db:6379 tls at 169.254.169.254",
    ] {
        let ran = place.run(&format!("policy explain app-db {request}"));
        assert_eq!(ran.exit, 21, "{}{}", ran.out, ran.err);
        assert!(
            ran.out.contains("[net.forbidden-address]") && ran.out.contains("closed for ever"),
            "{}",
            ran.out
        );
    }
    let ran = place.run("policy explain app-db connect db:6379 tls at 10.0.0.1");
    assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{}", ran.out);
    let ran = place.run("policy explain app-db connect db:6379 tls at 127.0.0.1");
    assert_eq!(ran.exit, 21);
    assert!(
        ran.out.contains("[net.forbidden-address]") && ran.out.contains("never leads to this machine"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains("\"127.0.0.1:6379 tls\""), "{}", ran.out);
    // Granted as well, it stays so: the host goes by where the name leads.
    let both = grant.replace("hosts = [", "hosts = [\"127.0.0.1:6379 tls\", ");
    place.write("policies/demo.toml", both);
    let ran = place.run("policy explain app-db connect db:6379 tls at 127.0.0.1");
    assert_eq!(ran.exit, 21, "{}", ran.out);
    let ran = place.run("policy explain app-db connect 127.0.0.1:6379 tls");
    assert_eq!(ran.exit, 0, "{}", ran.out);
}

#[test]
fn a_grant_that_names_what_is_closed_for_ever_is_refused() {
    let place = granted();
    for host in ["169.254.169.254", "metadata.google.internal", "metadata.goog"] {
        place.write(
            "policies/demo.toml",
            format!("plugin = \"demo\"\ncapabilities = [\"net\"]\nhosts = [\"{host}:80 plaintext\"]\n"),
        );
        let ran = place.run("policy check");
        assert_eq!(ran.exit, 20, "{}", ran.err);
        assert!(ran.err.contains("no grant opens this"), "{}", ran.err);
    }
}

/// What the audit trail has for a call that was refused by a rule that is about no grant.
#[test]
fn each_rule_of_the_host_is_told_by_its_code() {
    let place = granted();
    let ran = place.run("policy explain app-db rule no.rule");
    assert_eq!(ran.exit, 23);
    let (_, listed) = ran.err.split_once("rules are ").unwrap();
    let codes: Vec<&str> = listed.split('`').filter(|word| word.contains('.')).collect();
    assert!(codes.len() > 20, "{codes:?}");
    for code in codes {
        let ran = place.run(&format!("-o json policy explain app-db rule {code}"));
        let answer: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(
            (ran.exit, answer["rule"].as_str()),
            (21, Some(code)),
            "{answer:#}"
        );
        assert!(
            answer["never"].as_str().is_some_and(|says| says.len() > 20),
            "{answer:#}"
        );
    }
    let ran = place.run("policy explain app-db rule secret.matches");
    assert_eq!(
        ran.out,
        "denied rule secret.matches [secret.matches]\nno grant can allow it: only secrets that no plugin had a hand in are compared\n"
    );
    let ran = place.run("policy explain app-db rule net.unsafe-stream");
    assert!(
        ran.out.contains("; an entry of `hosts`") && !ran.out.contains("no grant can"),
        "{}",
        ran.out
    );
}
