//! Rotations that a person has paused: nothing is due by itself until the pause ends. What runs goes on, and what a person starts is started.

use keywheel_audit::Entry;
use keywheel_config::Rotation;
use keywheel_model::{RotationName, Timestamp};
use keywheel_schedule::{Facts, Pause, Planned};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Error;
use crate::actor::actor;
use crate::attention::attention;
use crate::engine::Engine;
use crate::kept::kept;
use crate::view::Attention;

/// A pause, as it is kept and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Paused {
    /// Since when.
    pub since: Timestamp,
    /// Until when; none: until somebody ends it.
    pub until: Option<Timestamp>,
    /// Who has paused it.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl Paused {
    pub(crate) fn pause(&self) -> Pause {
        self.until.map_or(Pause::Open, Pause::Until)
    }
}

impl Engine {
    /// Nothing of the rotation is due by itself from now on, until then or until [`Engine::unpause`]. A pause that there was is replaced.
    ///
    /// # Errors
    /// [`Error::NoRotation`]; the store.
    pub async fn pause(
        &self,
        rotation: &RotationName,
        until: Option<Timestamp>,
        reason: &str,
    ) -> Result<Paused, Error> {
        let name = self.inner.configured(rotation)?.name.clone();
        let paused = Paused {
            since: self.inner.clock.now(),
            until,
            by: actor(),
            reason: reason.to_owned(),
        };
        let kept = json!(paused).to_string();
        let entry = Entry::of_host("schedule.pause", name.as_str(), "ok")
            .by(&paused.by)
            .with(json!({"until": until, "reason": reason}));
        self.inner
            .store
            .write(move |tx| {
                tx.set_meta(&key_of(&name), &kept)?;
                tx.look_at(&name)?;
                tx.audit(&entry).map(|_| ())?;
                Ok::<_, Error>(())
            })
            .await?;
        self.inner.turns.look_again();
        Ok(paused)
    }

    /// Its schedule counts again. What it held back is late, and due once. False: it was not paused, and nothing is changed.
    ///
    /// # Errors
    /// [`Error::NoRotation`]; the store.
    pub async fn unpause(&self, rotation: &RotationName, reason: &str) -> Result<bool, Error> {
        let name = self.inner.configured(rotation)?.name.clone();
        if self.pause_of(&name).await?.is_none() {
            return Ok(false);
        }
        let entry = Entry::of_host("schedule.unpause", name.as_str(), "ok")
            .by(actor())
            .with(json!({ "reason": reason }));
        self.inner
            .store
            .write(move |tx| {
                tx.set_meta(&key_of(&name), "")?;
                tx.look_at(&name)?;
                tx.audit(&entry).map(|_| ())?;
                Ok::<_, Error>(())
            })
            .await?;
        self.inner.turns.look_again();
        Ok(true)
    }

    /// The pause of a rotation, if it is paused now.
    ///
    /// # Errors
    /// The store.
    pub async fn pause_of(&self, rotation: &RotationName) -> Result<Option<Paused>, Error> {
        let key = key_of(rotation);
        let paused: Option<Paused> = self
            .inner
            .store
            .read_here(move |reader| kept(&key, reader.meta(&key)?))
            .await?;
        let now = self.inner.clock.now();
        Ok(paused.filter(|paused| paused.until.is_none_or(|until| until > now)))
    }

    /// A pause that holds back what would be due by now: somebody may have forgotten it.
    pub(crate) async fn attention_of_pause(&self, rotation: &Rotation) -> Result<Option<Attention>, Error> {
        let Some(paused) = self.pause_of(&rotation.name).await? else {
            return Ok(None);
        };
        let facts = Facts {
            paused: None,
            ..self.facts_of(rotation).await?
        };
        let now = self.inner.clock.now();
        let plan = rotation.schedule.plan(&rotation.name);
        let Planned::Due(next) = plan.next(&facts, now) else {
            return Ok(None);
        };
        if next.due > now {
            return Ok(None);
        }
        let what = format!(
            "it is paused by {} ({}), and has been due {}",
            paused.by,
            paused.reason,
            rotation.schedule.zone.show(next.due)
        );
        let way_out = format!("keywheel schedule unpause {}", rotation.name);
        Ok(Some(Attention {
            harm_at: facts.expires,
            ..attention(
                "schedule-paused",
                &format!("rotation {}", rotation.name),
                &what,
                &way_out,
            )
        }))
    }
}

/// Behind which the name of a rotation stands.
pub(crate) const PREFIX: &str = "paused-";

fn key_of(rotation: &RotationName) -> String {
    format!("{PREFIX}{rotation}")
}
