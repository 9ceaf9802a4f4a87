//! One sink: what it is told next, and how far it has been told. Each goes by itself, so that one that is slow, or takes nothing, keeps no other waiting.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use keywheel_audit::Entry;
use keywheel_config::Notify;
use keywheel_notify::{Notice, Remedy};
use keywheel_store::{Notification, Topics};
use serde_json::json;
use tokio::sync::{Notify as News, watch};

use super::log::{self, Outcome};
use super::pace::Pace;
use super::reach::{Versions, sender};
use super::words::{digest, is_for, notice_of, worded};
use super::{AGAIN, EVENTS, LOOK_EVERY, OF_PERSONS, STALE, wants};
use crate::Error;
use crate::engine::Engine;
use crate::inspect::chain;

/// So many that are stale are dropped at once, and so many that it is not told passed over.
const DROPPED: u32 = 500;

/// So many are told people in one at most, and more than so many wait where that is done.
const TOLD_IN_ONE: u32 = 1000;
const TOLD_ONE_BY_ONE: usize = 10;

/// One that takes nothing until a person has mended it is tried again after this all the same.
const HALTED: Duration = Duration::from_hours(1);

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tells the sinks of the configuration as it is now, side by side; never ends. One whose words did not change is not interrupted by a new configuration.
pub(super) async fn tell_all(mut engine: watch::Receiver<Engine>, news: Arc<News>) {
    let mut couriers: Vec<(Notify, Work)> = Vec::new();
    loop {
        let now = engine.borrow_and_update().clone();
        let sinks = &now.inner.config.notify;
        now.inner
            .standing
            .keep_sinks(|name| sinks.iter().any(|sink| sink.name == name));
        couriers.retain(|(sink, _)| sinks.contains(sink));
        for sink in sinks {
            if couriers.iter().all(|(known, _)| known != sink) {
                let courier = Courier::new(engine.clone(), sink.clone(), Arc::clone(&news));
                couriers.push((sink.clone(), Box::pin(courier.run())));
            }
        }
        let at_work = poll_fn(|context| {
            for (_, work) in &mut couriers {
                // It never ends.
                let _ = work.as_mut().poll(context);
            }
            Poll::<()>::Pending
        });
        tokio::select! {
            () = at_work => {}
            changed = engine.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// How far each sink has been told of some topics, as it is kept.
pub(super) fn told_key(sink: &str, topics: Topics) -> String {
    format!(
        "notices-told.{}.{sink}",
        if topics.has { "persons" } else { "events" }
    )
}

struct Courier {
    engine: watch::Receiver<Engine>,
    sink: Notify,
    news: Arc<News>,
    /// Up to which number there is nothing more to tell, of those topics that it wants. What needs a person goes before what has happened.
    told: BTreeMap<bool, u64>,
    pace: Pace,
    /// Versions of its secrets of which it stands in the trail that they were used.
    used: Versions,
}

/// How far it got.
enum Told {
    All,
    /// The next one was not taken; it is tried again after this.
    Later(Duration),
    /// None will be before somebody has mended it.
    Halted,
}

/// What is handed over at once.
struct Parcel {
    /// Nothing, where the sink is told none of it.
    notice: Option<Notice>,
    /// The first of them.
    from: u64,
    /// The last one that is done with then.
    through: u64,
    /// How many they are.
    notices: usize,
}

impl Courier {
    fn new(engine: watch::Receiver<Engine>, sink: Notify, news: Arc<News>) -> Self {
        Self {
            engine,
            pace: Pace::of(&sink.kind),
            sink,
            news,
            told: BTreeMap::new(),
            used: Versions::new(),
        }
    }

    async fn run(mut self) {
        loop {
            let engine = self.engine.borrow().clone();
            match self.tell(&engine).await {
                Ok(Told::All) => {
                    tokio::select! {
                        () = self.news.notified() => {}
                        () = tokio::time::sleep(LOOK_EVERY) => {}
                    }
                }
                Ok(Told::Later(pause)) => tokio::time::sleep(pause).await,
                Ok(Told::Halted) => self.mended(&engine).await,
                Err(error) => {
                    tracing::error!(sink = %self.sink.name, code = error.code(), "how far a sink is told cannot be read or kept");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Hands over what there is, one after the other.
    async fn tell(&mut self, engine: &Engine) -> Result<Told, Error> {
        while let Some((topics, waiting)) = self.next(engine).await? {
            let oldest = waiting
                .first()
                .map_or_else(|| engine.inner.clock.now(), |one| one.created);
            if engine.inner.clock.now().saturating_since(oldest) > STALE {
                self.drop_stale(engine, topics).await?;
                continue;
            }
            let parcel = self.parcel(engine, &waiting);
            let Some(notice) = parcel.notice else {
                self.keep(engine, topics, parcel.through, Vec::new(), None)
                    .await?;
                continue;
            };
            let Err(error) = self.hand_over(engine, &notice).await? else {
                self.pace.is_taken();
                let log = Logged::of(engine, &notice, Ok(()));
                self.keep(engine, topics, parcel.through, Vec::new(), Some(log))
                    .await?;
                continue;
            };
            match error.remedy() {
                Remedy::Drop => {
                    self.pace.is_taken();
                    let entry = Entry::of_host("notice.drop", &self.sink.name, "failed").with(json!({
                        "from": parcel.from, "through": parcel.through, "notices": parcel.notices, "code": error.code(),
                    }));
                    let log = Logged::of(engine, &notice, Err((error.code(), Outcome::Dropped)));
                    self.keep(engine, topics, parcel.through, vec![entry], Some(log))
                        .await?;
                }
                remedy => {
                    self.note(engine, &notice, error.code()).await;
                    return Ok(match remedy {
                        Remedy::Halt => Told::Halted,
                        Remedy::Later(after) => Told::Later(self.pace.after(&error, after)),
                        Remedy::Drop => Told::All,
                    });
                }
            }
        }
        Ok(Told::All)
    }

    /// So many are looked at at once.
    fn ahead(&self) -> u32 {
        if self.pace.takes_many_in_one() {
            TOLD_IN_ONE
        } else if self.sink.is_told_all() {
            1
        } else {
            DROPPED
        }
    }

    async fn next(&mut self, engine: &Engine) -> Result<Option<(Topics, Vec<Notification>)>, Error> {
        for topics in [OF_PERSONS, EVENTS] {
            if !wants(&self.sink, topics.has) {
                continue;
            }
            let (known, key, ahead) = (
                self.told.get(&topics.has).copied(),
                told_key(&self.sink.name, topics),
                self.ahead(),
            );
            let (next, told) = engine
                .inner
                .store
                .read_here(move |reader| {
                    let told = match known {
                        Some(told) => told,
                        None => reader
                            .meta(&key)?
                            .and_then(|told| told.parse().ok())
                            .unwrap_or_default(),
                    };
                    // Before what there is: what comes between the two looks is looked for again.
                    let newest = reader.newest_notification()?;
                    let next = reader.notifications_after(told, &topics, ahead)?;
                    let told = if next.is_empty() { told.max(newest) } else { told };
                    Ok::<_, Error>((next, told))
                })
                .await?;
            self.told.insert(topics.has, told);
            if !next.is_empty() {
                return Ok(Some((topics, next)));
            }
        }
        Ok(None)
    }

    /// The first of what waits that it is told; where very many wait for people, all of it in one.
    fn parcel(&self, engine: &Engine, waiting: &[Notification]) -> Parcel {
        let host = sender(&engine.inner).name;
        let mut wanted = Vec::new();
        let mut notices = waiting.iter().map(notice_of);
        let is_for = |notice: &Notice| is_for(&self.sink, notice, &engine.inner);
        let through = waiting.last().map_or(0, |last| last.id);
        if self.pace.takes_many_in_one() {
            wanted.extend(notices.filter(is_for));
            if wanted.len() > TOLD_ONE_BY_ONE {
                let told = digest(&wanted).map(|notice| worded(notice, &self.sink.wording, &host));
                return Parcel {
                    notice: told,
                    from: wanted.first().map_or(through, |first| first.id),
                    through,
                    notices: wanted.len(),
                };
            }
            wanted.truncate(1);
        } else {
            wanted.extend(notices.find(is_for));
        }
        let first = wanted.pop();
        Parcel {
            from: first.as_ref().map_or(through, |first| first.id),
            through: first.as_ref().map_or(through, |first| first.id),
            notice: first.map(|notice| worded(notice, &self.sink.wording, &host)),
            notices: 1,
        }
    }

    /// Hands it over, and says what came of it.
    ///
    /// # Errors
    /// That its secrets are used cannot be kept: they are not used then.
    async fn hand_over(
        &mut self,
        engine: &Engine,
        notice: &Notice,
    ) -> Result<Result<(), keywheel_notify::Error>, Error> {
        let inner = &engine.inner;
        self.pace.wait().await;
        let ended = match inner.reach(&self.sink).await {
            Err(error) => Err(error),
            Ok(reached) => {
                self.note_used(engine, reached.versions).await?;
                let mut delivering = std::pin::pin!(reached.sink.deliver(notice));
                if let Ok(ended) = tokio::time::timeout(AGAIN, &mut delivering).await {
                    ended
                } else {
                    // It may still take it; until then it is one that takes nothing.
                    inner.standing.is_slow(&self.sink.name, inner.clock.now());
                    delivering.await
                }
            }
        };
        inner.metrics.delivered(&self.sink.name, ended.is_ok());
        let failed = ended.as_ref().err();
        inner
            .standing
            .delivered(&self.sink.name, failed, inner.clock.now());
        if let Some(error) = failed {
            tracing::warn!(sink = %self.sink.name, id = notice.id, code = error.code(), error = %chain(error), "a notice was not taken");
        }
        Ok(ended)
    }

    /// Once for each version: what it is reached by stands in the trail before it is used.
    async fn note_used(&mut self, engine: &Engine, versions: Versions) -> Result<(), Error> {
        let new: Versions = versions
            .into_iter()
            .filter(|version| !self.used.contains(version))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let role = format!("sink {}", self.sink.name);
        let entries: Vec<Entry> = new
            .iter()
            .map(|(secret, version)| {
                let details = json!({"secret": format!("{secret}@{version}"), "role": role});
                Entry::of_host("secret.use", secret.as_str(), "ok").with(details)
            })
            .collect();
        engine
            .inner
            .store
            .write(move |tx| {
                for entry in &entries {
                    tx.audit(entry)?;
                }
                Ok::<_, Error>(())
            })
            .await?;
        self.used.extend(new);
        Ok(())
    }

    /// Until somebody has mended it: another version of its secrets, a try that went well; or for an hour.
    async fn mended(&self, engine: &Engine) {
        let before = engine.inner.versions_of(&self.sink).await;
        let until = tokio::time::Instant::now() + HALTED;
        while tokio::time::Instant::now() < until {
            tokio::time::sleep(LOOK_EVERY).await;
            let is_well = engine.inner.standing.sink_fault(&self.sink.name).is_none();
            if is_well || engine.inner.versions_of(&self.sink).await != before {
                return;
            }
        }
    }

    /// What is older than anybody has to be told is not told, and that is in the trail.
    async fn drop_stale(&mut self, engine: &Engine, topics: Topics) -> Result<(), Error> {
        let told = self.told.get(&topics.has).copied().unwrap_or_default();
        let since = engine.inner.clock.now() - STALE;
        let waiting = engine
            .inner
            .store
            .read(move |reader| Ok::<_, Error>(reader.notifications_after(told, &topics, DROPPED)?))
            .await?;
        let stale = waiting.iter().take_while(|one| one.created < since);
        let numbers: Vec<u64> = stale.map(|one| one.id).collect();
        let Some((first, last)) = numbers.first().zip(numbers.last()) else {
            return Ok(());
        };
        let entry = Entry::of_host("notice.drop", &self.sink.name, "failed")
            .with(json!({"from": first, "through": last, "notices": numbers.len()}));
        self.keep(engine, topics, *last, vec![entry], None).await
    }

    /// That it was not taken. Where not even that can be kept, the log has it.
    async fn note(&self, engine: &Engine, notice: &Notice, code: &str) {
        let logged = Logged::of(engine, notice, Err((code, Outcome::Failed)));
        let name = self.sink.name.clone();
        let kept = engine.inner.store.write(move |tx| logged.keep(tx, &name)).await;
        if let Err(error) = kept {
            tracing::debug!(sink = %self.sink.name, %error, "what came of a delivery is not kept");
        }
    }

    /// It counts from now on, whether it can be kept or not; after a restart it is told again what could not.
    async fn keep(
        &mut self,
        engine: &Engine,
        topics: Topics,
        told: u64,
        entries: Vec<Entry>,
        logged: Option<Logged>,
    ) -> Result<(), Error> {
        self.told.insert(topics.has, told);
        let key = told_key(&self.sink.name, topics);
        let name = self.sink.name.clone();
        engine
            .inner
            .store
            .write(move |tx| {
                for entry in &entries {
                    tx.audit(entry).map(|_| ())?;
                }
                if let Some(logged) = &logged {
                    logged.keep(tx, &name)?;
                }
                Ok::<_, Error>(tx.set_meta(&key, &told.to_string())?)
            })
            .await
    }
}

/// A delivery, for the log of its sink.
struct Logged {
    notice: Notice,
    at: keywheel_model::Timestamp,
    ended: Result<(), (String, Outcome)>,
}

impl Logged {
    fn of(engine: &Engine, notice: &Notice, ended: Result<(), (&str, Outcome)>) -> Self {
        Self {
            notice: notice.clone(),
            at: engine.inner.clock.now(),
            ended: ended.map_err(|(code, outcome)| (code.to_owned(), outcome)),
        }
    }

    fn keep(&self, tx: &keywheel_store::Transaction<'_>, sink: &str) -> Result<(), keywheel_store::Error> {
        let key = log::key_of(sink);
        let ended = match &self.ended {
            Ok(()) => Ok(()),
            Err((code, outcome)) => Err((code.as_str(), *outcome)),
        };
        let log = log::with(tx.meta(&key)?.as_deref(), &self.notice, self.at, ended);
        tx.set_meta(&key, &log)
    }
}
