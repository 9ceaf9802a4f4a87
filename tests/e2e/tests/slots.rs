//! The keys that open a vault, by commands only.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::format_push_string,
    clippy::too_many_lines,
    unreachable_pub,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::fs;

use keywheel_e2e::Host;

fn slots(host: &Host) -> Vec<String> {
    let list = host.json(&["vault", "slot", "list"]);
    let slots = list.as_array().unwrap().iter();
    slots
        .map(|slot| slot["slot"].as_str().unwrap().to_owned())
        .collect()
}

/// By `LoadCredential=` systemd gives a key file by an access list, which shows as rights of the group: systemd.exec(5).
#[test]
fn a_key_file_that_the_service_manager_gives_may_show_rights_of_the_group() {
    use std::os::unix::fs::PermissionsExt as _;
    let mode =
        |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let host = Host::init();
    let folder = host.outside("credentials");
    fs::create_dir(&folder).unwrap();
    let key = folder.join("vault.key");
    fs::rename(host.file("vault.key"), &key).unwrap();
    mode(&key, 0o440);
    mode(&folder, 0o700);
    let configuration = host.file("keywheel.toml");
    let text = fs::read_to_string(&configuration).unwrap();
    let text = text.replace("\"vault.key\"", &format!("\"{}\"", key.display()));
    fs::write(&configuration, text).unwrap();
    let by = |folder: Option<&std::path::Path>, code| {
        let mut command = host.command(&["secret", "list"]);
        command.env_remove("CREDENTIALS_DIRECTORY");
        if let Some(folder) = folder {
            command.env("CREDENTIALS_DIRECTORY", folder);
        }
        host.finish(&mut command, "").ends(code)
    };
    let _ = by(None, 22).says(&["vault.key-file"]);
    let _ = by(Some(&host.folder()), 22);
    let _ = by(Some(&folder), 0);
    mode(&key, 0o444);
    let _ = by(Some(&folder), 22);
    mode(&key, 0o440);
    mode(&folder, 0o755);
    let _ = by(Some(&folder), 22);
}

/// Whoever removes the slot of the very key file that the host opens by is told before the next command ends at it.
#[test]
fn a_key_file_that_opens_nothing_any_more_is_told_with_the_ways_out() {
    let host = Host::init();
    let file = host.outside("other.key").display().to_string();
    let _ = host
        .run(&["vault", "slot", "add", "--key-file", &file], "")
        .ends(0);
    let removed = host.run(&["vault", "slot", "remove", "key-file-1", "--yes"], "");
    let _ = removed.ends(0).says(&[
        "opens this vault no more",
        "`key_file` of `[vault]`",
        "vault slot add --key-file",
    ]);
    let _ = host.run(&["vault", "slot", "list"], "").ends(22);
    let configuration = host.file("keywheel.toml");
    let text = fs::read_to_string(&configuration).unwrap();
    assert!(text.contains("\"vault.key\""), "{text}");
    fs::write(
        &configuration,
        text.replace("\"vault.key\"", &format!("\"{file}\"")),
    )
    .unwrap();
    let _ = host.run(&["vault", "slot", "list"], "").ends(0);
}

#[test]
fn keys_are_added_and_removed_and_the_last_one_stays() {
    let host = Host::init();
    assert_eq!(slots(&host), ["key-file-1", "recovery"]);

    // A second key file, made by the command; and a passphrase.
    let second = host.file("second.key");
    let path = second.display().to_string();
    let _ = host
        .run(&["vault", "slot", "add", "--key-file", &path], "")
        .ends(0);
    let _ = host
        .run(
            &["vault", "slot", "add", "--passphrase", "-"],
            "correct horse battery\n",
        )
        .ends(0);
    assert_eq!(
        slots(&host),
        ["key-file-1", "key-file-2", "passphrase-1", "recovery"]
    );

    // Each opens it: the file in the place of the first, the passphrase by `unseal`.
    let first = host.file("vault.key");
    fs::rename(&first, host.outside("first.key")).unwrap();
    let _ = host
        .run(&["vault", "unseal", "-"], "correct horse battery\n")
        .ends(0);
    let _ = host
        .run(&["vault", "unseal", "-"], "another horse\n")
        .ends(22)
        .says(&["vault.wrong-key"]);
    fs::rename(&second, &first).unwrap();
    let _ = host.import("some/secret", "a value to keep").ends(0);

    // Without a yes and without a person nothing is removed.
    let _ = host
        .run(&["vault", "slot", "remove", "recovery"], "")
        .ends(2)
        .says(&["--yes"]);
    for slot in ["recovery", "passphrase-1", "key-file-1"] {
        let removed = host.run(&["vault", "slot", "remove", slot, "--yes"], "").ends(0);
        assert!(
            !removed.stderr.contains("opens this vault no more"),
            "{removed:?}"
        );
    }
    assert_eq!(slots(&host), ["key-file-2"]);
    let _ = host
        .run(&["vault", "slot", "remove", "key-file-2", "--yes"], "")
        .ends(24)
        .says(&["vault.last-slot", "vault slot add"]);
    let _ = host
        .run(&["vault", "slot", "remove", "no-such-slot", "--yes"], "")
        .ends(23);
    let _ = host
        .run(&["vault", "unseal", "-"], "correct horse battery\n")
        .ends(22);
    assert_eq!(host.read("some/secret", None), "a value to keep");

    // The first key file opens nothing any more.
    fs::rename(&first, host.outside("kept.key")).unwrap();
    fs::rename(host.outside("first.key"), &first).unwrap();
    let _ = host
        .run(&["vault", "status"], "")
        .ends(22)
        .says(&["vault.wrong-key"]);
    fs::remove_file(&first).unwrap();
    fs::rename(host.outside("kept.key"), &first).unwrap();

    let rows = host.json(&["audit", "search", "--action", "vault.slot-remove"]);
    assert_eq!(rows.as_array().unwrap().len(), 3);
    let _ = host.run(&["audit", "verify"], "").ends(0);
}

