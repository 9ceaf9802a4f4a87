//! The running host: what commands say to it and hear from it goes over its socket; the verbs of a grace; and what it says by itself, over HTTP, in
//! notices and in its log, as text and as JSON, while rotations go well and while one fails.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use keywheel_e2e::{Started, Trace, redis_user, until};
use keywheel_kit::Collector;
use rustix::process::{Pid, Signal, kill_process};

use crate::outlets::{Scraper, configuration, free_address, told};
use crate::scene::{Scene, ask, servers};

pub(crate) fn run(scene: &mut Scene) {
    let address = free_address();
    let collector = Collector::start(free_address().port()).unwrap();
    let outlets = format!(
        "[traces]\nendpoint = \"{}\"\n\n{}",
        collector.endpoint(),
        configuration(&scene.host, address, "an argument")
    );
    // So that it has a time at which it is due, of which the metrics tell.
    let name = "name = \"app-redis\"\n";
    let scheduled = format!("{name}schedule = \"@every 365d\"\n");
    let rotation = redis_user(&servers().redis, "24h").replacen(name, &scheduled, 1);
    assert!(rotation.contains(&scheduled), "{rotation}");
    scene.write_configuration(&format!("{outlets}\n{rotation}"));
    let mut serving = serve(scene, &["serve"]);
    let scraper = Scraper::start(address);
    values(scene);
    rotations(scene);
    fails(scene, &scraper);
    until("its end is told", || {
        told(&scene.host).contains("\"topic\":\"attention-resolved\"")
    });
    speaks(scene);
    kill_process(Pid::from_child(&serving.child), Signal::HUP).unwrap();
    assert!(
        serving.wait_for("read the configuration again"),
        "{}",
        serving.stderr()
    );
    scraper.once_more();
    scene.keep(scraper.end());
    ends(scene, serving);
    hooks(scene);
    scene.write_configuration(&format!("{outlets}\n{rotation}"));
    in_json(scene, address);
    scene.keep(vec![Trace::new("spans", collector.received().unwrap())]);
    // Nobody waits for what is left of its grace.
    let words: Vec<&str> = REVOKE_NOW.split(' ').collect();
    let _ = scene.host.run(&words, "");
    let _ = scene
        .host
        .run(&["run", "resume", "app-redis", "--wait", "end"], "");
    scene.configure(&["app-db", "app-redis", "pair-db"]);
}

/// Whatever the run is at, it has no grace.
const REVOKE_NOW: &str = "run resume app-redis --revoke-now --reason test --wait end";

fn serve(scene: &Scene, words: &[&str]) -> Started {
    let mut serving = scene.host.start(&mut scene.host.command(words));
    assert!(serving.wait_for("keeps 1 rotation"), "{}", serving.stderr());
    serving
}

fn ends(scene: &Scene, serving: Started) {
    kill_process(Pid::from_child(&serving.child), Signal::TERM).unwrap();
    let _ = scene.host.wait(serving).ends(0);
}

fn values(scene: &mut Scene) {
    let value = scene.plant_odder("a value over the socket");
    let _ = scene.run("secret import some/socket -", &value, 0);
    let _ = scene.run("secret import some/file @OUTSIDE/given -o json", "", 0);
    let _ = scene.run("secret read some/socket --reason test --to OUTSIDE/read", "", 0);
    let _ = scene.run("secret read some/socket --reason test", "", 21);
}

fn rotations(scene: &Scene) {
    let _ = scene.run("rotate app-redis --wait 0s", "", 0);
    let _ = scene.run("drift check app-redis", "", 0);
    let _ = scene.run("run resume app-redis --end-grace --reason test --wait end", "", 0);
    let _ = scene.run("rotate app-redis --wait 0s -o json", "", 0);
    let _ = scene.run(
        "run resume app-redis --revoke-now --reason test --wait end -o json",
        "",
        0,
    );
    let mut command = scene.host.command(&["rotate", "app-redis", "--wait", "end"]);
    let mut running = scene.host.start(&mut command);
    let _ = running.wait_for("  create ");
    let _ = scene
        .host
        .run(&["run", "cancel", "app-redis", "--reason", "test"], "");
    let _ = running.child.kill();
    let _ = scene.host.wait(running);
    let words: Vec<&str> = REVOKE_NOW.split(' ').collect();
    let _ = scene.host.run(&words, "");
}

