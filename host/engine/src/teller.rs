//! Who tells people: what needs one and what does no more is written to the outbox, and what stands there is handed to each sink until it takes it.

mod courier;
pub(crate) mod log;
mod pace;
mod past;
mod reach;
pub(crate) mod sinks;
pub(crate) mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keywheel_config::Notify;
use keywheel_model::Timestamp;
use keywheel_store::{Topics, Transaction};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{Notify as News, watch};

use crate::attention::{is_of_expiry, key_of, stands_until_decided};
use crate::engine::Engine;
use crate::teller::courier::{tell_all, told_key};
use crate::teller::words::{ROTATION, labels_of};
use crate::unwritable::UNWRITABLE;
use crate::view::Attention;
use crate::{Error, Stop};

/// Topics of notices about what needs a person.
const RAISED: &str = "attention";
const RESOLVED: &str = "attention-resolved";

/// These two, and all others.
const OF_PERSONS: Topics = Topics {
    prefix: RAISED,
    has: true,
};
const EVENTS: Topics = Topics {
    prefix: RAISED,
    has: false,
};

/// What needs a person is looked for so often. It is told when it is there at two looks: what goes away by itself at once is nobody's business.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// To look at a great many rotations takes long: between two looks so many times that, so that it never takes up more than a tenth of one processor. On a
/// busy machine, where a look waits for a processor, more would put off what needs a person.
const PAUSE_PER_LOOK: u32 = 9;

/// One that has not taken a notice for so long takes nothing, until it has.
const AGAIN: Duration = Duration::from_secs(30);

/// After this nobody is told any more.
const STALE: Duration = Duration::from_hours(7 * 24);

/// Where it stands what was raised and is not resolved.
const OPEN: &str = "notices-open";

/// Of one entry that was raised.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Open {
    subject: String,
    kind: String,
    what: String,
    since: Timestamp,
    /// What a person was asked to do. Versions before did not keep it.
    #[serde(default, rename = "way-out")]
    way_out: String,
    /// All kinds that were told of it: whoever was told of one hears that it is over.
    #[serde(default)]
    kinds: BTreeSet<String>,
    /// The labels of the rotation, by which it was told.
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl Open {
    /// Whether something else needs a person now, of a thing of which one was told: a decision, or one on another run or another plan.
    fn is_another(&self, entry: &Attention) -> bool {
        if is_of_expiry(entry.kind) {
            return self.what != entry.what;
        }
        let asks_anew = self.way_out != entry.way_out && !self.way_out.is_empty();
        stands_until_decided(entry.kind) && (self.kind != entry.kind || asks_anew)
    }
}

/// What is raised and not resolved, each by a key that stays the same while its words change.
type Raised = BTreeMap<String, Open>;

/// Tells the sinks of the configuration as it is now.
pub struct Teller {
    engine: watch::Receiver<Engine>,
    stop: Stop,
}

impl Teller {
    /// Of the engine as it is now, which may be replaced.
    pub fn new(engine: watch::Receiver<Engine>, stop: Stop) -> Self {
        Self { engine, stop }
    }

    /// Tells until it is to stop.
    pub async fn run(self) {
        let news = Arc::new(News::new());
        tokio::select! {
            () = self.stop.requested() => {}
            () = past::watch(self.engine.clone()) => {}
            () = Looker::default().run(self.engine.clone(), Arc::clone(&news)) => {}
            () = tell_all(self.engine.clone(), news) => {}
        }
    }
}

/// Writes down what is to be told.
#[derive(Default)]
struct Looker {
    /// What was there, by key and kind, and what was gone, at the last look.
    there: BTreeMap<String, &'static str>,
    gone: BTreeSet<String>,
}

