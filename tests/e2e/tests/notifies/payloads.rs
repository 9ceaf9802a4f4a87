//! What each channel is told, byte by byte: `payloads/`. `KEYWHEEL_BLESS=1` writes it anew.

use std::fs;
use std::path::Path;

use keywheel_e2e::{Host, until};
use serde_json::{Value, json};

use crate::oracles::{blocks_are_blocks, cards_are_cards};
use crate::receiver::Receiver;
use crate::served::{AT, Serving, configure_first, sink, write};

const ABOUT: &str =
    "about = [\"attention\", \"events\", \"started\"]\nlink = \"https://wiki.example/{kind}?of={subject}\"";

/// One of each kind. The second has what would be markup, a link, or too much.
fn notices() -> Vec<(&'static str, &'static str, Value)> {
    let failed = json!({
        "kind": "run-failed", "subject": "rotation app-db", "what": "its last run 01J failed: sql.denied: permission denied",
        "way-out": "GRANT app TO rotator WITH ADMIN OPTION; then keywheel rotate app-db", "harm-at": AT, "labels": {"team": "shop"},
    });
    let long = format!(
        "<!channel> [click](https://evil.example) \"a\\b\" & \u{1b}[31m{}",
        "ä&𝄞\n".repeat(9000)
    );
    let expires = json!({
        "kind": "secret-expires", "subject": "secret app/<api>", "what": long, "way-out": "rotate it", "harm-at": AT, "labels": {},
    });
    let over = json!({
        "kind": "run-failed", "kinds": ["run-failed"], "subject": "rotation app-db", "since": AT, "labels": {"team": "shop"},
        "what": "its last run 01J failed: sql.denied: permission denied", "way-out": "",
    });
    let of_run = |what: &str, outcome: &str| {
        json!({
            "rotation": "app-db", "secret": "app/db", "run": "01J", "what": what, "outcome": outcome, "safety": "old-valid",
            "detail": "the target cannot be reached",
        })
    };
    vec![
        ("attention", "rotation app-db: run-failed", failed),
        ("attention", "secret app/<api>: secret-expires", expires),
        ("attention-resolved", "rotation app-db: run-failed", over),
        (
            "run.begin",
            "app-db",
            json!({"rotation": "app-db", "secret": "app/db", "run": "01J", "trigger": "schedule"}),
        ),
        (
            "secret.rotated",
            "app-db",
            json!({"secret": "app/db", "version": "01V", "consumers": ["shop"]}),
        ),
        ("run.end", "app-db", of_run("run.end", "failed")),
        ("run.park", "app-db", of_run("run.park", "waiting")),
        ("secret.repair", "app-db", of_run("secret.repair", "ok")),
    ]
}

/// Without what is another one in every run.
fn steady(host: &Host, bodies: Vec<Value>) -> String {
    let mut text = serde_json::to_string_pretty(&bodies).unwrap() + "\n";
    // That the long one is no longer than it may be, the receiver has seen to.
    for once in ["ä&𝄞\\n", "ä&amp;𝄞\\n", "ä&𝄞 ", "ä&amp;𝄞 "] {
        let twice = once.repeat(2);
        while text.contains(&twice) {
            text = text.replace(&twice, once);
        }
    }
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let database = rusqlite::Connection::open(host.file("state/keywheel.db")).unwrap();
    let store: String = database
        .query_row("SELECT value FROM meta WHERE key = 'store'", [], |row| row.get(0))
        .unwrap();
    text.replace(&format!("keywheel@{}", machine.trim()), "keywheel@HOST")
        .replace(&store, "STORE")
}

fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/notifies/payloads/{name}.json"));
    if std::env::var_os("KEYWHEEL_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{name} is told otherwise now:\n{text}");
}

fn bodies(requests: Vec<Value>) -> Vec<Value> {
    assert!(
        requests.iter().all(|request| request["refused"].is_null()),
        "{requests:#?}"
    );
    requests
        .into_iter()
        .map(|request| request["body"].clone())
        .collect()
}

#[test]
fn each_channel_is_told_in_its_own_words_and_its_own_limits() {
    let receiver = Receiver::start();
    let host = Host::init();
    let routed = host.outside("routed");
    let command = |name: &str, route: &str| {
        format!(
            "[[notify]]\nname = \"{name}\"\nkind = \"command\"\ncommand = [\"/bin/sh\", \"-c\", \"cat >> {}.{name}\"]\n{ABOUT}\n{route}\n\n",
            routed.display()
        )
        .replace("link = ", "# link = ")
    };
    let kinds = ["slack", "teams", "pagerduty", "webhook"];
    let lines = kinds.map(|kind| receiver.sink(kind, ABOUT)).concat()
        + &command("severe", "severities = [\"error\"]")
        + &command("kinds", "kinds = [\"secret*\"]")
        + &command("team", "labels = { team = \"shop\" }");
    configure_first(&host, &(receiver.trust() + &lines));
    receiver.is_known_to(&host);
    write(&host, &notices());
    let serving = Serving::start(&host);
    until("all is told", || {
        let told =
            ["slack", "teams", "webhook", "alert", "change"].map(|place| receiver.requests(place).len());
        told == [8, 8, 8, 3, 5]
    });
    until("and noted", || sink(&host, "slack")["waiting"] == 0);
    let slack = bodies(receiver.requests("slack"));
    let teams = bodies(receiver.requests("teams"));
    blocks_are_blocks(&slack);
    cards_are_cards(&teams);
    let told = told_by(&routed);
    assert_eq!(told("severe"), [1, 3, 6, 7], "errors, and that one is over");
    assert_eq!(told("kinds"), [2, 5, 8]);
    assert_eq!(told("team"), [1, 3], "what is of rotations with that label");
    let listed = sink(&host, "pagerduty");
    let last = &listed["deliveries"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["topic"], &last["outcome"]),
        (&json!("secret.repair"), &json!("taken")),
        "{listed:#}"
    );
    // Whoever is tried is told, past all else.
    let _ = host.run(&["notify", "test"], "").ends(0);
    assert_eq!(bodies(receiver.requests("change")).len(), 6);
    let test = bodies(receiver.requests("slack")).pop().unwrap();
    assert!(test.to_string().contains("a test of this sink"), "{test:#}");
    let used = host.json(&["audit", "search", "--action", "secret.use"]);
    assert_eq!(used.as_array().unwrap().len(), 5, "each secret once: {used:#}");
    let ended = serving.ends();
    host.left_no_trace(&receiver.secrets, &[("the log", &ended.stderr)]);
    compare("slack", &steady(&host, slack));
    compare("teams", &steady(&host, teams));
    let mut pages = bodies(receiver.requests("alert"));
    pages.extend(bodies(receiver.requests("change")).into_iter().take(5));
    for page in &mut pages {
        page["routing_key"] = "KEY".into();
    }
    compare("pagerduty", &steady(&host, pages));
    let events = bodies(receiver.requests("webhook")).into_iter().take(8).collect();
    compare("webhook", &steady(&host, events));
}

/// The numbers of the notices that a program was told.
fn told_by(routed: &Path) -> impl Fn(&str) -> Vec<u64> {
    let routed = routed.display().to_string();
    move |name| {
        let text = fs::read_to_string(format!("{routed}.{name}")).unwrap_or_default();
        let notices = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let notices = notices.filter(|notice| notice["topic"] != "test");
        let mut ids: Vec<u64> = notices.map(|notice| notice["id"].as_u64().unwrap()).collect();
        // What needs a person goes first.
        ids.sort_unstable();
        ids
    }
}
