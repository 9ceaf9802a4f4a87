//! `keywheel:net`: byte streams to one allowed host, and whole messages on them.
//!
//! A secret leaves only inside of a message that the manifest declares, with lengths that the host writes. From then on every
//! write on that stream is such a message, and every read gives back what the manifest says of the message that it answers
//! (rule H2).

mod channel;
mod destined;
mod frame;
mod message;

use std::sync::Arc;

use keywheel_target::Outbound;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::keywheel::net::{frames, tcp};
use crate::capability::Capability;
use crate::state::{HostState, HostView, StepContext};

pub use channel::{Channel, TlsOptions};
pub(crate) use destined::Destined;
pub use frame::Frame;

/// Byte streams, for the whole host.
pub struct Net(NetSettings);

/// What connections start from.
#[derive(Clone)]
pub struct NetSettings {
    /// Dialler and trust sets.
    pub outbound: Arc<Outbound>,
}

impl Capability for Net {
    type Settings = NetSettings;
    type PerStep = NetSettings;

    fn configure(settings: NetSettings) -> Result<Self, crate::Error> {
        Ok(Self(settings))
    }

    fn link<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
        tcp::add_to_linker::<T, HasSelf<HostState>>(linker, T::host)?;
        frames::add_to_linker::<T, HasSelf<HostState>>(linker, T::host)
    }

    fn prepare(&self, _step: &StepContext) -> NetSettings {
        self.0.clone()
    }
}
