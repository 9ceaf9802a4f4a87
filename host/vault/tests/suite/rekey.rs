//! New keys for all that the vault keeps: versions, escrow, secret state; and a record that does not open stops the change.

use keywheel_audit::Entry;
use keywheel_vault::{Embedded, Error, Rider, Unlock, Vault};
use rusqlite::Connection;

use crate::{Home, name, pending, store, text, value};

fn row(action: &'static str) -> Rider {
    Rider::new(move |tx| tx.audit(&Entry::of_host(action, "vault", "ok")).map(|_| ()))
}

/// Something of each kind.
async fn filled() -> Home {
    let home = Home::new().await;
    let by = home.author(1, &["db"]).await;
    let vault = &home.vault;
    vault
        .put_pending(&by, pending("db", "planted-version"), row("secret.pending"))
        .await
        .expect("pending");
    vault
        .put_escrow(&by, "key", value("planted-escrow"), Rider::none())
        .await
        .expect("escrow");
    vault
        .put_state(&by, "image", value("planted-state"), Rider::none())
        .await
        .expect("state");
    home
}

async fn reads(vault: &Embedded) {
    let head = vault.head(&name("db")).await.expect("head");
    let id = &head.pending().expect("pending").id;
    let run = keywheel_model::RunId::from_number(1);
    let version = vault.read(&name("db"), id).await.expect("version");
    assert_eq!(text(&version), "planted-version");
    let escrow = vault.escrow(&run, "key").await.expect("escrow").expect("there");
    assert_eq!(text(&escrow.value), "planted-escrow");
    let state = vault.state(&run, "image").await.expect("state").expect("there");
    assert_eq!(text(&state.value), "planted-state");
}

async fn trail_holds(vault: &Embedded) {
    let keys = vault.audit_keys().await.expect("keys");
    let verified = vault
        .store()
        .read(move |reader| reader.audit_verify_since(&keys.past, Some(&keys.now), &[]))
        .await;
    verified.expect("read").expect("a sound trail");
}

#[tokio::test]
async fn all_that_is_kept_is_wrapped_anew_and_opens_at_once_and_after_a_restart() {
    let home = filled().await;
    let key = home.dir.path().join("key");
    let rewrapped = home.vault.rewrap(row("vault.rewrap")).await.expect("rewrap");
    assert_eq!((rewrapped.term, rewrapped.records), (2, 3));
    reads(&home.vault).await;
    for term in [3, 4] {
        let keys = vec![Unlock::KeyFile(key.clone())];
        let done = home.vault.rekey(keys, Vec::new(), row("vault.rekey")).await;
        assert_eq!(done.expect("rekey").term, term);
        reads(&home.vault).await;
        trail_holds(&home.vault).await;
    }
    let (dir, clock, recovery) = home.close();
    for unlock in [Unlock::KeyFile(key), Unlock::Recovery(recovery)] {
        let vault = Embedded::open(store(dir.path(), &clock), None)
            .await
            .expect("sealed");
        vault.unseal(unlock).await.expect("open");
        reads(&vault).await;
        trail_holds(&vault).await;
        let keys = vault.audit_keys().await.expect("keys");
        assert_eq!(keys.past.len(), 2, "one for each root of before");
    }
}

#[tokio::test]
async fn a_record_that_does_not_open_stops_it_and_nothing_is_changed() {
    let home = filled().await;
    let damage = Connection::open(home.vault.store().path()).expect("database");
    damage
        .execute(
            "UPDATE sealed SET wrapped_key = zeroblob(78) WHERE kind = 'state'",
            [],
        )
        .expect("damage");
    let before = terms(&damage);
    let error = home.vault.rewrap(Rider::none()).await.expect_err("damage");
    assert!(
        matches!(error, Error::Damaged { .. } | Error::NewerFormat { .. }),
        "{error}"
    );
    let keys = vec![Unlock::KeyFile(home.dir.path().join("key"))];
    assert!(home.vault.rekey(keys, Vec::new(), Rider::none()).await.is_err());
    assert_eq!(terms(&damage), before);
    let head = home.vault.head(&name("db")).await.expect("head");
    let id = &head.pending().expect("pending").id;
    assert_eq!(
        text(&home.vault.read(&name("db"), id).await.expect("version")),
        "planted-version"
    );
}

fn terms(database: &Connection) -> Vec<Vec<u8>> {
    let sql = "SELECT wrapped FROM key_term UNION ALL SELECT wrapped FROM key_slot UNION ALL SELECT wrapped_key FROM version";
    let mut statement = database.prepare(sql).expect("statement");
    let rows = statement.query_map([], |row| row.get(0)).expect("rows");
    rows.collect::<Result<_, _>>().expect("blobs")
}
