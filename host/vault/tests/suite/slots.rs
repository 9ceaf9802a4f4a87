use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use keywheel_model::SecretBytes;
use keywheel_vault::{Embedded, Error, NewSlot, RecoveryIdentity, Rider, Unlock, Vault};

use crate::{Home, name, pending, store, text};

const PASSPHRASE: &[u8] = b"correct horse battery staple";

async fn with_secret(home: &Home) {
    let by = home.author(1, &["db"]).await;
    home.vault
        .put_pending(&by, pending("db", "planted-value"), Rider::none())
        .await
        .expect("pending");
}

async fn reads(vault: &Embedded) -> bool {
    let head = vault.head(&name("db")).await.expect("head");
    let id = &head.pending().expect("pending").id;
    text(&vault.read(&name("db"), id).await.expect("value")) == "planted-value"
}

#[tokio::test]
async fn it_opens_with_its_key_file_and_is_sealed_without() {
    let home = Home::new().await;
    with_secret(&home).await;
    let (dir, clock, _) = home.close();
    let key = dir.path().join("key");
    assert_eq!(
        fs::metadata(&key).expect("key file").permissions().mode() & 0o777,
        0o400
    );
    {
        let vault = Embedded::open(store(dir.path(), &clock), Some(&key))
            .await
            .expect("open");
        assert!(!vault.is_sealed() && reads(&vault).await);
    }
    let vault = Embedded::open(store(dir.path(), &clock), Some(&dir.path().join("gone")))
        .await
        .expect("sealed");
    assert!(vault.is_sealed());
    vault.unseal(Unlock::KeyFile(key)).await.expect("unseal");
    assert!(reads(&vault).await);
    vault.seal();
    assert!(vault.is_sealed());
}

/// Rule P16: a sealed vault is never mistaken for one without the secret.
#[tokio::test]
async fn a_sealed_vault_says_so_and_never_none() {
    let home = Home::new().await;
    with_secret(&home).await;
    let by = home.author(2, &["never-stored"]).await;
    let vault = &home.vault;
    vault.seal();
    let sealed = |code: &str| assert_eq!(code, "vault.sealed");
    for name in [name("db"), name("never-stored")] {
        sealed(vault.head(&name).await.expect_err("head").code());
        sealed(vault.history(&name).await.expect_err("history").code());
    }
    sealed(vault.names().await.expect_err("names").code());
    sealed(vault.ready().await.expect_err("ready").code());
    sealed(vault.escrow(&by.run, "k").await.expect_err("escrow").code());
    sealed(vault.escrows(None).await.expect_err("escrows").code());
    sealed(vault.state(&by.run, "k").await.expect_err("state").code());
    sealed(vault.sub_key("audit").expect_err("sub-key").code());
    let put = vault
        .put_pending(&by, pending("never-stored", "x"), Rider::none())
        .await;
    sealed(put.expect_err("put").code());
    assert_eq!(vault.slots().await.expect("slots are not secret").len(), 2);
}

#[tokio::test]
async fn a_passphrase_opens_it_and_a_wrong_one_is_told_apart() {
    let home = Home::with(|_| vec![NewSlot::Passphrase(SecretBytes::copy_of(PASSPHRASE))]).await;
    with_secret(&home).await;
    home.vault.seal();
    let wrong = home
        .vault
        .unseal(Unlock::Passphrase(SecretBytes::copy_of(b"wrong")))
        .await
        .expect_err("wrong");
    assert_eq!(wrong.code(), "vault.wrong-key");
    home.vault
        .unseal(Unlock::Passphrase(SecretBytes::copy_of(PASSPHRASE)))
        .await
        .expect("unseal");
    assert!(reads(&home.vault).await);
}

#[tokio::test]
async fn the_recovery_identity_opens_it_and_makes_a_new_key_file() {
    let home = Home::new().await;
    with_secret(&home).await;
    let (dir, clock, recovery) = home.close();
    assert!(text(&recovery).starts_with("AGE-SECRET-KEY-1"));
    fs::remove_file(dir.path().join("key")).expect("lose the key file");
    let replaced = dir.path().join("replaced");
    {
        let vault = Embedded::open(store(dir.path(), &clock), None)
            .await
            .expect("sealed");
        vault.unseal(Unlock::Recovery(recovery)).await.expect("recovered");
        let id = vault
            .add_slot(NewSlot::KeyFile(replaced.clone()), Rider::none())
            .await
            .expect("new slot");
        assert_eq!(id, "key-file-2");
        vault
            .remove_slot("key-file-1", Rider::none())
            .await
            .expect("old slot");
    }
    let vault = Embedded::open(store(dir.path(), &clock), Some(&replaced))
        .await
        .expect("open");
    assert!(reads(&vault).await);
}

