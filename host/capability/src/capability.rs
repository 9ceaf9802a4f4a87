//! The three phases of a capability, and all of them together.

use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::WasiView;

use crate::bindings::keywheel::{core, keys, plugin};
use crate::http::Http;
use crate::net::Net;
use crate::sql::Sql;
use crate::state::{HostState, HostView, StepContext};
use crate::vault;

/// One capability: a package of `wit/` and what stands behind it.
///
/// A capability without configuration and without state of its own needs no such value: its functions are linked and work on
/// [`HostState`].
pub trait Capability: Sized {
    /// What the operator sets for the whole host.
    type Settings;
    /// What one call of a plugin has of it.
    type PerStep;

    /// Called once, when the host starts. Validates the settings; opens nothing, blocks on nothing.
    ///
    /// # Errors
    /// Settings that cannot work.
    fn configure(settings: Self::Settings) -> Result<Self, crate::Error>;

    /// Adds the package's functions to a linker. Called once for each linker.
    ///
    /// # Errors
    /// A name that is defined already.
    fn link<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()>;

    /// Called for each call of a plugin, right before it. Must not block: what is slow happens in the functions themselves.
    fn prepare(&self, step: &StepContext) -> Self::PerStep;
}

/// All capabilities that this host offers.
pub struct Capabilities {
    sql: Sql,
    net: Net,
    http: Http,
}

/// What the operator sets for each.
pub struct Settings {
    /// Databases.
    pub sql: <Sql as Capability>::Settings,
    /// Byte streams.
    pub net: <Net as Capability>::Settings,
    /// Requests.
    pub http: <Http as Capability>::Settings,
}

impl Capabilities {
    /// Configures each.
    ///
    /// # Errors
    /// Settings that cannot work.
    pub fn configure(settings: Settings) -> Result<Self, crate::Error> {
        Ok(Self {
            sql: Sql::configure(settings.sql)?,
            net: Net::configure(settings.net)?,
            http: Http::configure(settings.http)?,
        })
    }

    /// Links each, and WASI without files, sockets, environment or arguments: clocks and random numbers are there.
    ///
    /// # Errors
    /// A name that is defined already.
    pub fn link<T: HostView + WasiView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
        wasmtime_wasi::p2::add_to_linker_async(linker)?;
        core::types::add_to_linker::<T, HasSelf<HostState>>(linker, T::host)?;
        core::secrets::add_to_linker::<T, HasSelf<HostState>>(linker, T::host)?;
        core::runtime::add_to_linker::<T, HasSelf<HostState>>(linker, T::host)?;
        plugin::runs::add_to_linker::<T, HasSelf<HostState>>(linker, T::host)?;
        keys::identities::add_to_linker::<T, HasSelf<HostState>>(linker, T::host)?;
        vault::link(linker)?;
        Sql::link(linker)?;
        Net::link(linker)?;
        Http::link(linker)
    }

    /// Everything that one call of a plugin may see and use.
    pub fn prepare(&self, step: StepContext) -> HostState {
        let (sql, net, http) = (
            self.sql.prepare(&step),
            self.net.prepare(&step),
            self.http.prepare(&step),
        );
        HostState::new(step, sql, net, http)
    }
}
