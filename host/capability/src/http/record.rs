//! Answers that a repeated step finds again.

use std::collections::BTreeMap;

use keywheel_manifest::Capability;
use serde::{Deserialize, Serialize};

use super::response::Response;
use crate::error::Error;
use crate::port::Wanted;
use crate::state::HostState;

/// An answer as it lies in the run's state: what the guest has seen of it, and under which names the escrow has the rest.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Record {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
    captured: Vec<String>,
}

fn key(label: &str) -> String {
    format!("http:{label}")
}

impl HostState {
    /// Forgets what an earlier try has recorded: its values are about to be replaced in the escrow.
    pub(super) async fn forget(&mut self, label: &str) -> Result<(), Error> {
        let key = key(label);
        if self.step.port.get_state(&key).await?.is_some() {
            self.step.port.set_state(&key, None).await?;
        }
        Ok(())
    }

    /// Keeps an answer for a repeated step. What was captured for this call alone is not kept.
    pub(super) async fn keep_record(
        &mut self,
        label: &str,
        response: &Response,
        kept: &[String],
    ) -> Result<(), Error> {
        let record = Record {
            status: response.status,
            headers: response.headers.clone(),
            body: String::from_utf8_lossy(&response.body).into_owned(),
            captured: kept.to_vec(),
        };
        let text = serde_json::to_vec(&record)
            .map_err(|_unwritable| Error::Host(wasmtime::Error::msg("an answer cannot be written down")))?;
        Ok(self.step.port.set_state(&key(label), Some(&text)).await?)
    }

    /// What was recorded under a label, with what it captured. None: nothing was, or not all of it is there.
    pub(super) async fn recalled(&mut self, label: &str) -> Result<Option<Response>, Error> {
        self.permit_package(Capability::Http).await?;
        self.check_name(label, "a label")?;
        let Some(text) = self.step.port.get_state(&key(label)).await? else {
            return Ok(None);
        };
        self.clear_bytes(&text, "an answer that was recorded")?;
        let Ok(record) = serde_json::from_slice::<Record>(&text) else {
            return Ok(None);
        };
        let mut captured = BTreeMap::new();
        for name in record.captured {
            let wanted = Wanted::Escrow(name.clone());
            let port = self.step.port.clone();
            let loaded = self.within(async { Ok(port.load(&wanted).await?) }).await?;
            let Some(loaded) = loaded else { return Ok(None) };
            captured.insert(name, self.adopt(loaded));
        }
        Ok(Some(Response {
            status: record.status,
            headers: record.headers,
            body: record.body.into_bytes(),
            captured,
        }))
    }
}
