//! Receivers that are in trouble, and such as take nothing any more.

use std::fs;

use keywheel_e2e::{Host, until};
use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::served::{Serving, configure_first, sink, write};

fn rotated(secret: &str) -> (&'static str, &'static str, Value) {
    (
        "secret.rotated",
        "app-db",
        json!({"secret": secret, "version": "01V", "consumers": []}),
    )
}

const EVENTS: &str = "about = [\"attention\", \"events\"]\ntimeout = \"1s\"";

#[test]
fn what_is_not_taken_now_is_told_again_until_it_is() {
    let receiver = Receiver::start();
    let host = Host::init();
    let kinds = ["slack", "teams", "webhook"];
    // Not that they take nothing: how often that is told is a matter of time.
    let events = "about = [\"events\"]\ntimeout = \"1s\"";
    configure_first(
        &host,
        &(receiver.trust() + &kinds.map(|kind| receiver.sink(kind, events)).concat()),
    );
    receiver.is_known_to(&host);
    receiver.goes_wrong(&json!({"slack": "429", "teams": "500", "webhook": "hang"}));
    write(&host, &[rotated("app/db")]);
    let serving = Serving::start(&host);
    let why = |name: &str| {
        sink(&host, name)["failing"]["why"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    until("why is said", || {
        why("slack").starts_with("notify.busy: ")
            && why("teams").contains("500")
            && why("webhook").starts_with("notify.late: ")
    });
    let status = host.run(&["status", "-o", "json"], "").stdout;
    assert!(
        status.contains("notices-not-taken") && status.contains("notify webhook"),
        "{status}"
    );
    let tried = host
        .run(&["notify", "test", "teams", "-o", "json"], "")
        .ends(10)
        .json();
    assert!(
        tried[0]["failed"].as_str().unwrap().starts_with("notify.busy: "),
        "{tried:#}"
    );
    let before = kinds.map(|kind| receiver.requests(kind).len());
    receiver.goes_wrong(&json!({}));
    until("it is told", || {
        kinds.iter().all(|kind| !receiver.taken(kind).is_empty())
    });
    until("and noted", || {
        kinds.iter().all(|kind| sink(&host, kind)["waiting"] == 0)
    });
    assert!(before.iter().all(|tries| *tries > 0), "{before:?}");
    for kind in kinds {
        let taken = receiver.taken(kind);
        assert_eq!(taken.len(), 1, "{kind}: {taken:#?}");
        let last = sink(&host, kind)["deliveries"]
            .as_array()
            .unwrap()
            .last()
            .cloned()
            .unwrap();
        assert!(
            last["outcome"] == "taken" && last["tries"].as_u64() > Some(1),
            "{last}"
        );
    }
    // The same event under the same number, each time with a signature of its own time.
    let tries = receiver.requests("webhook");
    let of = |header: &str| {
        tries
            .iter()
            .map(|one| one["headers"][header].clone())
            .collect::<Vec<_>>()
    };
    assert!(
        of("webhook-id").windows(2).all(|two| two[0] == two[1]),
        "{tries:#?}"
    );
    let ended = serving.ends();
    host.left_no_trace(&receiver.secrets, &[("the log", &ended.stderr)]);
}

/// Somebody else is told; and with another URL it goes on where it was.
#[test]
fn one_that_is_gone_is_left_alone_until_it_is_mended_and_another_is_told() {
    let receiver = Receiver::start();
    let host = Host::init();
    let told = host.outside("told");
    let pager = format!(
        "[[notify]]\nname = \"pager\"\nkind = \"command\"\ncommand = [\"/bin/sh\", \"-c\", \"cat >> {}\"]\n\n",
        told.display()
    );
    let lines = receiver.sink("slack", EVENTS)
        + &receiver.sink("teams", EVENTS)
        + &receiver.sink("webhook", "about = [\"events\"]");
    configure_first(&host, &(receiver.trust() + &lines + &pager));
    receiver.is_known_to(&host);
    // The owner of a flow has left; a webhook was taken away; somebody sends to somewhere else; one message is refused.
    receiver.goes_wrong(&json!({"slack": "404", "teams": "302", "webhook": "400"}));
    write(&host, &[rotated("app/one"), rotated("app/two")]);
    let serving = Serving::start(&host);
    until("it is known", || {
        let why = |name: &str| {
            sink(&host, name)["failing"]["why"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        why("slack") == "notify.gone: it takes no notice at all (404 no_service)"
            && why("teams").contains("302")
    });
    let dropped = || host.json(&["audit", "search", "--action", "notice.drop"]);
    until("what is refused is passed over", || {
        dropped().as_array().unwrap().len() == 2
    });
    let dropped = dropped();
    assert_eq!(dropped[0]["details"]["code"], "notify.refused", "{dropped:#}");
    let has = |subject: &str, kind: &str| {
        let told = fs::read_to_string(&told).unwrap_or_default();
        told.lines().any(|line| {
            serde_json::from_str::<Value>(line).is_ok_and(|notice| {
                notice["topic"] == "attention" && notice["key"] == format!("notify {subject}: {kind}")
            })
        })
    };
    until("another is told", || {
        has("slack", "notices-not-taken")
            && has("teams", "notices-not-taken")
            && has("webhook", "notices-refused")
    });
    assert_eq!(receiver.requests("slack").len(), 1, "it is left alone");
    assert_eq!(receiver.requests("teams").len(), 1, "it is left alone");
    let elsewhere = receiver.requests("elsewhere").len();
    assert_eq!(elsewhere, 0, "nobody is followed");
    // Mended: by a new URL; and by a try that goes well.
    receiver.goes_wrong(&json!({}));
    let _ = host.import("notify/slack", &receiver.url("slack")).ends(0);
    let _ = host.run(&["notify", "test", "teams"], "").ends(0);
    until("all is told", || {
        receiver.taken("slack").len() >= 2 && receiver.taken("teams").len() >= 3
    });
    let ended = serving.ends();
    host.left_no_trace(&receiver.secrets, &[("the log", &ended.stderr)]);
}

#[test]
fn what_opens_the_way_is_in_the_vault_and_nowhere_else() {
    let receiver = Receiver::start();
    let host = Host::init();
    let lines = receiver.sink("slack", EVENTS)
        + &receiver.sink("pagerduty", EVENTS)
        + &receiver.sink("webhook", EVENTS)
        + "[[notify]]\nname = \"log\"\nkind = \"log\"\nabout = [\"attention\", \"events\"]\n\n";
    configure_first(&host, &(receiver.trust() + &lines));
    let failed = |name: &str| {
        let tried = host
            .run(&["notify", "test", name, "-o", "json"], "")
            .ends(10)
            .json();
        tried[0]["failed"].as_str().unwrap().to_owned()
    };
    // It is missing; it is something else.
    assert_eq!(
        failed("webhook"),
        "notify.secret: the secret \"notify/webhook\" of this sink has no current version"
    );
    let doctor = host.run(&["doctor"], "").stdout;
    assert!(
        doctor.contains("keywheel secret import notify/signing"),
        "{doctor}"
    );
    let _ = host
        .import("notify/slack", "http://hooks.example/T0/planted-in-a-url")
        .ends(0);
    assert!(failed("slack").contains("no URL that begins with https://"));
    let _ = host.import("notify/pagerduty", "planted-as-a-short-key").ends(0);
    assert!(failed("pagerduty").contains("32 letters and digits"));
    receiver.is_known_to(&host);
    assert!(
        host.run(&["notify", "test"], "")
            .ends(0)
            .stdout
            .contains("webhook has taken it")
    );
    write(&host, &[rotated("app/db")]);
    // A vault that does not open: who needs nothing of it is told.
    let key = host.file("vault.key");
    let away = host.outside("vault.key");
    let text = fs::read_to_string(host.file("keywheel.toml")).unwrap();
    assert!(text.contains("vault.key"), "{text}");
    fs::rename(&key, &away).unwrap();
    let mut serving = Serving::start(&host);
    assert!(serving.started.as_mut().unwrap().wait_for("secret.rotated"));
    until("the others wait", || {
        let slack = sink(&host, "slack");
        let why = slack["failing"]["why"].as_str().unwrap_or_default();
        why.starts_with("notify.sealed: ") && slack["waiting"].as_u64() > Some(0)
    });
    assert_eq!(receiver.requests("slack").len(), 1, "the try alone");
    let ended = serving.ends();
    fs::rename(&away, &key).unwrap();
    let serving = Serving::start(&host);
    until("and are told then", || {
        receiver.taken("slack").len() > 1 && receiver.taken("webhook").len() > 1
    });
    let again = serving.ends();
    let planted = ["planted-in-a-url", "planted-as-a-short-key"].map(str::to_owned);
    let secrets = [receiver.secrets.clone(), planted.to_vec()].concat();
    host.left_no_trace(
        &secrets,
        &[("the log", &ended.stderr), ("the next", &again.stderr)],
    );
}

#[test]
fn a_url_in_the_file_is_refused_and_not_shown() {
    let host = Host::init();
    let file = host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    let url = "https://hooks.example/services/T0/B0/planted-in-the-file";
    for (lines, why) in [
        (
            format!("kind = \"slack\"\nurl = \"{url}\""),
            "config.secret-value",
        ),
        (
            "kind = \"webhook\"\nkey = \"planted-in-the-file\"".to_owned(),
            "config.secret-value",
        ),
        ("kind = \"slack\"".to_owned(), "needs `url`"),
        ("kind = \"log\"\nurl = { secret = \"a/b\" }".to_owned(), "alone"),
        (
            "kind = \"teams\"\nurl = { secret = \"a/b\" }\ntrust = \"none\"".to_owned(),
            "no trust set",
        ),
        (
            "kind = \"teams\"\nurl = { secret = \"a/b\" }\ntitle = \"{oops}\"".to_owned(),
            "{oops} stands for nothing",
        ),
        (
            "kind = \"email\"\nserver = \"mail\"\nfrom = \"a@b.example\"\nto = [\"ops\"]".to_owned(),
            "no host with a port",
        ),
        (
            "kind = \"pagerduty\"\nkey = { secret = \"a/b\" }\nendpoint = \"https://a/b\"".to_owned(),
            "a host alone",
        ),
        ("kind = \"log\"\nseverities = [\"bad\"]".to_owned(), "\"bad\""),
    ] {
        fs::write(&file, format!("[[notify]]\nname = \"a\"\n{lines}\n\n{text}")).unwrap();
        let checked = host
            .run(&["config", "check"], "")
            .ends(20)
            .says(&[why, "--> keywheel.toml:"]);
        assert!(!checked.stderr.contains("planted"), "{}", checked.stderr);
    }
}
