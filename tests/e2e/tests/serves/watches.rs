//! Files that change under a running host, which nobody tells of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use keywheel_e2e::plugin_file;
use rustix::process::Signal;
use sha2::{Digest as _, Sha256};

use crate::http::{free_address, get};
use crate::scene::{Scene, until};

fn says(scene: &Scene, words: &str) -> bool {
    scene.run(&["status"]).stdout.contains(words)
}

#[test]
fn a_changed_configuration_is_taken_and_a_bad_one_leaves_the_old_one() {
    let scene = Scene::new("1s");
    let mut serving = scene.serve();
    let file = scene.host.file("keywheel.toml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{good}\nnonsense = 1\n")).unwrap();
    assert!(serving.started().wait_for("was not taken"));
    // It goes on with what it has, and says so until it is put right.
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    assert!(says(&scene, "config.invalid") && says(&scene, "keywheel config check"));
    let _ = scene.run(&["config", "check"]).ends(20);
    // As an editor does it: beside it, then in its place.
    let named = good.replace("name = \"app-redis\"", "name = \"other-redis\"");
    let beside = scene.host.file("keywheel.toml.new");
    fs::write(&beside, named).unwrap();
    fs::rename(&beside, &file).unwrap();
    until("it is taken", || scene.run(&["plan", "other-redis"]).code != 23);
    let _ = scene.run(&["rotate", "other-redis", "--wait", "end"]).ends(0);
    assert!(!says(&scene, "config.invalid"));
    let _ = serving.ends();
}

#[test]
fn a_file_that_changes_all_the_time_puts_the_others_off_for_a_while_alone() {
    let scene = Scene::new("1s");
    let mut serving = scene.serve();
    let (restless, done) = (scene.host.file("plugins/other.wasm"), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut bytes = Vec::new();
            while !done.load(Ordering::Relaxed) {
                bytes.push(b'x');
                fs::write(&restless, &bytes).unwrap();
                thread::sleep(Duration::from_millis(200));
            }
        });
        let file = scene.host.file("keywheel.toml");
        let text = fs::read_to_string(&file).unwrap();
        let named = text.replace("name = \"app-redis\"", "name = \"other-redis\"");
        fs::write(&file, named).unwrap();
        let is_taken = serving.started().wait_for("read the configuration again");
        let is_told = serving.started().wait_for("other.wasm\" changes again and again");
        done.store(true, Ordering::Relaxed);
        assert!(is_taken && is_told);
    });
    let _ = scene.run(&["rotate", "other-redis", "--wait", "end"]).ends(0);
    let _ = serving.ends();
}

#[test]
fn a_plugin_that_is_dropped_in_is_seen_and_one_that_is_broken_hurts_nobody() {
    let scene = Scene::new("1s");
    let serving = scene.serve();
    let listed = || scene.run(&["plugin", "list"]).stdout;
    assert!(!listed().contains("postgres"));
    fs::copy(plugin_file("postgres"), scene.host.file("plugins/postgres.wasm")).unwrap();
    fs::write(scene.host.file("plugins/broken.wasm"), "no component").unwrap();
    until("both are seen", || {
        let listed = listed();
        listed.contains("postgres") && listed.contains("broken")
    });
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    // One that runs is pinned by its bytes: what is in its place now does not run, and the host goes on with its own copy.
    let redis = scene.host.file("plugins/redis.wasm");
    let bytes = fs::read(&redis).unwrap();
    fs::write(&redis, &bytes[..bytes.len() / 2]).unwrap();
    until("that is seen", || listed().contains("redis.wasm"));
    fs::remove_file(&redis).unwrap();
    fs::write(&redis, &bytes).unwrap();
    until("it is back", || {
        let status = scene.run(&["status"]).stdout;
        !status.contains("plugin redis")
    });
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    let _ = serving.ends();
}

