use std::time::Duration;

use keywheel_model::{RotationName, Timestamp};

use crate::calendar::Calendar;
use crate::fires::Fires;
use crate::hash::spread;
use crate::{Admission, CatchUp, HORIZON, Open, Override, Priority, Schedule, Trigger};

/// A missed time of `catch_up = "skip"` may be this late without being missed: the host was busy, not away.
const SKIP_TOLERANCE: Duration = Duration::from_mins(1);
/// Before a blackout a run that its expiry demands gets this much time.
const LEAD: Duration = Duration::from_hours(1);
/// The clock may have been set back by this much.
const AHEAD: Duration = Duration::from_hours(24);
/// Jitter takes a tenth of the period at most.
const PERIOD_SHARE: u32 = 10;

/// What is known of a rotation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// When it succeeded last.
    pub last_success: Option<Timestamp>,
    /// When the host learned of the rotation: before that nothing can have been missed. Who drives rotations keeps it: without it and without a success
    /// each look begins anew, and a time is never there.
    pub first_seen: Option<Timestamp>,
    /// When the current credential was made.
    pub issued: Option<Timestamp>,
    /// When it expires.
    pub expires: Option<Timestamp>,
    /// When the host was started.
    pub started: Option<Timestamp>,
    /// For when somebody asked for it.
    pub forced: Option<Timestamp>,
    /// Somebody has paused it.
    pub paused: Option<Pause>,
}

/// How long nothing is due by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Until somebody ends it.
    Open,
    /// Until then.
    Until(Timestamp),
}

impl Facts {
    /// Without what would have happened days from now: the clock was wrong then. Taken at its word it would keep the rotation from running for years.
    /// What is a day ahead or less is taken: the clock was set back a little, and nothing is to run twice for that.
    fn believed(self, now: Timestamp) -> Self {
        let believed = |at: Option<Timestamp>| at.filter(|at| Self::is_believed(*at, now));
        Self {
            last_success: believed(self.last_success),
            first_seen: believed(self.first_seen),
            issued: believed(self.issued),
            ..self
        }
    }

    /// Whether what is said to have happened then is believed. Whoever looks for the last of several times asks it of each: one of a wrong clock would
    /// hide the others.
    pub fn is_believed(at: Timestamp, now: Timestamp) -> bool {
        at <= now + AHEAD
    }
}

/// Why a rotation is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Because {
    /// Somebody asked.
    Forced,
    /// The days before its expiry begin.
    Expiry,
    /// That share of its life is over.
    Lifetime,
    /// The expression.
    Cron,
    /// The interval.
    Interval,
    /// The host was started.
    Start,
}

impl Because {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Forced => "forced",
            Self::Expiry => "expiry",
            Self::Lifetime => "lifetime",
            Self::Cron => "cron",
            Self::Interval => "interval",
            Self::Start => "start",
        }
    }

    /// Whether the life of the credential asks for it.
    pub fn is_lifetime(self) -> bool {
        matches!(self, Self::Expiry | Self::Lifetime)
    }
}

/// When a rotation is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// When. In the past only where it is open now: it is due at once.
    pub due: Timestamp,
    /// What was asked for, before windows and jitter.
    pub desired: Timestamp,
    /// Why.
    pub because: Because,
    /// What jitter added.
    pub jitter: Duration,
    /// The time that windows and blackouts leave around it; `None` where there are none.
    pub window: Option<Open>,
    /// Whether its time has passed.
    pub late: bool,
}

/// Nothing can be due: windows and blackouts leave no time where it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// What was asked for.
    pub desired: Timestamp,
    /// Why.
    pub because: Because,
    /// When the credential expires, where that is what there is no time before.
    pub expires: Option<Timestamp>,
    /// When it is open again, as far as was looked.
    pub next_open: Option<Timestamp>,
}

/// Why nothing is due by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Nothing is configured: by hand.
    Manual,
    /// It is paused.
    Paused,
    /// Only its life could make it due, and no expiry is known.
    NoExpiry,
    /// The calendar ends.
    End,
}

/// What is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planned {
    /// It is due then.
    Due(Next),
    /// Nothing is due by itself.
    Idle(Idle),
    /// It would be, and may not run in time: a person must know.
    Blocked(Blocked),
}

/// A schedule of one rotation.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    pub(crate) schedule: &'a Schedule,
    fires: Option<Fires>,
    calendar: Calendar,
    rotation: RotationName,
}

/// What somebody would like, before windows and jitter.
#[derive(Clone, Copy, Debug)]
struct Wish {
    desired: Timestamp,
    because: Because,
    /// Jitter takes a tenth of it.
    period: Duration,
    /// It is not moved before this.
    floor: Timestamp,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(schedule: &'a Schedule, rotation: &RotationName) -> Self {
        let fires = match &schedule.trigger {
            Some(Trigger::Cron(expression)) => Some(Fires::of(expression, &schedule.zone, rotation)),
            _ => None,
        };
        Self {
            schedule,
            fires,
            calendar: Calendar::new(&schedule.windows, &schedule.blackouts, rotation),
            rotation: rotation.clone(),
        }
    }

