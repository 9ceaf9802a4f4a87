//! A host without a key file: what each command asks for, and what is said where nobody can be asked.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::kit::{Place, Ran};

const PASSPHRASE: &str = "correct horse battery";
const PATIENCE: Duration = Duration::from_mins(1);

fn host() -> Place {
    let place = Place::new();
    let words = "init --passphrase - --no-key-file --recovery-to recovery.txt";
    let ran = place.run_with(words, PASSPHRASE);
    assert_eq!(ran.exit, 0, "{}", ran.err);
    place
}

/// Runs a command on a terminal of its own, and types once the terminal does not repeat it any more. What both streams showed is `out`.
fn on_terminal(place: &Place, words: &str, typed: &str) -> Ran {
    let device = place.path().join("device");
    let line = format!("tty > device; exec '{}' {words}", env!("CARGO_BIN_EXE_keywheel"));
    let mut child = Command::new("script")
        .args(["-q", "-e", "-c", &line, "/dev/null"])
        .current_dir(place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !is_silent(&std::fs::read_to_string(&device).unwrap_or_default()) {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "`{words}` ended without asking: {ended:?}");
        assert!(begun.elapsed() < PATIENCE, "`{words}` does not ask");
        std::thread::sleep(Duration::from_millis(10));
    }
    let stdin = child.stdin.as_mut().unwrap();
    stdin.write_all(format!("{typed}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Ran {
        exit: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::new(),
    }
}

fn is_silent(device: &str) -> bool {
    let mut stty = Command::new("stty");
    let output = stty.args(["-F", device.trim(), "-a"]).output().unwrap();
    let settings = String::from_utf8_lossy(&output.stdout).into_owned();
    settings.split_whitespace().any(|word| word == "-echo")
}

#[test]
fn status_and_doctor_ask_a_terminal_for_the_passphrase_as_every_command_does() {
    let place = host();
    let ran = on_terminal(&place, "status", PASSPHRASE);
    assert_eq!(ran.exit, 0, "{}", ran.out);
    assert!(
        ran.out.contains("nothing needs attention") && !ran.out.contains("sealed"),
        "{}",
        ran.out
    );
    let ran = on_terminal(&place, "status", "another horse");
    assert_eq!(ran.exit, 22, "{}", ran.out);
    assert!(ran.out.contains("vault.wrong-key"), "{}", ran.out);
    let ran = on_terminal(&place, "doctor", PASSPHRASE);
    assert!(
        ran.out.contains("it is open") && ran.out.contains("each with its seal"),
        "{}",
        ran.out
    );
}

#[test]
fn where_nobody_can_be_asked_the_sealed_vault_is_a_state_and_no_alarm() {
    let place = host();
    let ran = place.run("status");
    assert_eq!(ran.exit, 0, "{}{}", ran.out, ran.err);
    assert!(
        ran.out.contains("vault: sealed (needs the passphrase)"),
        "{}",
        ran.out
    );
    let ran = place.run("status -o json");
    assert_eq!((ran.exit, ran.out.trim()), (0, "[]"), "{}", ran.err);
    assert!(
        ran.err.contains("vault: sealed (needs the passphrase)"),
        "{}",
        ran.err
    );
    let ran = place.run("doctor");
    let vault = ran
        .out
        .lines()
        .find(|line| line.contains("] ") && line.contains(" vault "))
        .unwrap();
    assert!(
        vault.starts_with("[ok]") && vault.ends_with("sealed (needs the passphrase)"),
        "{}",
        ran.out
    );
    // What does need attention still does.
    std::fs::write(place.path().join("plugins/odd.wasm"), "none").unwrap();
    let ran = place.run("status");
    assert_eq!(ran.exit, 10, "{}", ran.out);
    assert!(
        ran.out.contains("its file is refused") && ran.out.contains("sealed (needs the passphrase)"),
        "{}",
        ran.out
    );
    assert_eq!(place.run("vault status").exit, 0);
    let ran = place.run("vault status -o json");
    let view: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert!(
        view["sealed"] == true && view["needs-passphrase"] == true,
        "{view}"
    );
}
