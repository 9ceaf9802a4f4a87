//! Who tells people: what needs one and what does no more is written to the outbox, and what stands there is handed to the sinks until they take it.

mod past;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keywheel_audit::Entry;
use keywheel_config::{Notify, NotifyKind};
use keywheel_model::Timestamp;
use keywheel_notify::{Command, Notice, Sink};
use keywheel_store::Notification;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

use crate::attention::{key_of, stands_until_decided};
use crate::engine::Engine;
use crate::teller::past::Past;
use crate::view::Attention;
use crate::{Error, Stop};

/// Topics of notices about what needs a person.
const RAISED: &str = "attention";
const RESOLVED: &str = "attention-resolved";

/// What needs a person is looked for so often. It is told when it is there at two looks: what goes away by itself at once is nobody's business.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A notice that a sink has not taken is handed to it again after this.
const AGAIN: Duration = Duration::from_secs(30);

/// After this nobody is told any more.
const STALE: Duration = Duration::from_hours(7 * 24);

/// So many at once.
const BATCH: u32 = 32;

/// Where it stands what was raised and is not resolved.
const OPEN: &str = "notices-open";

/// Of one entry that was raised.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Open {
    subject: String,
    kind: String,
    what: String,
    since: Timestamp,
}

/// What is raised and not resolved, each by a key that stays the same while its words change.
type Raised = BTreeMap<String, Open>;

/// Tells the sinks of the configuration as it is now.
pub struct Teller {
    engine: watch::Receiver<Engine>,
    stop: Stop,
    /// What was there, by key and kind, and what was gone, at the last look.
    there: BTreeMap<String, &'static str>,
    gone: BTreeSet<String>,
    /// What is told past the outbox.
    past: Past,
    /// Sinks that have taken a notice which others have not. After a restart they may get it again, under the same number.
    taken: BTreeMap<u64, BTreeSet<String>>,
}

impl Teller {
    /// Of the engine as it is now, which may be replaced.
    pub fn new(engine: watch::Receiver<Engine>, stop: Stop) -> Self {
        Self {
            engine,
            stop,
            there: BTreeMap::new(),
            gone: BTreeSet::new(),
            past: Past::default(),
            taken: BTreeMap::new(),
        }
    }

    /// Tells until it is to stop.
    pub async fn run(mut self) {
        while !self.stop.is_requested() {
            let engine = self.engine.borrow_and_update().clone();
            let stop = self.stop.clone();
            tokio::select! {
                () = stop.requested() => return,
                () = self.past.tell(&engine) => {}
            }
            if let Err(error) = self.look(&engine).await {
                tracing::error!(code = error.code(), "what is to be told cannot be looked at");
            }
            tokio::select! {
                () = stop.requested() => return,
                told = self.tell(&engine) => if let Err(error) = told {
                    tracing::error!(code = error.code(), "what is to be told cannot be read");
                },
            }
            tokio::select! {
                () = self.stop.requested() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = self.engine.changed() => {}
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
            .filter(|_| is_wanted)
            .map(|entry| (key_of(&entry.subject, entry.kind), entry))
            .collect();
        let now = engine.inner.clock.now();
        let mut notices = Vec::new();
        for (key, entry) in &found {
            let before = self.there.get(key).copied();
            let is_news = match open.get(key) {
                None => before.is_some(),
                Some(told) => {
                    told.kind != entry.kind && before == Some(entry.kind) && stands_until_decided(entry.kind)
                }
            };
            if is_news {
                let since = open.get(key).map_or(now, |told| told.since);
                open.insert(key.clone(), raised(entry, since));
                notices.push((RAISED, key.clone(), json!(entry)));
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

    /// Hands over what is due, the oldest first.
    async fn tell(&mut self, engine: &Engine) -> Result<(), Error> {
        let inner = &engine.inner;
        let sinks = &inner.config.notify;
        inner
            .standing
            .keep_sinks(|name| sinks.iter().any(|sink| sink.name == name));
        let mut failing = BTreeSet::new();
        loop {
            let due = inner
                .store
                .write(|tx| Ok::<_, Error>(tx.claim_notifications(BATCH, AGAIN)?))
                .await?;
            if due.is_empty() {
                break;
            }
            for notification in due {
                self.hand_over(engine, &notification, &mut failing).await?;
            }
        }
        let before = inner.clock.now() - inner.config.retention.notices;
        inner
            .store
            .write(move |tx| Ok::<_, Error>(tx.forget_delivered(before).map(|_| ())?))
            .await
    }

    /// To each sink that wants it and has not taken it; one that has just failed is left until the next time.
    async fn hand_over(
        &mut self,
        engine: &Engine,
        notification: &Notification,
        failing: &mut BTreeSet<String>,
    ) -> Result<(), Error> {
        let inner = &engine.inner;
        let id = notification.id;
        let is_stale = inner.clock.now().saturating_since(notification.created) > STALE;
        let notice = notice_of(notification);
        let mut missing = false;
        for sink in &inner.config.notify {
            let has_it = self
                .taken
                .get(&id)
                .is_some_and(|taken| taken.contains(&sink.name));
            if has_it || is_stale || !wants(sink, &notice.topic) {
                continue;
            }
            if failing.contains(&sink.name) {
                missing = true;
                continue;
            }
            let ended = sink_of(sink).deliver(&notice).await;
            inner.metrics.delivered(&sink.name, ended.is_ok());
            let code = ended.as_ref().err().map(keywheel_notify::Error::code);
            inner.standing.delivered(&sink.name, code, inner.clock.now());
            match ended {
                Ok(()) => {
                    self.taken.entry(id).or_default().insert(sink.name.clone());
                }
                Err(error) => {
                    tracing::warn!(sink = %sink.name, id, code = error.code(), %error, "a notice was not taken");
                    failing.insert(sink.name.clone());
                    missing = true;
                }
            }
        }
        if missing {
            return Ok(());
        }
        self.taken.remove(&id);
        let dropped = is_stale.then(|| {
            Entry::of_host("notice.drop", &notification.key, "failed")
                .with(json!({"id": id, "topic": notification.topic, "attempts": notification.attempts}))
        });
        inner
            .store
            .write(move |tx| {
                if let Some(entry) = &dropped {
                    tx.audit(entry).map(|_| ())?;
                }
                Ok::<_, Error>(tx.delivered(id)?)
            })
            .await
    }
}

fn raised(entry: &Attention, since: Timestamp) -> Open {
    Open {
        subject: entry.subject.clone(),
        kind: entry.kind.to_owned(),
        what: entry.what.clone(),
        since,
    }
}

fn wants(sink: &Notify, topic: &str) -> bool {
    match topic {
        RAISED | RESOLVED => sink.attention,
        _ => sink.events,
    }
}

fn sink_of(sink: &Notify) -> Sink {
    match &sink.kind {
        NotifyKind::Log => Sink::Log,
        NotifyKind::Command {
            program,
            arguments,
            timeout,
        } => Sink::Command(Command {
            program: program.clone(),
            arguments: arguments.clone(),
            timeout: *timeout,
        }),
    }
}

fn notice_of(notification: &Notification) -> Notice {
    Notice {
        id: notification.id,
        topic: notification.topic.clone(),
        key: notification.key.clone(),
        at: notification.created.as_unix_ms(),
        // It was written as JSON.
        body: serde_json::from_str(&notification.body).unwrap_or_default(),
    }
}
