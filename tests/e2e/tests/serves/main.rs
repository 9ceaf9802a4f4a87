//! The host as a service: it goes on by itself, and commands reach it over its socket as if they had the state to themselves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

mod approvals;
mod brakes;
mod disk;
mod fleet;
mod hooks;
mod http;
mod impostors;
mod logs;
mod neighbours;
mod notices;
mod pauses;
mod reads;
mod scene;
mod tables;
mod traces;
mod trims;
mod unit;
mod watches;

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use keywheel_e2e::redis_user;
use keywheel_kit::{Redis, RedisOptions, random_password};
use rustix::process::Signal;

use crate::scene::{DEADLINE, Scene, Serving, signal, until};

#[test]
fn a_running_host_does_what_commands_want_and_goes_on_with_what_waits() {
    let scene = Scene::new("1s");
    let serving = scene.serve();
    let mode = fs::metadata(scene.socket()).unwrap();
    assert!(mode.file_type().is_socket());
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    // The command leaves the run in its grace; nobody resumes it.
    let _ = scene.run(&["rotate", "app-redis", "--wait", "0s"]).ends(0);
    let new = scene.host.read("app/redis", None);
    assert!(scene.accepts(&new));
    until("the old one is revoked", || scene.state() == "succeeded");
    assert!(!scene.accepts(&scene.old) && scene.accepts(&new));
    // A value from standard input and one into a file, over the socket; and a refusal is told as ever.
    let _ = scene.host.import("another/one", &random_password()).ends(0);
    let refused = scene.run(&["rotate", "nobody"]).ends(23);
    let _ = refused.says(&["error[rotation.not-found]"]);
    // Who did it stands in the trail: this user, and the host itself.
    let trail = scene.run(&["audit", "search", "-o", "json"]).ends(0).stdout;
    assert!(
        trail.contains("\"actor\": \"uid:") && trail.contains("\"actor\": \"keeper\""),
        "{trail}"
    );
    let _ = scene.run(&["doctor"]).ends(0);
    let _ = serving.ends();
    assert!(!scene.socket().exists());
    // Without it the same commands have the state to themselves.
    let _ = scene.run(&["status"]).ends(0);
    let _ = scene.run(&["audit", "verify"]).ends(0);
}

#[test]
fn what_is_due_is_started_by_nobody_and_once_after_the_host_was_away() {
    let scene = Scene::new("1s");
    let file = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    let scheduled = |schedule: &str| {
        let named = "name = \"app-redis\"\n";
        assert!(text.contains(named));
        let lines = format!("{named}schedule = \"{schedule}\"\n");
        fs::write(&file, text.replacen(named, &lines, 1)).unwrap();
    };
    scheduled("@every 2s");
    let serving = scene.serve();
    until("it was rotated three times", || {
        scene.host.versions("app/redis").len() > 3
    });
    let trail = scene
        .run(&["audit", "search", "--actor", "keeper", "-o", "json"])
        .ends(0)
        .stdout;
    assert!(trail.contains("run.begin"), "{trail}");
    let _ = serving.ends();
    let before = scene.host.versions("app/redis").len();
    // Many times pass while nobody is there.
    thread::sleep(Duration::from_secs(5));
    scheduled("@every 1h");
    let serving = scene.serve();
    assert_eq!(scene.host.versions("app/redis").len(), before);
    scheduled("@every 2s");
    serving.signal(Signal::HUP);
    until("it is rotated again", || {
        scene.host.versions("app/redis").len() > before
    });
    let _ = serving.ends();
    let current = scene.host.read("app/redis", None);
    assert!(scene.accepts(&current) && !scene.accepts(&scene.old));
    let _ = scene.run(&["audit", "verify"]).ends(0);
}

