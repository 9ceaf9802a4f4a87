//! Rotations that wait for somebody to approve them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use keywheel_e2e::Output;
use serde_json::Value;
use tempfile::TempDir;

use crate::scene::{Scene, until};

/// Some user of this machine who is neither the host's nor root.
const APPROVER: u32 = 65534;

impl Scene {
    /// The rotation has these lines, too.
    fn configure_rotation(&self, lines: &str) {
        let file = self.host.file("keywheel.toml");
        let text = fs::read_to_string(&file).unwrap();
        let named = "name = \"app-redis\"\n";
        assert!(text.contains(named));
        fs::write(&file, text.replacen(named, &format!("{named}{lines}\n"), 1)).unwrap();
    }

    fn is_untouched(&self) -> bool {
        self.host.versions("app/redis").len() == 1 && self.accepts(&self.old)
    }

    fn newest(&self) -> Value {
        self.run(&["run", "show", "app-redis", "-o", "json"]).json()
    }

    /// What the newest run waits with, once it waits.
    fn awaited(&self) -> (String, String) {
        until("it waits for approval", || {
            entry(self, "run-awaits-approval").is_some()
        });
        let run = self.newest();
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        (word(&run["run"]), word(&run["approval"]["digest"]))
    }

    fn is_rotated(&self) -> bool {
        self.host.versions("app/redis").len() > 1
    }
}

fn entry(scene: &Scene, kind: &str) -> Option<Value> {
    let list = scene.run(&["status", "-o", "json"]).json();
    let list = list.as_array().unwrap();
    list.iter().find(|entry| entry["kind"] == kind).cloned()
}

fn trail(scene: &Scene, action: &str) -> Vec<Value> {
    let rows = scene.run(&["audit", "search", "--action", action, "-o", "json"]);
    rows.json().as_array().unwrap().clone()
}

/// Where other users reach the host.
struct Elsewhere {
    folder: TempDir,
}

impl Elsewhere {
    /// None: only root can be another user.
    fn of(scene: &Scene) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can be another user");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(keywheel_e2e::binary(), folder.path().join("keywheel")).unwrap();
        let lines = format!(
            "[serve]\nsocket = \"{}\"\n\n",
            folder.path().join("socket").display()
        );
        scene.configure_first(&lines);
        fs::write(folder.path().join("keywheel.toml"), lines).unwrap();
        Some(Self { folder })
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn run(&self, scene: &Scene, uid: u32, words: &[&str]) -> Output {
        let id = uid.to_string();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
            .arg(self.folder.path().join("keywheel"))
            .args(words)
            .current_dir(self.folder.path());
        scene.host.finish(&mut command, "")
    }
}

#[test]
fn a_rotation_waits_for_somebody_else_than_who_asked_for_it() {
    let scene = Scene::new("1s");
    let Some(elsewhere) = Elsewhere::of(&scene) else {
        return;
    };
    scene.configure_rotation(&format!("approval = {{ by = [0, {APPROVER}] }}"));
    let by = format!("by user 0 or {APPROVER} within 1d");
    let planned = scene.run(&["plan", "app-redis"]).ends(10);
    assert!(planned.stdout.contains(&by), "{planned:?}");
    let serving = scene.serve_at(&elsewhere.socket());
    let told = scene.run(&["rotate", "app-redis", "--wait", "0s"]).ends(41);
    let text = &told.stdout;
    assert!(
        text.contains("waits for approval") && text.contains("keywheel run approve"),
        "{text}"
    );
    let (run, digest) = scene.awaited();
    let approve = ["run", "approve", &run, "--plan", &digest, "--wait", "end"];
    // By whoever asked; of a plan that is none; by a user who may not, and by one who may no more than that.
    let _ = scene.run(&approve).ends(21).says(&["error[run.own-approval]"]);
    let by = |uid: u32, words: &[&str]| elsewhere.run(&scene, uid, words);
    let forged = "0123456789abcdef";
    let _ = by(APPROVER, &["run", "approve", &run, "--plan", forged])
        .ends(24)
        .says(&["error[run.other-plan]"]);
    let _ = by(APPROVER - 1, &approve).ends(22).says(&["error[socket.peer]"]);
    for words in [&["status"][..], &["rotate", "app-redis"], &["secret", "list"]] {
        let _ = by(APPROVER, words).ends(22).says(&["error[socket.peer]"]);
    }
    assert!(scene.is_untouched());
    // Who may sees the plan, and lets it go on.
    let shown = by(APPROVER, &["run", "show", &run]);
    assert!(
        shown.stdout.contains(&digest) && shown.stdout.contains("apply: "),
        "{}",
        shown.stdout
    );
    let _ = by(APPROVER, &approve).ends(0);
    assert!(scene.is_rotated() && !scene.accepts(&scene.old));
    // It is over, and nothing of it can be approved again.
    let _ = by(APPROVER, &approve).ends(24).says(&["error[run.over]"]);
    let _ = serving.ends();
    let rows = trail(&scene, "run.approve");
    let said: Vec<(&str, &str, &str)> = rows
        .iter()
        .rev()
        .map(|row| {
            let code = row["details"]["code"].as_str().unwrap_or_default();
            (
                row["actor"].as_str().unwrap(),
                row["outcome"].as_str().unwrap(),
                code,
            )
        })
        .collect();
    let approver = format!("uid:{APPROVER}");
    assert_eq!(
        said,
        [
            ("uid:0", "denied", "run.own-approval"),
            (&approver, "denied", "run.other-plan"),
            (&approver, "ok", ""),
            (&approver, "denied", "run.over"),
        ]
    );
}

