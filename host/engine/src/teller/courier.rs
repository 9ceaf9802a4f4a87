//! One sink: what it is told next, and how far it has been told. Each goes by itself, so that one that is slow, or takes nothing, keeps no other waiting.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use keywheel_audit::Entry;
use keywheel_config::Notify;
use keywheel_store::{Notification, Topics};
use serde_json::json;
use tokio::sync::{Notify as News, watch};

use super::{AGAIN, EVENTS, LOOK_EVERY, OF_PERSONS, STALE, notice_of, sink_of, wants};
use crate::Error;
use crate::engine::Engine;
use crate::inspect::chain;

/// So many that are stale are dropped at once.
const DROPPED: u32 = 500;

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
}

impl Courier {
    fn new(engine: watch::Receiver<Engine>, sink: Notify, news: Arc<News>) -> Self {
        Self {
            engine,
            sink,
            news,
            told: BTreeMap::new(),
        }
    }

    async fn run(mut self) {
        loop {
            let engine = self.engine.borrow().clone();
            match self.tell(&engine).await {
                Ok(true) => {
                    tokio::select! {
                        () = self.news.notified() => {}
                        () = tokio::time::sleep(LOOK_EVERY) => {}
                    }
                }
                Ok(false) => tokio::time::sleep(AGAIN).await,
                Err(error) => {
                    tracing::error!(sink = %self.sink.name, code = error.code(), "how far a sink is told cannot be read or kept");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Hands over what there is, one after the other. `false`: it was not taken.
    async fn tell(&mut self, engine: &Engine) -> Result<bool, Error> {
        while let Some((topics, notification)) = self.next(engine).await? {
            let age = engine.inner.clock.now().saturating_since(notification.created);
            if age > STALE {
                self.drop_stale(engine, topics).await?;
                continue;
            }
            if !self.hand_over(engine, &notification).await {
                return Ok(false);
            }
            self.keep(engine, topics, notification.id, None).await?;
        }
        Ok(true)
    }

    async fn next(&mut self, engine: &Engine) -> Result<Option<(Topics, Notification)>, Error> {
        for topics in [OF_PERSONS, EVENTS] {
            if !wants(&self.sink, topics.has) {
                continue;
            }
            let (known, key) = (
                self.told.get(&topics.has).copied(),
                told_key(&self.sink.name, topics),
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
                    let next = reader.notifications_after(told, &topics, 1)?.pop();
                    let told = if next.is_some() { told } else { told.max(newest) };
                    Ok::<_, Error>((next, told))
                })
                .await?;
            self.told.insert(topics.has, told);
            if let Some(next) = next {
                return Ok(Some((topics, next)));
            }
        }
        Ok(None)
    }

    async fn hand_over(&self, engine: &Engine, notification: &Notification) -> bool {
        let inner = &engine.inner;
        let (sink, notice) = (sink_of(&self.sink), notice_of(notification));
        let mut delivering = std::pin::pin!(sink.deliver(&notice));
        let ended = if let Ok(ended) = tokio::time::timeout(AGAIN, &mut delivering).await {
            ended
        } else {
            // It may still take it; until then it is one that takes nothing.
            inner.standing.is_slow(&self.sink.name, inner.clock.now());
            delivering.await
        };
        inner.metrics.delivered(&self.sink.name, ended.is_ok());
        let failed = ended.as_ref().err();
        inner
            .standing
            .delivered(&self.sink.name, failed, inner.clock.now());
        if let Some(error) = failed {
            tracing::warn!(sink = %self.sink.name, id = notification.id, code = error.code(), error = %chain(error), "a notice was not taken");
        }
        ended.is_ok()
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
        self.keep(engine, topics, *last, Some(entry)).await
    }

    /// It counts from now on, whether it can be kept or not; after a restart it is told again what could not.
    async fn keep(
        &mut self,
        engine: &Engine,
        topics: Topics,
        told: u64,
        entry: Option<Entry>,
    ) -> Result<(), Error> {
        self.told.insert(topics.has, told);
        let key = told_key(&self.sink.name, topics);
        engine
            .inner
            .store
            .write(move |tx| {
                if let Some(entry) = &entry {
                    tx.audit(entry).map(|_| ())?;
                }
                Ok::<_, Error>(tx.set_meta(&key, &told.to_string())?)
            })
            .await
    }
}