    /// When it is due next. The same facts give the same answer on every host and after every restart; the work is bounded.
    pub fn next(&self, facts: &Facts, now: Timestamp) -> Planned {
        if self.schedule.paused || facts.paused == Some(Pause::Open) {
            return Planned::Idle(Idle::Paused);
        }
        let facts = &facts.believed(now);
        // What a pause holds back is late at its end.
        let paused = match facts.paused {
            Some(Pause::Until(until)) if until > now => Some(until),
            _ => None,
        };
        let now = paused.unwrap_or(now);
        // What has expired already can only be late.
        let limit = facts.expires.filter(|expires| *expires > now);
        let [expiry, lifetime] = self.of_life(facts);
        let wishes = [
            forced(facts),
            expiry,
            lifetime,
            self.cron(facts, now, limit),
            self.interval(facts, now, limit),
            self.start(facts),
        ];
        let wish = wishes
            .into_iter()
            .flatten()
            .min_by_key(|wish| (wish.desired, wish.because));
        match (wish.map(|wish| self.settle(wish, limit, now)), paused) {
            (Some(Planned::Due(next)), Some(until)) => Planned::Due(Next {
                due: next.due.max(until),
                ..next
            }),
            (Some(planned), _) => planned,
            (None, _) => Planned::Idle(self.idle()),
        }
    }

    /// Whether a run may start at a time, by how it presses. A person who starts one by hand presses as an emergency where he answers for it.
    pub fn admits(&self, at: Timestamp, priority: &Priority) -> Admission {
        match (self.calendar.open_at(at), priority) {
            (Some(_), _) => Admission::Open,
            (None, Priority::Emergency(Some(by))) => Admission::Overridden(Override::clone(by)),
            (None, _) => Admission::Closed {
                until: self.calendar.next_open(at, at + HORIZON).map(|open| open.from),
            },
        }
    }

    fn idle(&self) -> Idle {
        if self.schedule.is_manual() {
            Idle::Manual
        } else if self.schedule.trigger.is_some() {
            Idle::End
        } else {
            Idle::NoExpiry
        }
    }

    fn start(&self, facts: &Facts) -> Option<Wish> {
        let started = facts.started.filter(|_| self.schedule.on_start)?;
        let is_done = facts.last_success.is_some_and(|success| success >= started);
        (!is_done).then_some(Wish {
            desired: started,
            because: Because::Start,
            period: self.schedule.jitter.saturating_mul(PERIOD_SHARE),
            floor: started,
        })
    }

    /// By its expiry, and by its share. Never before half of its life is over: a credential that lives ten days and is to be renewed thirty days
    /// before its end would be renewed without end.
    fn of_life(&self, facts: &Facts) -> [Option<Wish>; 2] {
        let Some(expires) = facts.expires else {
            return [None, None];
        };
        let issued = facts.issued.max(facts.last_success);
        // The end of something that has been replaced since.
        if issued.is_some_and(|issued| issued >= expires) {
            return [None, None];
        }
        let life = issued.map(|issued| expires.saturating_since(issued));
        let floor = match (issued, life) {
            (Some(issued), Some(life)) => issued + life / 2,
            _ => Timestamp::from_unix_ms(0),
        };
        let wish = |because, desired: Timestamp| Wish {
            desired: desired.max(floor),
            because,
            period: life.unwrap_or_default(),
            floor,
        };
        let before = self.schedule.before_expiry.map(|before| expires - before);
        let share = self.schedule.renew_at.zip(issued.zip(life));
        let share = share.map(|(share, (issued, life))| issued + life.saturating_mul(share.into()) / 1000);
        [
            before.map(|desired| wish(Because::Expiry, desired)),
            share.map(|desired| wish(Because::Lifetime, desired)),
        ]
    }

    fn tolerance(&self) -> Option<Duration> {
        match self.schedule.catch_up {
            CatchUp::One => self.schedule.max_lateness,
            CatchUp::Skip => Some(self.schedule.max_lateness.unwrap_or(SKIP_TOLERANCE)),
        }
    }

    /// Of times that passed the first one that is not too late, else the next one.
    fn cron(&self, facts: &Facts, now: Timestamp, limit: Option<Timestamp>) -> Option<Wish> {
        let fires = self.fires.as_ref()?;
        let anchor = facts.last_success.max(facts.first_seen).unwrap_or(now);
        let wish = |desired: Timestamp| {
            let following = fires.after(desired);
            Wish {
                desired,
                because: Because::Cron,
                period: following.map_or(Duration::ZERO, |following| following.saturating_since(desired)),
                floor: halfway(anchor, desired),
            }
        };
        let first = wish(fires.after(anchor)?);
        if first.desired > now || self.is_in_time(first, limit, now) {
            return Some(first);
        }
        let latest = fires.at_or_before(now).filter(|latest| *latest > first.desired);
        latest
            .map(wish)
            .filter(|latest| self.is_in_time(*latest, limit, now))
            .or_else(|| fires.after(now).map(wish))
    }

