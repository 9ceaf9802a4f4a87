//! `keywheel:sql`: databases.

use wasmtime::component::Linker;

use crate::capability::Capability;
use crate::state::{HostView, StepContext};

/// Databases, for the whole host.
pub struct Sql;

/// A connection that is being described.
pub struct Connector;
/// An open connection.
pub struct Connection;
/// A statement in pieces.
pub struct Statement;

impl Capability for Sql {
    type Settings = ();
    type PerStep = ();

    fn configure(_settings: ()) -> Result<Self, crate::Error> {
        Ok(Self)
    }

    fn link<T: HostView>(_linker: &mut Linker<T>) -> wasmtime::Result<()> {
        Ok(())
    }

    fn prepare(&self, _step: &StepContext) {}
}
