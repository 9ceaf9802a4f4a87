//! When what is in use stops to be valid: told in time, again at each rung of a ladder, and listed. It is read beside the vault, so that a sealed one hides
//! none of it.

use std::collections::HashSet;
use std::time::Duration;

use keywheel_config::{Rotation, show_duration};
use keywheel_model::{RotationName, SecretName, Timestamp};
use keywheel_store::InUse;
use serde::Serialize;

use crate::Error;
use crate::attention::attention;
use crate::engine::Engine;
use crate::view::Attention;

/// Of more than these the first to end are looked at.
const LOOKED_AT: u32 = 10_000;

/// A secret in use that stops to be valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExpiringView {
    /// Its name.
    pub secret: SecretName,
    /// The rotation that renews it, or writes it with another.
    pub rotation: Option<RotationName>,
    /// When it stops to be valid.
    pub expires_at: Timestamp,
    /// When it is renewed, where that is known: of a sealed vault's nobody knows.
    pub renews_at: Option<Timestamp>,
}

impl ExpiringView {
    /// Whether it is renewed before it ends, as far as is known.
    pub fn is_renewed_in_time(&self) -> bool {
        self.renews_at.is_some_and(|renews| renews < self.expires_at)
    }
}

/// A secret in use that no rotation renews, and of which nobody knows when it stops to be valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct UnmanagedView {
    /// Its name.
    pub secret: SecretName,
    /// Since when there is its current version.
    pub since: Timestamp,
}

/// What stops to be valid within some time, and what nobody looks after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExpiryView {
    /// The first to end first; what has ended is among them.
    pub expiring: Vec<ExpiringView>,
    /// By their names.
    pub unmanaged: Vec<UnmanagedView>,
}

impl Engine {
    /// What stops to be valid within this time from now, and what nobody looks after. Also while the vault is sealed.
    ///
    /// # Errors
    /// The store.
    pub async fn expiry(&self, within: Duration) -> Result<ExpiryView, Error> {
        let (config, store) = (&self.inner.config, &self.inner.store);
        let before = self.inner.clock.now() + within;
        let (found, others) = store
            .read(move |reader| {
                let expiring = reader.expiring(before, LOOKED_AT)?;
                Ok::<_, Error>((expiring, reader.without_expiry()?))
            })
            .await?;
        let mut expiring = Vec::with_capacity(found.len());
        for one in found {
            let Some(expires_at) = one.expires else { continue };
            let rotation = self.renewer_of(&one.secret);
            let renews_at = match &rotation {
                Some(rotation) => self.renews(rotation).await?,
                None => None,
            };
            expiring.push(ExpiringView {
                secret: one.secret,
                rotation: rotation.map(|rotation| rotation.name.clone()),
                expires_at,
                renews_at,
            });
        }
        let nobody_looks = |one: &InUse| {
            config.rotation_of(&one.secret).is_none() && config.writer_of(&one.secret).is_none()
        };
        let others = others.into_iter().filter(nobody_looks);
        let unmanaged = others.map(|one| UnmanagedView {
            secret: one.secret,
            since: one.created,
        });
        Ok(ExpiryView {
            expiring,
            unmanaged: unmanaged.collect(),
        })
    }

    /// What has ended, and what is about to and is not renewed before.
    pub(crate) async fn attention_of_expiries(&self, list: &mut Vec<Attention>) -> Result<(), Error> {
        let now = self.inner.clock.now();
        let config = &self.inner.config;
        let in_file: HashSet<&SecretName> =
            config.rotations.iter().map(|rotation| &rotation.secret).collect();
        let ever = Timestamp::from_unix_ms(i64::MAX.unsigned_abs());
        let found = self
            .inner
            .store
            .read(move |reader| Ok::<_, Error>(reader.expiring(ever, LOOKED_AT)?))
            .await?;
        for one in found {
            let Some(expires) = one.expires else { continue };
            let rung = config.expiry.rung(one.created, expires, now);
            // Of a rotation's own it is told as soon as its schedule does not fit; a sealed vault's are renewed once it is open.
            let is_told_at_once = in_file.contains(&one.secret) && !self.inner.vault.is_sealed();
            if rung.is_some() || is_told_at_once {
                list.extend(self.attention_of_end(&one.secret, expires, rung, now).await?);
            }
        }
        Ok(())
    }

    async fn attention_of_end(
        &self,
        secret: &SecretName,
        expires: Timestamp,
        rung: Option<Duration>,
        now: Timestamp,
    ) -> Result<Option<Attention>, Error> {
        let rotation = self.renewer_of(secret);
        let is_over = expires <= now;
        if let Some(rotation) = &rotation
            && !is_over
            && self.renews(rotation).await?.is_some_and(|due| due < expires)
        {
            return Ok(None);
        }
        let left = rung.map(|rung| format!(", in less than {}", show_duration(rounded(rung))));
        let (kind, what) = match (is_over, &rotation) {
            (true, _) => ("secret-expired", "its current version has expired".to_owned()),
            (false, Some(_)) => (
                "secret-expires",
                format!("its current version expires{}", left.unwrap_or_default()),
            ),
            (false, None) => {
                let left = left.unwrap_or_default();
                (
                    "secret-expiring",
                    format!("its current version expires{left}, and nothing renews it"),
                )
            }
        };
        let way_out = match rotation {
            Some(_) if self.inner.vault.is_sealed() => "keywheel vault unseal".to_owned(),
            Some(rotation) => format!("keywheel rotate {}", rotation.name),
            None => format!(
                "renew it where it is issued, then `keywheel secret import {secret}`; or let a rotation renew it"
            ),
        };
        let subject = format!("secret {secret}");
        Ok(Some(Attention {
            harm_at: Some(expires),
            ..attention(kind, &subject, &what, &way_out)
        }))
    }

    /// The rotation that makes new versions of a secret.
    fn renewer_of(&self, secret: &SecretName) -> Option<std::sync::Arc<Rotation>> {
        let config = &self.inner.config;
        let own = config.rotation_of(secret);
        own.or_else(|| config.writer_of(secret).cloned())
    }

    /// When it is due next; of a sealed vault's nothing is.
    async fn renews(&self, rotation: &Rotation) -> Result<Option<Timestamp>, Error> {
        if self.inner.vault.is_sealed() {
            return Ok(None);
        }
        self.next_due(rotation).await
    }
}

/// As people say it: no one counts seconds of days.
fn rounded(span: Duration) -> Duration {
    let seconds = span.as_secs();
    let unit = match seconds {
        0..60 => 1,
        60..7_200 => 60,
        7_200..172_800 => 3_600,
        _ => 86_400,
    };
    Duration::from_secs(seconds.div_ceil(unit) * unit)
}
