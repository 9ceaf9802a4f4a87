use std::collections::BTreeMap;

use wasmtime::component::Resource;

use crate::bindings::keywheel::http::client;
use crate::error::Error;
use crate::handle::Handle;
use crate::state::HostState;

/// An answer as far as the guest may see it: cut, scanned, and without what was captured.
#[derive(Debug, Default)]
pub struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) captured: BTreeMap<String, Handle>,
}

impl client::HostResponse for HostState {
    async fn status(&mut self, response: Resource<Response>) -> wasmtime::Result<u16> {
        Ok(self.table.get(&response)?.status)
    }

    async fn header(&mut self, response: Resource<Response>, name: String) -> wasmtime::Result<Vec<String>> {
        let name = name.to_ascii_lowercase();
        let headers = self.table.get(&response)?.headers.iter();
        Ok(headers
            .filter(|(found, _)| *found == name)
            .map(|(_, value)| value.clone())
            .collect())
    }

    async fn body(&mut self, response: Resource<Response>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.table.get(&response)?.body.clone())
    }

    async fn captured(
        &mut self,
        response: Resource<Response>,
        name: String,
    ) -> wasmtime::Result<Option<Resource<Handle>>> {
        let found = self.table.get(&response)?.captured.get(&name).cloned();
        found
            .map(|handle| self.hand_out(handle))
            .transpose()
            .map_err(Error::into_trap)
    }

    async fn drop(&mut self, response: Resource<Response>) -> wasmtime::Result<()> {
        self.table.delete(response)?;
        Ok(())
    }
}

impl client::Host for HostState {
    async fn recall(&mut self, label: String) -> Result<Option<Resource<Response>>, Error> {
        let found = self.recalled(&label).await?;
        found.map(|response| Ok(self.table.push(response)?)).transpose()
    }
}
