//! Schedules and their times as people and programs read them.

use std::time::Duration;

use keywheel_config::{Rotation, show_duration};
use keywheel_model::Timestamp;
use keywheel_schedule::{Because, Idle, Next, Planned, Schedule, Trigger};
use serde::Serialize;

use super::{Listed, Upcoming};
use crate::output::{Style, Table, Text};

/// One time.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Time {
    /// When it is due.
    due: Timestamp,
    /// As the clock of its zone shows it, with the offset from UTC.
    local: String,
    /// What was asked for, before windows and jitter.
    desired: Timestamp,
    /// Why: `cron`, `interval`, `lifetime`, `expiry`, `start`.
    because: &'static str,
    /// The same in words.
    why: String,
    /// What jitter added.
    jitter_ms: u64,
    /// The time that windows and blackouts leave around it.
    window: Option<Window>,
    /// Whether its time has passed: it is due at once, or at the next opening.
    late: bool,
    /// Whether it is due now.
    now: bool,
}

#[derive(Debug, Serialize)]
struct Window {
    from: Timestamp,
    until: Option<Timestamp>,
    /// From where to where, in words.
    local: String,
}

/// A rotation's schedule in words.
pub(super) struct Shown<'a> {
    schedule: &'a Schedule,
}

impl<'a> Shown<'a> {
    pub(super) fn of(rotation: &'a Rotation) -> Self {
        Self {
            schedule: &rotation.schedule,
        }
    }

    /// Everything that makes it due.
    pub(super) fn schedule(&self) -> String {
        let schedule = self.schedule;
        if schedule.is_manual() {
            return "by hand".to_owned();
        }
        let mut parts = Vec::new();
        if schedule.trigger.is_some() {
            parts.push(self.why(Because::Cron));
        }
        if schedule.renew_at.is_some() {
            parts.push(self.why(Because::Lifetime));
        }
        if schedule.before_expiry.is_some() {
            parts.push(self.why(Because::Expiry));
        }
        if schedule.on_start {
            parts.push(self.why(Because::Start));
        }
        parts.join(", ")
    }

    fn why(&self, because: Because) -> String {
        let schedule = self.schedule;
        match because {
            Because::Cron | Because::Interval => match &schedule.trigger {
                Some(Trigger::Cron(expression)) => expression.as_str().to_owned(),
                Some(Trigger::Every(every)) => format!("every {}", show_duration(*every)),
                None => String::new(),
            },
            Because::Lifetime => {
                let share = f64::from(schedule.renew_at.unwrap_or_default()) / 10.0;
                format!("{share} % of its life")
            }
            Because::Expiry => {
                let before = schedule.before_expiry.unwrap_or_default();
                format!("{} before it expires", show_duration(before))
            }
            Because::Start => "start of the host".to_owned(),
            Because::Forced => "asked for".to_owned(),
        }
    }

    pub(super) fn time(&self, next: &Next, now: Timestamp) -> Time {
        let zone = &self.schedule.zone;
        let window = next.window.map(|open| Window {
            from: open.from,
            until: open.until,
            local: match open.until {
                Some(until) => format!("closes {}", zone.show(until)),
                None => "stays open".to_owned(),
            },
        });
        Time {
            due: next.due,
            local: zone.show(next.due),
            desired: next.desired,
            because: next.because.word(),
            why: self.why(next.because),
            jitter_ms: u64::try_from(next.jitter.as_millis()).unwrap_or(u64::MAX),
            window,
            late: next.late,
            now: next.due <= now,
        }
    }

    /// Why there is no time.
    pub(super) fn ends(&self, planned: Planned) -> String {
        match planned {
            Planned::Idle(Idle::Manual) => "by hand alone".to_owned(),
            Planned::Idle(Idle::Paused) => "paused".to_owned(),
            Planned::Idle(Idle::NoExpiry) => "never: its credential has no known expiry".to_owned(),
            Planned::Idle(Idle::End) => "the calendar ends".to_owned(),
            Planned::Blocked(blocked) => {
                let zone = &self.schedule.zone;
                let wanted = zone.show(blocked.desired);
                let before = match blocked.expires {
                    Some(expires) => format!(" before it expires at {}", zone.show(expires)),
                    None => String::new(),
                };
                let open = match blocked.next_open {
                    Some(open) => format!("open again {}", zone.show(open)),
                    None => "not open within 400 days".to_owned(),
                };
                format!("wanted {wanted}, and no time is left{before}; {open}")
            }
            Planned::Due(_) => String::new(),
        }
    }
}

impl Time {
    fn when(&self) -> String {
        match (self.now, self.late) {
            (true, _) => format!("now, since {}", self.local),
            (false, true) => format!("{} (late)", self.local),
            (false, false) => self.local.clone(),
        }
    }

    fn jitter(&self) -> String {
        if self.jitter_ms == 0 {
            return "-".to_owned();
        }
        format!("+{}", show_duration(Duration::from_millis(self.jitter_ms)))
    }
}

pub(super) fn list(listed: &[Listed], style: Style) -> String {
    let mut table = Table::new(["ROTATION", "SCHEDULE", "NEXT", "BECAUSE"]);
    for rotation in listed {
        let (next, because) = match &rotation.next {
            Some(time) => {
                let waits = rotation.waits.as_ref();
                let because = waits.map_or_else(
                    || time.because.to_owned(),
                    |waits| format!("{}; {waits}", time.because),
                );
                (time.when(), because)
            }
            None => ("-".to_owned(), rotation.none.clone().unwrap_or_default()),
        };
        table.row([
            rotation.rotation.to_string(),
            rotation.schedule.clone(),
            next,
            because,
        ]);
    }
    table.to_text(style)
}

pub(super) fn next(all: &[Upcoming], style: Style) -> String {
    let mut table = Table::new(["ROTATION", "DUE", "BECAUSE", "JITTER", "WINDOW"]);
    let mut ends = Text::default();
    for rotation in all {
        for time in &rotation.times {
            let window = time.window.as_ref().map_or("-", |window| &window.local);
            table.row([
                rotation.rotation.to_string(),
                time.when(),
                time.why.clone(),
                time.jitter(),
                window.to_owned(),
            ]);
        }
        if let Some(waits) = &rotation.waits {
            ends.line(format_args!("{}: {waits}", rotation.rotation));
        }
        if let Some(why) = &rotation.ends {
            let none = if rotation.times.is_empty() {
                "nothing is due"
            } else {
                "nothing after that"
            };
            ends.line(format_args!("{}: {none}: {why}", rotation.rotation));
        }
    }
    let mut text = Text::default();
    if all.iter().any(|rotation| !rotation.times.is_empty()) {
        text.lines(&table.to_text(style));
    }
    text.lines(&ends.finish());
    text.finish()
}
