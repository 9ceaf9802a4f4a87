//! Every verb that a secret enters, or that speaks of one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rusqlite::Connection;
use serde_json::json;

use crate::scene::{Scene, servers};

pub(crate) fn run(scene: &mut Scene) {
    secrets(scene);
    pair(scene);
    drift(scene);
    given_up(scene);
    written_by_hand(scene);
    keys(scene);
    backups(scene);
    speaks(scene);
}

fn secrets(scene: &mut Scene) {
    let value = scene.plant_odder("a value in a file");
    fs::write(scene.host.outside("given"), &value).unwrap();
    let _ = scene.run(
        "secret import some/file @OUTSIDE/given --fact used-by=shop",
        "",
        0,
    );
    let _ = scene.run("secret import some/file @OUTSIDE/given -o json", "", 0);
    let value = scene.plant("a value in JSON").replace('"', "");
    let _ = scene.run(
        "secret import some/document -",
        &json!({ "password": value }).to_string(),
        0,
    );
    let _ = scene.run("secret list", "", 0);
    for words in [
        "secret show app/db",
        "secret history app/db",
        "secret history some/file",
    ] {
        let _ = scene.run(words, "", 0);
        let _ = scene.run(&format!("{words} -o json"), "", 0);
    }
    let versions = scene.host.versions("app/db");
    let (revoked, _) = versions.iter().find(|(_, stage)| stage == "revoked").unwrap();
    let _ = scene.run(&format!("secret rollback app/db {revoked} --wait end"), "", 0);
    let _ = scene.run("target test app-db", "", 0);
    let _ = scene.run("target test app-redis -o json", "", 0);
    // A run that is left on its way, and taken back.
    let mut command = scene.host.command(&["rotate", "app-db", "--wait", "end"]);
    let mut running = scene.host.start(&mut command);
    let _ = running.wait_for("  create ");
    let _ = running.child.kill();
    let _ = scene.host.wait(running);
    let _ = scene
        .host
        .run(&["run", "rollback", "app-db", "--wait", "end"], "");
    let _ = scene.host.run(&["run", "resume", "app-db", "--wait", "end"], "");
    let _ = scene.run("run list", "", 0);
    let _ = scene.run("run list -o json", "", 0);
}

/// Two roles in turn: the secret is a document.
fn pair(scene: &mut Scene) {
    scene.configure(&["app-db", "app-redis", "pair-db"]);
    let password = scene.value("the pair's first password");
    let document = json!({ "username": "app_a", "password": password }).to_string();
    let _ = scene.run("secret import pair/db - --wait end", &document, 0);
    let _ = scene.run("rotate pair-db --wait end", "", 0);
    let _ = scene.run("rotate --all --yes --wait end", "", 0);
}

/// Somebody changes a password by hand.
fn drift(scene: &mut Scene) {
    let _ = scene.run("drift check", "", 0);
    let other = scene.plant_odder("a password set by hand").replace('\'', "''");
    servers().by_hand(&format!("ALTER ROLE app PASSWORD '{other}'"));
    let _ = scene.run("target test app-db", "", 22);
    let _ = scene.run("drift check app-db --wait end", "", 41);
    // No person has written the vault's head; the embedded vault lets nobody while a run is open.
    for format in ["", " -o json"] {
        let _ = scene.run(&format!("run resume app-db --accept-head{format}"), "", 24);
    }
    let _ = scene.run("run resume app-db --wait end", "", 0);
    let _ = scene.run("drift check -o json", "", 0);
    let current = scene.host.read("app/db", None);
    assert!(servers().postgres.login("app", &current).unwrap().is_accepted());
}

/// A run with a new value in its hands whose account nobody can log in to: it is ended as it stands.
fn given_up(scene: &mut Scene) {
    for format in ["", " -o json"] {
        let mut command = scene.host.command(&["rotate", "app-db", "--wait", "end"]);
        let mut running = scene.host.start(&mut command);
        let _ = running.wait_for("  create ");
        let _ = running.child.kill();
        let _ = scene.host.wait(running);
        servers().by_hand("ALTER ROLE app NOLOGIN");
        let _ = scene.run("run resume app-db --wait end", "", 41);
        let give_up = format!("run cancel app-db --give-up --reason gone{format}");
        let _ = scene.run(&give_up, "", 0);
        servers().by_hand("ALTER ROLE app LOGIN");
        let _ = scene.run("run show app-db", "", 0);
        let _ = scene.run("rotate app-db --wait end", "", 0);
    }
    let current = scene.host.read("app/db", None);
    assert!(servers().postgres.login("app", &current).unwrap().is_accepted());
}

/// Under an open run somebody makes another value current in the database, a person's own, and puts it on the target: that head is taken for the truth.
fn written_by_hand(scene: &mut Scene) {
    let first = scene.value("the role's first password").to_owned();
    for format in ["", " -o json"] {
        let rotate = ["rotate", "app-db", "--wait", "end"];
        let mut command = scene.host.failing(&rotate, "promote-before=return");
        let died = scene.host.finish(&mut command, "");
        assert_eq!(died.signal, Some(9), "{died:?}");
        servers().by_hand(&format!(
            "ALTER ROLE app PASSWORD '{}'",
            first.replace('\'', "''")
        ));
        let database = Connection::open(scene.host.file("state/keywheel.db")).unwrap();
        let sql = "BEGIN;
            UPDATE version SET stage = 'previous' WHERE secret = 'app/db' AND stage = 'current';
            UPDATE version SET stage = 'current' WHERE secret = 'app/db' AND number = 1;
            COMMIT";
        database.execute_batch(sql).unwrap();
        drop(database);
        let _ = scene.run("run resume app-db --wait end", "", 41);
        let parked = scene.run("run show app-db -o json", "", 10).json();
        assert_eq!(parked["parked"]["cause"], "by-hand", "{parked:#}");
        let _ = scene.run(
            &format!("run resume app-db --accept-head --wait end{format}"),
            "",
            0,
        );
        assert_eq!(scene.host.read("app/db", None), first);
        let _ = scene.run("rotate app-db --wait end", "", 0);
    }
    let current = scene.host.read("app/db", None);
    assert!(servers().postgres.login("app", &current).unwrap().is_accepted());
}

