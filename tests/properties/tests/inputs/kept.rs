//! A vault as it lies on the disk when the host has ended, to be damaged.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use keywheel_model::{Clock, RunId, SecretBytes, SecretName, Timestamp, VersionId};
use keywheel_store::{DATABASE, Error as StoreError, LeaseKey, LeaseRequest, Options, Store};
use keywheel_vault::{
    Author, Embedded, Metadata, NewSlot, Origin, Pending, RecoveryIdentity, Rider, SecretValue, Vault as _,
};
use proptest::prelude::*;
use rusqlite::{Connection, params};

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(1_000_000)
    }
}

/// A state with some secrets, as it lies on the disk when the host has ended.
pub(crate) struct Kept {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) recovery: SecretBytes,
    pub(crate) versions: Vec<(SecretName, VersionId, Vec<u8>)>,
    pub(crate) backup: PathBuf,
    /// The whole of it: closed, it is in one file.
    pub(crate) database: Vec<u8>,
}

pub(crate) static KEPT: LazyLock<Kept> = LazyLock::new(|| run(keep()));

pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    runtime.block_on(work)
}

pub(crate) fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open(&dir.join("state"), Options::new(Arc::new(Still)))
}

pub(crate) fn author() -> RunId {
    RunId::from_number(1)
}

async fn keep() -> Kept {
    let dir = tempfile::tempdir().expect("directory");
    let identity = RecoveryIdentity::generate().expect("identity");
    let slots = vec![NewSlot::KeyFile(dir.path().join("key"))];
    let vault = Embedded::init(open(dir.path()).expect("store"), &identity, slots, Rider::none())
        .await
        .expect("vault");
    let names: Vec<SecretName> = ["app/a", "app/b"].map(|name| name.parse().expect("name")).into();
    let request = LeaseRequest {
        run: author(),
        holder: "test".to_owned(),
        keys: names.iter().cloned().map(LeaseKey::Secret).collect(),
        until: Timestamp::from_unix_ms(2_000_000),
    };
    let fence = vault
        .store()
        .write(move |tx| tx.acquire_leases(&request))
        .await
        .expect("leases");
    let by = Author { run: author(), fence };
    let secret = |value: &[u8]| SecretValue {
        value: SecretBytes::copy_of(value),
        metadata: Metadata::text(Origin::Generated),
    };
    let mut versions = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let value = format!("value-{at}-{}", "x".repeat(40 * at)).into_bytes();
        let pending = Pending {
            name: name.clone(),
            secret: secret(&value),
            outputs: Vec::new(),
        };
        let id = vault
            .put_pending(&by, pending, Rider::none())
            .await
            .expect("pending");
        versions.push((name.clone(), id, value));
    }
    vault
        .put_escrow(&by, "k", secret(b"escrowed"), Rider::none())
        .await
        .expect("escrow");
    vault
        .put_state(&by, "k", secret(b"state"), Rider::none())
        .await
        .expect("state");
    let backup = dir.path().join("backup.age");
    vault.backup(&backup).await.expect("backup");
    drop(vault);
    let database = std::fs::read(database(dir.path())).expect("database");
    Kept {
        recovery: identity.to_text().expect("text"),
        dir,
        versions,
        backup,
        database,
    }
}

/// A copy of it, to be damaged.
pub(crate) fn copied() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("directory");
    drop(open(dir.path()).expect("store"));
    std::fs::write(database(dir.path()), &KEPT.database).expect("copy");
    dir
}

pub(crate) fn database(dir: &Path) -> PathBuf {
    dir.join("state").join(DATABASE)
}

pub(crate) fn by_hand(dir: &Path, change: impl FnOnce(&Connection)) {
    let connection = Connection::open(database(dir)).expect("database");
    connection
        .execute_batch("PRAGMA synchronous = OFF")
        .expect("only for speed");
    change(&connection);
}

pub(crate) fn columns() -> impl Strategy<Value = (&'static str, &'static str, &'static str)> {
    proptest::sample::select(vec![
        ("version", "ciphertext", "secret = 'app/a'"),
        ("version", "wrapped_key", "secret = 'app/a'"),
        ("version", "meta", "secret = 'app/a'"),
        ("sealed", "ciphertext", "kind = 'escrow'"),
        ("sealed", "wrapped_key", "kind = 'state'"),
        ("sealed", "meta", "kind = 'state'"),
        ("key_slot", "header", "kind = 'key-file'"),
        ("key_slot", "wrapped", "kind = 'key-file'"),
        ("key_slot", "header", "kind = 'recovery'"),
        ("key_term", "wrapped", "term = 1"),
        ("meta", "value", "key = 'store'"),
    ])
}

pub(crate) fn set(connection: &Connection, (table, column, row): (&str, &str, &str), bytes: &[u8]) {
    let text = matches!(column, "meta" | "header" | "value");
    let value = if text { "CAST(?1 AS TEXT)" } else { "?1" };
    let sql = format!("UPDATE {table} SET {column} = {value} WHERE {row}");
    assert_eq!(connection.execute(&sql, params![bytes]).expect("updated"), 1);
}
