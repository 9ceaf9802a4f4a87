//! The audit trail's rows and their hash chain. Knows nothing of where rows are stored, and must never see a secret's value.
//!
//! Every row carries the hash of the row before it; the first one that of the store's id. The chain is plain SHA-256, so that
//! anybody can check it; while the vault is open each row also carries a *seal*, an HMAC-SHA256 of its hash under a key that
//! only the vault has. Whoever owns the file can recompute a plain chain, but not the seals; and cutting rows off the end is
//! seen by comparing with a [`Checkpoint`] that was exported earlier, in a file that the host signed ([`Signer`]) and that anybody
//! checks who has the public key.

#![forbid(unsafe_code)]

mod chain;
mod checkpoint;
pub mod cut;
mod row;
mod verify;

pub use chain::{genesis, link, seal};
pub use checkpoint::{Checkpoint, Exported, PublicKey, Signer};
pub use row::{Entry, Hash, ParseHashError, Row};
pub use verify::{Error, Fault, Report, Verifier, verify};
