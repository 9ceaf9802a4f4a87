//! Who is told what needs a person, and that it does no more.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::scene::{Scene, until};

/// The notices in a file, one a line.
fn told(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    // The last line may still be written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn has(notices: &[Value], topic: &str, key: &str) -> bool {
    notices
        .iter()
        .any(|notice| notice["topic"] == topic && notice["key"] == key)
}

#[test]
fn what_needs_a_person_is_told_once_and_so_is_its_end() {
    let scene = Scene::new("1s");
    let (file, down) = (scene.host.outside("told"), scene.host.outside("down"));
    let script = format!("test ! -e {} && cat >> {}", down.display(), file.display());
    scene.configure_first(&format!(
        "[[notify]]\nname = \"ops\"\nkind = \"command\"\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\n"
    ));
    let serving = scene.serve();
    // Whoever is to be told cannot be reached at first.
    fs::write(&down, "").unwrap();
    let toml = scene.host.file("keywheel.toml");
    let good = fs::read_to_string(&toml).unwrap();
    fs::write(&toml, format!("{good}\nnonsense = 1\n")).unwrap();
    until("that is said", || {
        let status = scene.run(&["status", "-o", "json"]).json();
        let kinds: Vec<&str> = status
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|entry| entry["kind"].as_str())
            .collect();
        kinds.contains(&"configuration-refused") && kinds.contains(&"notices-not-taken")
    });
    assert!(told(&file).is_empty());
    let sinks = scene.run(&["notify", "list", "-o", "json"]).ends(10).json();
    assert_eq!(sinks[0]["name"], "ops");
    let why = sinks[0]["failing"]["why"].as_str().unwrap();
    assert!(
        why.starts_with("notify.ended: ") && why.contains("code 1"),
        "{why}"
    );
    assert!(sinks[0]["waiting"].as_u64().unwrap() > 0, "{sinks:#}");
    let tried = scene.run(&["notify", "test", "-o", "json"]).ends(10).json();
    assert_eq!(tried[0]["failed"], why);
    fs::remove_file(&down).unwrap();
    let refused = "configuration: configuration-refused";
    until("it is told", || has(&told(&file), "attention", refused));
    fs::write(&toml, &good).unwrap();
    until("its end is told", || {
        has(&told(&file), "attention-resolved", refused)
    });
    let notices = told(&file);
    let of = |topic: &str| {
        let of = notices
            .iter()
            .filter(|notice| notice["topic"] == topic && notice["key"] == refused);
        of.cloned().collect::<Vec<_>>()
    };
    assert_eq!(of("attention").len(), 1, "{notices:#?}");
    assert_eq!(of("attention-resolved").len(), 1, "{notices:#?}");
    let raised = &of("attention")[0]["body"];
    assert_eq!(raised["way-out"], "keywheel config check", "{raised}");
    let _ = scene.run(&["notify", "test", "ops"]).ends(0);
    let test = told(&file).into_iter().find(|notice| notice["topic"] == "test");
    assert_eq!(test.unwrap()["key"], "notify ops");
    let _ = scene
        .run(&["notify", "test", "oops"])
        .ends(23)
        .says(&["notify.not-found", "ops"]);
    let _ = serving.ends();
    // And nothing is left that needs a person.
    let _ = scene.run(&["status"]).ends(0);
    let _ = scene.run(&["notify", "list"]).ends(0);
}

/// While it is tried again and again nothing is over; that nobody tries it any more is told, too.
#[test]
fn one_outage_is_one_trouble_of_its_run() {
    let mut scene = Scene::new("1s");
    let file = scene.host.outside("told");
    scene.configure_first(&format!(
        "[[notify]]\nname = \"ops\"\nkind = \"command\"\ncommand = [\"/bin/sh\", \"-c\", \"cat >> {}\"]\n",
        file.display()
    ));
    let toml = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&toml).unwrap();
    let deadlines = "{ step = \"3s\"";
    assert!(text.contains(deadlines), "{text}");
    let patient = text.replace(deadlines, "{ run = \"40s\", step = \"3s\"");
    fs::write(&toml, patient).unwrap();
    // The old one is still to be revoked, and nobody answers.
    let _ = scene.run(&["rotate", "app-redis", "--wait", "0s"]).ends(0);
    assert_eq!(scene.server.command(&["ACL", "SAVE"]).unwrap().trim(), "OK");
    scene.server.stop().unwrap();
    let key = "rotation app-redis: run-open";
    let of_run = || {
        let told = told(&file).into_iter();
        let of_run = told.filter(|notice| {
            notice["key"]
                .as_str()
                .unwrap()
                .starts_with("rotation app-redis: run-")
        });
        of_run.collect::<Vec<_>>()
    };
    let serving = scene.serve();
    until("it is told", || !of_run().is_empty());
    until("that it is parked is told", || {
        of_run()
            .iter()
            .any(|notice| notice["body"]["kind"] == "run-parked")
    });
    assert!(
        of_run().iter().all(|notice| notice["topic"] == "attention"),
        "{:#?}",
        of_run()
    );
    let _ = serving.ends();
    // Somebody else's connection may have its port for a moment.
    until("it can be started again", || scene.server.restart().is_ok());
    let serving = scene.serve();
    let _ = scene
        .run(&["run", "resume", "app-redis", "--wait", "end"])
        .ends(0);
    until("its end is told", || has(&told(&file), "attention-resolved", key));
    let notices = of_run();
    let topics: Vec<&Value> = notices.iter().map(|notice| &notice["topic"]).collect();
    assert_eq!(
        topics,
        ["attention", "attention", "attention-resolved"],
        "{notices:#?}"
    );
    assert!(notices.iter().all(|notice| notice["key"] == key), "{notices:#?}");
    let _ = serving.ends();
}