/// `kill -9` at many moments of rotations that nobody started: somebody can log in after each, and the next host goes on.
#[test]
fn a_host_that_is_killed_in_what_it_started_by_itself_locks_nobody_out() {
    let scene = Scene::new("1s");
    let file = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    let named = "name = \"app-redis\"\n";
    let lines = format!("{named}schedule = \"@every 1s\"\n");
    fs::write(&file, text.replacen(named, &lines, 1)).unwrap();
    let mut open = 0;
    for kill in 0..12 {
        let serving = scene.serve();
        thread::sleep(Duration::from_millis(150 + 130 * kill));
        drop(serving);
        let kept = |stage: &str| ["current", "pending", "previous"].contains(&stage);
        let versions = scene.host.versions("app/redis").into_iter();
        let held = versions.filter(|(_, stage)| kept(stage));
        let values: Vec<String> = held
            .map(|(version, _)| scene.host.read("app/redis", Some(&version)))
            .collect();
        assert!(
            values.iter().any(|value| scene.accepts(value)),
            "locked out by kill {kill}"
        );
        let run = scene.run(&["run", "show", "app-redis", "-o", "json"]).json();
        open += usize::from(run["finished-at"].is_null());
    }
    assert!(open > 0, "no kill hit a run");
    let before = scene.host.versions("app/redis").len();
    let serving = scene.serve();
    until("it goes on", || {
        scene.host.versions("app/redis").len() > before + 1
    });
    let _ = serving.ends();
    assert!(scene.accepts(&scene.host.read("app/redis", None)));
    assert!(!scene.accepts(&scene.old));
    let _ = scene.run(&["audit", "verify"]).ends(0);
}

#[test]
fn a_target_that_is_away_is_tried_again_and_keeps_nobody_else() {
    let scene = Scene::new("1s");
    let mut other = Redis::start(RedisOptions::default()).unwrap();
    let password = random_password();
    other.create_user("app", &password).unwrap();
    let file = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    let lines = redis_user(&other, "1s")
        .replace("app-redis", "other")
        .replace("app/redis", "other/redis");
    let lines = lines.replace("admin/redis", "admin/other");
    fs::write(&file, format!("{text}\n{lines}")).unwrap();
    fs::remove_file(scene.host.file("policies/redis.toml")).unwrap();
    scene
        .host
        .add_plugin("redis", &[scene.server.port(), other.port()]);
    let _ = scene.host.import("admin/other", other.admin_password()).ends(0);
    let _ = scene.host.import("other/redis", &password).ends(0);
    let text = fs::read_to_string(&file).unwrap();
    let both = ["app-redis", "other"].iter().fold(text, |text, name| {
        let named = format!("name = \"{name}\"\n");
        text.replacen(&named, &format!("{named}schedule = \"@every 2s\"\n"), 1)
    });
    fs::write(&file, both).unwrap();
    // A user that is in its file comes back with it.
    assert_eq!(other.command(&["ACL", "SAVE"]).unwrap().trim(), "OK");
    other.stop().unwrap();
    let serving = scene.serve();
    until("the other one is rotated", || {
        scene.host.versions("app/redis").len() > 3
    });
    let status = scene.run(&["status"]).ends(10).stdout;
    assert!(status.contains("rotation other"), "{status}");
    // Somebody else's connection may have its port for a moment.
    until("it can be started again", || other.restart().is_ok());
    until("it comes back", || scene.host.versions("other/redis").len() > 1);
    let _ = serving.ends();
    let current = scene.host.read("other/redis", None);
    assert!(other.login("app", &current).unwrap().is_accepted());
}

#[test]
fn there_is_one_host_and_what_a_dead_one_left_is_replaced() {
    let scene = Scene::new("1s");
    let serving = scene.serve();
    let second = scene.run(&["serve"]).ends(24);
    let _ = second.says(&["error[store.in-use]"]);
    drop(serving);
    // Its socket is still there, and nobody listens.
    assert!(scene.socket().exists());
    let _ = scene.run(&["status"]).ends(0);
    let serving = scene.serve();
    let _ = scene.run(&["status"]).ends(0);
    let _ = serving.ends();
}

/// Somebody who looks at the state for a moment keeps no service from starting.
#[test]
fn a_host_that_starts_waits_for_a_command_to_end_and_takes_what_is_changed_meanwhile() {
    let scene = Scene::new("24h");
    let rotate = ["rotate", "app-redis", "--wait", "end"];
    let mut command = scene.host.start(&mut scene.host.command(&rotate));
    assert!(command.wait_for("waits until"), "{}", command.stderr());
    let starting = scene.host.start(&mut scene.host.command(&["serve"]));
    // It has read its configuration by then, most likely.
    thread::sleep(Duration::from_secs(1));
    scene.configure_first("[[notify]]\nname = \"late\"\nkind = \"log\"\n");
    signal(&command, Signal::INT);
    let _ = scene.host.wait(command).ends(124);
    until("it listens", || UnixStream::connect(scene.socket()).is_ok());
    until("it has read what was changed", || {
        let sinks = scene.run(&["notify", "list", "-o", "json"]).ends(0).json();
        sinks[0]["name"] == "late"
    });
    signal(&starting, Signal::TERM);
    let _ = scene.host.wait(starting).ends(0);
}

