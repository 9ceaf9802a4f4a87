//! Heads of the chain, exported: a small file that the host signs, and that whoever has its public key can check without the host.
//!
//! ```text
//! keywheel audit checkpoint 1
//! store 5f0c…
//! row 42
//! hash 9b1d…
//! time-ms 1795571930000
//! key MCowBQYDK2VwAyEA…
//! signature …
//! ```
//!
//! The signature is Ed25519 over all bytes before its line; key and signature are base64, the key as a SubjectPublicKeyInfo, so that
//! `openssl pkeyutl -verify -rawin` takes both.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywheel_model::{SecretBytes, Timestamp};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::{Error, Hash};

const TITLE: &str = "keywheel audit checkpoint 1";
const SIGNATURE: &str = "signature ";
/// What stands before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410).
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const PEM_BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_END: &str = "-----END PUBLIC KEY-----";

/// The head of the chain at one moment, to be kept outside of the store: what was there then must still be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The store's id.
    pub store: String,
    /// Number of the last row.
    pub seq: u64,
    /// Its hash; the genesis hash when there was none.
    pub hash: Hash,
    /// When it was taken.
    pub at: Timestamp,
}

/// The key that signs checkpoints.
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// From 32 secret bytes.
    ///
    /// # Errors
    /// [`Error::Key`]: they are not 32.
    pub fn from_seed(seed: &SecretBytes) -> Result<Self, Error> {
        Ed25519KeyPair::from_seed_unchecked(seed.expose())
            .map(Self)
            .map_err(|_| Error::Key)
    }

    /// Its public half.
    pub fn public_key(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// The file that an operator ships away.
    pub fn export(&self, checkpoint: &Checkpoint) -> String {
        let text = signed_text(checkpoint, &self.public_key());
        let signature = STANDARD.encode(self.0.sign(text.as_bytes()));
        format!("{text}{SIGNATURE}{signature}\n")
    }
}

/// What checks a checkpoint's signature. As text: its SubjectPublicKeyInfo in base64, or PEM.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// As `openssl` reads it.
    pub fn to_pem(&self) -> String {
        format!("{PEM_BEGIN}\n{self}\n{PEM_END}\n")
    }

    fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(text, signature)
            .is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode([&SPKI[..], &self.0].concat()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = Error::Malformed {
            what: "an Ed25519 public key begins with MCowBQYDK2VwAyEA, or is PEM",
        };
        let text = text.trim();
        let inner = text
            .strip_prefix(PEM_BEGIN)
            .and_then(|rest| rest.strip_suffix(PEM_END));
        let bytes = STANDARD.decode(inner.unwrap_or(text).trim());
        let key = bytes
            .ok()
            .and_then(|bytes| bytes.strip_prefix(&SPKI)?.try_into().ok());
        key.map(Self).ok_or(malformed)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

/// A checkpoint as it came back in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The key that has signed it. None for a head of the time before checkpoints were signed: JSON, to be believed as far as the
    /// place is in which it was kept.
    pub signed_by: Option<PublicKey>,
}

impl Exported {
    /// Reads a file, and checks its signature against the key that it names itself.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Signature`].
    pub fn read(text: &str) -> Result<Self, Error> {
        if text.trim_start().starts_with('{') {
            let checkpoint = serde_json::from_str(text).map_err(|_| Error::Malformed {
                what: "it is JSON of another kind",
            })?;
            return Ok(Self {
                checkpoint,
                signed_by: None,
            });
        }
        let (signed, signature) = split(text).ok_or(Error::Malformed {
            what: "its lines are not those of a checkpoint",
        })?;
        let (checkpoint, key) = parse(signed).ok_or(Error::Malformed {
            what: "its lines are not those of a checkpoint",
        })?;
        let signature = STANDARD.decode(signature).map_err(|_| Error::Signature)?;
        // Written anew: what the signature covers is then exactly what was read, and nothing between the lines.
        if signed_text(&checkpoint, &key) != signed || !key.verifies(signed.as_bytes(), &signature) {
            return Err(Error::Signature);
        }
        Ok(Self {
            checkpoint,
            signed_by: Some(key),
        })
    }

    /// The checkpoint, if the key that is trusted has signed it.
    ///
    /// # Errors
    /// [`Error::OtherKey`], [`Error::Unsigned`].
    pub fn trusting(self, trusted: PublicKey) -> Result<Checkpoint, Error> {
        match self.signed_by {
            Some(found) if found == trusted => Ok(self.checkpoint),
            Some(found) => Err(Error::OtherKey {
                expected: trusted,
                found,
            }),
            None => Err(Error::Unsigned),
        }
    }
}

fn signed_text(checkpoint: &Checkpoint, key: &PublicKey) -> String {
    let Checkpoint { store, seq, hash, at } = checkpoint;
    let at = at.as_unix_ms();
    format!("{TITLE}\nstore {store}\nrow {seq}\nhash {hash}\ntime-ms {at}\nkey {key}\n")
}

/// What was signed, and the signature.
fn split(text: &str) -> Option<(&str, &str)> {
    let at = text.find(&format!("\n{SIGNATURE}"))? + 1;
    let (signed, rest) = text.split_at(at);
    Some((signed, rest.strip_prefix(SIGNATURE)?.trim_end()))
}

fn parse(signed: &str) -> Option<(Checkpoint, PublicKey)> {
    let mut lines = signed.lines();
    if lines.next()? != TITLE {
        return None;
    }
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let checkpoint = Checkpoint {
        store: field("store")?.to_owned(),
        seq: field("row")?.parse().ok()?,
        hash: field("hash")?.parse().ok()?,
        at: Timestamp::from_unix_ms(field("time-ms")?.parse().ok()?),
    };
    let key = field("key")?.parse().ok()?;
    Some((checkpoint, key))
}
