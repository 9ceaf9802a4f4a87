//! When rotations are due by themselves, by what the host knows of them.

use std::time::Duration;

use keywheel_config::Rotation;
use keywheel_model::{RotationName, Timestamp, Trigger};
use keywheel_schedule::{Facts, Idle, Next, Planned};
use keywheel_vault::Vault as _;
use keywheel_workflow::RunWord;

use crate::Error;
use crate::attention::attention;
use crate::engine::Engine;
use crate::view::{Attention, RunView};

/// How far back is looked for a success. Longer ago than that many failed runs in a row nothing is due by its schedule alone.
const RUNS_MAX: u32 = 50;
/// One that is open, and the one before it.
const RUNS_FIRST: u32 = 2;
/// What is late by less is being started.
pub(crate) const OVERDUE: Duration = Duration::from_mins(10);

impl Engine {
    /// What is known of a rotation's past, as far as its schedule needs it. Of a sealed vault nothing: no life and no expiry.
    ///
    /// # Errors
    /// [`Error::NoRotation`]; the store or the vault cannot be read.
    pub async fn facts(&self, rotation: &RotationName) -> Result<Facts, Error> {
        let rotation = self.inner.configured(rotation)?;
        self.facts_of(&rotation).await
    }

    /// The same of one that is at hand.
    ///
    /// # Errors
    /// The store or the vault cannot be read.
    pub(crate) async fn facts_of(&self, rotation: &Rotation) -> Result<Facts, Error> {
        let (last_success, last_adoption) = self.newest_made(&rotation.name).await?;
        let (key, name) = (seen_key(&rotation.name), rotation.name.clone());
        let listed = name.clone();
        let (seen, of_table) = self
            .inner
            .store
            .read_here(move |reader| Ok::<_, Error>((reader.meta(&key)?, reader.seen(&listed)?)))
            .await?;
        let paused = self.pause_of(&rotation.name).await?;
        let seen = seen.map(|seen| timestamp(&seen, &name)).transpose()?.or(of_table);
        let mut facts = Facts {
            last_success,
            first_seen: last_adoption.max(seen),
            started: self.inner.turns.kept_since(),
            paused: paused.map(|paused| paused.pause()),
            ..Facts::default()
        };
        if !self.inner.vault.is_sealed() {
            let head = self.inner.vault.live(&rotation.secret, &[]).await?;
            if let Some(current) = head.current() {
                facts.issued = Some(current.created);
                facts.expires = current.metadata.expires;
            }
        }
        Ok(facts)
    }

    /// When the newest run that has made a credential was begun, and the newest adoption, where it is later. Few runs are looked at where the last one is
    /// such a run: this is asked of every rotation, again and again.
    async fn newest_made(
        &self,
        rotation: &RotationName,
    ) -> Result<(Option<Timestamp>, Option<Timestamp>), Error> {
        let now = self.inner.clock.now();
        for limit in [RUNS_FIRST, RUNS_MAX] {
            let runs = self.runs(Some(rotation), limit).await?;
            let newest = |counts: fn(&RunView) -> bool| {
                let of = runs.iter().filter(|run| counts(run) && is_made(run));
                let times = of.map(|run| run.started_at);
                times.filter(|at| Facts::is_believed(*at, now)).max()
            };
            let made = newest(|run| !matches!(run.trigger, Trigger::Adopt | Trigger::Drift));
            if made.is_some() || limit == RUNS_MAX {
                return Ok((made, newest(|run| run.trigger == Trigger::Adopt)));
            }
        }
        Ok((None, None))
    }

    /// Notes that this host has learned of a rotation now, if it has not before: from then on its times count.
    ///
    /// # Errors
    /// The store.
    pub(crate) async fn note_seen(&self, rotation: &RotationName) -> Result<(), Error> {
        let (key, now) = (seen_key(rotation), self.inner.clock.now());
        let look = key.clone();
        let seen = self
            .inner
            .store
            .read_here(move |reader| Ok::<_, Error>(reader.meta(&look)?))
            .await?;
        if seen.is_some() {
            return Ok(());
        }
        self.inner
            .store
            .write(move |tx| Ok::<_, Error>(tx.set_meta(&key, &now.as_unix_ms().to_string())?))
            .await
    }

    /// When it is due next by itself.
    ///
    /// # Errors
    /// As [`Self::facts`].
    pub(crate) async fn next_due(&self, rotation: &Rotation) -> Result<Option<Timestamp>, Error> {
        Ok(match self.planned(rotation).await? {
            Planned::Due(next) => Some(next.due),
            Planned::Idle(_) | Planned::Blocked(_) => None,
        })
    }

