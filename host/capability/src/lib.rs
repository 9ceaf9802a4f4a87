//! What a plugin may call: the host side of every WIT package that is offered. Must not know how a plugin was loaded nor where a run is journalled.
//!
//! | module | what |
//! |---|---|
//! | [`bindings`] | what `bindgen!` makes of `wit/` |
//! | [`capability`] | the three phases of a capability: configure, link, prepare |
//! | [`HostState`], [`StepContext`] | everything one call of a plugin may see and use |
//! | [`handle`] | opaque secrets and the labels that travel with them |
//! | [`port`] | what a run stores and loads, as a trait that the engine implements |
//! | [`json`] | places in the documents that secrets are |
//! | [`guard`] | the one place where a call with a secret is let through or refused |
//! | [`mask`] | nothing that a guest reads or writes holds a live secret |
//! | [`report`] | what the host itself saw in a step |
//! | [`secrets`], [`runtime`], [`runs`], [`vault`], [`identities`], [`sql`], [`net`], [`http`] | the packages |
//! | [`refuse`] | packages that are in `wit/` and not offered yet |

#![forbid(unsafe_code)]

pub mod bindings;
pub mod capability;
mod document;
mod encoding;
mod error;
pub mod forms;
pub mod guard;
pub mod handle;
pub mod http;
pub mod identities;
pub mod json;
mod login;
pub mod mask;
pub mod net;
pub mod port;
pub mod refuse;
pub mod report;
pub mod runs;
pub mod runtime;
pub mod secrets;
pub mod sql;
mod state;
pub mod vault;

pub use document::part_of;
pub use encoding::Encoding;
pub use error::{Error, Stop};
pub use handle::Handle;
pub use port::RunPort;
pub use report::StepReport;
pub use state::{Cancel, HostState, HostView, MAX_HANDLES, MAX_HOST_CALLS, StepContext};