    fn interval(&self, facts: &Facts, now: Timestamp, limit: Option<Timestamp>) -> Option<Wish> {
        let Some(Trigger::Every(every)) = self.schedule.trigger else {
            return None;
        };
        let every = every.max(Duration::from_secs(1));
        let anchor = facts
            .last_success
            .max(facts.issued)
            .max(facts.first_seen)
            .unwrap_or(now);
        let wish = |desired| Wish {
            desired,
            because: Because::Interval,
            period: every,
            floor: halfway(anchor, desired),
        };
        let first = wish(anchor + every);
        if first.desired > now || self.is_in_time(first, limit, now) {
            return Some(first);
        }
        let passed = now.saturating_since(anchor).as_millis() / every.as_millis();
        let whole = |count: u128| {
            let ms = u64::try_from(every.as_millis().saturating_mul(count)).unwrap_or(u64::MAX);
            wish(anchor + Duration::from_millis(ms))
        };
        let latest = whole(passed);
        Some(if self.is_in_time(latest, limit, now) {
            latest
        } else {
            whole(passed + 1)
        })
    }

    fn is_in_time(&self, wish: Wish, limit: Option<Timestamp>, now: Timestamp) -> bool {
        let Some(tolerance) = self.tolerance() else {
            return true;
        };
        let due = self.place(wish, limit).map_or(wish.desired, |next| next.due);
        now.saturating_since(due) <= tolerance
    }

    /// Where windows and jitter put it; this does not depend on the time now. For an expiry the latest open time before the desired one, else the
    /// first one after it, but before the expiry; for everything else the first one after.
    fn place(&self, wish: Wish, limit: Option<Timestamp>) -> Result<Next, Blocked> {
        if self.calendar.is_always_open() {
            let open = Open {
                from: wish.desired,
                until: None,
            };
            return Ok(self.spread(wish, open, limit));
        }
        let until = limit
            .unwrap_or(wish.desired + HORIZON)
            .min(wish.desired + HORIZON);
        let earlier = || self.calendar.last_open(wish.desired, wish.floor, LEAD);
        let later = || self.calendar.next_open(wish.desired, until);
        let open = self.calendar.open_at(wish.desired).or_else(|| {
            if wish.because.is_lifetime() {
                earlier().or_else(later)
            } else {
                later().or_else(|| limit.and_then(|_| earlier()))
            }
        });
        open.map(|open| self.spread(wish, open, limit))
            .ok_or_else(|| self.blocked(wish, limit, wish.desired))
    }

    fn blocked(&self, wish: Wish, limit: Option<Timestamp>, from: Timestamp) -> Blocked {
        Blocked {
            desired: wish.desired,
            because: wish.because,
            expires: limit,
            next_open: self
                .calendar
                .next_open(from, from + HORIZON)
                .map(|open| open.from),
        }
    }

    /// Within the opening, and before the expiry; in whole seconds, so that what is printed is exact.
    fn spread(&self, wish: Wish, open: Open, limit: Option<Timestamp>) -> Next {
        let ends = [open.until, limit].into_iter().flatten();
        let room = ends.map(|end| end.saturating_since(open.from)).min();
        // What a window holds back comes together at its opening, whenever each was wanted: there the cap alone counts.
        let is_moved = open.from != wish.desired;
        let share = if is_moved {
            Duration::MAX
        } else {
            wish.period / PERIOD_SHARE
        };
        let most = self.schedule.jitter.min(share);
        let seconds = room.map_or(most, |room| most.min(room)).as_secs();
        let chosen = match seconds {
            0 => 0,
            seconds => spread("jitter", self.rotation.as_str(), open.from.as_unix_ms()) % seconds,
        };
        let jitter = Duration::from_secs(chosen);
        Next {
            due: open.from + jitter,
            desired: wish.desired,
            because: wish.because,
            jitter,
            window: (!self.calendar.is_always_open()).then_some(open),
            late: false,
        }
    }

    /// What is late runs at once, or at the next opening.
    fn settle(&self, wish: Wish, limit: Option<Timestamp>, now: Timestamp) -> Planned {
        let placed = match self.place(wish, limit) {
            Ok(placed) => placed,
            Err(blocked) => return Planned::Blocked(blocked),
        };
        if placed.due > now {
            return Planned::Due(placed);
        }
        let late = placed.due < now;
        if self.calendar.open_at(now).is_some() {
            return Planned::Due(Next { late, ..placed });
        }
        let until = limit.unwrap_or(now + HORIZON).min(now + HORIZON);
        match self.calendar.next_open(now, until) {
            Some(open) => Planned::Due(Next {
                late,
                ..self.spread(wish, open, limit)
            }),
            None => Planned::Blocked(self.blocked(wish, limit, now)),
        }
    }
}

/// A run is not moved before this: else one that has just succeeded would be due again in the same window.
fn halfway(anchor: Timestamp, desired: Timestamp) -> Timestamp {
    anchor + desired.saturating_since(anchor) / 2
}

fn forced(facts: &Facts) -> Option<Wish> {
    let desired = facts.forced?;
    Some(Wish {
        desired,
        because: Because::Forced,
        period: Duration::ZERO,
        floor: desired,
    })
}