#[test]
fn two_commands_on_one_run_take_turns() {
    let scene = Scene::new("24h");
    let serving = scene.serve();
    // One waits for the grace to end, which takes a day; the other one ends it.
    let waiting = scene.rotate_and_wait();
    let words = [
        "run",
        "resume",
        "app-redis",
        "--revoke-now",
        "--reason",
        "test",
        "--wait",
        "end",
    ];
    let _ = scene.run(&words).ends(0);
    assert!(!scene.accepts(&scene.old));
    let _ = scene.host.wait(waiting).ends(124);
    assert_eq!(scene.state(), "succeeded");
    let _ = serving.ends();
}

#[test]
fn a_command_that_is_stopped_leaves_its_run_to_the_host() {
    let scene = Scene::new("24h");
    let serving = scene.serve();
    let waiting = scene.rotate_and_wait();
    signal(&waiting, Signal::INT);
    let _ = scene
        .host
        .wait(waiting)
        .ends(124)
        .says(&["stopping at the next journalled point"]);
    let run = scene.run(&["run", "show", "app-redis", "-o", "json"]).json();
    assert_eq!(run["driven"], true, "{run:#}");
    let _ = serving.ends();
}

#[test]
fn a_configuration_is_read_again_and_a_bad_one_leaves_the_old_one() {
    let scene = Scene::new("1s");
    let mut serving = scene.serve();
    let file = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}\nnonsense = 1\n")).unwrap();
    serving.signal(Signal::HUP);
    assert!(serving.started().wait_for("was not taken"));
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    fs::write(
        &file,
        text.replace("name = \"app-redis\"", "name = \"other-redis\""),
    )
    .unwrap();
    serving.signal(Signal::HUP);
    assert!(serving.started().wait_for("read the configuration again"));
    let _ = scene.run(&["rotate", "other-redis", "--wait", "end"]).ends(0);
    let _ = serving.ends();
}

#[test]
fn a_reload_that_is_asked_for_while_the_state_is_opened_is_not_the_end() {
    let scene = Scene::new("1s");
    let lock = fs::File::options()
        .write(true)
        .open(scene.host.file("state/lock"))
        .unwrap();
    lock.try_lock().unwrap();
    let started = scene.host.start(&mut scene.host.command(&["serve"]));
    // The first bit of the signals that it catches (proc_pid_status(5)).
    let status = format!("/proc/{}/status", started.child.id());
    until("it hears", || {
        let status = fs::read_to_string(&status).unwrap();
        let caught = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & 1 == 1
    });
    signal(&started, Signal::HUP);
    drop(lock);
    let started = Some(started);
    let mut serving = scene::Serving {
        scene: &scene,
        started,
    };
    assert!(serving.started().wait_for("read the configuration again"));
    let _ = serving.ends();
}

#[test]
fn the_service_manager_is_told() {
    let scene = Scene::new("1s");
    let socket = scene.host.outside("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let told = || {
        let mut buffer = [0; 512];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut serve = scene.host.command(&["serve"]);
    serve.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "400000");
    let serving = scene.serve_by(&mut serve);
    let mut heard = Vec::new();
    while heard
        .iter()
        .filter(|words: &&String| *words == "WATCHDOG=1")
        .count()
        < 3
    {
        heard.push(told());
    }
    assert!(
        heard
            .iter()
            .any(|words| words.starts_with("READY=1\nSTATUS=keeps 1 rotation")),
        "{heard:?}"
    );
    serving.signal(Signal::HUP);
    while !heard
        .iter()
        .any(|words| words.starts_with("RELOADING=1\nMONOTONIC_USEC="))
    {
        heard.push(told());
    }
    serving.signal(Signal::TERM);
    while !heard.iter().any(|words| words == "STOPPING=1") {
        heard.push(told());
    }
    let _ = serving.ends();
}