/// What the host read last is not what is there now.
#[test]
fn a_plugin_is_pinned_by_what_lies_in_the_folder_when_it_is_added() {
    let scene = Scene::new("1s");
    // It does not look by itself.
    scene.configure_first("[serve]\nwatch = false\n");
    let serving = scene.serve();
    let file = scene.host.file("plugins/mariadb.wasm");
    let good = fs::read(plugin_file("mariadb")).unwrap();
    // A custom section of one byte: another file of the same plugin.
    let other = [&good[..], &[0, 2, 1, b'x']].concat();
    for bytes in [other, good] {
        fs::write(&file, &bytes).unwrap();
        let added = scene.run(&["plugin", "add", "mariadb", "--yes", "-o", "json"]);
        let digest: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(added.ends(0).json()["digest"], format!("sha256:{digest}"));
        let lock = fs::read_to_string(scene.host.file("plugins.lock")).unwrap();
        assert!(lock.contains(&digest), "{lock}");
    }
    let _ = scene.run(&["plugin", "verify"]).ends(0);
    let _ = serving.ends();
}

/// A reload in the middle of a run: it ends under what it began with.
#[test]
fn a_run_under_way_keeps_its_configuration() {
    let scene = Scene::new("24h");
    let serving = scene.serve();
    let waiting = scene.rotate_and_wait();
    let file = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("grace = \"24h\"", "grace = \"1s\"")).unwrap();
    until("it is taken", || {
        let run = scene.run(&["run", "show", "app-redis", "-o", "json"]).json();
        run["other-configuration"] == true
    });
    assert_eq!(scene.state(), "waiting");
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
    let _ = scene.host.wait(waiting);
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    let _ = serving.ends();
}

#[test]
fn a_check_beside_a_running_host_sees_what_is_taken_out_under_an_open_run() {
    let scene = Scene::new("24h");
    // It reads again when it is told to.
    scene.configure_first("[serve]\nwatch = false\n");
    let mut serving = scene.serve();
    let _ = scene.run(&["rotate", "app-redis", "--wait", "0s"]).ends(0);
    let file = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    let checked = scene.run(&["config", "check"]).ends(0);
    assert_eq!(checked.stderr, "");
    let (without, _) = text.split_once("[[rotation]]").unwrap();
    let beside = scene.host.file("without.toml");
    fs::write(&beside, without).unwrap();
    let words = [
        "run.rotation-gone",
        "app-redis",
        "waiting at `propagate`",
        "keywheel run resume ",
    ];
    let _ = scene
        .run(&["--config", "without.toml", "config", "check"])
        .ends(24)
        .says(&words);
    // Taken all the same, and not without a word.
    fs::rename(&beside, &file).unwrap();
    serving.signal(Signal::HUP);
    assert!(serving.started().wait_for("does not have that rotation any more"));
    let _ = scene.run(&["config", "check"]).ends(24).says(&words);
    let _ = scene.run(&["status"]).ends(10);
    fs::write(&file, text).unwrap();
    let _ = scene.run(&["config", "check"]).ends(0);
    let _ = serving.ends();
}

#[test]
fn a_socket_that_is_removed_is_made_again_and_what_is_anothers_stays() {
    let scene = Scene::new("1s");
    let address = free_address();
    scene.configure_first(&format!("[serve]\nhttp = \"{address}\"\n"));
    let mut serving = scene.serve();
    let socket = scene.socket();
    let listens = || UnixStream::connect(&socket).is_ok();
    fs::remove_file(&socket).unwrap();
    until("it is made again", listens);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    let _ = scene.run(&["serve"]).ends(24).says(&["error[store.in-use]"]);
    // Something else in its place.
    let file = scene.host.file("state/file");
    fs::write(&file, "mine").unwrap();
    fs::rename(&file, &socket).unwrap();
    assert!(serving.started().wait_for("error[socket.taken]"));
    let (status, why) = get(address, "/readyz");
    assert!(status == 503 && why.contains("socket.taken"), "{status} {why}");
    assert_eq!(fs::read_to_string(&socket).unwrap(), "mine");
    fs::remove_file(&socket).unwrap();
    until("it is made again", listens);
    until("that is said", || get(address, "/readyz").0 == 200);
    // Another's, who listens.
    let beside = scene.host.file("state/another");
    let another = UnixListener::bind(&beside).unwrap();
    fs::rename(&beside, &socket).unwrap();
    assert!(serving.started().wait_for("error[socket.in-use]"));
    let _ = serving.ends();
    assert!(listens());
    drop(another);
}
