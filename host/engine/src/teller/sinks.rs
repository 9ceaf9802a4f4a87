//! The sinks as people look at them, and a notice to try one with.

use keywheel_config::Notify;
use keywheel_model::Timestamp;
use keywheel_store::Notification;
use serde::Serialize;
use serde_json::json;

use super::courier::told_key;
use super::log::{self, Delivery, Outcome};
use super::reach::sender;
use super::words::{TEST, notice_of, worded};
use super::{EVENTS, OF_PERSONS, wants};
use crate::Error;
use crate::actor::actor;
use crate::engine::Engine;
use crate::inspect::chain;

/// So many that wait are counted; more are so many.
const COUNTED_MAX: u32 = 10_000;

/// Somebody who is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SinkView {
    /// Its name.
    pub name: String,
    /// `log`, `command`, `slack`, `teams`, `pagerduty`, `webhook` or `email`.
    pub kind: &'static str,
    /// What it is told: `attention`, `events`, `started`.
    pub about: Vec<&'static str>,
    /// How many notices wait for it, ten thousand at most.
    pub waiting: usize,
    /// Since when it has taken none, and why, as far as the running host knows.
    pub failing: Option<FailingView>,
    /// What was handed to it lately, the newest last.
    pub deliveries: Vec<Delivery>,
}

impl SinkView {
    /// When it has taken a notice the last time, as far as that is kept.
    pub fn taken_at(&self) -> Option<Timestamp> {
        let mut newest = self.deliveries.iter().rev();
        newest.find(|one| one.outcome == Outcome::Taken).map(|one| one.at)
    }
}

/// A sink that takes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FailingView {
    /// Since when.
    pub since: Timestamp,
    /// The code, and the words.
    pub why: String,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TriedSink {
    /// Its name.
    pub name: String,
    /// Why it did not take it, with its code.
    pub failed: Option<String>,
}

impl Engine {
    /// Everybody who is told, in the order of the configuration.
    ///
    /// # Errors
    /// The store.
    pub async fn sinks(&self) -> Result<Vec<SinkView>, Error> {
        let mut views = Vec::new();
        for sink in &self.inner.config.notify {
            views.push(SinkView {
                name: sink.name.clone(),
                kind: sink.kind.as_str(),
                about: [
                    ("attention", sink.attention),
                    ("events", sink.events),
                    ("started", sink.started),
                ]
                .into_iter()
                .filter_map(|(about, is_told)| is_told.then_some(about))
                .collect(),
                waiting: self.waiting_for(sink).await?,
                failing: self.inner.standing.sink_fault(&sink.name),
                deliveries: self.deliveries_to(&sink.name).await?,
            });
        }
        Ok(views)
    }

    async fn deliveries_to(&self, sink: &str) -> Result<Vec<Delivery>, Error> {
        let key = log::key_of(sink);
        let kept = self
            .inner
            .store
            .read(move |reader| Ok::<_, Error>(reader.meta(&key)?));
        Ok(log::read(kept.await?.as_deref()))
    }

    async fn waiting_for(&self, sink: &Notify) -> Result<usize, Error> {
        let mut waiting = 0;
        for topics in [OF_PERSONS, EVENTS] {
            if !wants(sink, topics.has) {
                continue;
            }
            let key = told_key(&sink.name, topics);
            let left = self.inner.store.read(move |reader| {
                let told = reader.meta(&key)?.and_then(|told| told.parse().ok());
                let told = told.unwrap_or_default();
                Ok::<_, Error>(reader.notifications_after(told, &topics, COUNTED_MAX)?.len())
            });
            waiting += left.await?;
        }
        Ok(waiting)
    }

    /// Hands a notice of no meaning to a sink, past the outbox, and says what came of it. None: there is no such sink.
    ///
    /// # Errors
    /// The trail cannot be written.
    pub async fn try_sink(&self, name: &str) -> Result<Option<TriedSink>, Error> {
        let Some(sink) = self.inner.config.notify.iter().find(|sink| sink.name == name) else {
            return Ok(None);
        };
        let now = self.inner.clock.now();
        let notice = notice_of(&Notification {
            // Another one each time: a receiver would take it for a repetition.
            id: now.as_unix_ms(),
            topic: TEST.to_owned(),
            key: format!("notify {name}"),
            body: json!({"what": "a test of this sink: nothing is the matter", "by": actor()}).to_string(),
            created: now,
        });
        let notice = worded(notice, &sink.wording, &sender(&self.inner).name);
        let mut used = Vec::new();
        let ended = match self.inner.reach(sink).await {
            Ok(reached) => {
                let versions = reached.versions.iter();
                used.extend(versions.map(|(secret, version)| format!("{secret}@{version}")));
                reached.sink.deliver(&notice).await
            }
            Err(error) => Err(error),
        };
        if ended.is_ok() {
            // Whoever waits until it is mended goes on.
            self.inner.standing.delivered(name, None, now);
        }
        let outcome = if ended.is_ok() { "ok" } else { "failed" };
        let code = ended.as_ref().err().map(keywheel_notify::Error::code);
        self.inner
            .audit_as(
                "notify.test",
                name,
                outcome,
                json!({"code": code, "secrets": used}),
            )
            .await?;
        Ok(Some(TriedSink {
            name: name.to_owned(),
            failed: ended
                .err()
                .map(|error| format!("{}: {}", error.code(), chain(&error))),
        }))
    }
}
