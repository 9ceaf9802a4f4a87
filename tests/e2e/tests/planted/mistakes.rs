//! Wrong input of each kind: what was typed is no password of anything, and is shown no more than one.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use keywheel_e2e::Host;

use crate::scene::{PATIENCE, Scene};

pub(crate) fn run(scene: &mut Scene) {
    on_the_command_line(scene);
    keys(scene);
    values(scene);
    configuration(scene);
    memory(scene);
}

/// A value as an argument stands in the list of processes by the hand of who typed it. Nothing repeats it.
fn on_the_command_line(scene: &mut Scene) {
    let typed = scene.plant("typed as an argument");
    for (words, code) in [
        (vec!["secret", "import", "some/value", &typed], 2),
        (vec!["secret", "import", "some/value", "-", &typed], 2),
        (vec!["secret", "import", &typed], 2),
        (vec!["secret", "read", "app/db", &typed, "--reason", "test"], 2),
        (vec!["vault", "unseal", &typed], 2),
        (vec!["vault", "unseal", "--recovery", &typed], 2),
        (vec!["vault", "unseal", "--passphrase", &typed], 2),
        (vec!["vault", "slot", "add", "--passphrase", &typed], 2),
        (vec!["vault", "rekey", "--yes", "--passphrase", &typed], 2),
        (vec!["vault", "restore", "nowhere", "--recovery", &typed], 2),
        (
            vec![
                "init",
                "elsewhere",
                "--passphrase",
                &typed,
                "--recovery-to",
                "never",
            ],
            2,
        ),
        (vec!["secret", "import", "some/value", "--value", &typed], 2),
    ] {
        let _ = scene.host.run(&words, "").ends(code);
        let json = [&words[..], &["-o", "json"]].concat();
        let _ = scene.host.run(&json, "").ends(code);
    }
    for option in ["--password", "--value", "--passphrase"] {
        let both = format!("{option}={typed}");
        let _ = scene
            .host
            .run(&["secret", "import", "some/value", &both], "")
            .ends(2);
        let _ = scene.host.run(&[&both], "").ends(2);
    }
}

fn keys(scene: &mut Scene) {
    let wrong = scene.plant_odder("a wrong passphrase");
    let _ = scene.run("vault unseal -", &wrong, 22);
    let _ = scene.run("vault unseal - -o json", &wrong, 22);
    let _ = scene.host.run(&["vault", "unseal", "--recovery", "-"], &wrong);
    let _ = scene.run(
        "vault restore OUTSIDE/after.age --force --passphrase -",
        &wrong,
        22,
    );
    let _ = scene
        .host
        .run(&["vault", "rekey", "--yes", "--passphrase", "-"], &wrong);
    // Of another vault.
    let other = Host::init();
    let recovery = fs::read_to_string(other.outside("recovery")).unwrap();
    scene.know_identity("another vault's recovery identity", &recovery);
    let _ = scene.run("vault unseal --recovery -", &recovery, 22);
    scene.know_key_file("another vault's key file", &other.file("vault.key"));
    let (own, kept) = (scene.host.file("vault.key"), scene.host.outside("kept.key"));
    fs::rename(&own, &kept).unwrap();
    fs::copy(other.file("vault.key"), &own).unwrap();
    for words in [
        "secret list",
        "doctor",
        "vault status -o json",
        "rotate app-db",
        "drift check",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let _ = scene.host.run(&words, "");
    }
    fs::remove_file(&own).unwrap();
    // Half a key.
    let half = fs::read_to_string(&kept).unwrap();
    fs::write(&own, &half[..40]).unwrap();
    let set = std::os::unix::fs::PermissionsExt::from_mode(0o400);
    fs::set_permissions(&own, set).unwrap();
    let _ = scene.run("vault status", "", 22);
    fs::remove_file(&own).unwrap();
    fs::rename(&kept, &own).unwrap();
    let _ = scene.run("secret list", "", 0);
}

fn values(scene: &mut Scene) {
    let long = scene.plant("a value that is too long");
    let _ = scene.run("secret import some/value -", &long.repeat(1000), 2);
    let zero = scene.plant("a value with a zero byte");
    let _ = scene.run("secret import some/value -", &format!("{zero}\0"), 2);
    let again = scene.plant("a value for what has one");
    let _ = scene.run("secret import app/db -", &again, 24);
    let document = scene.plant("a document that is none");
    let broken = format!("{{\"username\": \"app_a\", \"password\": \"{document}");
    scene.know("a document that is none, whole", &broken);
    let _ = scene.host.run(&["secret", "import", "pair/db", "-"], &broken);
    let piped = scene.run("secret read app/db --reason test", "", 21);
    assert_eq!(piped.stdout, "");
    let _ = scene.run("secret read app/db --reason test -o json", "", 21);
}

/// A password in the configuration is the operator's own leak; the message about it is none.
fn configuration(scene: &mut Scene) {
    let typed = scene.plant("typed into the configuration");
    scene.know(
        "typed into the configuration, plain",
        typed.replace(['"', '\\'], ""),
    );
    let good = fs::read_to_string(scene.host.file("keywheel.toml")).unwrap();
    let plain = typed.replace(['"', '\\'], "");
    for line in [
        format!("password = '{typed}'"),
        format!("password = '{typed}'\npassword = '{typed}'"),
        format!("password = \"{plain}"),
        format!("password = {plain}"),
        format!("password = \"\"\"\n{plain}"),
        format!("admin-pwd = '{typed}'"),
        format!("[secrets]\n'app/db' = {{ passphrase = '{typed}' }}"),
        format!("[vault]\npassphrase = '{typed}'"),
        format!("url = 'postgres://app:{plain}@db/app"),
    ] {
        fs::write(scene.host.file("keywheel.toml"), format!("{good}\n{line}\n")).unwrap();
        for words in [
            "config check",
            "config check -o json",
            "status",
            "rotate app-db",
            "doctor",
        ] {
            let words: Vec<&str> = words.split(' ').collect();
            let output = scene.host.run(&words, "");
            assert_ne!((output.code, words[0]), (0, "config"), "{line}: {output:?}");
        }
    }
    fs::write(scene.host.file("keywheel.toml"), good).unwrap();
}

/// A value that was read and is in memory goes into no core file, also where the system would write one.
fn memory(scene: &mut Scene) {
    let typed = scene.plant("in memory when it dies");
    let mut command = Command::new("prlimit");
    command
        .args(["--core=unlimited", "--"])
        .arg(keywheel_e2e::binary())
        .args(["secret", "import", "some/value", "-"])
        .current_dir(scene.host.folder());
    let mut running = scene.host.start(&mut command);
    let stdin = running.child.stdin.as_mut().unwrap();
    std::io::Write::write_all(stdin, typed.as_bytes()).unwrap();
    let id = running.child.id();
    let begun = Instant::now();
    while may_dump(id) {
        assert!(begun.elapsed() < PATIENCE, "its memory may be written");
        thread::sleep(Duration::from_millis(5));
    }
    let quit = Command::new("kill").args(["-ABRT", &id.to_string()]).status();
    assert!(quit.unwrap().success());
    let status = running.child.wait().unwrap();
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
    let _ = scene.host.wait(running);
    let doctor = scene.host.run(&["doctor", "-o", "json"], "").json();
    let memory = doctor
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["check"] == "memory");
    assert_eq!(memory.unwrap()["result"], "ok");
}

/// Whether the system may write a process's memory into a file.
pub(crate) fn may_dump(process: u32) -> bool {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let core = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"))
        .unwrap();
    core.split_whitespace().take(2).any(|limit| limit != "0")
}
