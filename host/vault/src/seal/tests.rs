use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::*;
use crate::age::{self, Identity};
use crate::keys::derive;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/format-1.json")).expect("vectors")
}

fn list<'v>(vectors: &'v Value, name: &str) -> &'v [Value] {
    vectors[name]
        .as_array()
        .filter(|list| !list.is_empty())
        .expect("a list")
}

fn text<'v>(case: &'v Value, field: &str) -> &'v str {
    case[field].as_str().expect("a text")
}

fn bytes(case: &Value, field: &str) -> Vec<u8> {
    let digits = text(case, field);
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

fn secret(case: &Value, field: &str) -> SecretBytes {
    SecretBytes::new(bytes(case, field))
}

#[test]
fn blobs_are_what_the_vectors_say() {
    let vectors = vectors();
    for case in list(&vectors, "blobs") {
        let place = Place {
            store: text(case, "store"),
            path: text(case, "path"),
            version: text(case, "version"),
        };
        let (key, purpose) = (secret(case, "key"), text(case, "purpose"));
        let term = u32::try_from(case["term"].as_u64().expect("a term")).expect("small");
        let nonce: [u8; NONCE] = bytes(case, "nonce").try_into().expect("24 bytes");
        let sealed = seal_blob_at(&nonce, &key, purpose, term, place, &bytes(case, "plain")).expect("sealed");
        assert_eq!(sealed, bytes(case, "blob"));
        let opened = open_blob(&key, purpose, place, &bytes(case, "blob")).expect("opened");
        assert_eq!(opened.expose(), bytes(case, "plain"));
        let other = open_blob(&key, "keywheel other", place, &sealed).expect_err("another purpose");
        assert_eq!(other.code(), "vault.damaged");
    }
}

#[test]
fn sub_keys_are_what_the_vectors_say() {
    let vectors = vectors();
    for case in list(&vectors, "sub_keys") {
        let info = ["keywheel sub-key 1", text(case, "label")];
        let key = derive(&secret(case, "root"), text(case, "store"), &info).expect("derived");
        assert_eq!(key.expose(), bytes(case, "key"));
    }
}

#[test]
fn a_file_of_the_age_tool_opens_and_ours_has_its_form() {
    let vectors = vectors();
    let case = &vectors["age"];
    let identity =
        Identity::parse(&SecretBytes::copy_of(text(case, "identity").as_bytes())).expect("identity");
    assert_eq!(
        identity.to_text().expect("text").expose(),
        text(case, "identity").as_bytes()
    );
    assert_eq!(
        identity.recipient().to_text().expect("text"),
        text(case, "recipient")
    );
    let file = STANDARD.decode(text(case, "file")).expect("base64");
    assert_eq!(
        age::decrypt(&identity, &file).expect("opened").expose(),
        bytes(case, "payload")
    );

    let ours = age::encrypt(identity.recipient(), &secret(case, "payload")).expect("sealed");
    assert_eq!(ours.len(), file.len());
    assert_eq!(
        age::decrypt(&identity, &ours).expect("opened").expose(),
        bytes(case, "payload")
    );
    for at in 0..file.len() {
        let mut flipped = file.clone();
        flipped[at] ^= 1;
        assert!(age::decrypt(&identity, &flipped).is_err(), "byte {at}");
    }
}

#[test]
fn fresh_blobs_never_repeat_a_nonce_or_a_key() {
    let keyring = Keyring::generate().expect("keys");
    let place = Place {
        store: "s",
        path: "p",
        version: "v",
    };
    let value = SecretBytes::copy_of(b"same");
    let one = seal(&keyring, place, &value).expect("sealed");
    let two = seal(&keyring, place, &value).expect("sealed");
    assert_ne!(one.ciphertext, two.ciphertext);
    assert_ne!(one.wrapped_key, two.wrapped_key);
}
