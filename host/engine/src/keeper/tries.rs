//! How often a rotation has failed, one try after the other. It is kept, so that neither a restart of the host nor another configuration gives it all its
//! tries again: it would never be parked.

use keywheel_model::{RotationName, Timestamp};
use keywheel_schedule::Facts;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Error;
use crate::engine::Engine;
use crate::kept::kept;

/// As it is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Tries {
    failed: u32,
    at: Timestamp,
}

impl Engine {
    /// How often it had failed when this was noted last; nothing of that counts once it was rotated.
    pub(super) async fn tries_of(&self, rotation: &RotationName, facts: &Facts) -> Result<u32, Error> {
        let key = key_of(rotation);
        let tries: Option<Tries> = self
            .inner
            .store
            .read_here(move |reader| kept(&key, reader.meta(&key)?))
            .await?;
        let counts = |tries: &Tries| facts.last_success.is_none_or(|success| success < tries.at);
        let failed = tries.filter(counts).map_or(0, |tries| tries.failed);
        self.inner.standing.note_failed(rotation, failed);
        Ok(failed)
    }

    /// It has failed so often by now.
    pub(super) async fn note_tries(&self, rotation: &RotationName, failed: u32, now: Timestamp) {
        let before = self.inner.standing.failed(rotation);
        self.inner.standing.note_failed(rotation, failed);
        if failed == before {
            return;
        }
        let key = key_of(rotation);
        let tries = json!(Tries { failed, at: now }).to_string();
        let noted = self
            .inner
            .store
            .write(move |tx| Ok::<_, Error>(tx.set_meta(&key, &tries)?));
        if let Err(error) = noted.await {
            tracing::error!(%rotation, code = error.code(), "that it has failed cannot be kept");
        }
    }
}

/// What is known of a rotation. One of which that cannot be read keeps nobody else waiting: `status` tells of it.
pub(super) fn readable<T>(rotation: &RotationName, looked: Result<T, Error>) -> Option<T> {
    let told =
        |error: &Error| tracing::error!(%rotation, code = error.code(), "when it is due cannot be found out");
    looked.inspect_err(told).ok()
}

pub(crate) fn key_of(rotation: &RotationName) -> String {
    format!("tries-{rotation}")
}