/// What nobody asked for may be approved by the host's own user; the wait and its time survive the host.
#[test]
fn what_is_due_by_itself_waits_is_denied_and_runs_out() {
    let scene = Scene::new("1s");
    scene.configure_rotation("schedule = \"@every 1s\"\napproval = { expires = \"1h\" }");
    let serving = scene.serve();
    let (run, _) = scene.awaited();
    let none = scene.run(&["run", "deny", "r-nothing", "--reason", "x"]);
    let _ = none.ends(23);
    let _ = scene
        .run(&["run", "deny", &run, "--reason", "not on a Friday"])
        .ends(0);
    assert_eq!(scene.newest()["state"], "failed");
    // It is not asked for again before somebody says so.
    until("it is parked", || entry(&scene, "rotation-parked").is_some());
    let parked = entry(&scene, "rotation-parked").unwrap();
    assert!(
        parked["what"].as_str().unwrap().contains("not on a Friday"),
        "{parked}"
    );
    let runs = || {
        scene
            .run(&["run", "list", "-o", "json"])
            .json()
            .as_array()
            .unwrap()
            .len()
    };
    let before = runs();
    thread::sleep(Duration::from_secs(7));
    assert_eq!(runs(), before);
    let _ = serving.ends();
    assert!(scene.is_untouched());
    // From now on it waits for two seconds.
    let file = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("expires = \"1h\"", "expires = \"2s\"", 1)).unwrap();
    let release = ["schedule", "release", "app-redis", "--reason", "Monday"];
    let _ = scene.run(&release).ends(0);
    let serving = scene.serve();
    until("it is over", || {
        let detail = scene.newest()["detail"].as_str().unwrap_or_default().to_owned();
        detail.contains("nobody has approved it")
    });
    let _ = serving.ends();
    assert!(scene.is_untouched());
    for action in [
        "run.await-approval",
        "run.deny",
        "schedule.park",
        "schedule.unpark",
    ] {
        assert!(!trail(&scene, action).is_empty(), "{action}");
    }
}

