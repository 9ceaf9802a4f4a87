use std::time::Duration;

use keywheel_model::{RotationName, Timestamp};

use crate::calendar::Calendar;
use crate::fires::Fires;
use crate::{Blackout, Error, Expression, HORIZON, Plan, Window, Zone};

/// What fires again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// By the calendar.
    Cron(Expression),
    /// So long after the last success, in real time.
    Every(Duration),
}

/// What happens to times that passed while nobody was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// One run makes up for all of them.
    #[default]
    One,
    /// The next time counts.
    Skip,
}

/// When rotations run: what is configured. Several may share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// What fires again and again.
    pub trigger: Option<Trigger>,
    /// Thousandths of a credential's life after which it is renewed, if it has one.
    pub renew_at: Option<u16>,
    /// So long before it expires, if it does.
    pub before_expiry: Option<Duration>,
    /// Once after each start of the host.
    pub on_start: bool,
    /// Nothing is due while this is so.
    pub paused: bool,
    /// Where the clock of the expression hangs, and of what is printed.
    pub zone: Zone,
    /// The most that jitter takes.
    pub jitter: Duration,
    /// What happens to missed times.
    pub catch_up: CatchUp,
    /// A time that is later than this is missed for good. None: what `catch_up` says.
    pub max_lateness: Option<Duration>,
    /// When it may run; empty: always.
    pub windows: Vec<Window>,
    /// When it may not, whatever the windows say.
    pub blackouts: Vec<Blackout>,
}

impl Default for Schedule {
    /// By hand alone.
    fn default() -> Self {
        Self {
            trigger: None,
            renew_at: None,
            before_expiry: None,
            on_start: false,
            paused: false,
            zone: Zone::UTC,
            jitter: Self::JITTER,
            catch_up: CatchUp::One,
            max_lateness: None,
            windows: Vec::new(),
            blackouts: Vec::new(),
        }
    }
}

/// 2024-01-01, a Monday of a leap year.
const LONG_OVER: Timestamp = Timestamp::from_unix_ms(1_704_067_200_000);
const TIMES_LOOKED_AT: usize = 30;
const DAY: Duration = Duration::from_hours(24);

impl Schedule {
    /// The most that jitter takes, where nothing else is said.
    pub const JITTER: Duration = Duration::from_mins(15);

    /// Whether nothing is ever due by itself.
    pub fn is_manual(&self) -> bool {
        self.trigger.is_none() && self.renew_at.is_none() && self.before_expiry.is_none() && !self.on_start
    }

    /// One rotation's: its name decides `H` and jitter.
    pub fn plan(&self, rotation: &RotationName) -> Plan<'_> {
        Plan::new(self, rotation)
    }

    /// Whether each time of its expression is more than a day before a window opens: one that falls short of a window by its zone, its minute or its weekday
    /// waits for the next. The first so many times after a day that is long over are looked at, so that the answer is the same whenever it is asked for.
    pub fn misses_its_windows(&self, rotation: &RotationName) -> bool {
        let Some(Trigger::Cron(expression)) = &self.trigger else {
            return false;
        };
        if self.windows.is_empty() {
            return false;
        }
        let fires = Fires::of(expression, &self.zone, rotation);
        let calendar = Calendar::new(&self.windows, &[], rotation);
        let is_far = |time: Timestamp| {
            let opens = calendar.next_open(time, time + HORIZON);
            opens.is_some_and(|open| open.from.saturating_since(time) > DAY)
        };
        let times = std::iter::successors(fires.after(LONG_OVER), |last| fires.after(*last));
        times.take(TIMES_LOOKED_AT).all(is_far)
    }

    /// That windows and blackouts leave some time within [`HORIZON`] from now.
    ///
    /// # Errors
    /// They leave none.
    pub fn leaves_time(&self, rotation: &RotationName, now: Timestamp) -> Result<(), Error> {
        let calendar = Calendar::new(&self.windows, &self.blackouts, rotation);
        match calendar.next_open(now, now + HORIZON) {
            Some(_) => Ok(()),
            None => Err(Error::NoTime {
                days: HORIZON.as_secs() / 86_400,
            }),
        }
    }
}
