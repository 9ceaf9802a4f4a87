//! Consumers that say by a program whether they hold a version: they end the wait for them, take nothing back, and are asked again after every crash.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use keywheel_e2e::{Host, binary, role_adopted};
use keywheel_kit::{Redis, RedisOptions};
use rustix::process::getuid;
use serde_json::{Value, json};

use crate::scene::{Scene, until};

/// A program of the operator's, beside the host.
fn script(host: &Host, name: &str, lines: &str) -> PathBuf {
    let file = host.outside(name);
    fs::write(&file, format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
    file
}

/// Gives the only consumer of the configuration this hook, and this user what it reads.
fn hook(host: &Host, staleness: &str, hook: &str) {
    let file = host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    let before = "{ name = \"shop\", staleness = \"1s\" }";
    assert!(text.contains(before), "{text}");
    let consumer = format!("{{ name = \"shop\", staleness = \"{staleness}\", hook = {hook} }}");
    let grant = format!(
        "[[grant]]\nuid = {}\nallow = [\"read-plaintext\"]\nsecrets = [\"app/*\"]\n",
        getuid().as_raw()
    );
    fs::write(&file, format!("{grant}\n{}", text.replace(before, &consumer))).unwrap();
}

fn show(host: &Host, rotation: &str) -> Value {
    let shown = host.run(&["run", "show", rotation, "-o", "json"], "");
    shown.json()
}

/// How often the program was asked, as it noted it.
fn asked(host: &Host) -> usize {
    let noted = fs::read_to_string(host.outside("asked")).unwrap_or_default();
    noted.lines().count()
}

fn rows(host: &Host) -> Vec<(String, Value)> {
    let rows = host.json(&["audit", "search", "--action", "hook.run", "--oldest-first"]);
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| {
        (
            row["outcome"].as_str().unwrap().to_owned(),
            row["details"].clone(),
        )
    })
    .collect()
}

#[test]
fn a_consumer_that_holds_the_new_version_ends_the_wait_for_it() {
    let scene = Scene::new("2h");
    let host = &scene.host;
    let lines = format!(
        "env > '{out}/environment'; echo \"$@\" >> '{out}/asked'\n\
         exec '{keywheel}' secret read \"$KEYWHEEL_SECRET\" -o json > '{out}/held'",
        out = host.outside("").display(),
        keywheel = binary().display(),
    );
    let program = script(host, "reload", &lines);
    let exec = format!(
        "{{ exec = [\"{}\", \"{{secret}}\", \"{{version}}:{{stage}}\", \"{{rotation}}\", \"a;b $HOME\"] }}",
        program.display()
    );
    hook(host, "1h", &exec);
    let _ = scene.run(&["config", "check"]).ends(0);
    let serving = scene.serve();
    let _ = scene.run(&["rotate", "app-redis", "--wait", "0s"]);
    until("the old one is revoked long before its grace", || {
        scene.state() == "succeeded"
    });
    let new = host.read("app/redis", None);
    assert!(scene.accepts(&new) && !scene.accepts(&scene.old));
    // It read the value itself, by its grant, with the version that goes with it.
    let held: Value = serde_json::from_str(&fs::read_to_string(host.outside("held")).unwrap()).unwrap();
    let (current, _) = host.versions("app/redis").remove(0);
    assert_eq!((&held["value"], &held["version"]), (&json!(new), &json!(current)));
    let words = fs::read_to_string(host.outside("asked")).unwrap();
    assert_eq!(
        words,
        format!("app/redis {current}:current app-redis a;b $HOME\n")
    );
    // It got names, and nothing of the host's environment.
    let environment = fs::read_to_string(host.outside("environment")).unwrap();
    let mut names: Vec<&str> = environment
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    names.retain(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name));
    names.sort_unstable();
    let given =
        ["ROTATION", "RUN", "SECRET", "SOCKET", "STAGE", "VERSION"].map(|name| format!("KEYWHEEL_{name}"));
    assert_eq!(
        names,
        given
            .iter()
            .map(String::as_str)
            .chain(["PATH"])
            .collect::<Vec<_>>()
    );
    // Who holds what is told.
    for shown in [
        show(host, "app-redis"),
        host.json(&["secret", "show", "app/redis"]),
    ] {
        let consumer = &shown["consumers"][0];
        assert_eq!(
            (&consumer["name"], &consumer["staleness-ms"]),
            (&json!("shop"), &json!(3_600_000))
        );
        assert_eq!(
            (&consumer["said"], &consumer["holds-current"]),
            (&json!(current), &json!(true))
        );
        assert!(
            consumer["said-at"].is_u64() || consumer["said-at"].is_string(),
            "{consumer}"
        );
    }
    let text = scene.run(&["secret", "show", "app/redis"]).ends(0).stdout;
    assert!(
        text.contains("shop (up to 1h behind) holds the current version"),
        "{text}"
    );
    let [(outcome, details)] = &rows(host)[..] else {
        panic!("{:?}", rows(host))
    };
    assert_eq!(
        (outcome.as_str(), &details["consumer"], &details["version"]),
        ("ok", &json!("shop"), &json!(current))
    );
    let _ = serving.ends();
    let _ = scene.run(&["audit", "verify"]).ends(0);
}

