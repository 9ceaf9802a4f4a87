use hmac::{Hmac, KeyInit, Mac};
use keywheel_model::{SecretBytes, Timestamp};
use sha2::{Digest, Sha256};

use crate::{Entry, Hash, Row};

/// The hash that stands before the first row of a store: it binds the whole chain to that store.
pub fn genesis(store: &str) -> Hash {
    let mut digest = Sha256::new();
    field(&mut digest, b"keywheel audit genesis 1");
    field(&mut digest, store.as_bytes());
    Hash(digest.finalize().into())
}

/// The row that follows `prev`. `key` seals it.
pub fn link(prev: Hash, seq: u64, at: Timestamp, entry: &Entry, key: Option<&SecretBytes>) -> Row {
    let mut row = Row {
        seq,
        at,
        actor: entry.actor.clone(),
        action: entry.action.clone(),
        resource: entry.resource.clone(),
        outcome: entry.outcome.clone(),
        run: entry.run.as_ref().map(ToString::to_string),
        details: entry.details.to_string(),
        prev,
        hash: prev,
        seal: None,
    };
    row.hash = hash_of(&row);
    row.seal = key.map(|key| seal(row.hash, key));
    row
}

/// HMAC-SHA256 of a row's hash: what only the holder of the audit key can make.
pub fn seal(hash: Hash, key: &SecretBytes) -> Hash {
    Hash(mac(hash, key).finalize().into_bytes().into())
}

/// Whether a seal is the one that the key makes, in constant time.
pub(crate) fn seal_holds(hash: Hash, key: &SecretBytes, found: Hash) -> bool {
    mac(hash, key).verify_slice(&found.0).is_ok()
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn mac(hash: Hash, key: &SecretBytes) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("a key of any length");
    mac.update(b"keywheel audit seal 1");
    mac.update(&hash.0);
    mac
}

/// Canonical encoding: each field preceded by its length, so that no two rows encode alike. A missing run and an empty one
/// differ by a marker byte.
pub(crate) fn hash_of(row: &Row) -> Hash {
    let mut digest = Sha256::new();
    field(&mut digest, b"keywheel audit row 1");
    field(&mut digest, &row.seq.to_be_bytes());
    field(&mut digest, &row.at.as_unix_ms().to_be_bytes());
    for text in [&row.actor, &row.action, &row.resource, &row.outcome] {
        field(&mut digest, text.as_bytes());
    }
    match &row.run {
        None => digest.update([0]),
        Some(run) => {
            digest.update([1]);
            field(&mut digest, run.as_bytes());
        }
    }
    field(&mut digest, row.details.as_bytes());
    field(&mut digest, &row.prev.0);
    Hash(digest.finalize().into())
}

fn field(digest: &mut Sha256, bytes: &[u8]) {
    digest.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
    digest.update(bytes);
}
