//! What a running host remembers of itself, in no file: a configuration that it did not take, sinks that take no notices, targets that cannot be reached, what waits
//! for a person.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keywheel_audit::Entry;
use keywheel_config::show_duration;
use keywheel_model::{RotationName, Timestamp};
use keywheel_notify::Remedy;
use keywheel_schedule::{Breaker, Zone};
use serde_json::json;

use crate::Error;
use crate::actor::actor;
use crate::alarm::Jump;
use crate::attention::attention;
use crate::engine::Engine;
use crate::inspect::chain;
use crate::principal::words;
use crate::view::{Attention, FailingView};

/// The code of a sink that has not taken a notice yet, nor refused it, for as long as one that refuses would have been left alone.
const SLOW: &str = "notify.late";

/// When somebody let start what was late together.
const RELEASED: &str = "schedule-released";

/// For so long that counts.
const RELEASED_FOR: Duration = Duration::from_hours(24);

/// Since when something is so, and the code of why, with words where there are some.
#[derive(Clone, Debug)]
struct Fault {
    since: Timestamp,
    code: String,
}

/// Notices that a sink has refused, and never will take.
#[derive(Clone, Debug)]
struct RefusedNotices {
    since: Timestamp,
    last: Timestamp,
    count: u64,
    why: String,
}

/// So long after the last one that stands in `status`.
const REFUSED_FOR: Duration = Duration::from_hours(24);

/// Shared by the engines of one host, whatever their configuration is.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    refused: Mutex<Option<Fault>>,
    /// No command reaches the host.
    unheard: Mutex<Option<Fault>>,
    /// Sinks that have not taken the last notice they were given.
    sinks: Mutex<BTreeMap<String, Fault>>,
    /// What sinks have refused for good.
    refused_notices: Mutex<BTreeMap<String, RefusedNotices>>,
    breaker: Mutex<Breaker>,
    held: Mutex<Option<Held>>,
    /// How many rotations are due and wait for the brake.
    braked: AtomicUsize,
    /// How many tries have failed, one after the other.
    failed: Mutex<BTreeMap<RotationName, u32>>,
    jump: Mutex<Option<Jump>>,
}

/// Rotations that were late together: the host was away, or its clock jumped. None is started before a person says so.
#[derive(Clone, Debug)]
struct Held {
    since: Timestamp,
    why: &'static str,
    rotations: BTreeSet<RotationName>,
    /// Of tables: all that were due by then, whether those near their end are among them, and how many they were.
    of_tables: Option<(Timestamp, bool, usize)>,
}

impl Held {
    fn count(&self) -> usize {
        self.rotations.len() + self.of_tables.map_or(0, |(_, _, count)| count)
    }
}

impl Standing {
    fn refused(&self) -> MutexGuard<'_, Option<Fault>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unheard(&self) -> MutexGuard<'_, Option<Fault>> {
        self.unheard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sinks(&self) -> MutexGuard<'_, BTreeMap<String, Fault>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Targets that cannot be reached.
    pub(crate) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits for a person.
    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These wait for a person from now on, beside those that do already.
    pub(crate) fn hold(
        &self,
        since: Timestamp,
        why: &'static str,
        rotations: BTreeSet<RotationName>,
        of_tables: Option<(Timestamp, bool, usize)>,
    ) {
        let mut held = self.held();
        let before = held.take();
        let since = before.as_ref().map_or(since, |before| before.since);
        let of_tables = before.as_ref().and_then(|before| before.of_tables).max(of_tables);
        let before = before.map(|before| before.rotations).unwrap_or_default();
        *held = Some(Held {
            since,
            why,
            rotations: before.into_iter().chain(rotations).collect(),
            of_tables,
        });
    }

    /// It is not late any more.
    pub(crate) fn let_go(&self, rotation: &RotationName) {
        let mut held = self.held();
        if let Some(waiting) = held.as_mut() {
            waiting.rotations.remove(rotation);
            if waiting.rotations.is_empty() && waiting.of_tables.is_none() {
                *held = None;
            }
        }
    }

    pub(crate) fn is_held(&self, rotation: &RotationName) -> bool {
        self.held()
            .as_ref()
            .is_some_and(|held| held.rotations.contains(rotation))
    }

    /// Of tables: what was due by then is held, and whether what is near its end is, too.
    pub(crate) fn held_of_tables(&self) -> Option<(Timestamp, bool)> {
        let (by, all, _) = self.held().as_ref()?.of_tables?;
        Some((by, all))
    }

    /// None of those is late any more.
    pub(crate) fn let_tables_go(&self) {
        let mut held = self.held();
        if let Some(waiting) = held.as_mut() {
            waiting.of_tables = None;
            if waiting.rotations.is_empty() {
                *held = None;
            }
        }
    }

    pub(crate) fn set_braked(&self, rotations: usize) {
        self.braked.store(rotations, Ordering::Relaxed);
    }

    pub(crate) fn note_failed(&self, rotation: &RotationName, tries: u32) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match tries {
            0 => drop(failed.remove(rotation)),
            tries => drop(failed.insert(rotation.clone(), tries)),
        }
    }

