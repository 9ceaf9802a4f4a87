//! The running host: what commands say to it and hear from it goes over its socket; and the verbs of a grace.

use keywheel_e2e::redis_user;
use rustix::process::{Pid, Signal, kill_process};

use crate::scene::{Scene, servers};

pub(crate) fn run(scene: &mut Scene) {
    scene.write_configuration(&redis_user(&servers().redis, "24h"));
    let mut serving = scene.host.start(&mut scene.host.command(&["serve"]));
    assert!(serving.wait_for("keeps 1 rotation"), "{}", serving.stderr());
    let value = scene.plant_odder("a value over the socket");
    let _ = scene.run("secret import some/socket -", &value, 0);
    let _ = scene.run("secret import some/file @OUTSIDE/given -o json", "", 0);
    let _ = scene.run("secret read some/socket --reason test --to OUTSIDE/read", "", 0);
    let _ = scene.run("secret read some/socket --reason test", "", 2);
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
    kill_process(Pid::from_child(&serving.child), Signal::HUP).unwrap();
    assert!(
        serving.wait_for("read the configuration again"),
        "{}",
        serving.stderr()
    );
    kill_process(Pid::from_child(&serving.child), Signal::TERM).unwrap();
    let _ = scene.host.wait(serving).ends(0);
    // Nobody waits for what is left of its grace.
    let ends = ["run", "resume", "app-redis", "--revoke-now", "--reason", "test"];
    let _ = scene.host.run(&ends, "");
    let _ = scene
        .host
        .run(&["run", "resume", "app-redis", "--wait", "end"], "");
    scene.configure(&["app-db", "app-redis", "pair-db"]);
}
