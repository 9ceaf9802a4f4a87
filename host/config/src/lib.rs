//! `keywheel.toml`: text to a typed configuration, with every problem at once, each at its place in the file. Knows
//! manifests; must not know vaults, stores, targets or the network, and holds no secret's value.

#![forbid(unsafe_code)]

mod against;
mod check;
mod config;
mod document;
mod draft;
mod each;
mod effective;
mod expiry;
mod form;
mod format;
mod leak;
mod problem;
mod raw;
mod resolve;
mod sink;
mod structure;
mod units;

pub use config::{
    Approval, Config, Consumer, Deadlines, FirstRun, Gap, HOOK_NAMES, Hook, Limits, Linked, Pace, Plugins,
    ProbeBudget, ProofChoice, ReadGrant, Retention, Rotation, Traces, TrustSet, Upgrades, Vault,
};
pub use draft::GrantSubject;
pub use each::{CheckedRow, Listed, Row, Table};
pub use effective::{Entry, Origin};
pub use expiry::ExpiryLadder;
pub use form::{Form, FormFormat};
pub use problem::{Place, Problem, Problems};
pub use raw::schema;
pub use resolve::{Draft, load, parse};
pub use sink::{Email, NOTICE_NAMES, Notify, NotifyKind, Route, SEVERITIES, Way, Wording};
pub use structure::nearest;
pub use units::{UnitError, parse_duration, parse_size, show_duration, show_size};
