//! Values for programs: by a grant, over the socket and without a host, and in the audit trail before they are given.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use keywheel_e2e::{Host, Output};
use rustix::process::{Signal, geteuid, getuid};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::scene::{Scene, Serving, signal, until};

fn grant(uid: u32, secrets: &str) -> String {
    format!("[[grant]]\nuid = {uid}\nallow = [\"read-plaintext\"]\nsecrets = [{secrets}]\n")
}

fn read(host: &Host, words: &str) -> Output {
    let words: Vec<&str> = ["secret", "read"].into_iter().chain(words.split(' ')).collect();
    host.run(&words, "")
}

/// The rows about values that were read or not, newest first: outcome, version, code.
fn rows(host: &Host, secret: &str) -> Vec<(String, Value, Value)> {
    let rows = host.json(&["audit", "search", "--action", "secret.read", "--secret", secret]);
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| {
        let actor = format!("uid:{}", getuid().as_raw());
        assert_eq!(row["actor"], actor, "{row}");
        let details = &row["details"];
        let outcome = row["outcome"].as_str().unwrap().to_owned();
        (outcome, details["version"].clone(), details["code"].clone())
    })
    .collect()
}

fn id_of(host: &Host, stage: &str) -> String {
    let versions = host.versions("app/redis").into_iter();
    versions
        .filter(|(_, found)| found == stage)
        .map(|(id, _)| id)
        .next()
        .unwrap()
}

#[test]
fn a_program_reads_what_it_is_granted_with_a_host_and_without() {
    let scene = Scene::new("1h");
    let host = &scene.host;
    scene.configure_first(&grant(getuid().as_raw(), "\"app/*\", \"some/document\""));
    let _ = host
        .import(
            "some/document",
            r#"{"username": "app_a", "password": "p\u00e4ss \"w\" word"}"#,
        )
        .ends(0);
    let _ = host.import("some/bytes", "not granted").ends(0);
    let _ = scene.run(&["rotate", "app-redis", "--wait", "0s"]).ends(0);
    let new = host.read("app/redis", None);
    assert!(scene.accepts(&new) && new != scene.old);
    for serves in [true, false] {
        let serving = serves.then(|| scene.serve());
        // Bytes alone, and as they are.
        assert_eq!(read(host, "app/redis").ends(0).stdout, new);
        assert_eq!(
            read(host, "app/redis --newline").ends(0).stdout,
            format!("{new}\n")
        );
        assert_eq!(
            read(host, "app/redis --version previous").ends(0).stdout,
            scene.old
        );
        let current = id_of(host, "current");
        assert_eq!(
            read(host, &format!("app/redis --version {current}"))
                .ends(0)
                .stdout,
            new
        );
        let given = read(host, "app/redis -o json").ends(0).json();
        let whole = json!({"name": "app/redis", "version": current, "stage": "current", "value": new});
        assert_eq!(given, whole);
        for part in ["password", "/password"] {
            let part = read(host, &format!("some/document --part {part}")).ends(0);
            assert_eq!(part.stdout, "päss \"w\" word");
        }
        let said: Vec<_> = rows(host, "app/redis")
            .into_iter()
            .take(5)
            .map(|(outcome, ..)| outcome)
            .collect();
        assert_eq!(said, ["ok"; 5]);
        // What is not granted, or is not there, is refused, and that is told.
        let refused = |words: &str, exit: i32, code: &str| {
            let output = read(host, words).ends(exit).says(&[&format!("error[{code}]")]);
            assert_eq!(output.stdout, "");
            let secret = words.split(' ').next().unwrap();
            let newest = rows(host, secret).remove(0);
            assert_eq!(
                (newest.0.as_str(), &newest.2),
                ("refused", &json!(code)),
                "{newest:?}"
            );
        };
        refused("some/bytes", 21, "secret.not-granted");
        refused("app/redis --version pending", 23, "secret.no-version");
        refused("app/nothing", 23, "secret.not-found");
        refused("some/document --part nothing", 23, "secret.no-part");
        // For a person nothing is another: the reason, and a file.
        let _ = read(host, "app/redis --to file").ends(2).says(&["--reason"]);
        assert_eq!(host.read("some/bytes", None), "not granted");
        if let Some(serving) = serving {
            let _ = serving.ends();
        }
    }
    // A version that the target refuses is nobody's to have.
    let _ = scene
        .run(&[
            "run",
            "resume",
            "app-redis",
            "--revoke-now",
            "--reason",
            "test",
            "--wait",
            "end",
        ])
        .ends(0);
    let revoked = id_of(host, "revoked");
    let _ = read(host, &format!("app/redis --version {revoked}"))
        .ends(24)
        .says(&["error[secret.not-readable]"]);
    let _ = scene.run(&["audit", "verify"]).ends(0);
}

