//! What the operator grants a plugin: load, decide, explain; and the lock file that pins each plugin's bytes. Pure text in,
//! typed answers out. Nothing is allowed that no grant names.
//!
//! - [`Policy::load`] reads the grant files; [`Policy::scope`] binds them to one rotation; [`Scope::decide`] answers.
//! - [`difference()`] says what a manifest asks beyond a grant, for `plugin add` and for upgrades.
//! - [`Lock`] is `plugins.lock`.

#![forbid(unsafe_code)]

mod decide;
mod difference;
mod error;
mod grant;
mod host;
mod lock;
pub mod rules;
pub mod table;

pub use decide::{Binding, Decision, Denial, Permit, Policy, Request, Scope, SecretRef, Source};
pub use difference::{Difference, difference, suggested_grant};
pub use error::Error;
pub use grant::{Grant, SecretRule};
pub use host::{Destination, HostRule, Network, ParseHostRuleError, Transport};
pub use lock::{Lock, LockedPlugin};
