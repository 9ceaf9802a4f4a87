//! The server as clients find it that are not ours: those that every run of the tests can afford. The others: `clients/run.sh`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test says what went wrong by panicking, and starts programs"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use keywheel_kit::{Encryption, SqlServer, SqlServerOptions};

/// The program of the client, if it can be had here.
fn client(program: &str, install: &[&[&str]]) -> bool {
    let is_there = || {
        Command::new("sh")
            .args(["-c", program])
            .output()
            .unwrap()
            .status
            .success()
    };
    if is_there() {
        return true;
    }
    for words in install {
        let _ = Command::new(words[0]).args(&words[1..]).output();
    }
    is_there()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success() && said.ends_with("ok\n"),
        "{command:?}\n{said}"
    );
    said
}

fn modes(scripts: &Path, mut command: impl FnMut(&Path) -> Command) {
    for (mode, encryption) in [
        ("none", Encryption::None),
        ("login", Encryption::Optional),
        ("tls", Encryption::Required),
    ] {
        let server = SqlServer::start(SqlServerOptions {
            encryption,
            ..SqlServerOptions::default()
        })
        .unwrap();
        let mut command = command(scripts);
        command
            .args([&server.port().to_string(), mode])
            .arg(server.ca_file())
            .arg(server.admin_password())
            .arg(scripts.join("statements.sql"));
        run(&mut command);
        let log = server.log();
        assert!(
            log.contains("ALTER LOGIN [it's] WITH PASSWORD = N'Second''2-Pass'"),
            "masks nothing: {log}"
        );
        assert!(log.contains("login it's refused: 18456 state 8"), "{log}");
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

#[test]
fn tsql_logs_in_and_runs_what_a_rotation_runs_in_each_mode_that_it_has() {
    let install: &[&str] = &[
        "apt-get",
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
        "-o",
        "DPkg::Lock::Timeout=300",
        "freetds-bin",
    ];
    if !client("command -v tsql", &[&["apt-get", "update", "-qq"], install]) {
        eprintln!("skipped: tsql (freetds-bin) is not to be had here");
        return;
    }
    modes(&scripts(), |scripts| {
        let mut command = Command::new("sh");
        command.arg(scripts.join("tsql.sh"));
        command
    });
}

#[test]
fn python_tds_logs_in_and_runs_what_a_rotation_runs_in_each_mode_that_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let python = folder.path().join("bin/python");
    let path = |path: &Path| path.display().to_string();
    let install = ["-m", "pip", "-q", "install", "python-tds==1.17.1", "pyOpenSSL"];
    let pip: Vec<&str> = [&[python.to_str().unwrap()], &install[..]].concat();
    let there = format!("{} -c 'import pytds, OpenSSL'", path(&python));
    if !client(&there, &[&["python3", "-m", "venv", &path(folder.path())], &pip]) {
        eprintln!("skipped: python-tds is not to be had here");
        return;
    }
    modes(&scripts(), |scripts| {
        let mut command = Command::new(&python);
        command.arg(scripts.join("python_tds.py"));
        command
    });
}
