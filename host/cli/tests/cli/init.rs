//! `init`: a vault is made only after its recovery identity is in somebody's hands, and whatever fails leaves nothing behind.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::kit::Place;

/// `init` where no file may grow beyond so many bytes; whether it ended with 0, and what it said.
fn init_within(place: &Place, bytes: u64) -> (bool, String) {
    let output = Command::new("prlimit")
        .arg(format!("--fsize={bytes}"))
        .arg("--")
        .arg(env!("CARGO_BIN_EXE_keywheel"))
        .args(["init", "new/host", "--recovery-to", "recovery"])
        .current_dir(place.path())
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

/// Whether the identity in the file opens the vault of the host.
fn recovers(place: &Place, host: &Path, file: &str) {
    let config = host.join("keywheel.toml").display().to_string();
    let identity = format!("@{}", place.path().join(file).display());
    let ran = place.run_words(
        &["--config", &config, "vault", "unseal", "--recovery", &identity],
        "",
    );
    assert_eq!(ran.exit, 0, "{}", ran.err);
}

#[test]
fn a_full_disk_at_any_write_leaves_nothing_and_a_second_init_works() {
    let place = Place::new();
    let (mut refused, mut said, mut bytes) = (0, String::new(), 0);
    loop {
        let (made, err) = init_within(&place, bytes);
        if made {
            break;
        }
        let left: Vec<_> = std::fs::read_dir(place.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(left.is_empty(), "at {bytes} bytes: {left:?}: {err}");
        assert!(err.contains("hint: "), "at {bytes} bytes: {err}");
        said += &err;
        refused += 1;
        // Fine where single files are written, coarse where the database grows.
        bytes += if bytes < 1024 { 32 } else { 4096 };
        assert!(bytes < 4 << 20, "{said}");
    }
    assert!(refused > 10, "{refused}");
    for code in ["host.file", "store."] {
        assert!(
            said.contains(&format!("error[{code}")),
            "{code} is not in:\n{said}"
        );
    }
    recovers(&place, &place.path().join("new/host"), "recovery");
}

#[test]
fn a_terminal_sees_the_recovery_identity_before_a_vault_exists() {
    let place = Place::new();
    let on_terminal = |words: &str| {
        let command = format!("{} {words}", env!("CARGO_BIN_EXE_keywheel"));
        let output = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .current_dir(place.path())
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (made, said) = on_terminal("init host");
    assert!(made, "{said}");
    let identity = said
        .split_whitespace()
        .find(|word| word.starts_with("AGE-SECRET-KEY-1"));
    place.write("shown", identity.unwrap());
    recovers(&place, &place.path().join("host"), "shown");
    // One that is refused shows none: it would open nothing.
    let (made, said) = on_terminal("init host");
    assert!(
        !made && said.contains("error[file.exists]") && !said.contains("AGE-SECRET-KEY"),
        "{said}"
    );
    // One that fails later says what the identity is worth. A file stands where the folder should be.
    place.write("taken/plugins", "");
    let (made, said) = on_terminal("init taken");
    assert!(
        !made && said.contains("AGE-SECRET-KEY") && said.contains("opens nothing"),
        "{said}"
    );
    assert!(!place.path().join("taken/state").exists());
}

#[test]
fn a_recovery_file_that_exists_is_kept_and_no_host_is_made() {
    let place = Place::new();
    place.write("recovery", "of another host");
    let ran = place.run("init host --recovery-to recovery");
    assert_eq!(ran.exit, 24, "{}", ran.err);
    assert!(ran.err.contains("error[vault.recovery-file]"), "{}", ran.err);
    assert_eq!(place.read("recovery"), b"of another host");
    assert!(!place.path().join("host").exists());
}

/// Starts `init` and kills it after a while. Whether it had ended by itself.
fn killed_init(place: &Place, after: Duration) -> bool {
    let mut child = Command::new(env!("CARGO_BIN_EXE_keywheel"))
        .args(["init", "host", "--recovery-to", "recovery"])
        .current_dir(place.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    // One that is gone already is no error here.
    let _ = child.kill();
    child.wait().unwrap().success()
}

#[test]
fn an_init_that_is_killed_at_any_time_is_followed_by_one_that_works() {
    let (mut again, mut after) = (0, Duration::ZERO);
    loop {
        let place = Place::new();
        let ended = killed_init(&place, after);
        let made = place.path().join("host/keywheel.toml").exists();
        let ran = place.run("init host --recovery-to recovery");
        if made {
            // With a configuration there is a whole host, and `init` leaves it alone.
            assert!(
                ran.exit == 24 && ran.err.contains("file.exists"),
                "{after:?}: {}",
                ran.err
            );
        } else {
            assert_eq!(ran.exit, 0, "{after:?}: {}", ran.err);
            assert!(!place.path().join("host/.keywheel-init").exists(), "{after:?}");
            again += 1;
        }
        recovers(&place, &place.path().join("host"), "recovery");
        if ended {
            break;
        }
        after += Duration::from_millis(5);
        assert!(after < Duration::from_secs(20));
    }
    assert!(again > 0);
}

/// A host as `init` leaves it when it is killed before its last step.
fn interrupted() -> Place {
    let place = Place::new();
    assert_eq!(place.run("init host --recovery-to recovery").exit, 0);
    let host = place.path().join("host");
    std::fs::create_dir(host.join(".keywheel-init")).unwrap();
    std::fs::rename(
        host.join("keywheel.toml"),
        host.join(".keywheel-init/keywheel.toml"),
    )
    .unwrap();
    place
}

#[test]
fn what_an_interrupted_init_left_goes_and_what_somebody_uses_stays() {
    let place = interrupted();
    // It is not known as the one that was written: it stays.
    let ran = place.run("init host --recovery-to recovery");
    assert!(
        ran.exit == 24 && ran.err.contains("vault.recovery-file"),
        "{}",
        ran.err
    );
    let ran = place.run("init host --recovery-to other");
    assert_eq!(ran.exit, 0, "{}", ran.err);
    recovers(&place, &place.path().join("host"), "other");

    let place = interrupted();
    let config = place.write(
        "mine.toml",
        "[state]\ndir = \"host/state\"\n[vault]\nkind = \"embedded\"\nkey_file = \"host/vault.key\"\n[plugins]\ndir = \"host/plugins\"\n",
    );
    let words = [
        "--config",
        &config.display().to_string(),
        "secret",
        "import",
        "a/b",
    ]
    .map(str::to_owned);
    let ran = place.run_words(&words.each_ref().map(String::as_str), "a value of somebody");
    assert_eq!(ran.exit, 0, "{}", ran.err);
    let ran = place.run("init host --recovery-to other");
    assert!(
        ran.exit == 24 && ran.err.contains("error[file.exists]"),
        "{}",
        ran.err
    );
    assert!(place.path().join("host/vault.key").exists() && !place.path().join("other").exists());
}

#[test]
fn a_state_without_a_configuration_that_no_init_left_is_never_touched() {
    let place = Place::new();
    assert_eq!(place.run("init host --recovery-to recovery").exit, 0);
    std::fs::remove_file(place.path().join("host/keywheel.toml")).unwrap();
    let ran = place.run("init host --recovery-to other");
    assert!(ran.exit == 24 && ran.err.contains("host/state"), "{}", ran.err);
    assert!(!place.path().join("host/.keywheel-init").exists());
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Runs the binary in a shell with a umask; its exit code and what it said.
fn with_umask(place: &Place, umask: &str, words: &str) -> (i32, String) {
    let line = format!("umask {umask}; exec '{}' {words}", env!("CARGO_BIN_EXE_keywheel"));
    let output = Command::new("sh")
        .args(["-c", &line])
        .current_dir(place.path())
        .output()
        .unwrap();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn whatever_the_umask_what_init_makes_has_its_modes_and_is_not_refused_afterwards() {
    for umask in ["000", "002", "027", "077", "0177"] {
        let place = Place::new();
        let (exit, said) = with_umask(&place, umask, "init new/host --recovery-to recovery");
        assert_eq!(exit, 0, "umask {umask}: {said}");
        for (path, wanted) in [
            ("new", 0o755),
            ("new/host", 0o755),
            ("new/host/plugins", 0o755),
            ("new/host/policies", 0o755),
            ("new/host/keywheel.toml", 0o644),
            ("new/host/state", 0o700),
            ("new/host/state/keywheel.db", 0o600),
        ] {
            let found = mode(&place.path().join(path));
            assert_eq!(found, wanted, "umask {umask}: {path} has {found:o}");
        }
        assert_eq!(
            mode(&place.path().join("new/host/vault.key")) & 0o377,
            0,
            "umask {umask}"
        );
        let (exit, said) = with_umask(&place, umask, "--config new/host/keywheel.toml status");
        assert_eq!(exit, 0, "umask {umask}: {said}");
    }
}

#[test]
fn a_folder_that_others_can_write_is_refused_before_anything_is_made_in_it() {
    let place = Place::new();
    let host = place.path().join("host");
    place.write("host/plugins/some.wasm", "");
    let all = ["host", "host/plugins", "host/plugins/some.wasm"].map(|name| place.path().join(name));
    for (open, closed) in [(&all[0], 0o755), (&all[1], 0o755), (&all[2], 0o644)] {
        for path in &all {
            std::fs::set_permissions(path, Permissions::from_mode(mode(path) & !0o022)).unwrap();
        }
        std::fs::set_permissions(open, Permissions::from_mode(closed | 0o020)).unwrap();
        let ran = place.run("init host --recovery-to recovery");
        assert_eq!(ran.exit, 20, "{}", ran.err);
        let shown = open.strip_prefix(place.path()).unwrap().display().to_string();
        assert!(
            ran.err.contains("error[config.open-to-others]")
                && ran.err.contains(&format!("hint: chmod go-w {shown}\n")),
            "{}",
            ran.err
        );
        let left = std::fs::read_dir(&host).unwrap().count();
        assert!(left == 1 && !place.path().join("recovery").exists(), "{left}");
        std::fs::set_permissions(open, Permissions::from_mode(closed)).unwrap();
    }
    let ran = place.run("init host --recovery-to recovery");
    assert_eq!(ran.exit, 0, "{}", ran.err);
}

#[test]
fn a_plugin_that_its_group_can_write_is_refused_with_the_command_that_mends_it() {
    let place = Place::new();
    assert_eq!(place.run("init --recovery-to recovery").exit, 0);
    let plugin = place.write("plugins/odd.wasm", "none");
    std::fs::set_permissions(&plugin, Permissions::from_mode(0o664)).unwrap();
    let ran = place.run("plugin list");
    let words = "plugin.writable: plugins/odd.wasm can be written by others (mode 0664) (chmod go-w plugins/odd.wasm)";
    assert!(ran.out.contains(words), "{}{}", ran.out, ran.err);
}
