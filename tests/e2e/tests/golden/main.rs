//! What version 0.1.0 has written, this version opens, reads and goes on with: state, key slots, backup, trail, pins, grants, plugins. `tests/golden` has
//! it, with how it was made; it is never made anew for a later version, only added to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

mod migrates;
mod other_formats;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use keywheel_e2e::{Host, postgres_role, redis_user};
use keywheel_kit::{Postgres, PostgresOptions, Redis, RedisOptions};

/// The value that was imported first, which the golden vault keeps as a revoked version.
const FIRST: &str = "golden-first-password-of-app";

const VERSIONS: [&str; 1] = ["0.1.0"];

fn golden(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../golden")
        .join(version)
}

/// A copy of a golden host, beside what else was kept of it.
fn copy(from: &Path) -> Host {
    let host = Host::init();
    fs::remove_dir_all(host.folder()).unwrap();
    put(&from.join("host"), &host.folder());
    for name in ["recovery", "kept.age", "head"] {
        fs::copy(from.join(name), host.outside(name)).unwrap();
    }
    host
}

/// A repository keeps no modes but one bit: these are what `init` makes.
fn put(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            put(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

/// Points the golden rotations at servers of today.
fn point_at(host: &Host, postgres: &Postgres, redis: &Redis) {
    let file = host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    let rest = &text[..text.find("[trust.app-db]").unwrap()];
    let rotations = format!("{}\n{}", postgres_role(postgres, "1s"), redis_user(redis, "1s"));
    fs::write(&file, format!("{rest}\n{rotations}")).unwrap();
    for name in ["postgres", "redis"] {
        let grant = host.file(&format!("policies/{name}.toml"));
        let text = fs::read_to_string(&grant).unwrap();
        let hosts = text
            .lines()
            .find(|line| line.starts_with("hosts = "))
            .unwrap()
            .to_owned();
        let port = if name == "postgres" {
            postgres.port()
        } else {
            redis.port()
        };
        let now = format!("hosts = [\"localhost:{port} tls\", \"127.0.0.1:{port} tls\"]");
        fs::write(&grant, text.replace(&hosts, &now)).unwrap();
    }
}

#[test]
fn what_an_earlier_version_has_written_is_read_whole() {
    for version in VERSIONS {
        is_read_whole(&golden(version));
    }
}

fn is_read_whole(from: &Path) {
    let host = copy(from);
    let _ = host.run(&["audit", "verify"], "").ends(0);
    let head = host.outside("head").display().to_string();
    let _ = host.run(&["audit", "verify", "--checkpoint", &head], "").ends(0);
    let doctor = host.run(&["doctor"], "");
    assert!(!doctor.stdout.contains("do not open"), "{}", doctor.stdout);
    let stages: Vec<String> = host.versions("app/db").into_iter().map(|known| known.1).collect();
    assert_eq!(stages, ["current", "revoked"]);
    let first = host.versions("app/db")[1].0.clone();
    assert_eq!(host.read("app/db", Some(&first)), FIRST);
    assert_eq!(host.read("app/db", None).len(), 32);
    // One run is over, one waits for consumers.
    let runs = host.json(&["run", "list"]);
    let state = |rotation: &str| {
        let mut of = runs.as_array().unwrap().iter();
        of.find(|run| run["rotation"] == rotation).unwrap()["state"].clone()
    };
    assert_eq!(state("app-db"), "succeeded");
    assert_eq!(state("app-redis"), "waiting");
    // Each key slot opens it.
    let recovery = fs::read_to_string(host.outside("recovery")).unwrap();
    let _ = host
        .run(&["vault", "unseal", "--recovery", "-"], &recovery)
        .ends(0);
    let _ = host.run(&["vault", "unseal", "-"], "golden passphrase\n").ends(0);
    // The components are those that were pinned.
    let _ = host.run(&["plugin", "verify"], "").ends(0);
}

/// A folder that nobody tries would be no promise.
#[test]
fn each_version_that_is_kept_is_tried() {
    let folder = golden(VERSIONS[0]);
    let kept = fs::read_dir(folder.parent().unwrap()).unwrap();
    let folders = kept.map(Result::unwrap).filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = folders
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, VERSIONS);
}

#[test]
fn what_an_earlier_version_has_begun_goes_on() {
    for version in VERSIONS {
        let postgres = Postgres::start(PostgresOptions::default()).unwrap();
        let redis = Redis::start(RedisOptions::default()).unwrap();
        let host = copy(&golden(version));
        let (db, cache) = (host.read("app/db", None), host.read("app/redis", None));
        postgres
            .sql(&format!("CREATE ROLE app LOGIN PASSWORD '{db}'"))
            .unwrap();
        redis.create_user("app", &cache).unwrap();
        // Its servers are gone: the run that waits for consumers is ended as it stands.
        let _ = host
            .run(&["run", "resume", "app-redis", "--wait", "0s"], "")
            .ends(124);
        let give_up = ["run", "cancel", "app-redis", "--give-up", "--reason", "elsewhere"];
        let _ = host.run(&give_up, "").ends(0);
        point_at(&host, &postgres, &redis);
        let _ = host.import("admin/db", postgres.admin_password()).ends(0);
        let _ = host.import("admin/redis", redis.admin_password()).ends(0);
        // By the components of then.
        for rotation in ["app-db", "app-redis"] {
            let _ = host.run(&["rotate", rotation, "--wait", "end"], "").ends(0);
        }
        let (new_db, new_cache) = (host.read("app/db", None), host.read("app/redis", None));
        assert!(postgres.login("app", &new_db).unwrap().is_accepted());
        assert!(redis.login("app", &new_cache).unwrap().is_accepted());
        assert!(postgres.login("app", &db).unwrap().is_refused());
        assert!(redis.login("app", &cache).unwrap().is_refused());
        let _ = host.run(&["vault", "rewrap"], "").ends(0);
        let _ = host.run(&["audit", "verify"], "").ends(0);
        println!("{version}: rotated by its own components");
    }
}

#[test]
fn a_backup_of_an_earlier_version_is_restored() {
    for version in VERSIONS {
        let host = copy(&golden(version));
        let current = host.read("app/db", None);
        fs::remove_dir_all(host.file("state")).unwrap();
        let identity = format!("@{}", host.outside("recovery").display());
        let kept = host.outside("kept.age").display().to_string();
        let _ = host
            .run(&["vault", "restore", &kept, "--recovery", &identity], "")
            .ends(0);
        assert_eq!(host.read("app/db", None), current);
        let _ = host.run(&["audit", "verify"], "").ends(0);
    }
}

/// What this version writes can be kept in the same way. `KEYWHEEL_GOLDEN=FOLDER` keeps it: the golden files of a new version.
#[test]
fn what_this_version_writes_is_read_whole() {
    let passing = tempfile::tempdir().unwrap();
    let to = std::env::var_os("KEYWHEEL_GOLDEN").map_or_else(|| passing.path().join("golden"), PathBuf::from);
    make(&to);
    is_read_whole(&to);
}

fn make(to: &Path) {
    let postgres = Postgres::start(PostgresOptions::default()).unwrap();
    let redis = Redis::start(RedisOptions::default()).unwrap();
    postgres
        .sql(&format!("CREATE ROLE app LOGIN PASSWORD '{FIRST}'"))
        .unwrap();
    redis
        .create_user("app", "golden-first-password-of-cache")
        .unwrap();
    let host = Host::init();
    let beside = |lines: String, ca: &Path, name: &str| {
        fs::copy(ca, host.file(name)).unwrap();
        lines.replace(&ca.display().to_string(), name)
    };
    host.configure(&beside(
        postgres_role(&postgres, "1s"),
        &postgres.ca_file(),
        "db.pem",
    ));
    host.configure(&beside(redis_user(&redis, "7d"), &redis.ca_file(), "cache.pem"));
    host.add_plugin("postgres", &[postgres.port()]);
    host.add_plugin("redis", &[redis.port()]);
    let _ = host
        .run(
            &["vault", "slot", "add", "--passphrase", "-"],
            "golden passphrase\n",
        )
        .ends(0);
    let _ = host.import("admin/db", postgres.admin_password()).ends(0);
    let _ = host.import("admin/redis", redis.admin_password()).ends(0);
    let _ = host.import("app/db", FIRST).ends(0);
    let _ = host.import("app/redis", "golden-first-password-of-cache").ends(0);
    let _ = host.run(&["rotate", "app-db", "--wait", "end"], "").ends(0);
    let _ = host.run(&["rotate", "app-redis"], "").ends(0);
    for words in [
        ["vault", "backup", "kept.age"],
        ["audit", "checkpoint", "--out=head"],
    ] {
        let out = words[2].trim_start_matches("--out=");
        let path = host.outside(out).display().to_string();
        let last = words[2].replace(out, &path);
        let _ = host.run(&[words[0], words[1], &last], "").ends(0);
    }
    fs::create_dir(to).unwrap();
    for name in ["recovery", "kept.age", "head"] {
        fs::copy(host.outside(name), to.join(name)).unwrap();
    }
    fs::remove_dir_all(host.file("state/compiled")).unwrap();
    put(&host.folder(), &to.join("host"));
}
