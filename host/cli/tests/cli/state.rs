//! A state that is not there, cannot be written, or has no room.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::kit::Place;

fn host() -> Place {
    let place = Place::new();
    let ran = place.run("init --recovery-to recovery");
    assert_eq!(ran.exit, 0, "{}", ran.err);
    place
}

/// A file system of its own that holds a copy of a folder, and is unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`: this needs root, and a machine that lets it mount.
    fn over(folder: &Path) -> Option<Self> {
        let kept = folder.with_extension("kept");
        fs::rename(folder, &kept).unwrap();
        fs::create_dir(folder).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m,mode=0700", "keywheel-test"])
            .arg(folder)
            .output();
        let disk = mount
            .is_ok_and(|output| output.status.success())
            .then(|| Self(folder.to_owned()))?;
        let copied = Command::new("cp")
            .arg("-a")
            .arg(kept.join("."))
            .arg(folder)
            .status();
        assert!(copied.unwrap().success());
        Some(disk)
    }

    fn leave(&self, bytes: u64) {
        let mut file = fs::File::create(self.0.join("ballast")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        let length = file.metadata().unwrap().len();
        file.set_len(length - bytes).unwrap();
    }

    fn remount(&self, how: &str) {
        let done = Command::new("mount").args(["-o", how]).arg(&self.0).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn a_disk_without_room_or_without_writes_is_said_before_anything_is_begun() {
    let place = host();
    let Some(disk) = SmallDisk::over(&place.path().join("state")) else {
        println!("skipped: only root can mount a small disk, and not everywhere");
        return;
    };
    for kib in [0, 4, 16] {
        disk.leave(kib * 1024);
        let ran = place.run("rotate --all");
        assert_eq!(ran.exit, 1, "{kib} KiB: {}", ran.err);
        assert!(ran.err.contains("error[store.full]"), "{kib} KiB: {}", ran.err);
        assert!(
            ran.err.contains("hint: free some space"),
            "{kib} KiB: {}",
            ran.err
        );
    }
    fs::remove_file(disk.0.join("ballast")).unwrap();
    disk.remount("remount,ro");
    let ran = place.run("status");
    assert_eq!(ran.exit, 1, "{}", ran.err);
    assert!(ran.err.contains("error[store.read-only]"), "{}", ran.err);
    assert!(
        ran.err.contains("hint: ") && ran.err.contains("mounted read-write"),
        "{}",
        ran.err
    );
    disk.remount("remount,rw");
    assert_eq!(place.run("run list").exit, 0);
}

#[test]
fn a_folder_whose_mode_forbids_writing_is_named_with_its_mode() {
    let place = host();
    let state = place.path().join("state");
    // Root may write everywhere: there the host is somebody else's.
    let root = rustix::process::geteuid().is_root();
    let binary = place.path().join("keywheel");
    fs::copy(env!("CARGO_BIN_EXE_keywheel"), &binary).unwrap();
    let mut command = if root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--clear-groups"]).arg(&binary);
        for path in ["", "state", "state/lock", "state/keywheel.db", "vault.key"] {
            chown(place.path().join(path), Some(65534), None).unwrap();
        }
        command
    } else {
        Command::new(&binary)
    };
    fs::set_permissions(&state, fs::Permissions::from_mode(0o500)).unwrap();
    let output = command.arg("status").current_dir(place.path()).output().unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(
        err.contains("error[store.read-only]") && err.contains("chmod u+rwx"),
        "{err}"
    );
}

#[test]
fn a_limit_on_files_is_an_error_that_is_told() {
    let place = host();
    let output = Command::new("prlimit")
        .arg("--fsize=4096")
        .arg("--")
        .arg(env!("CARGO_BIN_EXE_keywheel"))
        .args(["secret", "import", "a/b"])
        .current_dir(place.path())
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("error[store.") && err.contains("hint: "), "{err}");
}

