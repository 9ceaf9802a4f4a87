//! Rotations that have failed until their tries were used up, or that somebody has denied: nothing of them is started by itself until a person says so, one
//! was rotated by hand, or the target that could not be reached answers. None is ever dropped: each stands in `status`.

use keywheel_audit::Entry;
use keywheel_config::Rotation;
use keywheel_model::{RotationName, Timestamp};
use keywheel_schedule::{Facts, Zone};
use keywheel_store::Transaction;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Error;
use crate::actor::actor;
use crate::attention::attention;
use crate::engine::Engine;
use crate::keeper::tries;
use crate::kept::kept;
use crate::view::Attention;

/// Why, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ParkedRotation {
    /// Since when.
    pub since: Timestamp,
    /// How often it was tried.
    pub tries: u32,
    /// What the last try ended with: a code, or the words of who denied it.
    pub last: String,
    /// It was that its target could not be reached.
    pub away: bool,
}

impl ParkedRotation {
    /// In words.
    pub fn words(&self) -> String {
        let since = Zone::UTC.show(self.since);
        match self.tries {
            0 => format!("it is parked since {since}: {}", self.last),
            1 => format!("it is parked since {since}: one try failed ({})", self.last),
            tries => format!(
                "it is parked since {since}: {tries} tries failed, the last one with {}",
                self.last
            ),
        }
    }
}

impl Engine {
    /// Whether a rotation is parked, and why.
    ///
    /// # Errors
    /// The store.
    pub(crate) async fn parked(
        &self,
        rotation: &RotationName,
        facts: &Facts,
    ) -> Result<Option<ParkedRotation>, Error> {
        let key = key_of(rotation);
        let parked: Option<ParkedRotation> = self
            .inner
            .store
            .read_here(move |reader| kept(&key, reader.meta(&key)?))
            .await?;
        // Somebody has rotated it by hand.
        Ok(parked.filter(|parked| facts.last_success.is_none_or(|success| success < parked.since)))
    }

    /// Nothing of it is started by itself from now on.
    pub(crate) async fn park(&self, rotation: &RotationName, parked: ParkedRotation) -> Result<(), Error> {
        let (name, by) = (rotation.clone(), actor());
        tracing::warn!(%rotation, tries = parked.tries, last = parked.last, "parked");
        self.inner
            .store
            .write(move |tx| park(tx, &name, &by, &parked))
            .await
    }

    /// Its schedule counts again. False: it was not parked, and nothing is changed.
    ///
    /// # Errors
    /// [`Error::NoRotation`]; the store.
    pub async fn unpark(&self, rotation: &RotationName, reason: &str) -> Result<bool, Error> {
        let facts = self.facts(rotation).await?;
        if self.parked(rotation, &facts).await?.is_none() {
            return Ok(false);
        }
        let (key, tries, name) = (key_of(rotation), tries::key_of(rotation), rotation.clone());
        let entry = Entry::of_host("schedule.unpark", rotation.as_str(), "ok")
            .by(actor())
            .with(json!({ "reason": reason }));
        self.inner
            .store
            .write(move |tx| {
                tx.set_meta(&key, "")?;
                tx.set_meta(&tries, "")?;
                tx.look_at(&name)?;
                tx.audit(&entry)?;
                Ok::<_, Error>(())
            })
            .await?;
        self.inner.standing.note_failed(rotation, 0);
        self.inner.turns.look_again();
        Ok(true)
    }

    pub(crate) async fn attention_of_parked(&self, rotation: &Rotation) -> Result<Option<Attention>, Error> {
        let facts = self.facts_of(rotation).await?;
        let Some(parked) = self.parked(&rotation.name, &facts).await? else {
            return Ok(None);
        };
        let way_out = format!(
            "mend what it met (`keywheel plan {0}`), then `keywheel rotate {0}`, or `keywheel schedule release {0} --reason TEXT`",
            rotation.name
        );
        Ok(Some(Attention {
            harm_at: facts.expires,
            ..attention(
                "rotation-parked",
                &format!("rotation {}", rotation.name),
                &parked.words(),
                &way_out,
            )
        }))
    }
}

/// In the transaction of what it is parked for.
pub(crate) fn park(
    tx: &Transaction<'_>,
    rotation: &RotationName,
    by: &str,
    parked: &ParkedRotation,
) -> Result<(), Error> {
    let entry = Entry::of_host("schedule.park", rotation.as_str(), "waiting")
        .by(by)
        .with(json!({"tries": parked.tries, "last": parked.last}));
    tx.set_meta(&key_of(rotation), &json!(parked).to_string())?;
    tx.look_at(rotation)?;
    tx.audit(&entry)?;
    Ok(())
}

/// Behind which the name of a rotation stands.
pub(crate) const PREFIX: &str = "parked-";

fn key_of(rotation: &RotationName) -> String {
    format!("{PREFIX}{rotation}")
}
