//! The files for the service manager.

use std::fs;
use std::path::Path;
use std::process::Command;

/// As they are shipped, but for the place of the program.
#[test]
fn the_units_are_sound() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operators");
    let folder = tempfile::tempdir().unwrap();
    let binary = keywheel_e2e::binary().display().to_string();
    let mut units = Vec::new();
    for file in [
        "keywheel.service",
        "keywheel-backup.service",
        "keywheel-backup.timer",
    ] {
        let text = fs::read_to_string(files.join(file)).unwrap();
        let unit = folder.path().join(file);
        fs::write(&unit, text.replace("/usr/local/bin/keywheel", &binary)).unwrap();
        units.push(unit);
    }
    // `plugin add` is done by the host, and writes pins and grants beside the configuration.
    let service = fs::read_to_string(&units[0]).unwrap();
    assert!(
        service.lines().any(|line| line == "ReadWritePaths=/etc/keywheel"),
        "{service}"
    );
    // A restore makes the new state beside the old one: not in a folder that is root's.
    let page = fs::read_to_string(files.join("../operators.md")).unwrap();
    let place = "state.dir = \"/var/lib/keywheel/state\"";
    assert!(service.contains(place) && page.contains(place), "{service}");
    let Ok(verified) = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&units)
        .output()
    else {
        println!("skipped: there is no systemd-analyze");
        return;
    };
    let said = [verified.stdout, verified.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(verified.status.success() && said.is_empty(), "{said}");
}