impl Looker {
    /// Never ends.
    async fn run(mut self, mut engine: watch::Receiver<Engine>, news: Arc<News>) {
        loop {
            let now = engine.borrow_and_update().clone();
            let begun = Instant::now();
            if let Err(error) = self.look(&now).await {
                tracing::error!(code = error.code(), "what is to be told cannot be looked at");
            }
            if let Err(error) = Self::settle(&now).await {
                tracing::error!(code = error.code(), "what was told cannot be noted");
            }
            news.notify_waiters();
            let pause = LOOK_EVERY.max(begun.elapsed().saturating_mul(PAUSE_PER_LOOK));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Ok(()) = engine.changed() => {}
            }
        }
    }

    /// Writes what has come and what has gone to the outbox, together with that it was written.
    async fn look(&mut self, engine: &Engine) -> Result<(), Error> {
        let store = &engine.inner.store;
        let is_sealed = engine.inner.vault.is_sealed();
        let list = engine.status().await?;
        let kept = store
            .read_here(|reader| Ok::<_, Error>(reader.meta(OPEN)?))
            .await?;
        let kept: Raised = kept
            .and_then(|kept| serde_json::from_str(&kept).ok())
            .unwrap_or_default();
        // A version before may have told of it under another key.
        let mut open: Raised = kept
            .into_values()
            .map(|open| (key_of(&open.subject, &open.kind), open))
            .collect();
        let is_wanted = engine.inner.config.notify.iter().any(|sink| sink.attention);
        let found: BTreeMap<String, Attention> = list
            .into_iter()
            .filter(|entry| is_wanted && entry.kind != UNWRITABLE)
            .map(|entry| (key_of(&entry.subject, entry.kind), entry))
            .collect();
        let now = engine.inner.clock.now();
        let mut notices = Vec::new();
        for (key, entry) in &found {
            let before = self.there.get(key).copied();
            let is_news = match open.get(key) {
                None => before.is_some(),
                Some(told) => before == Some(entry.kind) && told.is_another(entry),
            };
            if is_news {
                let raised = raised(engine, entry, open.get(key), now);
                let mut body = json!(entry);
                body["labels"] = json!(raised.labels);
                open.insert(key.clone(), raised);
                notices.push((RAISED, key.clone(), body));
            }
        }
        // A sealed vault tells nothing of its secrets: that is no reason to believe that all is well with them.
        let gone: BTreeSet<String> = open
            .keys()
            .filter(|key| !found.contains_key(*key) && !is_sealed)
            .cloned()
            .collect();
        for key in gone.intersection(&self.gone) {
            if let Some(was) = open.remove(key) {
                notices.push((RESOLVED, key.clone(), json!(was)));
            }
        }
        self.there = found.into_iter().map(|(key, entry)| (key, entry.kind)).collect();
        self.gone = gone;
        if notices.is_empty() {
            return Ok(());
        }
        let open = json!(open).to_string();
        store
            .write(move |tx| {
                for (topic, key, body) in &notices {
                    tx.notify(topic, key, body)?;
                }
                Ok::<_, Error>(tx.set_meta(OPEN, &open)?)
            })
            .await
    }

    /// What every sink has been told is delivered; and what was delivered long ago is forgotten.
    async fn settle(engine: &Engine) -> Result<(), Error> {
        let inner = &engine.inner;
        let before = inner.clock.now() - inner.config.retention.notices;
        let sinks = inner.config.notify.clone();
        inner
            .store
            .write(move |tx| {
                for topics in [OF_PERSONS, EVENTS] {
                    settle(tx, &sinks, topics)?;
                }
                Ok::<_, Error>(tx.forget_delivered(before).map(|_| ())?)
            })
            .await
    }
}

fn settle(tx: &Transaction<'_>, sinks: &[Notify], topics: Topics) -> Result<(), keywheel_store::Error> {
    let number = |key: &str| {
        let text = tx.meta(key)?;
        Ok::<u64, keywheel_store::Error>(text.and_then(|text| text.parse().ok()).unwrap_or_default())
    };
    let mut through = tx.newest_notification()?;
    for sink in sinks.iter().filter(|sink| wants(sink, topics.has)) {
        through = through.min(number(&told_key(&sink.name, topics))?);
    }
    let key = format!("notices-settled.{}", topics.has);
    let settled = number(&key)?;
    if through <= settled {
        return Ok(());
    }
    tx.delivered(&topics, settled, through)?;
    tx.set_meta(&key, &through.to_string())
}

fn raised(engine: &Engine, entry: &Attention, told: Option<&Open>, now: Timestamp) -> Open {
    let mut kinds = told.map(|told| told.kinds.clone()).unwrap_or_default();
    kinds.insert(entry.kind.to_owned());
    let rotation = entry.subject.strip_prefix(ROTATION);
    Open {
        subject: entry.subject.clone(),
        kind: entry.kind.to_owned(),
        what: entry.what.clone(),
        since: told.map_or(now, |told| told.since),
        way_out: entry.way_out.clone(),
        kinds,
        labels: rotation
            .map(|rotation| labels_of(&engine.inner, rotation))
            .unwrap_or_default(),
    }
}

/// Whether it is told what needs a person, or what has happened.
fn wants(sink: &Notify, of_persons: bool) -> bool {
    if of_persons {
        sink.attention
    } else {
        sink.events || sink.started
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::attention;

    #[test]
    fn each_rung_is_told_and_the_same_one_is_not_told_again() {
        let at = |kind, what| attention(kind, "secret a", what, "renew it");
        let told = |kind: &str, what: &str| Open {
            subject: "secret a".to_owned(),
            kind: kind.to_owned(),
            what: what.to_owned(),
            since: Timestamp::from_unix_ms(1),
            way_out: "renew it".to_owned(),
            kinds: BTreeSet::new(),
            labels: BTreeMap::new(),
        };
        let of_30 = told("secret-expiring", "in less than 30d");
        assert!(!of_30.is_another(&at("secret-expiring", "in less than 30d")));
        assert!(of_30.is_another(&at("secret-expiring", "in less than 14d")));
        assert!(of_30.is_another(&at("secret-expired", "has expired")));
        // What is no ladder is told once, however its words change.
        let late = told("backup-late", "the newest is of today");
        assert!(!late.is_another(&at("backup-late", "the newest is of yesterday")));
    }
}