    /// How many tries of it have failed, one after the other, since the host was started.
    pub(crate) fn failed(&self, rotation: &RotationName) -> u32 {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get(rotation).copied().unwrap_or_default()
    }

    /// Those of which the last try has failed.
    pub(crate) fn failing(&self) -> Vec<RotationName> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.keys().cloned().collect()
    }

    pub(crate) fn set_jump(&self, jump: Jump) {
        *self.jump.lock().unwrap_or_else(PoisonError::into_inner) = Some(jump);
    }

    /// The last time that the clock jumped, if it did since the host was started.
    pub(crate) fn jump(&self) -> Option<Jump> {
        *self.jump.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sink has taken a notice; or has not, for this.
    pub(crate) fn delivered(&self, sink: &str, failed: Option<&keywheel_notify::Error>, now: Timestamp) {
        match failed {
            None => drop(self.sinks().remove(sink)),
            Some(error) if error.remedy() == Remedy::Drop => {
                // It takes others.
                drop(self.sinks().remove(sink));
                self.note_refused(sink, format!("{}: {}", error.code(), chain(error)), now);
            }
            Some(error) => self.untaken(sink, format!("{}: {}", error.code(), chain(error)), now),
        }
    }

    fn refused_notices(&self) -> MutexGuard<'_, BTreeMap<String, RefusedNotices>> {
        self.refused_notices
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn note_refused(&self, sink: &str, why: String, now: Timestamp) {
        let mut all = self.refused_notices();
        let refused = all.entry(sink.to_owned()).or_insert(RefusedNotices {
            since: now,
            last: now,
            count: 0,
            why: String::new(),
        });
        if now.saturating_since(refused.last) > REFUSED_FOR {
            (refused.since, refused.count) = (now, 0);
        }
        (refused.last, refused.why) = (now, why);
        refused.count += 1;
    }

    /// Since when a sink has taken nothing, and why.
    pub(crate) fn sink_fault(&self, sink: &str) -> Option<FailingView> {
        self.sinks().get(sink).map(|fault| FailingView {
            since: fault.since,
            why: fault.code.clone(),
        })
    }

    /// It has not taken it yet.
    pub(crate) fn is_slow(&self, sink: &str, now: Timestamp) {
        self.untaken(sink, SLOW.to_owned(), now);
    }

    fn untaken(&self, sink: &str, code: String, now: Timestamp) {
        let mut sinks = self.sinks();
        let since = sinks.get(sink).map_or(now, |fault| fault.since);
        let _ = sinks.insert(sink.to_owned(), Fault { since, code });
    }

    /// Others than these are not told any more, and fail no more.
    pub(crate) fn keep_sinks(&self, is_one: impl Fn(&str) -> bool) {
        self.sinks().retain(|sink, _| is_one(sink));
        self.refused_notices().retain(|sink, _| is_one(sink));
    }
}

impl Engine {
    /// What was read counts from now on.
    pub fn configuration_taken(&self) {
        self.inner.metrics.configured();
        *self.inner.standing.refused() = None;
    }

    /// What was read is not taken, for what has this code. `status` tells until one is taken.
    pub fn configuration_refused(&self, code: &str) {
        self.inner.metrics.not_configured();
        *self.inner.standing.refused() = Some(Fault {
            since: self.inner.clock.now(),
            code: code.to_owned(),
        });
    }

    /// No command reaches this host, for what has this code; none: each does. Whether that is news.
    pub fn set_unheard(&self, code: Option<&str>) -> bool {
        let mut unheard = self.inner.standing.unheard();
        if unheard.as_ref().map(|fault| fault.code.as_str()) == code {
            return false;
        }
        let before = unheard.as_ref().map(|fault| fault.since);
        *unheard = code.map(|code| Fault {
            since: before.unwrap_or_else(|| self.inner.clock.now()),
            code: code.to_owned(),
        });
        true
    }

    /// The code of why no command reaches this host, where that is so.
    pub fn unheard(&self) -> Option<String> {
        let unheard = self.inner.standing.unheard();
        unheard.as_ref().map(|fault| fault.code.clone())
    }