#[test]
fn events_go_to_whoever_wants_them() {
    let scene = Scene::new("1s");
    let file = scene.host.outside("told");
    scene.configure_first(&format!(
        "[[notify]]\nname = \"log\"\nkind = \"log\"\nabout = [\"attention\", \"events\"]\n\n\
         [[notify]]\nname = \"sync\"\nkind = \"command\"\nabout = [\"events\"]\ncommand = [\"/bin/sh\", \"-c\", \"cat >> {}\"]\n",
        file.display()
    ));
    let serving = scene.serve();
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    until("it is told", || has(&told(&file), "secret.rotated", "app-redis"));
    let notices = told(&file);
    let rotated = notices
        .iter()
        .find(|notice| notice["topic"] == "secret.rotated")
        .unwrap();
    assert_eq!(rotated["body"]["secret"], "app/redis", "{rotated}");
    let current = scene.host.read("app/redis", None);
    assert!(!fs::read_to_string(&file).unwrap().contains(&current));
    let ended = serving.ends();
    assert!(ended.stderr.contains("secret.rotated"), "{}", ended.stderr);
    assert!(!ended.stderr.contains(&current));
}

/// One that hangs, one that takes nothing, one that has very much to be told: none of them keeps another waiting.
#[test]
fn a_sink_that_hangs_or_is_far_behind_keeps_no_other_waiting() {
    let scene = Scene::new("1s");
    let [slow, pager, started] = ["slow", "pager", "started"].map(|name| scene.host.outside(name));
    let sink = |name: &str, about: &str, script: &str| {
        format!(
            "[[notify]]\nname = \"{name}\"\nkind = \"command\"\nabout = [{about}]\ntimeout = \"5m\"\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\n\n"
        )
    };
    let (both, persons) = ("\"attention\", \"events\"", "\"attention\"");
    let hangs = format!("echo >> {}; exec sleep 600", started.display());
    let behind = format!("cat >> {}; sleep 1", slow.display());
    let takes = format!("cat >> {}", pager.display());
    scene.configure_first(
        &[
            sink("hangs", both, &hangs),
            sink("refuses", both, "exit 1"),
            sink("behind", both, &behind),
            sink("pager", persons, &takes),
        ]
        .concat(),
    );
    // As if very many rotations had ended while nobody could be told.
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
        INSERT INTO outbox (topic, key, body, created, not_before, attempts)
        SELECT 'secret.rotated', 'app-redis', '{}', CAST(1000 * unixepoch('subsec') AS INTEGER), 0, 0 FROM n";
    let database = rusqlite::Connection::open(scene.host.file("state/keywheel.db")).unwrap();
    assert_eq!(database.execute(many, []).unwrap(), 5000);
    let serving = scene.serve();
    until("one hangs, one is told", || {
        started.exists() && !told(&slow).is_empty()
    });
    let toml = scene.host.file("keywheel.toml");
    let good = fs::read_to_string(&toml).unwrap();
    fs::write(&toml, format!("{good}\nnonsense = 1\n")).unwrap();
    let refused = "configuration: configuration-refused";
    until("who hears what needs a person hears it", || {
        has(&told(&pager), "attention", refused)
    });
    assert!(told(&slow).len() < 5000, "the other one is still being told");
    fs::write(&toml, &good).unwrap();
    until("and its end", || {
        has(&told(&pager), "attention-resolved", refused)
    });
    until("those that take nothing are named", || {
        let status = scene.run(&["status", "-o", "json"]).stdout;
        ["hangs", "refuses"]
            .iter()
            .all(|name| status.contains(&format!("\"notify {name}\"")))
    });
    // What needs a person goes before what has happened.
    until("who is far behind hears it, too", || {
        has(&told(&slow), "attention", refused)
    });
    assert!(told(&slow).len() < 5000);
    let before = told(&slow).len();
    let _ = serving.ends();
    // Nothing is told twice, but for what was under way.
    let serving = scene.serve();
    until("it is told on", || told(&slow).len() > before + 3);
    let _ = serving.ends();
    let ids: Vec<u64> = told(&slow)
        .iter()
        .map(|notice| notice["id"].as_u64().unwrap())
        .collect();
    let distinct: std::collections::BTreeSet<u64> = ids.iter().copied().collect();
    assert!(ids.len() - distinct.len() <= 1, "{ids:?}");
    let persons = told(&pager);
    assert!(
        persons
            .iter()
            .all(|notice| notice["topic"].as_str().unwrap().starts_with("attention"))
    );
    let done = "SELECT count(*) FROM outbox WHERE done IS NOT NULL";
    let done: u64 = database.query_row(done, [], |row| row.get(0)).unwrap();
    assert_eq!(done, 0, "two have not taken any of it");
}