#[test]
fn another_plan_waits_anew_and_a_late_approval_is_none() {
    let scene = Scene::new("1s");
    scene.configure_rotation("schedule = \"@every 1s\"\napproval = { expires = \"20s\" }");
    let serving = scene.serve();
    let (run, first) = scene.awaited();
    // From now on nobody goes on with it but the commands.
    drop(serving);
    let added = scene
        .server
        .command(&["ACL", "SETUSER", "app", ">another-password"]);
    assert_eq!(added.unwrap().trim(), "OK");
    let approve = |digest: &str| scene.run(&["run", "approve", &run, "--plan", digest, "--wait", "end"]);
    let _ = approve(&first).ends(41);
    let second = scene.newest()["approval"]["digest"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    assert!(scene.is_untouched());
    let _ = approve(&first).ends(24).says(&["error[run.other-plan]"]);
    // Another plan gets no more time.
    until("it is too late", || scene.newest()["approval"]["decided"] == true);
    let _ = approve(&second).ends(24).says(&["error[run.approval-late]"]);
    let _ = scene.run(&["run", "resume", &run]).ends(24);
    assert!(scene.is_untouched());
}

/// Killed at each place between the words and the end: what was approved goes on by itself, what was not waits still, and nobody is locked out.
#[test]
fn an_approval_that_dies_on_its_way_counts_or_does_not() {
    let scene = Scene::new("1s");
    scene.configure_rotation("schedule = \"@every 1s\"\napproval = {}");
    let wait = || {
        let serving = scene.serve();
        let awaited = scene.awaited();
        drop(serving);
        awaited
    };
    let places = {
        let (run, digest) = wait();
        scene
            .host
            .places_on(&["run", "approve", &run, "--plan", &digest, "--wait", "end"])
    };
    let mut seen = std::collections::BTreeSet::new();
    let (mut kept, mut lost, mut deaths) = (0, 0, 0);
    for number in 0..places.len() {
        // Up to the pending version each place; from there on the first of each kind: that way is any run's.
        if number > 18 && !seen.insert(&places[number]) {
            continue;
        }
        let (run, digest) = wait();
        let versions = scene.host.versions("app/redis").len();
        let words = ["run", "approve", &run, "--plan", &digest, "--wait", "end"];
        // After a death before it a run may come another way.
        let (place, before) = (&places[number], &places[..number]);
        let before = before.iter().filter(|other| *other == place).count();
        let orders = match before {
            0 => format!("{place}=return"),
            _ => format!("{place}={before}*off->return"),
        };
        let died = scene.host.finish(&mut scene.host.failing(&words, &orders), "");
        assert!(died.signal == Some(9) || died.code == 0, "{orders}: {died:?}");
        deaths += usize::from(died.signal.is_some());
        let view = scene.run(&["run", "show", &run, "-o", "json"]).json();
        if view["finished-at"].is_null() && view["approval"]["approved-by"].is_null() {
            assert_eq!(
                scene.host.versions("app/redis").len(),
                versions,
                "{}",
                places[number]
            );
            let _ = scene.run(&words).ends(0);
            lost += 1;
        } else {
            let serving = scene.serve();
            until("it goes on by itself", || {
                let run = scene.run(&["run", "show", &run, "-o", "json"]).json();
                run["state"] == "succeeded"
            });
            drop(serving);
            kept += 1;
        }
        assert!(
            scene.accepts(&scene.host.read("app/redis", None)),
            "{}",
            places[number]
        );
    }
    assert!(
        kept > 0 && lost > 0 && deaths > 20,
        "{kept} {lost} {deaths} {places:?}"
    );
    let _ = scene.run(&["audit", "verify"]).ends(0);
}

/// Killed at each place before it waits: nothing was made, and it waits after the next start.
#[test]
fn a_run_that_dies_before_it_waits_has_touched_nothing() {
    let scene = Scene::new("1s");
    scene.configure_rotation("approval = {}");
    let rotate = ["rotate", "app-redis", "--wait", "0s"];
    let trace = scene.host.outside("places");
    let mut whole = scene.host.failing(&rotate, "");
    whole.env("KEYWHEEL_FAILPOINT_TRACE", &trace);
    let _ = scene.host.finish(&mut whole, "").ends(41);
    let places = fs::read_to_string(&trace).unwrap();
    let places: Vec<String> = places.lines().map(str::to_owned).collect();
    let cancel = || scene.run(&["run", "cancel", "app-redis", "--reason", "test"]);
    let _ = cancel().ends(0);
    let begun = places.iter().position(|place| place == "begin-after").unwrap();
    for number in (begun..places.len()).step_by(2) {
        scene.host.dies_at(&rotate, &places, number);
        let _ = scene.run(&["run", "resume", "app-redis"]).ends(41);
        assert!(
            entry(&scene, "run-awaits-approval").is_some(),
            "{}",
            places[number]
        );
        assert!(scene.is_untouched(), "{}", places[number]);
        let _ = cancel().ends(0);
    }
    assert!(scene.is_untouched());
}

/// A run that takes over what an earlier one has left is not asked what it plans: it proves that, and waits without a time before it makes it current.
#[test]
fn what_an_earlier_run_has_left_is_not_made_current_without_approval() {
    let (mut server, host, old) = keywheel_e2e::role_adopted();
    // Killed before the statement is sent, and given up while nobody can say whether it was.
    let mut rotate = host.failing(
        &["rotate", "app-db", "--wait", "end"],
        "intent-after=1*off->return",
    );
    assert_eq!(host.finish(&mut rotate, "").signal, Some(9));
    server.stop().unwrap();
    let _ = host.run(&["run", "resume", "app-db", "--wait", "0s"], "");
    let words = ["run", "cancel", "app-db", "--give-up", "--reason", "test"];
    let _ = host.run(&words, "");
    until("it can be started again", || server.restart().is_ok());
    let before = host.versions("app/db");
    assert_eq!(before[0].1, "pending", "{before:?}");
    let file = host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    let named = "\nname = \"app-db\"\n";
    fs::write(
        &file,
        text.replacen(named, &format!("{named}approval = {{}}\n"), 1),
    )
    .unwrap();
    let _ = host.run(&["rotate", "app-db", "--wait", "end"], "").ends(41);
    let run = host.run(&["run", "show", "app-db", "-o", "json"], "").json();
    assert!(
        run["approval"]["waits"] == true && run["approval"]["until"].is_null(),
        "{run:#}"
    );
    assert!(
        run["approval"]["plan"]["warnings"]
            .to_string()
            .contains("takes over"),
        "{run:#}"
    );
    assert_eq!(host.versions("app/db"), before);
    // Neither whoever asked for it nor anything else than an approval lets it go on.
    let digest = run["approval"]["digest"].as_str().unwrap();
    let _ = host
        .run(&["run", "approve", "app-db", "--plan", digest], "")
        .ends(21)
        .says(&["error[run.own-approval]"]);
    let _ = host
        .run(&["run", "resume", "app-db", "--wait", "0s"], "")
        .ends(41);
    assert_eq!(host.versions("app/db"), before);
    // Taken back, the old one is current and accepted.
    let _ = host.run(&["run", "cancel", "app-db", "--wait", "end"], "");
    assert_eq!(host.read("app/db", None), old);
    assert!(server.login("app", &old).unwrap().is_accepted());
}
