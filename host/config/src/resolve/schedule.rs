//! When rotations run: from what is written to [`Schedule`].

use std::sync::LazyLock;
use std::time::Duration;

use keywheel_model::Timestamp;
use keywheel_schedule::{
    Blackout, CatchUp, Error, Expression, Retry, Schedule, Trigger, Window, Zone, Zones,
};

use super::{Draft, Resolver};
use crate::config::Pace;
use crate::document::At;
use crate::raw::schedule::{self as raw, Written};
use crate::structure::nearest;
use crate::units::parse_duration;

pub(crate) static ZONES: LazyLock<Zones> = LazyLock::new(Zones::of_machine);

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
const TEN_YEARS: Duration = Duration::from_hours(3660 * 24);
/// The share of a life after which it is renewed, where nothing is said.
const RENEW_AT: u16 = 800;

/// Where it stands, and what it needs beside itself.
struct Place<'a> {
    pointer: &'a str,
    zone: &'a Zone,
}

impl Place<'_> {
    fn of(&self, key: &str) -> String {
        format!("{}/{key}", self.pointer)
    }
}

/// What is wrong with a zone's name, and the nearest one.
pub(crate) fn zone_hint(name: &str, error: &Error) -> String {
    let names = ZONES.names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match nearest(name, &names) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => error.hint(),
    }
}

impl Draft {
    /// That windows and blackouts leave each rotation some time within [`keywheel_schedule::HORIZON`] from now. Where they do not, it comes with the
    /// other problems.
    pub fn examine_schedules(&mut self, now: Timestamp) {
        for rotation in self.config.samples() {
            let Err(error) = rotation.schedule.leaves_time(&rotation.name, now) else {
                continue;
            };
            let pointer = format!("/rotation/{}/schedule", rotation.index);
            let (message, hint) = (error.to_string(), Some(error.hint()));
            let document = &self.config.document;
            self.problems
                .push(document.problem(At::Value(&pointer), error.code(), message, hint));
        }
    }
}

impl Resolver {
    /// What counts where a rotation says nothing.
    pub(super) fn schedule_defaults(&mut self) -> Schedule {
        let raw: raw::Defaults = self.section("/schedule").unwrap_or_default();
        let base = Schedule {
            zone: zone(raw.zone.as_deref(), &Zone::UTC),
            ..Schedule::default()
        };
        let at = |key: &str| format!("/schedule/{key}");
        let zone = base.zone.clone();
        let place = Place {
            pointer: "/schedule",
            zone: &zone,
        };
        Schedule {
            renew_at: raw.renew_at.map(thousandths),
            before_expiry: self.span(
                &at("before_expiry"),
                raw.before_expiry.as_deref(),
                (MINUTE, TEN_YEARS),
            ),
            jitter: self.duration(
                &at("jitter"),
                raw.jitter.as_deref(),
                base.jitter,
                (Duration::ZERO, DAY),
            ),
            catch_up: raw.catch_up.map_or(base.catch_up, catch_up),
            max_lateness: self.span(
                &at("max_lateness"),
                raw.max_lateness.as_deref(),
                (SECOND, TEN_YEARS),
            ),
            windows: self.windows(&place, &raw.window),
            blackouts: self.blackouts(&place, &raw.blackout),
            ..base
        }
    }

    /// How much is done at once.
    pub(super) fn pace(&mut self) -> Pace {
        let raw: raw::Defaults = self.section("/schedule").unwrap_or_default();
        Pace {
            at_once: raw.at_once.unwrap_or(16).max(1).into(),
            at_once_per_target: raw.at_once_per_target.unwrap_or(1).max(1).into(),
            at_once_per_plugin: raw.at_once_per_plugin.map(|most| most.max(1).into()),
            retry: Retry {
                tries: raw.tries.unwrap_or(Retry::default().tries),
                ..Retry::default()
            },
            brake: raw.brake.map(thousandths),
        }
    }