#[test]
fn a_consumer_that_cannot_be_told_is_told_again_and_nothing_is_taken_back() {
    let scene = Scene::new("2h");
    let host = &scene.host;
    let (asked_file, down) = (host.outside("asked"), host.outside("down"));
    // It shows what it read, as it is and in base64.
    let lines = format!(
        "echo asked >> '{}'; value=$('{}' secret read \"$1\")\n\
         echo \"it is $value\"; printf %s \"$value\" | base64 >&2\n\
         test ! -e '{}' || exit 3",
        asked_file.display(),
        binary().display(),
        down.display()
    );
    let program = script(host, "reload", &lines);
    hook(
        host,
        "1h",
        &format!("{{ exec = [\"{}\", \"{{secret}}\"] }}", program.display()),
    );
    fs::write(&down, "").unwrap();
    let serving = scene.serve_by(&mut host.command(&["-vv", "serve"]));
    let _ = scene.run(&["rotate", "app-redis", "--wait", "0s"]).ends(0);
    until("it is told again", || asked(host) > 2);
    let run = show(host, "app-redis");
    assert_eq!(
        (&run["state"], &run["safety"]),
        (&json!("waiting"), &json!("both-valid")),
        "{run:#}"
    );
    assert_eq!(run["trouble"]["code"], "hook.ended", "{run:#}");
    let message = run["trouble"]["message"].as_str().unwrap();
    assert!(
        message.contains("code 3") && message.contains("withheld"),
        "{message}"
    );
    assert_eq!(run["consumers"][0]["holds-current"], false, "{run:#}");
    let new = host.read("app/redis", None);
    assert!(scene.accepts(&new) && scene.accepts(&scene.old));
    fs::remove_file(&down).unwrap();
    until("it has ended", || scene.state() == "succeeded");
    assert!(scene.accepts(&new) && !scene.accepts(&scene.old));
    let outcomes: Vec<String> = rows(host).into_iter().map(|(outcome, _)| outcome).collect();
    assert_eq!(outcomes.last().unwrap(), "ok");
    assert!(
        outcomes.iter().rev().skip(1).all(|outcome| outcome == "failed") && outcomes.len() > 2,
        "{outcomes:?}"
    );
    // In the log is what it said, where it held the version, too: and no value.
    let log = serving.ends().stderr;
    assert!(
        log.contains("a consumer holds the version") && log.contains("withheld"),
        "{log}"
    );
    assert!(!log.contains(&new), "{log}");
    let _ = scene.run(&["audit", "verify"]).ends(0);
}

/// A person is not to resume what is done right now.
#[test]
fn a_run_whose_program_is_asked_again_is_not_told_as_one_to_be_resumed() {
    let scene = Scene::new("2h");
    let host = &scene.host;
    let lines = format!(
        "echo asked >> '{out}/asked'; test $(wc -l < '{out}/asked') -gt 1 || exit 3\n\
         touch '{out}/runs'; while [ ! -e '{out}/go' ]; do sleep 0.1; done",
        out = host.outside("").display()
    );
    let program = script(host, "reload", &lines);
    let exec = format!("{{ exec = [\"{}\"], timeout = \"4m\" }}", program.display());
    hook(host, "1h", &exec);
    let serving = scene.serve();
    let _ = scene.run(&["rotate", "app-redis", "--wait", "0s"]).ends(0);
    until("it is asked again", || host.outside("runs").exists());
    let status = scene.run(&["status", "-o", "json"]).json();
    let status = status.as_array().unwrap().iter();
    let told: Vec<&Value> = status
        .filter(|entry| entry["subject"] == "rotation app-redis")
        .collect();
    let [entry] = &told[..] else { panic!("{told:#?}") };
    assert_eq!(entry["kind"], "run-in-trouble", "{entry:#}");
    let way_out = entry["way-out"].as_str().unwrap();
    assert!(!way_out.contains("resume"), "{entry:#}");
    fs::write(host.outside("go"), "").unwrap();
    until("it has ended", || scene.state() == "succeeded");
    let _ = serving.ends();
}

