//! Files that decide for the host: what somebody else could change stops every command that goes by it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;

use crate::Subject;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

/// Every way to the configuration.
const COMMANDS: [&[&str]; 10] = [
    &["rotate", "app-db"],
    &["plan", "app-db"],
    &["status"],
    &["plugin", "list"],
    &["plugin", "show", "postgres"],
    &["policy", "check"],
    &["policy", "explain", "app-db"],
    &["config", "check"],
    &["config", "show"],
    &["secret", "list"],
];

#[track_caller]
fn is_refused(subject: &Subject, what: &str, way_out: &str) {
    for command in COMMANDS {
        let output = subject.host.run(command, "").ends(20);
        let _ = output.says(&["config.open-to-others", what, way_out]);
    }
    let doctor = subject.host.run(&["doctor"], "").ends(50);
    let mut lines = doctor.stdout.lines();
    assert!(
        lines.any(|line| line.starts_with("[failure] ownership") && line.contains(what)),
        "{what}: {}",
        doctor.stdout
    );
}

#[test]
fn what_decides_and_others_can_write_stops_every_command_until_it_is_closed() {
    let subject = Subject::ready("decides_open");
    let host = &subject.host;
    for (path, open) in [
        (host.file("keywheel.toml"), 0o664),
        (host.file("keywheel.toml"), 0o646),
        (host.file("plugins.lock"), 0o666),
        (host.file("policies"), 0o777),
        (host.file("policies/postgres.toml"), 0o666),
        (host.outside("ca.pem"), 0o666),
        (host.folder(), 0o770),
    ] {
        let closed = mode(&path);
        set_mode(&path, open);
        let what = format!("can be written by others (mode {open:04o})");
        is_refused(&subject, &what, "hint: chmod go-w");
        set_mode(&path, closed);
        let _ = host.run(&["config", "check"], "").ends(0);
    }
    subject.is_as_before("after refusals");
    let _ = subject.rotate().ends(0);
    subject.has_rotated();
    subject.leaves_no_trace();
}

#[test]
fn a_link_is_judged_by_what_it_leads_to() {
    let subject = Subject::ready("decides_link");
    let (grant, elsewhere) = (
        subject.host.file("policies/postgres.toml"),
        subject.host.outside("elsewhere"),
    );
    fs::create_dir(&elsewhere).unwrap();
    fs::rename(&grant, elsewhere.join("grant")).unwrap();
    symlink(elsewhere.join("grant"), &grant).unwrap();
    let _ = subject.host.run(&["config", "check"], "").ends(0);
    set_mode(&elsewhere, 0o777);
    is_refused(&subject, "elsewhere", "hint: chmod go-w");
    set_mode(&elsewhere, 0o755);
    set_mode(&elsewhere.join("grant"), 0o666);
    is_refused(&subject, "policies/postgres.toml", "hint: chmod go-w");
    set_mode(&elsewhere.join("grant"), 0o644);
    let _ = subject.rotate().ends(0);
    subject.has_rotated();
}

#[test]
fn what_decides_and_belongs_to_another_user_is_refused() {
    let subject = Subject::ready("decides_owner");
    if subject.host.folder().metadata().unwrap().uid() != 0 {
        return;
    }
    for file in [
        "keywheel.toml",
        "plugins.lock",
        "policies",
        "policies/postgres.toml",
    ] {
        let path = subject.host.file(file);
        chown(&path, Some(12345), None).unwrap();
        is_refused(&subject, "belongs to user 12345", "to the host's user or to root");
        chown(&path, Some(0), None).unwrap();
    }
    subject.is_as_before("after refusals");
    let _ = subject.rotate().ends(0);
    subject.has_rotated();
}
