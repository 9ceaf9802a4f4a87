//! Some kills on each target with the debug binary; `cargo xtask crash` makes more, with the release binary.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what went wrong by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use keywheel_crash::{Control, Options, Programs, run};

fn options() -> Options {
    Options {
        targets: Vec::new(),
        vault: "embedded".to_owned(),
        kills: 60,
        seed: None,
        point: None,
        path: None,
        soak: None,
        emergency: false,
        keep: false,
        control: None,
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

fn programs() -> Programs {
    let root = root();
    let plugins =
        std::env::var_os("KEYWHEEL_PLUGINS").map_or_else(|| root.join("target/plugins"), PathBuf::from);
    let (binary, failpoints) = binaries();
    Programs {
        binary,
        failpoints,
        plugins,
        evidence: root.join("target/crash"),
    }
}

/// Those that `cargo xtask test` names, or else built here.
fn binaries() -> (PathBuf, PathBuf) {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from);
    if let (Some(binary), Some(failpoints)) = (named("KEYWHEEL_BINARY"), named("KEYWHEEL_FAILPOINTS_BINARY"))
    {
        return (binary, failpoints);
    }
    let build = |more: &[&str]| {
        let mut build = keywheel_kit::cargo();
        build
            .args(["build", "-q", "--locked", "-p", "keywheel-cli"])
            .args(more)
            .current_dir(root());
        assert!(build.status().unwrap().success(), "keywheel does not build");
    };
    build(&["--bin", "keywheel"]);
    build(&["--features", "failpoints", "--bin", "keywheel-failpoints"]);
    // target/PROFILE/deps/TEST
    let own = std::env::current_exe().unwrap();
    let profile = own.parent().unwrap().parent().unwrap();
    (profile.join("keywheel"), profile.join("keywheel-failpoints"))
}

/// One run at a time: each has a server and a host on every target, and their steps have two seconds.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn nobody_is_locked_out_wherever_the_host_is_killed() {
    let _turn = turn();
    let mut last = String::new();
    let clean = run(&options(), &programs(), &mut |line| {
        println!("{line}");
        line.clone_into(&mut last);
    });
    assert!(clean.unwrap(), "{last}");
    assert_eq!(
        last,
        "crash: kills=60 targets=postgres,postgres-pair,redis,mariadb,mysql,openldap,mssql,mssql-pair lockouts=0 lost=0 stale=0"
    );
}

/// What serves for a minute is killed, and the next one goes on; an hour of it is `cargo xtask crash --soak 60`.
#[test]
fn a_service_goes_on_by_itself_after_each_kill() {
    let _turn = turn();
    let options = Options {
        soak: Some(1),
        ..options()
    };
    let mut last = String::new();
    let clean = run(&options, &programs(), &mut |line| {
        println!("{line}");
        line.clone_into(&mut last);
    });
    assert!(clean.unwrap(), "{last}");
    let kills = last
        .strip_prefix("crash: kills=")
        .and_then(|rest| rest.split(' ').next());
    assert!(kills.unwrap().parse::<u32>().unwrap() >= 3, "{last}");
    assert!(last.contains("lockouts=0 lost=0 stale=0"), "{last}");
}

/// Their changes share transactions; more of it is `cargo xtask crash --emergency --kills 200`.
#[test]
fn nobody_of_many_is_locked_out_wherever_an_emergency_is_cut_off() {
    let options = Options {
        emergency: true,
        kills: 3,
        ..options()
    };
    let mut said = Vec::new();
    let held = turn();
    let clean = run(&options, &programs(), &mut |line| said.push(line.to_owned()));
    drop(held);
    assert!(clean.unwrap(), "{said:#?}");
    assert_eq!(
        said.last().unwrap(),
        "crash: kills=3 targets=postgres-emergency lockouts=0 lost=0 stale=0"
    );
    let spoiled = Options {
        kills: 1,
        control: Some(Control::Spoiled),
        ..options
    };
    let line = last_of_a_dirty_run(&spoiled);
    assert!(!line.contains("lockouts=0"), "{line}");
}

/// The control: what the suite is for is found, on each target.
#[test]
fn an_account_that_takes_a_password_that_nobody_holds_is_found() {
    let _turn = turn();
    for target in [
        "postgres",
        "postgres-pair",
        "redis",
        "mariadb",
        "mysql",
        "openldap",
        "mssql",
        "mssql-pair",
    ] {
        let options = Options {
            targets: vec![target.to_owned()],
            kills: 2,
            control: Some(Control::Spoiled),
            ..options()
        };
        let mut said = Vec::new();
        let programs = Programs {
            evidence: tempfile::tempdir().unwrap().keep(),
            ..programs()
        };
        let clean = run(&options, &programs, &mut |line| said.push(line.to_owned())).unwrap();
        std::fs::remove_dir_all(&programs.evidence).unwrap();
        let all = said.join("\n");
        assert!(!clean, "{all}");
        assert!(all.contains("is refused") && all.contains("evidence: "), "{all}");
        let line = said.last().unwrap();
        assert!(!line.contains("lockouts=0") && !line.contains("lost=0"), "{line}");
    }
}