    /// Of what stands in no file.
    pub(crate) fn attention_of_standing(&self) -> Vec<Attention> {
        let now = self.inner.clock.now();
        let ago = |fault: &Fault| {
            let whole = now.saturating_since(fault.since).as_secs();
            show_duration(Duration::from_secs(whole))
        };
        let mut list = Vec::new();
        if let Some(fault) = &*self.inner.standing.refused() {
            let what = format!(
                "the files were changed {} ago, and what they say now was not taken ({}): the host goes on with what it has",
                ago(fault),
                fault.code
            );
            list.push(attention(
                "configuration-refused",
                "configuration",
                &what,
                "keywheel config check",
            ));
        }
        if let Some(fault) = &*self.inner.standing.unheard() {
            let what = format!(
                "it is not there for {} and cannot be made again ({}): no command reaches the host",
                ago(fault),
                fault.code
            );
            let way_out = "the host's log says why; once that is over it is made again by itself";
            list.push(attention("socket-gone", "socket", &what, way_out));
        }
        for (sink, fault) in &*self.inner.standing.sinks() {
            let what = format!("it has taken no notice for {} ({})", ago(fault), fault.code);
            let way_out = format!(
                "`keywheel notify test {sink}` tries it; `[[notify]]`, and the secrets that it names, say where it is"
            );
            list.push(attention(
                "notices-not-taken",
                &format!("notify {sink}"),
                &what,
                &way_out,
            ));
        }
        for (sink, refused) in &*self.inner.standing.refused_notices() {
            if now.saturating_since(refused.last) > REFUSED_FOR {
                continue;
            }
            let what = format!(
                "it has refused {} for good since {}, the last for this ({}): it is not told them again",
                refused.count,
                Zone::UTC.show(refused.since),
                refused.why
            );
            let way_out = "`keywheel notify list -o json` has the last ones, `keywheel audit search --action notice.drop` all";
            list.push(attention(
                "notices-refused",
                &format!("notify {sink}"),
                &what,
                way_out,
            ));
        }
        list.extend(self.attention_of_pace());
        list
    }

    /// Of what is due and is not started.
    fn attention_of_pace(&self) -> Vec<Attention> {
        let standing = &self.inner.standing;
        let mut list = Vec::new();
        if let Some(held) = &*standing.held() {
            let what = format!(
                "{} rotations were late together when {}: none of them is started before somebody says so",
                held.count(),
                held.why
            );
            let way_out = "`keywheel schedule list` shows them; `keywheel schedule release` starts them";
            list.push(Attention {
                harm_at: Some(held.since),
                ..attention("schedule-held", "schedule", &what, way_out)
            });
        }
        let braked = standing.braked.load(Ordering::Relaxed);
        if braked > 0 {
            let what = format!(
                "{braked} rotations are due and wait: `brake` of `[schedule]` lets no more start within an hour"
            );
            let way_out = "wait; or `keywheel rotate` for those that cannot";
            list.push(attention("schedule-braked", "schedule", &what, way_out));
        }
        for (target, down) in standing.breaker().down() {
            let what = format!(
                "it cannot be reached, {} tries since {}: of its rotations one is started again at {}, the others wait for that; of its open runs one at a time is tried",
                down.tries,
                Zone::UTC.show(down.since),
                Zone::UTC.show(down.until)
            );
            let way_out = "look at the target; `keywheel run list` names the tries, and `keywheel run show RUN` has what one of them met";
            list.push(attention(
                "target-down",
                &format!("target {}", words(&[target.to_owned()])),
                &what,
                way_out,
            ));
        }
        list
    }

    /// What was late together is started after all. How many rotations that are.
    ///
    /// # Errors
    /// The store.
    pub async fn release(&self, reason: &str) -> Result<usize, Error> {
        let Some(held) = self.inner.standing.held().take() else {
            return Ok(0);
        };
        let (count, now) = (held.count(), self.inner.clock.now());
        let entry = Entry::of_host("schedule.release", "schedule", "ok")
            .by(actor())
            .with(json!({"rotations": count, "reason": reason}));
        let written = self
            .inner
            .store
            .write(move |tx| {
                tx.audit(&entry).map(|_| ())?;
                Ok::<_, Error>(tx.set_meta(RELEASED, &now.as_unix_ms().to_string())?)
            })
            .await;
        if let Err(error) = written {
            *self.inner.standing.held() = Some(held);
            return Err(error);
        }
        self.inner.turns.look_again();
        Ok(count)
    }

    /// Whether somebody said so a short while ago: a host that is started again does not ask twice.
    pub(crate) async fn was_released(&self) -> Result<bool, Error> {
        let released = self
            .inner
            .store
            .read_here(|reader| Ok::<_, Error>(reader.meta(RELEASED)?))
            .await?;
        let released = released.and_then(|released| released.parse().ok());
        let released = released.map(Timestamp::from_unix_ms);
        let now = self.inner.clock.now();
        Ok(released.is_some_and(|at| at <= now && now.saturating_since(at) < RELEASED_FOR))
    }
}
