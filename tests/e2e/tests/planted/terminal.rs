//! On a terminal a value is shown to who asks for it, and one that is typed is not.

use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use keywheel_e2e::{Host, binary};

use crate::scene::{PATIENCE, Scene};

/// What `secret read` shows.
pub(crate) const SHOWN: &str = "a value in a file";

pub(crate) fn run(scene: &mut Scene) {
    let shown = terminal(&scene.host, "secret read some/file --reason test", None);
    assert!(shown.contains(&scene.value(SHOWN)[..20]), "{shown}");
    let passphrase = scene.value("the passphrase").to_owned();
    let _ = terminal(&scene.host, "vault unseal", Some(&passphrase));
    let typed = scene.plant("typed on a terminal");
    let _ = terminal(&scene.host, "secret import some/typed", Some(&typed));
    let wrong = scene.plant("a wrong passphrase on a terminal");
    let _ = terminal(&scene.host, "vault unseal", Some(&wrong));
}

/// Runs a command on a terminal of its own; what that showed. What is typed waits until the terminal does not repeat it any more.
fn terminal(host: &Host, words: &str, typed: Option<&str>) -> String {
    let device = host.outside("device");
    let line = format!(
        "tty > '{}'; exec '{}' -vv {words}",
        device.display(),
        binary().display()
    );
    let mut command = Command::new("script");
    command
        .args(["-q", "-e", "-c", &line, "/dev/null"])
        .current_dir(host.folder())
        .env("NO_COLOR", "1");
    let mut running = host.start(&mut command);
    if let Some(typed) = typed {
        let begun = Instant::now();
        while !is_silent(&fs::read_to_string(&device).unwrap_or_default()) {
            assert!(
                begun.elapsed() < PATIENCE,
                "it does not ask: {}",
                running.stderr()
            );
            thread::sleep(Duration::from_millis(10));
        }
        let stdin = running.child.stdin.as_mut().unwrap();
        stdin.write_all(format!("{typed}\n").as_bytes()).unwrap();
    }
    let output = host.wait(running);
    fs::remove_file(device).unwrap();
    output.stdout
}

fn is_silent(device: &str) -> bool {
    let mut stty = Command::new("stty");
    let settings = stty.args(["-F", device.trim(), "-a"]).output().unwrap();
    let settings = String::from_utf8_lossy(&settings.stdout).into_owned();
    settings.split_whitespace().any(|word| word == "-echo")
}
