//! The SQLite journal: one writer, group commit, everything durable that is not a secret's value. Must not know what a rotation means.
//!
//! A [`Store`] owns one directory. [`Store::write`] runs a closure inside the writer's transaction and answers only after that
//! transaction is on the disk; [`Store::read`] runs one on a connection that cannot write. What closures can do is the methods of
//! [`Transaction`] and [`Reader`], one file for each noun.
//!
//! **Invariant:** whatever a closure wrote is kept as a whole or not at all, and the audit rows it appended with it.
//!
//! **Invariant:** no column but `ciphertext` and `wrapped_key` holds anything that a secret's value could be read from.

#![forbid(unsafe_code)]

mod backup;
mod error;
mod expiry;
mod files;
mod glance;
mod intent;
mod lease;
mod listed;
mod meta;
mod open;
mod outbox;
mod probe;
mod readers;
mod rekey;
mod retention;
mod run;
mod schedule;
mod schema;
mod scratch;
mod sealed;
mod slot;
mod trail;
mod transaction;
mod version;
mod writer;

pub use error::Error;
pub use expiry::InUse;
pub use files::{DATABASE, Held, epoch_of};
pub use intent::{Intent, IntentOutcome, IntentRow};
pub use lease::{Lease, LeaseKey, LeaseRequest};
pub use listed::{Except, ListedRow, NewListed, Watched};
pub use open::{Options, Store};
pub use outbox::{Notification, Topics};
pub use retention::OldVersion;
pub use run::{NewRun, Run};
pub use schedule::Due;
pub use schema::FORMAT;
pub use sealed::{Sealed, SealedKind};
pub use slot::KeySlot;
pub use trail::{AuditFilter, AuditNames};
pub use transaction::{Reader, Transaction};
pub use version::{Material, NewVersion, StageEvent, Version};
pub use writer::{Statistics, Unwritable};