#[test]
fn by_default_no_program_reads_anything_and_a_grant_counts_once_it_is_read() {
    let scene = Scene::new("1s");
    let serving = scene.serve();
    let refused = read(&scene.host, "app/redis").ends(21);
    let lines = grant(getuid().as_raw(), "\"app/redis\"");
    // The lines that would give it are told.
    let told = refused.says(&[
        "error[secret.not-granted]",
        "[[grant]]",
        "allow = [\"read-plaintext\"]",
    ]);
    assert_eq!(told.stdout, "");
    scene.configure_first(&lines);
    signal(serving.started.as_ref().unwrap(), Signal::HUP);
    until("it is granted", || read(&scene.host, "app/redis").code == 0);
    assert_eq!(read(&scene.host, "app/redis").ends(0).stdout, scene.old);
    // This user's own grant opens the socket to nobody.
    let mode = fs::metadata(scene.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let _ = serving.ends();
}

#[test]
fn a_sealed_host_gives_nothing() {
    let scene = Scene::new("1s");
    scene.configure_first(&grant(getuid().as_raw(), "\"app/redis\""));
    fs::rename(scene.host.file("vault.key"), scene.host.outside("vault.key")).unwrap();
    for serves in [true, false] {
        let serving = serves.then(|| scene.serve());
        let refused = read(&scene.host, "app/redis")
            .ends(22)
            .says(&["error[vault.sealed]"]);
        assert_eq!(refused.stdout, "");
        if let Some(serving) = serving {
            let _ = serving.ends();
        }
    }
}

#[test]
fn a_grant_that_cannot_be_is_refused_at_its_place() {
    let scene = Scene::new("1s");
    let file = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    for (lines, why) in [
        (
            "uid = 7\nallow = [\"write\"]\nsecrets = [\"a/b\"]",
            "read-plaintext",
        ),
        (
            "uid = \"web\"\nallow = [\"read-plaintext\"]\nsecrets = [\"a/b\"]",
            "a whole number",
        ),
        (
            "uid = -1\nallow = [\"read-plaintext\"]\nsecrets = [\"a/b\"]",
            "less than 0",
        ),
        (
            "uid = 7\nallow = [\"read-plaintext\"]\nsecrets = []",
            "fewer than 1",
        ),
        (
            "uid = 7\nallow = [\"read-plaintext\"]\nsecrets = [\"{secret}\"]",
            "config.name",
        ),
        ("allow = [\"read-plaintext\"]\nsecrets = [\"a/b\"]", "`uid`"),
    ] {
        fs::write(&file, format!("[[grant]]\n{lines}\n\n{text}")).unwrap();
        let _ = scene
            .run(&["config", "check"])
            .ends(20)
            .says(&[why, "--> keywheel.toml:"]);
    }
}

/// A user who is neither the host's own nor root, with a folder that everybody can look into: the host's socket is there, and the program.
struct Stranger<'s> {
    scene: &'s Scene,
    folder: TempDir,
}

impl<'s> Stranger<'s> {
    const UID: u32 = 65534;

    fn of(scene: &'s Scene) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(keywheel_e2e::binary(), folder.path().join("keywheel")).unwrap();
        Self { scene, folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn runs(&self, program: &Path, words: &[&str]) -> Output {
        let uid = Self::UID.to_string();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &uid, "--regid", &uid, "--clear-groups"])
            .arg(program)
            .args(words)
            .env("KEYWHEEL_SOCKET", self.socket())
            .current_dir(self.folder.path());
        self.scene.host.finish(&mut command, "")
    }

    fn keywheel(&self, words: &str) -> Output {
        let words: Vec<&str> = words.split(' ').collect();
        self.runs(&self.folder.path().join("keywheel"), &words)
    }

    fn keywheel_on_a_terminal(&self, words: &str) -> Output {
        let line = format!("exec '{}' {words}", self.folder.path().join("keywheel").display());
        self.runs(Path::new("script"), &["-q", "-e", "-c", &line, "/dev/null"])
    }
}

/// Of another user nothing is heard but what a grant of its own gives: whatever it says of its terminal, and no other command.
#[test]
fn another_user_reads_what_it_is_granted_and_does_nothing_else() {
    if !geteuid().is_root() {
        println!("skipped: only root can be another user");
        return;
    }
    let scene = Scene::new("1s");
    let stranger = Stranger::of(&scene);
    let socket = stranger.socket();
    let file = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    let serve = format!("[serve]\nsocket = \"{}\"\n\n", socket.display());
    let granted = |grant: &str| fs::write(&file, format!("{serve}{grant}\n{text}")).unwrap();
    granted(&grant(Stranger::UID, "\"app/redis\""));
    let mut serving = Serving {
        scene: &scene,
        started: Some(scene.host.start(&mut scene.host.command(&["serve"]))),
    };
    assert!(serving.started().wait_for("keeps 1 rotation"));
    assert_eq!(
        stranger.keywheel("secret read app/redis").ends(0).stdout,
        scene.old
    );
    let refused = stranger.keywheel("secret read admin/redis").ends(21);
    let _ = refused.says(&["error[secret.not-granted]"]);
    for words in [
        "status",
        "rotate app-redis",
        "secret list",
        "secret import a/b -",
        "vault unseal -",
    ] {
        let _ = stranger.keywheel(words).ends(22).says(&["error[socket.peer]"]);
    }
    let rows = scene.host.json(&["audit", "search", "--actor", "uid:65534"]);
    let rows = rows.as_array().unwrap().iter();
    let outcomes: Vec<&str> = rows.map(|row| row["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["refused", "ok"]);
    // A terminal is no way around it.
    let shown = stranger.keywheel_on_a_terminal("secret read admin/redis --reason test");
    assert!(!shown.stdout.contains(scene.server.admin_password()), "{shown:?}");
    assert!(shown.stdout.contains("secret.not-granted"), "{shown:?}");
    // Without a grant it is not let in, by the mode and by the host.
    granted("");
    serving.signal(Signal::HUP);
    until("the socket is closed", || {
        fs::metadata(&socket).unwrap().permissions().mode() & 0o777 == 0o600
    });
    for mode in [0o600, 0o666] {
        fs::set_permissions(&socket, fs::Permissions::from_mode(mode)).unwrap();
        let refused = stranger.keywheel("secret read app/redis").ends(22);
        let _ = refused.says(&["error[socket.peer]"]);
    }
    let _ = serving.ends();
}
