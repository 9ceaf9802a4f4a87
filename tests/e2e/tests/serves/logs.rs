//! What the running host says to whoever reads its standard error, and that it needs nobody there.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};

use crate::scene::{DEADLINE, Scene, until};

#[test]
fn a_reader_of_the_log_that_stalls_keeps_nobody_waiting() {
    let scene = Scene::new("1s");
    let (mut reader, writer) = std::io::pipe().unwrap();
    // No line goes through any more. Opened anew: not to wait is this end's own business.
    let mut full = OpenOptions::new()
        .write(true)
        .custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).unwrap())
        .open(format!("/proc/self/fd/{}", writer.as_raw_fd()))
        .unwrap();
    while full.write(&[b'\n'; 4_096]).is_ok() {}
    drop(full);
    let mut serving = scene
        .host
        .command(&["-vvv", "serve"])
        .stderr(writer)
        .spawn()
        .unwrap();
    until("it listens", || UnixStream::connect(scene.socket()).is_ok());
    for _ in 0..3 {
        let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    }
    assert!(!scene.accepts(&scene.old));
    kill_process(Pid::from_child(&serving), Signal::TERM).unwrap();
    let begun = Instant::now();
    let ended = loop {
        if let Some(ended) = serving.try_wait().unwrap() {
            break Some(ended);
        }
        if begun.elapsed() > DEADLINE {
            serving.kill().unwrap();
            break None;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert_eq!(ended.and_then(|ended| ended.code()), Some(0));
    // What was in the pipe is whole: no line was written into another.
    let mut text = String::new();
    let _ = reader.read_to_string(&mut text).unwrap();
    assert!(text.starts_with('\n'));
}

/// A service of which nobody sees more than its log: who reads that sees what failed, and which run it was.
#[test]
fn what_fails_by_itself_is_a_warning_with_its_code() {
    let scene = Scene::new("1s");
    let toml = scene.host.file("keywheel.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    let named = "name = \"app-redis\"\n";
    let every_second = "schedule = { cron = \"* * * * * *\", seconds = true, jitter = \"0s\" }";
    let due = text.replacen(named, &format!("{named}{every_second}\n"), 1);
    assert_ne!(due, text);
    std::fs::write(&toml, due).unwrap();
    let _ = scene.server.command(&["ACL", "DELUSER", "app"]).unwrap();
    let mut serving = scene.serve();
    until("it is said", || {
        let said = serving.started().stderr();
        let mut lines = said.lines();
        lines.any(|line| {
            line.contains("WARN") && line.contains("rotation=app-redis") && line.contains("code=")
        })
    });
    let _ = serving.ends();
}