#[test]
fn a_socket_that_cannot_be_is_told_before_anything_runs() {
    let scene = Scene::new("1s");
    let file = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    let serve_at = |socket: &str| {
        fs::write(&file, format!("[serve]\nsocket = \"{socket}\"\n\n{text}")).unwrap();
        scene.run(&["serve"])
    };
    let long = format!("/tmp/{}", "x".repeat(120));
    let _ = serve_at(&long)
        .ends(20)
        .says(&["error[socket.too-long]", "hint: "]);
    let taken = scene.host.outside("taken");
    fs::write(&taken, "mine").unwrap();
    let _ = serve_at(taken.to_str().unwrap())
        .ends(20)
        .says(&["error[socket.taken]"]);
    assert_eq!(fs::read_to_string(&taken).unwrap(), "mine");
    let _ = serve_at("nowhere/at/all.sock")
        .ends(1)
        .says(&["error[socket.listen]"]);
}

/// Paths are those of whoever types them, whatever folder the host runs in.
#[test]
fn relative_paths_are_from_where_the_command_was_started() {
    let scene = Scene::new("1s");
    let elsewhere = scene.host.outside("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let configuration = scene.host.file("keywheel.toml").display().to_string();
    let there = |words: &[&str], code: i32| {
        let mut command = scene
            .host
            .command(&[&["--config", &configuration], words].concat());
        let _ = scene.host.finish(command.current_dir(&elsewhere), "").ends(code);
    };
    let serving = scene.serve();
    there(&["audit", "checkpoint", "--out", "head"], 0);
    there(&["audit", "verify", "--checkpoint", "head", "--save", "next"], 0);
    there(&["vault", "backup", "kept.age"], 0);
    there(&["vault", "slot", "add", "--key-file", "second.key"], 0);
    there(
        &["secret", "read", "app/redis", "--reason", "test", "--to", "value"],
        0,
    );
    there(&["secret", "import", "some/other", "@value"], 0);
    there(&["secret", "import", "some/other", "@missing"], 23);
    there(&["doctor"], 0);
    for file in ["head", "next", "kept.age", "second.key", "value"] {
        assert!(elsewhere.join(file).is_file(), "{file}");
        assert!(!scene.host.file(file).exists(), "{file}");
    }
    let _ = serving.ends();
}

/// Whatever the socket's mode is, the kernel says who is on the other side.
#[test]
fn another_user_is_refused_by_the_mode_and_by_the_host() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can be another user");
        return;
    }
    let scene = Scene::new("1s");
    let open = tempfile::tempdir().unwrap();
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (socket, binary) = (open.path().join("socket"), open.path().join("keywheel"));
    fs::copy(keywheel_e2e::binary(), &binary).unwrap();
    let file = scene.host.file("keywheel.toml");
    let lines = format!("[serve]\nsocket = \"{}\"\n\n", socket.display());
    fs::write(&file, format!("{lines}{}", fs::read_to_string(&file).unwrap())).unwrap();
    fs::write(open.path().join("keywheel.toml"), &lines).unwrap();
    let mut serving = Serving {
        scene: &scene,
        started: Some(scene.host.start(&mut scene.host.command(&["serve"]))),
    };
    assert!(serving.started().wait_for("keeps 1 rotation"));
    let nobody = || {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(&binary)
            .arg("status")
            .current_dir(open.path());
        scene.host.finish(&mut command, "")
    };
    let _ = nobody().ends(22).says(&["error[socket.peer]"]);
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let _ = nobody()
        .ends(22)
        .says(&["error[socket.peer]", "as the host's own user, or as root"]);
    let _ = scene.run(&["status"]).ends(0);
    let _ = serving.ends();
}

/// The files of docs/operators are what a service manager takes without a word.
#[test]
fn the_units_are_taken_by_systemd() {
    let folder = tempfile::tempdir().unwrap();
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/operators");
    let mut units = Vec::new();
    for entry in fs::read_dir(docs).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let unit = folder.path().join(path.file_name().unwrap());
        // Of this machine, where nothing is installed.
        fs::write(&unit, text.replace("/usr/local/bin/keywheel", "/bin/true")).unwrap();
        units.push(unit);
    }
    assert_eq!(units.len(), 3, "{units:?}");
    let Ok(verified) = Command::new("systemd-analyze")
        .arg("verify")
        .args(&units)
        .output()
    else {
        println!("skipped: there is no systemd-analyze");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && said.trim().is_empty(), "{said}");
}
