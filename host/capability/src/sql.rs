//! `keywheel:sql`: databases. The host dials, logs in, quotes and cuts down; the guest says what and never sees a password.
//!
//! A statement with a secret is one that the manifest declares, and gives back its row count or an SQLSTATE. One without a
//! secret runs in a read-only transaction, unless a declared shape says that it changes something.

mod connection;
mod connector;
mod emergency;
mod link;
mod statement;
mod takeover;

use std::sync::Arc;

use keywheel_model::RunId;
use keywheel_target::Outbound;
use keywheel_target::postgres::Pool;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::keywheel::sql::sql;
use crate::capability::Capability;
use crate::state::{HostState, HostView, StepContext};

pub use connection::Connection;
pub use connector::Connector;
pub use statement::Statement;
pub use takeover::SessionFacts;

/// Databases, for the whole host.
pub struct Sql(SqlSettings);

/// What connections start from. The caller keeps its ends: it adds trust sets, and retires a version's sessions.
#[derive(Clone)]
pub struct SqlSettings {
    /// Dialler and trust sets.
    pub outbound: Arc<Outbound>,
    /// Sessions of administrators.
    pub pool: Arc<Pool>,
}

impl Capability for Sql {
    type Settings = SqlSettings;
    type PerStep = SqlSettings;

    fn configure(settings: SqlSettings) -> Result<Self, crate::Error> {
        Ok(Self(settings))
    }

    fn link<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
        sql::add_to_linker::<T, HasSelf<HostState>>(linker, T::host)
    }

    fn prepare(&self, _step: &StepContext) -> SqlSettings {
        self.0.clone()
    }
}

/// What the sessions of a run are called on the server. A takeover ends the ones of this name first (rule P1).
pub fn application_name(run: &RunId) -> String {
    format!("keywheel {run}")
}

impl sql::Host for HostState {}
