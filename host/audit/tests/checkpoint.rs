//! A checkpoint is believed only as the host signed it.

#![allow(clippy::expect_used, reason = "a test says what went wrong by panicking")]

use keywheel_audit::{Checkpoint, Error, Exported, Hash, PublicKey, Signer};
use keywheel_model::{SecretBytes, Timestamp};

fn checkpoint() -> Checkpoint {
    Checkpoint {
        store: "store-a".to_owned(),
        seq: 42,
        hash: Hash([0xab; 32]),
        at: Timestamp::from_unix_ms(1_795_571_930_000),
    }
}

fn signer(byte: u8) -> Signer {
    Signer::from_seed(&SecretBytes::copy_of(&[byte; 32])).expect("a key")
}

#[test]
fn what_was_exported_reads_back_and_names_its_key() {
    let text = signer(7).export(&checkpoint());
    let read = Exported::read(&text).expect("reads");
    assert_eq!(read.signed_by, Some(signer(7).public_key()));
    assert_eq!(read.clone().trusting(signer(7).public_key()), Ok(checkpoint()));
    let (expected, found) = (signer(8).public_key(), signer(7).public_key());
    assert_eq!(read.trusting(expected), Err(Error::OtherKey { expected, found }));
}

/// RFC 8032, section 7.1, test 1: the seed gives this very key.
#[test]
fn the_key_is_that_of_the_standard() {
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let seed: Hash = seed.parse().expect("hexadecimal");
    let key = Signer::from_seed(&SecretBytes::copy_of(&seed.0))
        .expect("a key")
        .public_key();
    assert_eq!(
        key.to_string(),
        "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    );
    assert_eq!(key.to_string().parse(), Ok(key));
    assert_eq!(key.to_pem().parse(), Ok(key));
    assert!(Signer::from_seed(&SecretBytes::copy_of(&[1; 31])).is_err());
}

#[test]
fn every_byte_that_is_altered_is_found() {
    let text = signer(7).export(&checkpoint());
    for at in 0..text.trim_end().len() {
        for with in ["0", "1", "A", "\n"] {
            let mut altered = text.clone();
            altered.replace_range(at..=at, with);
            let read = Exported::read(&altered).and_then(|read| read.trusting(signer(7).public_key()));
            assert!(altered == text || read.is_err(), "{at}: {altered}");
        }
    }
    for added in [
        text.replace("row 42", "row 42\nrow 43"),
        format!("row 1\n{text}"),
        text.replace("row 42", "row 042"),
        text.replace("row 42", "row +42"),
        text.replace('\n', "\r\n"),
    ] {
        assert!(Exported::read(&added).is_err(), "{added}");
    }
}

#[test]
fn a_head_without_a_signature_is_told_apart() {
    let old = serde_json::to_string(&checkpoint()).expect("JSON");
    let read = Exported::read(&old).expect("an older keywheel's");
    assert_eq!((&read.checkpoint, read.signed_by), (&checkpoint(), None));
    assert_eq!(read.trusting(signer(7).public_key()), Err(Error::Unsigned));
    for other in ["", "{}", "{\"store\": 1}", "no checkpoint", "MCowBQYDK2VwAyEA"] {
        assert!(Exported::read(other).is_err(), "{other}");
        assert!(other.parse::<PublicKey>().is_err(), "{other}");
    }
}
