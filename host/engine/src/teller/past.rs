use std::collections::BTreeSet;

use futures_util::future::join_all;
use keywheel_model::Timestamp;
use keywheel_notify::Notice;
use keywheel_store::Notification;
use serde_json::json;
use tokio::sync::watch;

use super::reach::sender;
use super::words::{is_for, notice_of, worded};
use super::{LOOK_EVERY, RAISED, RESOLVED, wants};
use crate::attention::key_of;
use crate::engine::Engine;
use crate::inspect::chain;
use crate::view::Attention;

/// That the state cannot be written cannot be written to the outbox: it is told past it, and so is that it can be again.
#[derive(Default)]
struct Past {
    raised: Option<Raised>,
}

struct Raised {
    entry: Attention,
    since: Timestamp,
    /// Sinks that have taken it.
    told: BTreeSet<String>,
}

/// Looks for it again and again; never ends.
pub(super) async fn watch(engine: watch::Receiver<Engine>) {
    let mut past = Past::default();
    loop {
        let now = engine.borrow().clone();
        past.tell(&now).await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Past {
    /// Looks at the disk, and tells each sink once what has come or gone.
    async fn tell(&mut self, engine: &Engine) {
        let was = engine.unwritable();
        if was.is_some()
            && let Err(error) = engine.try_to_write().await
        {
            tracing::error!(code = error.code(), %error, "the state cannot be written");
        }
        let is = engine.unwritable();
        if let (Some(unwritable), Some(entry)) = (&is, engine.attention_of_disk()) {
            let since = unwritable.since;
            let same = self.raised.take().filter(|raised| raised.since == since);
            let raised = self.raised.insert(same.unwrap_or_else(|| Raised {
                entry,
                since,
                told: BTreeSet::new(),
            }));
            let notice = raised.notice(RAISED, since.as_unix_ms());
            let told = hand_over(engine, &notice, |sink| !raised.told.contains(sink)).await;
            raised.told.extend(told);
        } else if let Some(mut raised) = self.raised.take() {
            // Not under the number of the first: by that a receiver would take it for a repetition.
            let notice = raised.notice(RESOLVED, raised.since.as_unix_ms() + 1);
            let told = hand_over(engine, &notice, |sink| raised.told.contains(sink)).await;
            raised.told.retain(|sink| !told.contains(sink));
            self.raised = Some(raised).filter(|raised| !raised.told.is_empty());
        }
    }
}

impl Raised {
    fn notice(&self, topic: &str, id: u64) -> Notice {
        notice_of(&Notification {
            id,
            topic: topic.to_owned(),
            key: key_of(&self.entry.subject, self.entry.kind),
            body: json!(self.entry).to_string(),
            created: Timestamp::from_unix_ms(id),
        })
    }
}

/// To those that want it, of those that are asked for, side by side; who has taken it.
async fn hand_over(engine: &Engine, notice: &Notice, is_asked: impl Fn(&str) -> bool) -> Vec<String> {
    let asked = engine.inner.config.notify.iter();
    let asked =
        asked.filter(|sink| wants(sink, true) && is_for(sink, notice, &engine.inner) && is_asked(&sink.name));
    let told = asked.map(|sink| async move {
        let notice = worded(notice.clone(), &sink.wording, &sender(&engine.inner).name);
        let ended = match engine.inner.reach(sink).await {
            Ok(reached) => reached.sink.deliver(&notice).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => Some(sink.name.clone()),
            Err(error) => {
                tracing::warn!(sink = %sink.name, code = error.code(), error = %chain(&error), "a notice was not taken");
                None
            }
        }
    });
    join_all(told).await.into_iter().flatten().collect()
}
