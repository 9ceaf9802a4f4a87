//! Where secrets' values are kept: the vault trait and the embedded back end. Must not know rotations or plugins.
//!
//! Embedded: each version has a key of its own (256 random bits) under which its value is sealed with XChaCha20-Poly1305; that
//! key is wrapped by the key of a *term*, that one by the vault's *root* key, and the root once in each *key slot*: key file,
//! passphrase, offline recovery identity. A value's blobs are bound to store, name, version and term, so that none can be moved.
//!
//! **Invariant:** unreadable is an error and never "none".
//!
//! **Invariant:** a value is in memory as [`keywheel_model::SecretBytes`] only, and on the disk as ciphertext only.

#![forbid(unsafe_code)]

mod age;
mod embedded;
mod error;
mod key_file;
mod keys;
mod seal;
mod slots;
mod types;
mod vault;

pub use embedded::{
    AuditKeys, BackupKey, Contents, Embedded, NewSlot, RecoveryIdentity, RecoveryRecipient, Rewrapped,
    SlotInfo, Unlock, Written,
};
pub use error::Error;
pub use types::{
    Author, Capabilities, Change, Escrowed, Head, Labels, Metadata, Origin, Output, Pending, Promotion,
    RecordFault, Records, Rider, SecretValue, VersionInfo,
};
pub use vault::Vault;
