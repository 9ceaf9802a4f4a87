//! The keys under a key file, opened from beside the host: the root key, those of the terms, those of the values, and what is derived from the root.
//! By the description at the top of `host/vault/src/seal.rs`, with none of its code.

use std::fs;
use std::path::Path;

use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use rusqlite::Connection;
use sha2::Sha256;

use crate::evidence::open;

/// What the host derives from the root.
const SUB_KEYS: [&str; 4] = ["plugin-cache", "plugin-derivations", "audit", "audit-signature"];

/// The key in a key file.
pub(crate) fn of_file(file: &Path) -> Vec<u8> {
    let digits = fs::read_to_string(file).unwrap();
    let digits = digits.trim();
    let pairs = (0..digits.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

/// Every key that a key file opens, with what it is for. It must open a slot, each term and each value: else nothing was looked for.
pub(crate) fn below(database: &Path, key_file: &Path) -> Vec<(String, Vec<u8>)> {
    let database = open(database);
    let store: String = database
        .query_row("SELECT value FROM meta WHERE key = 'store'", [], |row| row.get(0))
        .unwrap();
    let vault = Vault { store };
    let root = vault.root(&database, &of_file(key_file));
    let mut keys = vec![("the root key".to_owned(), root.clone())];
    for label in SUB_KEYS {
        let key = vault.derive(&root, &["keywheel sub-key 1", label]);
        keys.push((format!("the key for {label}"), key));
    }
    let terms: Vec<(u32, Vec<u8>)> = rows(&database, "SELECT term, wrapped FROM key_term");
    let terms: Vec<(u32, Vec<u8>)> = terms
        .into_iter()
        .map(|(term, wrapped)| {
            let place = [&format!("key term {term}"), ""];
            (term, vault.open(&root, "keywheel term", place, &wrapped).unwrap())
        })
        .collect();
    let values = "SELECT id, secret, wrapped_key FROM version WHERE wrapped_key IS NOT NULL";
    for (id, secret, wrapped) in rows3(&database, values) {
        let term = u32::from_be_bytes(wrapped[2..6].try_into().unwrap());
        let (_, term) = terms.iter().find(|(known, _)| *known == term).unwrap();
        let place = [&format!("secret {secret}"), id.as_str()];
        let key = vault.open(term, "keywheel key", place, &wrapped).unwrap();
        keys.push((format!("the key of {secret} {id}"), key));
    }
    keys.extend(
        terms
            .into_iter()
            .map(|(term, key)| (format!("the key of term {term}"), key)),
    );
    keys
}

struct Vault {
    store: String,
}

impl Vault {
    /// From the slot that the key fits.
    fn root(&self, database: &Connection, key: &[u8]) -> Vec<u8> {
        let slots = rows3(
            database,
            "SELECT id, header, wrapped FROM key_slot WHERE kind = 'key-file'",
        );
        let opened = slots.iter().find_map(|(id, header, wrapped)| {
            let key = self.derive(key, &["keywheel slot key 1", id]);
            self.open(
                &key,
                "keywheel slot",
                [&format!("key slot {id}"), header],
                wrapped,
            )
        });
        opened.expect("the key file opens a slot")
    }

    fn derive(&self, key: &[u8], info: &[&str]) -> Vec<u8> {
        let mut derived = vec![0; 32];
        Hkdf::<Sha256>::new(Some(self.store.as_bytes()), key)
            .expand(info.join("\0").as_bytes(), &mut derived)
            .unwrap();
        derived
    }

    /// `place`: path and version.
    fn open(&self, key: &[u8], purpose: &str, [path, version]: [&str; 2], blob: &[u8]) -> Option<Vec<u8>> {
        let (header, rest) = blob.split_at(6);
        let (nonce, sealed) = rest.split_at(24);
        let fields = [
            purpose.as_bytes(),
            header,
            self.store.as_bytes(),
            path.as_bytes(),
            version.as_bytes(),
        ];
        let bound: Vec<u8> = fields
            .iter()
            .flat_map(|field| [&u64::try_from(field.len()).unwrap().to_be_bytes()[..], field].concat())
            .collect();
        let key: &Key = key.try_into().unwrap();
        let nonce: [u8; 24] = nonce.try_into().unwrap();
        let mut plain = sealed.to_vec();
        let cipher = XChaCha20Poly1305::new(key);
        let opened = cipher.decrypt_in_place(&XNonce::from(nonce), &bound, &mut plain);
        opened.is_ok().then_some(plain)
    }
}

fn rows(database: &Connection, sql: &str) -> Vec<(u32, Vec<u8>)> {
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

fn rows3(database: &Connection, sql: &str) -> Vec<(String, String, Vec<u8>)> {
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    rows.unwrap().map(Result::unwrap).collect()
}