/// The last line of a run that finds something.
fn last_of_a_dirty_run(options: &Options) -> String {
    let _turn = turn();
    let programs = Programs {
        evidence: tempfile::tempdir().unwrap().keep(),
        ..programs()
    };
    let mut last = String::new();
    let clean = run(options, &programs, &mut |line| line.clone_into(&mut last)).unwrap();
    std::fs::remove_dir_all(&programs.evidence).unwrap();
    assert!(!clean, "{last}");
    last
}

/// The same of a change that is sent after its deadline.
#[test]
fn a_change_that_a_stopped_host_still_sends_is_found() {
    let options = Options {
        targets: vec!["redis".to_owned()],
        path: Some("rotate".to_owned()),
        point: Some("stopped at a login".to_owned()),
        // It ends at the first that is found: of the logins of a run one comes before a change.
        kills: 100,
        control: Some(Control::Late),
        ..options()
    };
    let last = last_of_a_dirty_run(&options);
    assert!(last.contains("late="), "{last}");
}

#[test]
fn unknown_names_are_refused_with_those_that_there_are_and_the_seed_comes_first() {
    let refused = |options: Options| {
        let mut said = Vec::new();
        // They are not looked for before the names are known.
        let none = Programs {
            binary: root().join("nothing"),
            failpoints: root().join("nothing"),
            plugins: root().join("nothing"),
            evidence: root().join("nothing"),
        };
        let error = run(&options, &none, &mut |line| said.push(line.to_owned())).unwrap_err();
        assert!(said[0].starts_with("crash: seed "), "{said:?}");
        error.to_string()
    };
    let target = refused(Options {
        targets: vec!["postgres".to_owned(), "oracle".to_owned()],
        ..options()
    });
    assert_eq!(
        target,
        "there is no target `oracle`; there are: postgres, postgres-pair, redis, mariadb, mysql, openldap, mssql, mssql-pair"
    );
    let vault = refused(Options {
        vault: "azure".to_owned(),
        ..options()
    });
    assert_eq!(vault, "there is no vault `azure`; there are: embedded");
    let path = refused(Options {
        path: Some("sideways".to_owned()),
        ..options()
    });
    assert_eq!(
        path,
        "there is no path `sideways`; there are: rotate, first, adopt, rollback, put-back, admin, scheduled"
    );
    let point = refused(Options {
        point: Some("nowhere".to_owned()),
        ..options()
    });
    assert!(
        point.starts_with("there is no point with `nowhere` in its name; there are: change before, "),
        "{point}"
    );
}

/// The same of a value that was revoked and is accepted again, and of more failed logins than there may be.
#[test]
fn a_revoked_value_that_works_again_and_too_many_failed_logins_are_found() {
    let stale = Options {
        kills: 6,
        control: Some(Control::Stale),
        ..options()
    };
    let logins = Options {
        kills: 20,
        control: Some(Control::Logins),
        ..options()
    };
    for (options, word) in [(stale, "stale="), (logins, "over-budget=")] {
        let options = Options {
            targets: vec!["redis".to_owned()],
            path: Some("rotate".to_owned()),
            ..options
        };
        let last = last_of_a_dirty_run(&options);
        let found = last.split(' ').find_map(|part| part.strip_prefix(word));
        assert!(found.is_some_and(|count| count != "0"), "{last}");
    }
}

/// With nowhere to find or to get a server's programs: told before anything is built, with the seed before it.
#[test]
fn a_server_that_is_not_to_be_had_is_named_with_the_way_to_get_it() {
    let empty = tempfile::tempdir().unwrap();
    for (target, package) in [("postgres-pair", "postgresql"), ("redis", "redis-server")] {
        let output = Command::new(env!("CARGO_BIN_EXE_keywheel-crash"))
            .args(["--look", "--targets", target])
            .env("PATH", empty.path())
            .env("HOME", empty.path())
            .env("XDG_CACHE_HOME", empty.path())
            .env("KEYWHEEL_KIT_UNPACK", "1")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let (first, rest) = said.split_once('\n').unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(first.starts_with("crash: seed "), "{said}");
        let way = format!("install the package `{package}`");
        let named = format!("there is no server for the target `{target}`");
        assert!(rest.contains(&named) && rest.contains(&way), "{said}");
    }
}

#[test]
fn without_programs_nothing_is_killed_and_that_is_no_success() {
    let output = Command::new(env!("CARGO_BIN_EXE_keywheel-crash"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("there is nothing to kill"), "{said}");
}