/// With a new value in its hands the user is let in no more: the run parks, and somebody is told.
fn fails(scene: &Scene, scraper: &Scraper) {
    let before = notices(scene);
    let parks = || {
        let mut command = scene.host.command(&["rotate", "app-redis", "--wait", "0s"]);
        let mut running = scene.host.start(&mut command);
        assert!(running.wait_for("  create "), "{}", running.stderr());
        set_user("off");
        let ended = scene.host.wait(running);
        if ended.code == 41 {
            return true;
        }
        // It was faster, and waits for its consumers.
        set_user("on");
        let _ = scene.run(REVOKE_NOW, "", 0);
        false
    };
    assert!((0..8).any(|_| parks()), "no run was met in the middle");
    scraper.once_more();
    until("it is told", || notices(scene) > before);
    scraper.once_more();
    let _ = scene.host.run(&["status"], "");
    set_user("on");
    let _ = scene.run("run resume app-redis --wait 0s", "", 0);
}

/// How often somebody was told that the rotation needs a person.
fn notices(scene: &Scene) -> usize {
    let told = told(&scene.host);
    let is_of_it = |notice: &&str| notice.contains("\"topic\":\"attention\"") && notice.contains("app-redis");
    told.lines().filter(is_of_it).count()
}

fn set_user(rule: &str) {
    let set = format!("ACL SETUSER app {rule}\r\n");
    assert!(ask(&servers().redis, &set).starts_with("+OK"));
}

fn speaks(scene: &Scene) {
    for words in [
        "status",
        "run list",
        "run show app-redis",
        "vault status",
        "doctor",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let _ = scene.host.run(&words, "");
    }
}

/// A program by which a consumer is asked prints what it was given, as it is and in base64, on both streams. What it reads, and a value that another program
/// reads, are granted.
fn hooks(scene: &mut Scene) {
    let (program, asked) = (scene.host.outside("reload"), scene.host.outside("reload.asked"));
    let lines = format!(
        "#!/bin/sh\nvalue=$('{}' secret read app/redis)\necho asked >> '{}'\necho \"it is $value\"\n\
         printf %s \"$value\" | base64 >&2\nexit 3\n",
        keywheel_e2e::binary().display(),
        asked.display()
    );
    fs::write(&program, lines).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let grant = format!(
        "[[grant]]\nuid = {}\nallow = [\"read-plaintext\"]\nsecrets = [\"app/redis\", \"some/socket\"]\n",
        rustix::process::getuid().as_raw()
    );
    let plain = "staleness = \"1s\" }";
    let hooked = format!(
        "staleness = \"1s\", hook = {{ exec = [\"{}\"] }} }}",
        program.display()
    );
    let rotation = redis_user(&servers().redis, "24h").replacen(plain, &hooked, 1);
    assert!(rotation.contains(&hooked), "{rotation}");
    scene.write_configuration(&format!("{grant}\n{rotation}"));
    let serving = serve(scene, &["serve"]);
    let _ = scene.run("secret read some/socket", "", 0);
    let _ = scene.run(REVOKE_NOW, "", 0);
    let _ = scene.run("rotate app-redis --wait 0s", "", 0);
    until("it is asked again", || {
        fs::read_to_string(&asked).unwrap_or_default().lines().count() > 1
    });
    speaks(scene);
    for format in ["", " -o json"] {
        let shown = scene.run(&format!("run show app-redis{format}"), "", 0);
        assert!(shown.stdout.contains("withheld"), "{}", shown.stdout);
        let _ = scene.run(&format!("secret show app/redis{format}"), "", 0);
    }
    let _ = scene.run(REVOKE_NOW, "", 0);
    ends(scene, serving);
    // And by the command itself, where no host is running. Its run is left in the grace.
    let _ = scene.run("rotate app-redis --wait 0s -o json", "", 0);
}

/// Once more, with a log for machines.
fn in_json(scene: &mut Scene, address: std::net::SocketAddr) {
    let serving = serve(scene, &["serve", "--log", "json"]);
    let scraper = Scraper::start(address);
    let value = scene.plant_odder("a value while the log is JSON");
    let _ = scene.run("secret import some/json -", &value, 0);
    let _ = scene.run(REVOKE_NOW, "", 0);
    fails(scene, &scraper);
    scene.keep(scraper.end());
    ends(scene, serving);
}