    /// One rotation's.
    pub(super) fn schedule(&mut self, pointer: &str, raw: Option<Written>, defaults: &Schedule) -> Schedule {
        let manual = Schedule {
            renew_at: None,
            before_expiry: None,
            ..defaults.clone()
        };
        let raw = match raw {
            None => return manual,
            Some(Written::Short(text)) if text.trim() == "manual" => return manual,
            Some(Written::Short(text)) => {
                let trigger = self.trigger(pointer, &text, false);
                return by_default(Schedule {
                    trigger,
                    ..defaults.clone()
                });
            }
            Some(Written::Table(raw)) => *raw,
        };
        let zone = zone(raw.zone.as_deref(), &defaults.zone);
        let place = Place { pointer, zone: &zone };
        let own_windows = raw.window.as_ref().map(|windows| self.windows(&place, windows));
        let own_blackouts = self.blackouts(&place, &raw.blackout);
        let range = (SECOND, TEN_YEARS);
        let before = self.span(
            &place.of("before_expiry"),
            raw.before_expiry.as_deref(),
            (MINUTE, TEN_YEARS),
        );
        let late = self.span(&place.of("max_lateness"), raw.max_lateness.as_deref(), range);
        let share = raw.renew_at.map(thousandths);
        // Its own word on its life takes the place of both defaults.
        let has_own = before.is_some() || share.is_some();
        let (renew_at, before_expiry) = if has_own {
            (share, before)
        } else {
            (defaults.renew_at, defaults.before_expiry)
        };
        by_default(Schedule {
            trigger: self.table_trigger(&place, &raw),
            renew_at,
            before_expiry,
            on_start: raw.on_start,
            paused: raw.paused,
            jitter: self.duration(
                &place.of("jitter"),
                raw.jitter.as_deref(),
                defaults.jitter,
                (Duration::ZERO, DAY),
            ),
            catch_up: raw.catch_up.map_or(defaults.catch_up, catch_up),
            max_lateness: late.or(defaults.max_lateness),
            windows: own_windows.unwrap_or_else(|| defaults.windows.clone()),
            blackouts: [defaults.blackouts.clone(), own_blackouts].concat(),
            zone,
        })
    }

    fn table_trigger(&mut self, place: &Place<'_>, raw: &raw::Table) -> Option<Trigger> {
        if raw.cron.is_some() && raw.every.is_some() {
            let message = "`cron` and `every` stand side by side".to_owned();
            let hint = "leave one of them out".to_owned();
            self.report(At::Value(&place.of("every")), "config.value", message, Some(hint));
        }
        if raw.seconds && raw.cron.is_none() {
            let message = "there is no expression that could have seconds".to_owned();
            self.report(At::Value(&place.of("seconds")), "config.value", message, None);
        }
        match (&raw.cron, &raw.every) {
            (Some(text), _) => self.trigger(&place.of("cron"), text, raw.seconds),
            (None, Some(every)) => {
                let every = self.span(&place.of("every"), Some(every), (SECOND, TEN_YEARS));
                every.map(Trigger::Every)
            }
            (None, None) => None,
        }
    }

    /// An expression, or `@every` with its duration.
    fn trigger(&mut self, pointer: &str, text: &str, seconds: bool) -> Option<Trigger> {
        let every = text.trim().strip_prefix("@every").filter(|rest| {
            let next = rest.chars().next();
            next.is_none_or(char::is_whitespace)
        });
        let Some(every) = every else {
            return self.expression(pointer, text, seconds).map(Trigger::Cron);
        };
        match parse_duration(every) {
            Ok(every) if (SECOND..=TEN_YEARS).contains(&every) => Some(Trigger::Every(every)),
            Ok(_) => {
                self.range(pointer, "1s", "3660d");
                None
            }
            Err(error) => {
                let hint = error
                    .hint()
                    .unwrap_or_else(|| "`@every 36h` is every 36 hours".to_owned());
                self.report(At::Value(pointer), "config.unit", error.to_string(), Some(hint));
                None
            }
        }
    }

    fn expression(&mut self, pointer: &str, text: &str, seconds: bool) -> Option<Expression> {
        match Expression::parse(text, seconds) {
            Ok(expression) => Some(expression),
            Err(error) => {
                self.refused(pointer, &error);
                None
            }
        }
    }

