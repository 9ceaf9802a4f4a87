//! Alarms before it is too late: a credential that may die before the tries that are left can have rotated it, a rotation that nothing has started for too long,
//! and a clock that cannot be believed.

use std::time::Duration;

use keywheel_config::{Rotation, show_duration};
use keywheel_model::Timestamp;
use keywheel_schedule::{Facts, Idle, Next, Planned, Zone};
use keywheel_store::AuditFilter;

use crate::Error;
use crate::attention::attention;
use crate::engine::Engine;
use crate::view::Attention;

/// What is late by less is being started.
const STARTING: Duration = Duration::from_secs(10);

/// The wall clock has jumped when it is apart from the time that has passed by more than this.
pub(crate) const JUMP: Duration = Duration::from_mins(5);

/// So long a jump of the clock is told.
const TOLD_FOR: Duration = Duration::from_hours(24);

/// So many of the newest rows of the trail are held against the clock.
const ROWS: u64 = 1000;

/// That the wall clock went apart from the time that passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jump {
    /// When it was seen, by the clock as it was then.
    pub(crate) at: Timestamp,
    /// The same by the clock that nobody sets.
    pub(crate) seen: std::time::Instant,
    pub(crate) by: Duration,
    pub(crate) ahead: bool,
}

impl Jump {
    /// Between two looks, if they are that far apart.
    pub(crate) fn between(then: Timestamp, passed: Duration, now: Timestamp) -> Option<Self> {
        let expected = then + passed;
        let ahead = now > expected;
        let by = if ahead {
            now.saturating_since(expected)
        } else {
            expected.saturating_since(now)
        };
        (by > JUMP).then(|| Self {
            at: now,
            seen: std::time::Instant::now(),
            by,
            ahead,
        })
    }
}

impl Engine {
    /// Of a rotation that is due, and for which what is left is not enough; or that nothing has rotated for too long.
    pub(crate) async fn attention_of_life(&self, rotation: &Rotation) -> Result<Option<Attention>, Error> {
        let facts = self.facts_of(rotation).await?;
        let now = self.inner.clock.now();
        Ok(match self.may_expire(rotation, &facts, now) {
            Some(found) => Some(found),
            None => self.neglected(rotation, &facts, now),
        })
    }

    fn may_expire(&self, rotation: &Rotation, facts: &Facts, now: Timestamp) -> Option<Attention> {
        let plan = rotation.schedule.plan(&rotation.name);
        let Planned::Due(next) = plan.next(facts, now) else {
            return None;
        };
        if now.saturating_since(next.due) < STARTING {
            return None;
        }
        let retry = self.inner.config.pace.retry;
        let each = rotation.deadlines.run;
        let failed = self.inner.standing.failed(&rotation.name).min(retry.tries);
        let expires = facts
            .expires
            .filter(|expires| retry.alarm_at(failed, each, *expires) <= now)?;
        let what = format!(
            "its credential expires {}, and the {} that are left may take {}",
            rotation.schedule.zone.show(expires),
            tries(retry.tries - failed + 1),
            show_duration(whole(retry.time_needed(failed, each)))
        );
        Some(Attention {
            harm_at: Some(expires),
            ..attention(
                "rotation-may-expire",
                &subject(rotation),
                &what,
                &way_out(rotation),
            )
        })
    }

    /// Counted from the first time after its last success: a window that closes and a time that is skipped put off what is due next, and not that it was due.
    fn neglected(&self, rotation: &Rotation, facts: &Facts, now: Timestamp) -> Option<Attention> {
        let first = first_missed(rotation, facts, now)?;
        let needed = self
            .inner
            .config
            .pace
            .retry
            .time_needed(0, rotation.deadlines.run);
        let patience = period(rotation, facts, first, now)? + needed;
        if now.saturating_since(first.due) <= patience {
            return None;
        }
        let what = format!(
            "it was due {}, which is longer ago than its interval and all of its tries need: nothing has rotated it",
            rotation.schedule.zone.show(first.due)
        );
        Some(Attention {
            harm_at: Some(first.due),
            ..attention("rotation-overdue", &subject(rotation), &what, &way_out(rotation))
        })
    }

