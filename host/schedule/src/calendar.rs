use std::time::Duration;

use keywheel_model::{RotationName, Timestamp};

use crate::fires::Fires;
use crate::{Error, Expression, Zone};

/// How far is looked for a time that windows and blackouts leave: a year and a month, so that what comes once a year is in it.
pub const HORIZON: Duration = Duration::from_hours(400 * 24);

/// How many borders one search passes.
const STEPS_MAX: usize = 512;

/// A time in which a rotation may run, again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// When it opens.
    pub start: Expression,
    /// How long it stays open, in real time.
    pub length: Duration,
    /// Where its clock hangs.
    pub zone: Zone,
}

/// A time in which no rotation may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blackout {
    /// Again and again.
    Recurring(Window),
    /// Once.
    Once {
        /// Its first instant.
        from: Timestamp,
        /// The first instant after it.
        until: Timestamp,
    },
}

impl Blackout {
    /// From one local date or time to another; a date at the end is the last day that is black.
    ///
    /// # Errors
    /// One of them is none, or the end is not after the beginning.
    pub fn between(from: &str, to: &str, zone: &Zone) -> Result<Self, Error> {
        let from = zone.instant_of(from, false).ok_or(Error::Date)?;
        let until = zone.instant_of(to, true).ok_or(Error::Date)?;
        if until <= from {
            return Err(Error::Backwards);
        }
        Ok(Self::Once { from, until })
    }
}

/// A time in which a rotation may run, as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// From here on.
    pub from: Timestamp,
    /// The first instant at which it is closed again; `None` where that is further away than anybody looked.
    pub until: Option<Timestamp>,
}

/// Windows and blackouts of one rotation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calendar {
    windows: Vec<Rule>,
    blackouts: Vec<Rule>,
}

#[derive(Clone, Debug)]
enum Rule {
    Recurring { fires: Fires, length: Duration },
    Once { from: Timestamp, until: Timestamp },
}

impl Rule {
    fn recurring(window: &Window, name: &RotationName) -> Self {
        Self::Recurring {
            fires: Fires::of(&window.start, &window.zone, name),
            length: window.length.max(Duration::from_millis(1)),
        }
    }

    /// When the stretch that a time is in ends; `None` if it is in none.
    fn end_at(&self, at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Once { from, until } => (*from <= at && at < *until).then_some(*until),
            Self::Recurring { fires, length } => {
                let start = fires.at_or_before(at)?;
                // A new start before the end goes on with it.
                Some(start + *length).filter(|end| at < *end)
            }
        }
    }

    fn starts_after(&self, at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Once { from, .. } => (*from > at).then_some(*from),
            Self::Recurring { fires, .. } => fires.after(at),
        }
    }

    /// The last start before a time.
    fn started_before(&self, at: Timestamp) -> Option<Timestamp> {
        let before = at - Duration::from_millis(1);
        match self {
            Self::Once { from, .. } => (*from <= before).then_some(*from),
            Self::Recurring { fires, .. } => fires.at_or_before(before),
        }
    }
}

impl Calendar {
    pub(crate) fn new(windows: &[Window], blackouts: &[Blackout], name: &RotationName) -> Self {
        let black = |blackout: &Blackout| match blackout {
            Blackout::Recurring(window) => Rule::recurring(window, name),
            Blackout::Once { from, until } => Rule::Once {
                from: *from,
                until: *until,
            },
        };
        Self {
            windows: windows
                .iter()
                .map(|window| Rule::recurring(window, name))
                .collect(),
            blackouts: blackouts.iter().map(black).collect(),
        }
    }

    pub(crate) fn is_always_open(&self) -> bool {
        self.windows.is_empty() && self.blackouts.is_empty()
    }

    /// Whether a blackout covers a time, and until when.
    pub(crate) fn black_until(&self, at: Timestamp) -> Option<Timestamp> {
        self.blackouts.iter().filter_map(|rule| rule.end_at(at)).max()
    }

    /// Until when it is open at a time; `None` if it is closed.
    pub(crate) fn open_at(&self, at: Timestamp) -> Option<Open> {
        if self.black_until(at).is_some() {
            return None;
        }
        let window_end = if self.windows.is_empty() {
            None
        } else {
            Some(self.windows.iter().filter_map(|rule| rule.end_at(at)).max()?)
        };
        let black = self
            .blackouts
            .iter()
            .filter_map(|rule| rule.starts_after(at))
            .min();
        let until = [window_end, black].into_iter().flatten().min();
        Some(Open { from: at, until })
    }

    /// The first time from `at` on at which it is open, before `limit`.
    pub(crate) fn next_open(&self, at: Timestamp, limit: Timestamp) -> Option<Open> {
        let mut at = at;
        for _ in 0..STEPS_MAX {
            if at >= limit {
                return None;
            }
            if let Some(open) = self.open_at(at) {
                return Some(open);
            }
            let next = match self.black_until(at) {
                Some(end) => end,
                None => self
                    .windows
                    .iter()
                    .filter_map(|rule| rule.starts_after(at))
                    .min()?,
            };
            at = next;
        }
        None
    }

    /// The latest stretch that begins before `at` and not before `floor`, from where it can be used. Where only a blackout stands in the way, the last
    /// `lead` before it: something must be left to work in.
    pub(crate) fn last_open(&self, at: Timestamp, floor: Timestamp, lead: Duration) -> Option<Open> {
        let mut at = at;
        for _ in 0..STEPS_MAX {
            if at <= floor {
                return None;
            }
            let window = self
                .windows
                .iter()
                .filter_map(|rule| rule.started_before(at))
                .max();
            let black = self
                .blackouts
                .iter()
                .filter_map(|rule| rule.started_before(at))
                .max();
            let border = window.max(black)?;
            let after_border = self.next_open(border.max(floor), at);
            if after_border.is_some() {
                return after_border;
            }
            if black == Some(border) {
                let before_black = self.next_open((border - lead).max(floor), border);
                if before_black.is_some() {
                    return before_black;
                }
            }
            at = border;
        }
        None
    }
}