    fn refused(&mut self, pointer: &str, error: &Error) {
        let at = match error.range() {
            Some(range) => At::Part(pointer, range.start, range.end),
            None => At::Value(pointer),
        };
        self.report(at, error.code(), error.to_string(), Some(error.hint()));
    }

    fn windows(&mut self, place: &Place<'_>, windows: &[raw::Window]) -> Vec<Window> {
        let mut resolved = Vec::new();
        for (at, window) in windows.iter().enumerate() {
            let pointer = format!("{}/window/{at}", place.pointer);
            let start = self.expression(&format!("{pointer}/start"), &window.start, false);
            let length = self.length(&pointer, &window.length);
            let zone = zone(window.zone.as_deref(), place.zone);
            if let (Some(start), Some(length)) = (start, length) {
                resolved.push(Window { start, length, zone });
            }
        }
        resolved
    }

    fn length(&mut self, pointer: &str, text: &str) -> Option<Duration> {
        self.span(&format!("{pointer}/for"), Some(text), (MINUTE, 366 * DAY))
    }

    fn blackouts(&mut self, place: &Place<'_>, blackouts: &[raw::Blackout]) -> Vec<Blackout> {
        let mut resolved = Vec::new();
        for (at, blackout) in blackouts.iter().enumerate() {
            let pointer = format!("{}/blackout/{at}", place.pointer);
            let zone = zone(blackout.zone.as_deref(), place.zone);
            resolved.extend(self.blackout(&pointer, blackout, zone));
        }
        resolved
    }

    fn blackout(&mut self, pointer: &str, raw: &raw::Blackout, zone: Zone) -> Option<Blackout> {
        match (&raw.from, &raw.to, &raw.start, &raw.length) {
            (Some(from), Some(to), None, None) => match Blackout::between(from, to, &zone) {
                Ok(blackout) => Some(blackout),
                Err(error) => {
                    let is_first = Blackout::between(from, from, &zone) == Err(Error::Date);
                    let key = if is_first { "from" } else { "to" };
                    self.refused(&format!("{pointer}/{key}"), &error);
                    None
                }
            },
            (None, None, Some(start), Some(length)) => {
                let start = self.expression(&format!("{pointer}/start"), start, false);
                let length = self.length(pointer, length);
                let (start, length) = start.zip(length)?;
                Some(Blackout::Recurring(Window { start, length, zone }))
            }
            _ => {
                let message = "a blackout has `from` and `to`, or `start` and `for`".to_owned();
                let hint = "{ from = \"2026-12-20\", to = \"2027-01-06\" }, or { start = \"0 8 * * MON-FRI\", for = \"10h\" }";
                self.report(At::Value(pointer), "config.value", message, Some(hint.to_owned()));
                None
            }
        }
    }

    /// `None` where nothing is said, and for what is no duration, which is reported elsewhere.
    fn span(&mut self, pointer: &str, text: Option<&str>, range: (Duration, Duration)) -> Option<Duration> {
        let span = parse_duration(text?).ok()?;
        Some(self.duration(pointer, text, span, range))
    }
}

/// A rotation that has a schedule is renewed by its life too, if it has one.
fn by_default(schedule: Schedule) -> Schedule {
    if schedule.renew_at.is_some() || schedule.before_expiry.is_some() {
        return schedule;
    }
    Schedule {
        renew_at: Some(RENEW_AT),
        ..schedule
    }
}

/// A zone that there is not has been reported.
fn zone(name: Option<&str>, default: &Zone) -> Zone {
    name.and_then(|name| Zone::named(name, &ZONES).ok())
        .unwrap_or_else(|| default.clone())
}

fn catch_up(raw: raw::CatchUp) -> CatchUp {
    match raw {
        raw::CatchUp::One => CatchUp::One,
        raw::CatchUp::Skip => CatchUp::Skip,
    }
}

/// What is out of its range has been reported.
fn thousandths(share: f64) -> u16 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what a share can be"
    )]
    {
        (share.clamp(0.0, 1.0) * 1000.0).round() as u16
    }
}
