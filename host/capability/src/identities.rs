//! `keywheel:keys/identities`: client certificates. They are named by `sql` and `net`, and not offered by this host yet: no
//! identity can be made, so none can be used.

use wasmtime::component::Resource;

use crate::bindings::keywheel::keys::identities;
use crate::error::Error;
use crate::handle::Handle;
use crate::state::HostState;

/// A certificate with its private key. None can be made yet.
pub enum Identity {}

impl identities::Host for HostState {}

impl identities::HostIdentity for HostState {
    async fn from_secret(
        &mut self,
        _secret: Resource<Handle>,
        _password: Option<Resource<Handle>>,
    ) -> Result<Resource<Identity>, Error> {
        Err(Error::not_offered("`keys/identities`"))
    }

    async fn to_secret(
        &mut self,
        identity: Resource<Identity>,
        _format: String,
        _password: Option<Resource<Handle>>,
    ) -> Result<Resource<Handle>, Error> {
        match *self.table.get(&identity)? {}
    }

    async fn drop(&mut self, identity: Resource<Identity>) -> wasmtime::Result<()> {
        match self.table.delete(identity)? {}
    }
}