    /// What is to be told of a rotation that was due and has not run, or would be due and may not run in time.
    ///
    /// # Errors
    /// As [`Self::facts`].
    pub(crate) async fn attention_of_schedule(
        &self,
        rotation: &Rotation,
    ) -> Result<Option<Attention>, Error> {
        if let Some(held) = self.attention_of_pause(rotation).await? {
            return Ok(Some(held));
        }
        if let Some(parked) = self.attention_of_parked(rotation).await? {
            return Ok(Some(parked));
        }
        let blocked = match self.planned(rotation).await? {
            Planned::Due(next) => return self.overdue(rotation, next).await,
            Planned::Idle(Idle::NoExpiry) => return self.attention_of_no_end(rotation).await,
            Planned::Idle(_) => return Ok(None),
            Planned::Blocked(blocked) => blocked,
        };
        let what = match blocked.expires {
            Some(_) => "its windows and blackouts leave no time before its credential expires",
            None => "its windows and blackouts leave no time in which it could run",
        };
        let way_out = format!(
            "widen them; `keywheel schedule next {0}`, or now: `keywheel rotate {0}`",
            rotation.name
        );
        Ok(Some(Attention {
            harm_at: blocked.expires,
            ..attention(
                "schedule-blocked",
                &format!("rotation {}", rotation.name),
                what,
                &way_out,
            )
        }))
    }

    /// A schedule that counts from the end of a credential that has none. Before there is a credential nobody knows.
    async fn attention_of_no_end(&self, rotation: &Rotation) -> Result<Option<Attention>, Error> {
        if rotation.schedule.on_start || self.facts_of(rotation).await?.issued.is_none() {
            return Ok(None);
        }
        Ok(Some(attention(
            "schedule-never-due",
            &format!("rotation {}", rotation.name),
            "its schedule counts from the expiry of its credential, and that has none: it is never due",
            "give its `schedule` an `every` or a `cron`; without `schedule` it is rotated by hand alone",
        )))
    }

    /// An open run is in the list by itself. That it waits for one that it is linked with is told at once.
    async fn overdue(&self, rotation: &Rotation, next: Next) -> Result<Option<Attention>, Error> {
        let now = self.inner.clock.now();
        if next.due > now || self.open_run_of(&rotation.secret).await?.is_some() {
            return Ok(None);
        }
        if let Some(apart) = self.inner.apart(rotation).await? {
            let what = format!(
                "it was due {} and waits: {}",
                rotation.schedule.zone.show(next.due),
                apart.words()
            );
            let way_out = match &apart.open {
                Some(run) => format!("`keywheel run show {run}`; it is started by itself after that"),
                None => {
                    "it is started by itself then; `keywheel rotate --ignore-offset` does not wait".to_owned()
                }
            };
            let subject = format!("rotation {}", rotation.name);
            return Ok(Some(Attention {
                harm_at: self.facts_of(rotation).await?.expires,
                ..attention("schedule-linked", &subject, &what, &way_out)
            }));
        }
        // What its target's maintenance holds back is told there.
        let maintained = self.inner.maintained().await?;
        let is_maintained = self
            .inner
            .targets_of(rotation)
            .iter()
            .any(|target| maintained.contains_key(target));
        if now.saturating_since(next.due) < OVERDUE || is_maintained {
            return Ok(None);
        }
        let what = format!(
            "it was due {} and has not run",
            rotation.schedule.zone.show(next.due)
        );
        let way_out = format!("keywheel rotate {}", rotation.name);
        Ok(Some(attention(
            "schedule-overdue",
            &format!("rotation {}", rotation.name),
            &what,
            &way_out,
        )))
    }

    /// Why a rotation that is due is not started, beside what its schedule says.
    ///
    /// # Errors
    /// As [`Self::facts`].
    pub async fn waits_for(&self, rotation: &RotationName) -> Result<Option<String>, Error> {
        let rotation = &*self.inner.configured(rotation)?;
        let facts = self.facts_of(rotation).await?;
        if let Some(parked) = self.parked(&rotation.name, &facts).await? {
            return Ok(Some(parked.words()));
        }
        let targets: Vec<String> = self.inner.targets_of(rotation).into_iter().collect();
        if let Some(until) = self.inner.maintained_until(&targets.join(" ")).await? {
            let until = rotation.schedule.zone.show(until);
            return Ok(Some(format!("its target is left alone until {until}")));
        }
        Ok(self.inner.apart(rotation).await?.map(|apart| apart.words()))
    }

    pub(crate) async fn planned(&self, rotation: &Rotation) -> Result<Planned, Error> {
        let facts = self.facts_of(rotation).await?;
        let plan = rotation.schedule.plan(&rotation.name);
        Ok(plan.next(&facts, self.inner.clock.now()))
    }
}

fn seen_key(rotation: &RotationName) -> String {
    format!("first-seen-{rotation}")
}

fn timestamp(text: &str, rotation: &RotationName) -> Result<Timestamp, Error> {
    let unreadable = |_| keywheel_store::Error::Unreadable {
        what: seen_key(rotation),
    };
    Ok(text.parse().map(Timestamp::from_unix_ms).map_err(unreadable)?)
}

/// Its credential is current: the run is over, or waits for consumers alone.
fn is_made(run: &RunView) -> bool {
    run.state == RunWord::Succeeded || run.waits_for_consumers
}