/// Slots, new keys, and each key used once.
fn keys(scene: &mut Scene) {
    let passphrase = scene.plant_odder("the passphrase");
    let typed = format!("{passphrase}\n");
    let recovery = fs::read_to_string(scene.host.outside("recovery")).unwrap();
    scene.know_identity("the recovery identity", &recovery);
    scene.know("the recovery identity's bytes", bech32(recovery.trim()));
    let _ = scene.run("vault status", "", 0);
    let _ = scene.run("vault slot add --passphrase -", &typed, 0);
    let _ = scene.run("vault slot add --key-file OUTSIDE/second.key", "", 0);
    let second = scene.host.outside("second.key");
    scene.know_key_file("the second key file", &second);
    let third = scene.host.outside("third.key");
    fs::write(&third, "5e".repeat(7) + &"c0ffee11".repeat(6) + "aa\n").unwrap();
    fs::set_permissions(&third, fs::Permissions::from_mode(0o400)).unwrap();
    scene.know_key_file("a key file made by hand", &third);
    let _ = scene.run("vault slot add --key-file OUTSIDE/third.key -o json", "", 0);
    let _ = scene.run("vault slot list", "", 0);
    let _ = scene.run("vault unseal -", &typed, 0);
    let _ = scene.run("vault unseal --recovery -", &recovery, 0);
    let _ = scene.run("vault unseal --recovery @OUTSIDE/recovery -o json", "", 0);
    let _ = scene.run("vault backup OUTSIDE/before.age", "", 0);
    let _ = scene.run("vault rewrap", "", 0);
    scene.remember_keys();
    let _ = scene.run("vault rekey --yes", "", 24);
    let _ = scene.run(
        "vault rekey --yes --passphrase - --key-file OUTSIDE/second.key --drop key-file-3 -o json",
        &typed,
        0,
    );
    scene.remember_keys();
    let _ = scene.run("vault slot remove key-file-2 --yes", "", 0);
    let _ = scene.run("vault unseal -", &typed, 0);
}

/// The state is put back, and what is in it goes on.
fn backups(scene: &mut Scene) {
    let _ = scene.run("vault backup OUTSIDE/after.age -o json", "", 0);
    let _ = scene.run("rotate app-redis --wait end", "", 0);
    scene.remember_versions();
    scene.remember_keys();
    let restore = "vault restore OUTSIDE/after.age --force --reason drill";
    let passphrase = format!("{}\n", scene.value("the passphrase"));
    let _ = scene.run(&format!("{restore} --passphrase -"), &passphrase, 0);
    let _ = scene.run(
        &format!("{restore} --recovery @OUTSIDE/recovery --new-key-file OUTSIDE/new.key"),
        "",
        0,
    );
    let new = scene.host.outside("new.key");
    scene.know_key_file("a new key file of a restore", &new);
    let _ = scene.run("vault restored --reason drill", "", 0);
    let _ = scene.run("status", "", 10);
    let _ = scene.host.run(&["rotate", "app-redis", "--wait", "end"], "");
    let _ = scene.run("run resume app-redis --apply-current --wait end", "", 0);
    let _ = scene.run("rotate --all --yes --wait end", "", 0);
}

/// What only speaks of it all.
fn speaks(scene: &Scene) {
    let _ = scene.run("audit search --limit 10000", "", 0);
    let _ = scene.run("audit search -o json --limit 10000 --oldest-first", "", 0);
    let _ = scene.run("audit search --secret admin/db --since 2020-01-01", "", 0);
    let _ = scene.run("audit checkpoint --out OUTSIDE/head", "", 0);
    let _ = scene.run("audit checkpoint", "", 0);
    let _ = scene.run("audit checkpoint --public-key -o json", "", 0);
    let _ = scene.run(
        "audit verify --checkpoint OUTSIDE/head --save OUTSIDE/next",
        "",
        0,
    );
    for words in [
        "doctor",
        "config check",
        "config show --effective --origins",
        "policy check",
        "policy explain app-db",
        "policy explain app-db connect localhost:1 plaintext",
        "plugin show postgres",
        "plugin verify",
        "vault status",
        "vault slot list",
        "secret list",
        "run list",
    ] {
        for format in ["", " -o json"] {
            let words: Vec<&str> = words.split(' ').chain(format.split_whitespace()).collect();
            let _ = scene.host.run(&words, "");
        }
    }
}

/// The 32 bytes of an identity: what is in it without its checksum.
fn bech32(text: &str) -> Vec<u8> {
    let digits = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let (_, data) = text.rsplit_once('1').unwrap();
    let data = data.to_lowercase();
    let values: Vec<u32> = data
        .chars()
        .map(|digit| u32::try_from(digits.find(digit).unwrap()).unwrap())
        .collect();
    let bits: Vec<u32> = values[..values.len() - 6]
        .iter()
        .flat_map(|value| (0..5).rev().map(move |bit| value >> bit & 1))
        .collect();
    let byte = |bits: &[u32]| u8::try_from(bits.iter().fold(0, |byte, bit| byte << 1 | bit)).unwrap();
    bits.chunks_exact(8).map(byte).collect()
}
