//! `keywheel:http`: requests with secrets in declared places, and answers cut down to declared fields.
//!
//! A request with a secret is one endpoint of the manifest, and gives back its status and what the endpoint shows (rule H1). One without a secret goes to
//! any granted host; `GET` and `HEAD` only read, and everything else counts as a change unless an endpoint says otherwise.
//! What the target issues is in the escrow before `send` returns.

mod answer;
mod described;
mod places;
mod record;
mod request;
mod response;
mod send;
mod sign;
mod url;
mod xml;

use std::sync::Arc;

use keywheel_target::Outbound;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::keywheel::http::client;
use crate::capability::Capability;
use crate::state::{HostState, HostView, StepContext};

pub(crate) use sign::{KEY_ID, SIGV4};

pub use request::Request;
pub use response::Response;

/// Requests, for the whole host.
pub struct Http(HttpSettings);

/// What connections start from.
#[derive(Clone)]
pub struct HttpSettings {
    /// Dialler and trust sets.
    pub outbound: Arc<Outbound>,
}

impl Capability for Http {
    type Settings = HttpSettings;
    type PerStep = HttpSettings;

    fn configure(settings: HttpSettings) -> Result<Self, crate::Error> {
        Ok(Self(settings))
    }

    fn link<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
        client::add_to_linker::<T, HasSelf<HostState>>(linker, T::host)
    }

    fn prepare(&self, _step: &StepContext) -> HttpSettings {
        self.0.clone()
    }
}