    /// Of the clock.
    pub(crate) async fn attention_of_clock(&self) -> Result<Vec<Attention>, Error> {
        let mut list = Vec::new();
        let way_out = "set the clock right and keep it in step (NTP, by slewing): schedules, graces and expiries are counted by it";
        if let Some(jump) = self
            .inner
            .standing
            .jump()
            .filter(|jump| jump.seen.elapsed() < TOLD_FOR)
        {
            let what = format!(
                "it went {} by {} against the time that passed, seen at {}",
                if jump.ahead { "ahead" } else { "back" },
                show_duration(whole(jump.by)),
                Zone::UTC.show(jump.at)
            );
            list.push(attention("clock-jumped", "clock", &what, way_out));
        }
        let now = self.inner.clock.now();
        let ahead = self
            .inner
            .store
            .read(move |reader| {
                let filter = AuditFilter {
                    after: reader.audit_checkpoint()?.seq.saturating_sub(ROWS),
                    from: Some(now + JUMP),
                    newest_first: true,
                    ..AuditFilter::default()
                };
                Ok::<_, Error>(reader.audit_rows(&filter, 1)?.into_iter().next())
            })
            .await?;
        if let Some(row) = ahead {
            let what = format!(
                "it is behind what the trail has by {}: it was set back, or was ahead when that was written",
                show_duration(whole(row.at.saturating_since(now)))
            );
            list.push(attention("clock-behind", "clock", &what, way_out));
        }
        Ok(list)
    }
}

fn subject(rotation: &Rotation) -> String {
    format!("rotation {}", rotation.name)
}

fn way_out(rotation: &Rotation) -> String {
    format!(
        "`keywheel plan {0}`, then `keywheel rotate {0}`; `keywheel run list {0}` has what each try met",
        rotation.name
    )
}

/// The time after its last success, or after the host first saw it, at which it was due as it looked then. None while nothing is due by itself now.
fn first_missed(rotation: &Rotation, facts: &Facts, now: Timestamp) -> Option<Next> {
    let plan = rotation.schedule.plan(&rotation.name);
    if matches!(plan.next(facts, now), Planned::Idle(Idle::Paused | Idle::Manual)) {
        return None;
    }
    let since = facts.last_success.max(facts.first_seen)?.min(now);
    let then = Facts {
        forced: None,
        started: None,
        ..*facts
    };
    match plan.next(&then, since) {
        Planned::Due(first) => Some(first),
        Planned::Idle(_) | Planned::Blocked(_) => None,
    }
}

/// The time between two of its times from now on: what was late says nothing of it.
fn period(rotation: &Rotation, facts: &Facts, next: Next, now: Timestamp) -> Option<Duration> {
    let plan = rotation.schedule.plan(&rotation.name);
    let mut upcoming = plan
        .upcoming(*facts, now)
        .skip_while(|one| one.desired <= next.desired);
    let (first, second) = (upcoming.next()?, upcoming.next()?);
    Some(second.desired.saturating_since(first.desired))
}

fn whole(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs())
}

fn tries(count: u32) -> String {
    if count == 1 {
        "try".to_owned()
    } else {
        format!("{count} tries")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_told_and_one_that_is_slewed_is_not() {
        let then = Timestamp::from_unix_ms(1_000_000_000);
        let passed = Duration::from_secs(30);
        let between = |now| Jump::between(then, passed, now).map(|jump| (jump.ahead, jump.by));
        let right = then + passed;
        assert_eq!(between(right), None);
        assert_eq!(between(right + JUMP), None);
        assert_eq!(between(right - JUMP), None);
        let hour = Duration::from_hours(1);
        assert_eq!(between(right + hour), Some((true, hour)));
        assert_eq!(between(right - hour), Some((false, hour)));
    }
}