/// What is older than a week is told to nobody; that stands in the trail, once for all of it.
#[test]
fn what_nobody_could_be_told_for_a_week_is_dropped() {
    let scene = Scene::new("1s");
    let file = scene.host.outside("told");
    scene.configure_first(&format!(
        "[[notify]]\nname = \"ops\"\nkind = \"command\"\nabout = [\"events\"]\ncommand = [\"/bin/sh\", \"-c\", \"cat >> {}\"]\n",
        file.display()
    ));
    let old = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 700)
        INSERT INTO outbox (topic, key, body, created, not_before, attempts) SELECT 'secret.rotated', 'app-redis', '{}', 1, 0, 0 FROM n";
    let database = rusqlite::Connection::open(scene.host.file("state/keywheel.db")).unwrap();
    assert_eq!(database.execute(old, []).unwrap(), 700);
    let serving = scene.serve();
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    until("what is new is told", || !told(&file).is_empty());
    until("what is old is done with", || {
        let left = "SELECT count(*) FROM outbox WHERE done IS NULL AND created = 1";
        database.query_row(left, [], |row| row.get::<_, u64>(0)).unwrap() == 0
    });
    let _ = serving.ends();
    assert!(
        told(&file)
            .iter()
            .all(|notice| notice["at"].as_u64().unwrap() > 1)
    );
    let dropped = scene.run(&["audit", "search", "--action", "notice.drop", "-o", "json"]);
    let dropped = dropped.ends(0).json();
    let counts: u64 = dropped
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["details"]["notices"].as_u64().unwrap())
        .sum();
    assert_eq!(counts, 700, "{dropped:#}");
    assert_eq!(dropped.as_array().unwrap().len(), 2, "{dropped:#}");
}

#[test]
fn a_sink_that_cannot_be_is_refused_at_its_place() {
    let scene = Scene::new("1s");
    let file = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    for (lines, why) in [
        (
            "name = \"a\"\nkind = \"command\"\ncommand = [\"page\"]",
            "no whole path",
        ),
        ("name = \"a\"\nkind = \"command\"", "no whole path"),
        ("name = \"a\"\nkind = \"log\"\ncommand = [\"/bin/true\"]", "alone"),
        (
            "name = \"a\"\nkind = \"log\"\n[[notify]]\nname = \"a\"\nkind = \"log\"",
            "two sinks",
        ),
        ("name = \"a\"\nkind = \"pager\"", "\"pager\""),
        (
            "name = \"a\"\nkind = \"command\"\ncommand = [\"/bin/true\"]\ntimeout = \"1h\"",
            "5m",
        ),
    ] {
        fs::write(&file, format!("[[notify]]\n{lines}\n\n{text}")).unwrap();
        let _ = scene
            .run(&["config", "check"])
            .ends(20)
            .says(&[why, "--> keywheel.toml:"]);
    }
}

/// Whoever was paged for a run that is over by now would look for it in vain.
#[test]
fn another_run_that_waits_for_approval_is_told_although_one_was_before() {
    let scene = Scene::new("1s");
    let file = scene.host.outside("told");
    scene.configure_first(&format!(
        "[[notify]]\nname = \"ops\"\nkind = \"command\"\ncommand = [\"/bin/sh\", \"-c\", \"cat >> {}\"]\n",
        file.display()
    ));
    let toml = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&toml).unwrap();
    let named = "name = \"app-redis\"\n";
    fs::write(
        &toml,
        text.replacen(named, &format!("{named}approval = {{}}\n"), 1),
    )
    .unwrap();
    let serving = scene.serve();
    let mut runs = Vec::new();
    for _ in 0..2 {
        let _ = scene.run(&["rotate", "app-redis", "--wait", "0s"]).ends(41);
        let run = scene.run(&["run", "show", "app-redis", "-o", "json"]).json();
        let run = run["run"].as_str().unwrap().to_owned();
        until("it is told", || {
            let notices = told(&file);
            let raised = notices.iter().filter(|notice| notice["topic"] == "attention");
            let mut ways_out = raised.filter_map(|notice| notice["body"]["way-out"].as_str());
            ways_out.any(|way_out| way_out.contains(&run))
        });
        let _ = scene
            .run(&["run", "deny", "app-redis", "--reason", "test"])
            .ends(0);
        runs.push(run);
    }
    assert_ne!(runs[0], runs[1]);
    let _ = serving.ends();
}