#[test]
fn only_init_makes_a_state_and_what_misses_one_says_where_it_looked() {
    let place = Place::new();
    place.write("keywheel.toml", "[state]\ndir = \"sttae\"\n");
    for words in [
        "status",
        "secret list",
        "run list",
        "audit verify",
        "audit search",
        "vault status",
        "plugin list",
        "plan --all",
        "rotate --all",
    ] {
        let ran = place.run(words);
        assert_eq!(ran.exit, 23, "{words}: {}", ran.err);
        let path = place.path().join("sttae").display().to_string();
        for part in [
            "error[store.no-state]",
            "keywheel.toml:2:1",
            &path,
            "hint: ",
            "mounted",
        ] {
            assert!(ran.err.contains(part), "{words}: {part}: {}", ran.err);
        }
        assert!(!place.path().join("sttae").exists(), "{words}");
    }
    let doctor = place.run("doctor");
    assert_eq!(doctor.exit, 50, "{}", doctor.err);
    assert!(doctor.out.contains("there is no state in"), "{}", doctor.out);
    // A volume that is not mounted leaves its empty folder.
    let folder = place.path().join("sttae");
    std::fs::create_dir(&folder).unwrap();
    let ran = place.run("status");
    assert!(
        ran.exit == 23 && ran.err.contains("no keywheel.db"),
        "{}",
        ran.err
    );
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

/// None of these is a fault of the host's own: a script can tell what is missing.
#[test]
fn a_file_or_folder_that_is_named_and_not_there_has_its_own_exit_code_place_and_way_out() {
    let place = host();
    let missing = place.path().join("missing");
    let to = missing.join("backup").display().to_string();
    let ran = place.run(&format!("vault backup {to}"));
    assert_eq!(ran.exit, 23, "{}", ran.err);
    for part in [
        "error[vault.backup-missing]",
        &format!("cannot write \"{to}\""),
        &format!("there is no folder \"{}\"", missing.display()),
        "hint: nothing was written: make that folder",
    ] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    let ran = place.run("vault backup vault.key");
    assert_eq!(ran.exit, 24, "{}", ran.err);
    assert!(
        ran.err.contains("error[vault.backup-exists]") && ran.err.contains("hint: "),
        "{}",
        ran.err
    );
    for words in ["vault restore missing --force", "vault restore . --force"] {
        let ran = place.run(words);
        assert_eq!(ran.exit, 23, "{words}: {}", ran.err);
        assert!(
            ran.err.contains("error[vault.backup-missing]")
                && ran
                    .err
                    .contains("hint: nothing was touched: name a file that `keywheel vault backup` wrote"),
            "{words}: {}",
            ran.err
        );
    }
    fs::rename(place.path().join("plugins"), &missing).unwrap();
    for words in [
        "status",
        "plan --all",
        "rotate --all",
        "plugin list",
        "plugin add postgres",
        "plugin verify",
    ] {
        let ran = place.run(words);
        assert_eq!(ran.exit, 23, "{words}: {}", ran.err);
        for part in [
            "error[plugin.no-folder]",
            "keywheel.toml:12:",
            "hint: put it back",
            "mkdir -m 755",
        ] {
            assert!(ran.err.contains(part), "{words}: {part}: {}", ran.err);
        }
    }
    let ran = place.run("doctor");
    assert_eq!(ran.exit, 50, "{}", ran.err);
    assert!(ran.out.contains("there is no folder plugins"), "{}", ran.out);
}

/// A password on its way is in memory in the clear.
#[test]
fn memory_goes_into_no_core_file() {
    let place = host();
    let mut child = Command::new("prlimit")
        .args(["--core=unlimited", "--"])
        .arg(env!("CARGO_BIN_EXE_keywheel"))
        .args(["secret", "import", "a/b", "-"])
        .current_dir(place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap();
    // `prlimit` becomes it, and then it waits for the value.
    let mut limits = of("limits");
    for _ in 0..500 {
        if of("comm").trim() == "keywheel" && !limits.contains("Max core file size        unlimited") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        limits = of("limits");
    }
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(
        core.split_whitespace().collect::<Vec<_>>()[4..6],
        ["0", "0"],
        "{core}"
    );
    drop(child.stdin.take());
    child.wait().unwrap();
}

/// What is kept is to be had although a file of certificates is lost: only those who need it are told.
#[test]
fn a_lost_file_of_certificates_keeps_nobody_from_the_vault() {
    let place = host();
    let ran = place.run_with("secret import some/file -", "a value of somebody");
    assert_eq!(ran.exit, 0, "{}", ran.err);
    let text = String::from_utf8(place.read("keywheel.toml")).unwrap();
    place.write(
        "keywheel.toml",
        format!("{text}\n[trust.db]\npem = [\"gone.pem\"]\n"),
    );
    assert_eq!(place.run("secret read some/file --reason test --to out").exit, 0);
    assert_eq!(place.run("vault backup kept.age").exit, 0);
    let ran = place.run("status");
    assert_eq!(ran.exit, 10, "{}", ran.err);
    assert!(
        ran.out.contains("trust set db") && ran.out.contains("gone.pem"),
        "{}",
        ran.out
    );
    let ran = place.run("config check");
    assert_eq!(ran.exit, 20, "{}", ran.err);
}
