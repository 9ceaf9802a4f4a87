//! When a secret stops to be valid: listed, told in time and again, also while the vault is sealed.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use keywheel_e2e::{Host, until};
use serde_json::Value;

const DAY: Duration = Duration::from_hours(24);

/// So long from now, as it is written on the command line.
fn in_days(days: u32) -> String {
    written(SystemTime::now() + DAY * days)
}

fn written(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).unwrap().to_string()
}

fn import(host: &Host, name: &str, more: &[&str]) {
    let words = [&["secret", "import", name, "-"], more].concat();
    let _ = host.run(&words, "Some-Value-That-Is-Long-1").ends(0);
}

fn expiring(host: &Host, within: &str, code: i32) -> Value {
    let words = ["status", "--expiring", within, "-o", "json"];
    host.run(&words, "").ends(code).json()
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap().iter();
    list.map(|one| one["secret"].as_str().unwrap()).collect()
}

fn kinds_of(host: &Host, secret: &str) -> Vec<(String, String)> {
    let list = host.run(&["status", "-o", "json"], "").json();
    let subject = format!("secret {secret}");
    let own = list
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["subject"] == subject);
    let text = |one: &Value, field: &str| one[field].as_str().unwrap().to_owned();
    own.map(|one| (text(one, "kind"), text(one, "what"))).collect()
}

#[test]
fn what_expires_is_listed_by_its_end_and_what_nobody_looks_after_by_its_age_also_while_the_vault_is_sealed() {
    let host = Host::init();
    let _ = host
        .run(&["secret", "import", "bad/one", "-", "--expires", "soon"], "x")
        .ends(2)
        .says(&["expected a time like"]);
    import(&host, "vendor/later", &["--expires", &in_days(20)]);
    import(&host, "vendor/sooner", &["--expires", &in_days(10)]);
    import(&host, "vendor/far", &["--expires", &in_days(400)]);
    import(&host, "vendor/gone", &["--expires", "2026-01-31"]);
    import(&host, "vendor/unknown", &[]);
    let list = expiring(&host, "30d", 10);
    assert_eq!(
        names(&list["expiring"]),
        ["vendor/gone", "vendor/sooner", "vendor/later"]
    );
    assert_eq!(names(&list["unmanaged"]), ["vendor/unknown"]);
    assert!(list["unmanaged"][0]["since"].as_u64() > list["expiring"][0]["expires-at"].as_u64());
    assert_eq!(
        names(&expiring(&host, "15d", 10)["expiring"]),
        ["vendor/gone", "vendor/sooner"]
    );
    let text = host.run(&["status", "--expiring", "30d"], "").ends(10).stdout;
    for words in [
        "vendor/gone: expires 2026-01-31 00:00:00Z; nothing renews it",
        "unmanaged: ",
        "vendor/unknown is there since",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    // One that lives for twenty days is told of when a third of them is left.
    let told = |secret: &str| kinds_of(&host, secret);
    assert_eq!(
        told("vendor/gone"),
        [(
            "secret-expired".to_owned(),
            "its current version has expired".to_owned()
        )]
    );
    assert!(told("vendor/sooner").is_empty() && told("vendor/far").is_empty());
    // Its key is not there: nothing can be read of any secret, and their ends are known all the same.
    let key = host.file("vault.key");
    let kept = host.outside("kept.key");
    fs::rename(&key, &kept).unwrap();
    assert_eq!(names(&expiring(&host, "30d", 10)["expiring"]).len(), 3);
    assert_eq!(told("vendor/gone").len(), 1);
    fs::rename(&kept, &key).unwrap();
    // A new one is imported, and the old one's end is nobody's trouble any more.
    import(&host, "vendor/gone", &["--expires", &in_days(300)]);
    assert!(told("vendor/gone").is_empty());
}

/// Its rotation goes on once it is open: a year before its end nobody has to be woken up for it.
#[test]
fn a_sealed_vault_is_no_reason_to_tell_of_an_end_that_is_far_away() {
    let host = Host::init();
    import(&host, "vendor/far", &["--expires", &in_days(400)]);
    host.configure(
        "[[rotation]]\nname = \"far\"\nplugin = \"redis\"\nsecret = \"vendor/far\"\ngrace = \"1s\"\ninputs = { admin = \"admin/redis\" }\n\n\
         [rotation.config]\nnodes = [{ host = \"localhost\", port = 6379 }]\nadmin = \"rotator\"\nuser = \"app\"\n",
    );
    host.add_plugin("redis", &[6379]);
    let is_told = || {
        let told = kinds_of(&host, "vendor/far");
        told.iter().any(|(kind, _)| kind == "secret-expires")
    };
    // Nothing is due by itself, which is told at once of what has an end.
    assert!(is_told());
    fs::rename(host.file("vault.key"), host.outside("kept.key")).unwrap();
    assert!(!is_told());
}

#[test]
fn whoever_is_told_hears_of_it_once_at_a_rung_and_that_a_new_version_ended_it() {
    let host = Host::init();
    let file = host.outside("told");
    let script = format!("cat >> {}", file.display());
    host.configure(&format!(
        "[expiry]\npercent = [99]\nleft = []\n\n[[notify]]\nname = \"ops\"\nkind = \"command\"\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\n"
    ));
    // Of ten minutes the hundredth is over soon.
    let soon = SystemTime::now() + Duration::from_mins(10);
    import(&host, "vendor/key", &["--expires", &written(soon)]);
    let mut serving = host.start(&mut host.command(&["serve"]));
    let told = |topic: &str| -> Vec<Value> {
        let own =
            |notice: &Value| notice["topic"] == topic && notice["key"] == "secret vendor/key: secret-expires";
        notices(&file).into_iter().filter(own).collect()
    };
    until("it is told", || !told("attention").is_empty());
    let raised = &told("attention")[0]["body"];
    assert_eq!(raised["subject"], "secret vendor/key", "{raised}");
    let way_out = raised["way-out"].as_str().unwrap();
    assert!(way_out.contains("keywheel secret import vendor/key"), "{raised}");
    import(&host, "vendor/key", &["--expires", &in_days(300)]);
    until("its end is told", || told("attention-resolved").len() == 1);
    assert_eq!(told("attention").len(), 1);
    let _ = serving.child.kill();
    let _ = serving.child.wait();
}

fn notices(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