#[tokio::test]
async fn keys_of_another_vault_are_wrong_keys() {
    let (home, other) = (Home::new().await, Home::new().await);
    let (_other_dir, _, other_recovery) = {
        fs::copy(other.dir.path().join("key"), home.dir.path().join("other")).expect("copy");
        other.close()
    };
    let other_key = Unlock::KeyFile(home.dir.path().join("other"));
    assert_eq!(
        home.vault.unseal(other_key).await.expect_err("other key").code(),
        "vault.wrong-key"
    );
    let error = home
        .vault
        .unseal(Unlock::Recovery(other_recovery))
        .await
        .expect_err("other identity");
    assert_eq!(
        error.to_string(),
        "the recovery identity does not open this vault"
    );
    let error = home
        .vault
        .unseal(Unlock::Recovery(SecretBytes::copy_of(b"AGE-SECRET-KEY-1QQ")))
        .await;
    assert_eq!(error.expect_err("no identity").code(), "vault.malformed");
}

#[tokio::test]
async fn a_key_file_that_is_not_private_and_plain_is_refused() {
    let home = Home::new().await;
    let (dir, clock, _) = home.close();
    let (key, link) = (dir.path().join("key"), dir.path().join("link"));
    symlink(&key, &link).expect("link");
    let store = store(dir.path(), &clock);
    let error = Embedded::open(store.clone(), Some(&link))
        .await
        .err()
        .expect("a link");
    assert!(
        matches!(
            error,
            Error::KeyFile {
                what: "it is a symbolic link",
                ..
            }
        ),
        "{error}"
    );
    for mode in [0o440, 0o404, 0o600 | 0o020] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("mode");
        let error = Embedded::open(store.clone(), Some(&key))
            .await
            .err()
            .expect("others may use it");
        assert_eq!(error.code(), "vault.key-file", "{mode:o}");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("mode");
    fs::write(&key, "not a key\n").expect("write");
    let error = Embedded::open(store, Some(&key)).await.err().expect("no key");
    assert!(error.hint().is_some_and(|hint| hint.contains("chmod")), "{error}");
}

#[tokio::test]
async fn a_vault_is_made_once_and_keeps_a_slot() {
    let home = Home::new().await;
    let identity = RecoveryIdentity::generate().expect("identity");
    let store_of = home.vault.store().clone();
    let again = Embedded::init(store_of, &identity, Vec::new(), Rider::none()).await;
    let again = again.err().expect("twice");
    assert_eq!(again.code(), "vault.initialised");
    home.vault
        .remove_slot("recovery", Rider::none())
        .await
        .expect("one of two");
    let last = home
        .vault
        .remove_slot("key-file-1", Rider::none())
        .await
        .expect_err("the last one");
    assert_eq!(last.code(), "vault.last-slot");
    let empty = tempfile::tempdir().expect("directory");
    let error = Embedded::open(store(empty.path(), &home.clock), None)
        .await
        .err()
        .expect("no vault");
    assert_eq!(error.code(), "vault.not-initialised");
}

#[tokio::test]
async fn sub_keys_are_stable_and_differ_by_label_and_vault() {
    let (home, other) = (Home::new().await, Home::new().await);
    let key = |home: &Home, label: &str| home.vault.sub_key(label).expect("sub-key");
    assert!(key(&home, "audit").same_as(&key(&home, "audit")));
    assert!(!key(&home, "audit").same_as(&key(&home, "plugin-cache")));
    assert!(!key(&home, "audit").same_as(&key(&other, "audit")));
}

#[tokio::test]
async fn a_sealed_vault_says_so_also_where_another_run_has_left_a_version_pending() {
    let home = Home::new().await;
    let first = home.author(1, &["a"]).await;
    let left = home.vault.put_pending(&first, pending("a", "x"), Rider::none());
    left.await.expect("pending");
    home.release(&first).await;
    let by = home.author(2, &["a"]).await;
    home.vault.seal();
    let refused = home.vault.put_pending(&by, pending("a", "y"), Rider::none());
    assert_eq!(refused.await.expect_err("sealed").code(), "vault.sealed");
}