#[test]
fn whoever_does_not_answer_is_waited_for_as_long_as_it_declared() {
    let scene = Scene::new("4s");
    let host = &scene.host;
    let lines = format!("echo $$ >> '{}'; sleep 600", host.outside("asked").display());
    let program = script(host, "reload", &lines);
    hook(
        host,
        "1s",
        &format!("{{ exec = [\"{}\"], timeout = \"1s\" }}", program.display()),
    );
    // Without a running host the command itself asks.
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    let run = show(host, "app-redis");
    assert_eq!(run["state"], "succeeded", "{run:#}");
    let steps = run["steps"].as_array().unwrap();
    let propagate = steps.iter().find(|step| step["step"] == "propagate").unwrap();
    assert_eq!(
        (&propagate["code"], &propagate["state"]),
        (&json!("hook.late"), &json!("failed")),
        "{run:#}"
    );
    assert!(scene.accepts(&host.read("app/redis", None)) && !scene.accepts(&scene.old));
    let noted = fs::read_to_string(host.outside("asked")).unwrap();
    for pid in noted.lines() {
        let is_gone = || {
            let status = fs::read_to_string(format!("/proc/{pid}/stat"));
            status.map_or(true, |status| status.contains(") Z "))
        };
        until("the program is killed", is_gone);
    }
    assert!(noted.lines().count() > 0);
}

/// The program itself kills the host: before it has done its work, and after it, before it could answer. Then once more within a host that serves.
#[test]
fn a_host_that_dies_beside_a_program_asks_it_again() {
    let scene = Scene::new("10s");
    let host = &scene.host;
    let lines = format!(
        "echo \"$1\" >> '{out}/asked'; count=$(wc -l < '{out}/asked')\n\
         if [ $count -eq 1 ]; then kill -9 $PPID; exit 1; fi\n\
         echo \"$1\" > '{out}/held'\n\
         if [ $count -eq 2 ]; then kill -9 $PPID; exit 0; fi\n\
         if [ $count -eq 3 ]; then touch '{out}/runs'; sleep 600; fi",
        out = host.outside("").display()
    );
    let program = script(host, "reload", &lines);
    hook(
        host,
        "10s",
        &format!(
            "{{ exec = [\"{}\", \"{{version}}\"], timeout = \"2m\" }}",
            program.display()
        ),
    );
    let died = scene.run(&["rotate", "app-redis", "--wait", "end"]);
    assert_eq!((died.signal, asked(host)), (Some(9), 1), "{died:?}");
    // It is promoted, and both are accepted.
    let new = host.read("app/redis", None);
    assert!(new != scene.old && scene.accepts(&new) && scene.accepts(&scene.old));
    let died = scene.run(&["run", "resume", "app-redis", "--wait", "end"]);
    assert_eq!((died.signal, asked(host)), (Some(9), 2), "{died:?}");
    // The third time the host is killed from outside while the program runs.
    let serving = scene.serve();
    until("the program runs", || host.outside("runs").exists());
    drop(serving);
    assert!(scene.accepts(&new) && scene.accepts(&scene.old));
    let serving = scene.serve();
    // What a run that died in the promotion has proved counts no more: the declared time is waited for, whoever has reported.
    until("it goes on", || scene.state() == "succeeded");
    assert_eq!(asked(host), 4);
    let _ = serving.ends();
    assert_eq!(host.read("app/redis", None), new);
    assert!(scene.accepts(&new) && !scene.accepts(&scene.old));
    let (current, _) = host.versions("app/redis").remove(0);
    let noted = fs::read_to_string(host.outside("asked")).unwrap();
    assert!(noted.lines().all(|version| version == current), "{noted}");
    let _ = scene.run(&["audit", "verify"]).ends(0);
}

