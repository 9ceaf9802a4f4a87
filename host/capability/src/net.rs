//! `keywheel:net`: byte streams to one allowed host.

use wasmtime::component::Linker;

use crate::capability::Capability;
use crate::state::{HostView, StepContext};

/// Byte streams, for the whole host.
pub struct Net;

/// A byte stream.
pub struct Channel;
/// How TLS is set up.
pub struct TlsOptions;
/// A whole message.
pub struct Frame;

impl Capability for Net {
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