/// Whoever has lost the recovery identity, or has shown it to somebody, makes another.
#[test]
fn a_new_recovery_identity_opens_the_vault_and_the_old_one_does_not() {
    let host = Host::init();
    let (old, new) = (host.outside("recovery"), host.outside("new-recovery"));
    let path = new.display().to_string();
    let add = ["vault", "slot", "add", "--recovery-to", &path];
    let _ = host.run(&add, "").ends(0);
    assert_eq!(slots(&host), ["key-file-1", "recovery", "recovery-1"]);
    let identity = fs::read_to_string(&new).unwrap();
    assert!(identity.starts_with("AGE-SECRET-KEY-1"), "no identity");
    // Nobody's file is written over, and no slot is made that nobody can open.
    let _ = host.run(&add, "").ends(24).says(&["vault.recovery-file"]);
    assert_eq!(slots(&host), ["key-file-1", "recovery", "recovery-1"]);
    assert_eq!(fs::read_to_string(&new).unwrap(), identity);

    let _ = host
        .run(&["vault", "slot", "remove", "recovery", "--yes"], "")
        .ends(0);
    fs::rename(host.file("vault.key"), host.outside("key")).unwrap();
    let unseal = |file: &std::path::Path| {
        let word = format!("@{}", file.display());
        host.run(&["vault", "unseal", &word], "")
    };
    let _ = unseal(&old).ends(22).says(&["vault.wrong-key"]);
    let _ = unseal(&new).ends(0);
    // A sealed vault gets no slot, and no file is left that opens nothing.
    let third = host.outside("third");
    let add = [
        "vault",
        "slot",
        "add",
        "--recovery-to",
        &third.display().to_string(),
    ];
    let _ = host.run(&add, "").ends(22);
    assert!(!third.exists());
    fs::rename(host.outside("key"), host.file("vault.key")).unwrap();
    let _ = host.run(&["vault", "rekey", "--yes"], "").ends(0);
    let _ = unseal(&new).ends(0);
}

#[test]
fn a_sealed_vault_and_an_open_key_file_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let host = Host::init();
    let open = host.file("open.key");
    fs::copy(host.file("vault.key"), &open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let path = open.display().to_string();
    let _ = host
        .run(&["vault", "slot", "add", "--key-file", &path], "")
        .ends(22)
        .says(&["vault.key-file"]);
    fs::rename(host.file("vault.key"), host.outside("key")).unwrap();
    let _ = host
        .run(&["vault", "slot", "remove", "recovery", "--yes"], "")
        .ends(22)
        .says(&["vault.sealed"]);
    assert_eq!(slots(&host), ["key-file-1", "recovery"]);
}

#[test]
fn a_key_file_that_is_gone_is_named_with_its_ways_out() {
    let host = Host::init();
    let key = host.file("vault.key");
    fs::rename(&key, host.outside("key")).unwrap();
    let missing = "vault.key\" is not there";
    let _ = host.run(&["secret", "list"], "").ends(22).says(&[
        "vault.sealed",
        missing,
        "start the service",
        "put the file back",
        "recovery identity",
    ]);
    for (words, code) in [("status", 10), ("doctor", 50)] {
        let output = host.run(&[words], "");
        assert!(output.stdout.contains(missing), "{words}: {output:?}");
        assert!(output.stdout.contains("put the file back"), "{words}: {output:?}");
        let _ = output.ends(code);
    }
    fs::rename(host.outside("key"), &key).unwrap();
    let _ = host.run(&["secret", "list"], "").ends(0);
}

/// In a disaster the vault is all that there is.
#[test]
fn secrets_are_read_without_plugins_grants_or_trust_sets() {
    let host = Host::init();
    let _ = host.import("some/secret", "correct horse battery").ends(0);
    host.configure("[trust.own]\npem = [\"gone.pem\"]\n");
    for folder in ["plugins", "policies"] {
        fs::remove_dir_all(host.file(folder)).unwrap();
    }
    for words in [
        &["secret", "list"][..],
        &["secret", "show", "some/secret"],
        &["secret", "history", "some/secret"],
    ] {
        let _ = host.run(words, "").ends(0);
    }
    assert_eq!(host.read("some/secret", None), "correct horse battery");
}
