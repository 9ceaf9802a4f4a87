//! What a plugin in Rust stands on: the bindings of `wit/`, and a little that makes them pleasant. It knows no target.
//!
//! A plugin implements [`Plugin`] and names itself once with [`export!`]:
//!
//! ```ignore
//! struct Example;
//!
//! impl keywheel_sdk::Plugin for Example {
//!     type Config = Config;
//!     // plan, create, apply, test, revoke, rollback
//! }
//!
//! keywheel_sdk::export!(Example);
//! ```
//!
//! The contract of every step is in `wit/plugin/plugin.wit`. In short: a step may be called again at any time and must then
//! bring about the same state; nothing in memory survives; `test` answers what the target said and nothing else.

#![deny(unsafe_code)]

pub mod account;
pub mod bindings;
pub mod dates;
pub mod error;
pub mod http;
pub mod issuing;
pub mod keys;
pub mod ldap;
pub mod mssql;
pub mod mysql;
pub mod nodes;
pub mod plan;
pub mod plugin;
pub mod resp;
pub mod sql;

pub use account::{Accounts, Back, Form, Version, Written};
pub use bindings::exports::keywheel::plugin::rotator::{Outcome, Verdict};
pub use bindings::keywheel::core::runtime;
pub use bindings::keywheel::core::secrets::Secret;
pub use bindings::keywheel::core::types::{Effect, Error, ErrorKind};
pub use bindings::keywheel::plugin::runs::Run;
pub use plan::Plan;
pub use plugin::Plugin;