/// One role has one password: who holds both before the change is never refused (rule P8), also where the host dies in between.
#[test]
fn on_a_target_with_one_credential_consumers_hold_both_before_the_change() {
    let (server, host, old) = role_adopted();
    let file = host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("gap = \"accept\"\n", "")).unwrap();
    let refused = host.run(&["config", "check"], "").ends(20);
    let _ = refused.says(&["config.gap", "announce = true"]);
    let lines = format!(
        "echo \"$KEYWHEEL_STAGE\" >> '{out}/asked'\n\
         if [ ! -e '{out}/died' ]; then touch '{out}/died'; kill -9 $PPID; exit 1; fi\n\
         '{keywheel}' secret read app/db > '{out}/current' || exit 1\n\
         if [ \"$KEYWHEEL_STAGE\" = pending ]; then '{keywheel}' secret read app/db --version pending > '{out}/pending'; fi",
        out = host.outside("").display(),
        keywheel = binary().display()
    );
    let program = script(&host, "reload", &lines);
    hook(
        &host,
        "1s",
        &format!("{{ exec = [\"{}\"], announce = true }}", program.display()),
    );
    let _ = host.run(&["config", "check"], "").ends(0);
    let plan = host.run(&["plan", "app-db", "-o", "json"], "").ends(10).json();
    let steps: Vec<&str> = plan[0]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    assert!(
        plan[0]["gap"].is_null() && steps.contains(&"announce"),
        "{plan:#}"
    );
    let scene = Scene::of(Redis::start(RedisOptions::default()).unwrap(), host);
    let serving = scene.serve();
    let _ = scene.run(&["rotate", "app-db", "--wait", "0s"]);
    // The host died in the announcement: nothing is changed on the target.
    assert!(scene.host.outside("died").exists());
    assert!(server.login("app", &old).unwrap().is_accepted());
    drop(serving);
    let serving = scene.serve();
    until("it goes on", || {
        show(&scene.host, "app-db")["state"] == "succeeded"
    });
    let new = scene.host.read("app/db", None);
    assert!(
        server.login("app", &new).unwrap().is_accepted() && !server.login("app", &old).unwrap().is_accepted()
    );
    let held = |name: &str| fs::read_to_string(scene.host.outside(name)).unwrap();
    // It was given the new one while the old one was current; and then it was current.
    assert_eq!((held("pending"), held("current")), (new.clone(), new.clone()));
    assert_eq!(held("asked"), "pending\npending\ncurrent\n");
    let run = show(&scene.host, "app-db");
    let steps: Vec<&str> = run["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    let place = |step: &str| steps.iter().position(|found| *found == step);
    assert!(
        place("announce") < place("apply") && place("announce").is_some(),
        "{run:#}"
    );
    let _ = serving.ends();
    let _ = scene.run(&["audit", "verify"]).ends(0);
}

#[test]
fn a_program_that_may_not_answer_is_refused_at_its_place() {
    let scene = Scene::new("1h");
    let host = &scene.host;
    let file = host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    let good = script(host, "good", "exit 0");
    let plain = script(host, "plain", "exit 0");
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o600)).unwrap();
    let open = script(host, "open", "exit 0");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let beside = host.outside("everybody");
    fs::create_dir(&beside).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o777)).unwrap();
    let in_open = script(host, "everybody/reload", "exit 0");
    let missing = host.outside("missing");
    let path = |path: &PathBuf| path.display().to_string();
    for (program, why) in [
        ("reload".to_owned(), "no whole path"),
        (path(&missing), "cannot be looked at"),
        (path(&plain), "cannot be executed"),
        (path(&open), "can be changed by others"),
        (path(&in_open), "in which everybody"),
        (path(&host.outside("")), "is no file"),
    ] {
        hook(host, "1m", &format!("{{ exec = [\"{program}\"] }}"));
        let output = scene.run(&["config", "check"]);
        let _ = output.ends(20).says(&["config.hook", why, "--> keywheel.toml:"]);
        fs::write(&file, &text).unwrap();
    }
    // One that was changed after that answers for nobody.
    hook(host, "1m", &format!("{{ exec = [\"{}\"] }}", good.display()));
    let _ = scene.run(&["rotate", "app-redis", "--wait", "0s"]).ends(0);
    fs::set_permissions(&good, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = scene.run(&["rotate", "app-redis"]).ends(20);
    let _ = refused.says(&["config.hook"]);
}
