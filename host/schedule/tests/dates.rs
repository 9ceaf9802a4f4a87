//! The table of dates: `dates.txt` says what it is, and every case in it is held to here. Zones are those within the binary, so that every machine
//! tests the same rules.

#![cfg(test)]

use std::fmt::Write as _;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use keywheel_model::{RotationName, Timestamp};
use keywheel_schedule::{
    Because, Blackout, CatchUp, Expression, Facts, Next, Planned, Schedule, Trigger, Window, Zone, Zones,
};

/// One case: its title and what stands under it, in order.
struct Case {
    line: usize,
    title: String,
    entries: Vec<(String, String)>,
}

impl Case {
    fn get(&self, key: &str) -> Option<&str> {
        let found = self.entries.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.entries
            .iter()
            .filter(move |(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    fn zone_name(&self) -> &str {
        self.get("zone").unwrap_or("UTC")
    }

    fn zone(&self) -> Zone {
        Zone::named(self.zone_name(), &Zones::bundled()).unwrap()
    }

    fn rules(&self) -> TimeZone {
        TimeZoneDatabase::bundled().get(self.zone_name()).unwrap()
    }

    /// A local time, or one with its offset where a clock shows it twice.
    fn time(&self, key: &str) -> Option<Timestamp> {
        let text = self.get(key)?;
        let instant = text.parse::<jiff::Timestamp>().unwrap_or_else(|_| {
            let local: DateTime = text.parse().unwrap();
            local.to_zoned(self.rules()).unwrap().timestamp()
        });
        Some(Timestamp::from_unix_ms(
            u64::try_from(instant.as_millisecond()).unwrap(),
        ))
    }

    fn window(&self, text: &str) -> Window {
        let (start, length) = text.split_once(" for ").unwrap();
        Window {
            start: Expression::parse(start, false).unwrap(),
            length: duration(length),
            zone: self.zone(),
        }
    }

    fn blackout(&self, text: &str) -> Blackout {
        match text.split_once(" to ") {
            Some((from, to)) => Blackout::between(from, to, &self.zone()).unwrap(),
            None => Blackout::Recurring(self.window(text)),
        }
    }

    fn schedule(&self) -> Schedule {
        let seconds = self.get("seconds").is_some();
        let cron = self
            .get("cron")
            .map(|text| Trigger::Cron(Expression::parse(text, seconds).unwrap()));
        let every = self.get("every").map(|text| Trigger::Every(duration(text)));
        Schedule {
            trigger: cron.or(every),
            renew_at: self
                .get("renew-at")
                .map(|share| share.strip_prefix("0.").unwrap().parse::<u16>().unwrap() * 100),
            before_expiry: self.get("before").map(duration),
            zone: self.zone(),
            jitter: self.get("jitter").map_or(Duration::ZERO, duration),
            catch_up: match self.get("catch-up") {
                Some("skip") => CatchUp::Skip,
                _ => CatchUp::One,
            },
            max_lateness: self.get("lateness").map(duration),
            windows: self.all("window").map(|text| self.window(text)).collect(),
            blackouts: self.all("blackout").map(|text| self.blackout(text)).collect(),
            ..Schedule::default()
        }
    }

    fn shown(&self, at: Timestamp) -> String {
        let instant = jiff::Timestamp::from_millisecond(i64::try_from(at.as_unix_ms()).unwrap()).unwrap();
        let zoned = instant.to_zoned(self.rules());
        let seconds = if zoned.second() == 0 { "" } else { ":%S" };
        zoned.strftime(&format!("%Y-%m-%d %H:%M{seconds}%:z")).to_string()
    }

    fn line(&self, next: &Next) -> String {
        let mut line = self.shown(next.due);
        if next.because != Because::Cron {
            write!(line, " {}", next.because.word()).unwrap();
        }
        if next.late {
            line.push_str(" late");
        }
        line
    }

    fn ended(&self, planned: Planned) -> String {
        match planned {
            Planned::Blocked(blocked) => {
                assert!(blocked.expires.is_some());
                let open = blocked
                    .next_open
                    .map_or("never".to_owned(), |open| self.shown(open));
                format!("no time before the expiry; open again {open}")
            }
            other => format!("{other:?}"),
        }
    }

    /// What came out, as it would stand in the table.
    fn outcome(&self) -> Vec<(String, String)> {
        let name: RotationName = self.get("name").unwrap_or("app-db").parse().unwrap();
        let schedule = self.schedule();
        let plan = schedule.plan(&name);
        let first_seen = self.time("after").unwrap();
        let facts = Facts {
            last_success: self.time("last"),
            first_seen: Some(first_seen),
            issued: self.time("issued"),
            expires: self.time("expires"),
            ..Facts::default()
        };
        let mut upcoming = plan.upcoming(facts, self.time("now").unwrap_or(first_seen));
        let mut outcome = Vec::new();
        let wanted = self.all("then").count() + self.all("stops").count();
        for _ in 0..wanted {
            outcome.push(match upcoming.next() {
                Some(next) => ("then".to_owned(), self.line(&next)),
                None => ("stops".to_owned(), self.ended(upcoming.ended().unwrap())),
            });
        }
        if let Some(Trigger::Cron(expression)) = &schedule.trigger {
            // What is to be written instead is not repeated in the table.
            let told = expression
                .warnings()
                .into_iter()
                .map(|told| match told.split_once(" days; ") {
                    Some((told, _)) => format!("{told} days"),
                    None => told,
                });
            outcome.extend(told.map(|told| ("warns".to_owned(), told)));
        }
        outcome
    }
}

fn duration(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let number: u64 = number.parse().unwrap();
    match unit {
        "m" => Duration::from_mins(number),
        "h" => Duration::from_hours(number),
        "d" => Duration::from_hours(24 * number),
        other => panic!("no such unit: {other}"),
    }
}

fn cases() -> Vec<Case> {
    let text = include_str!("dates.txt");
    let mut cases: Vec<Case> = Vec::new();
    let body = text
        .lines()
        .enumerate()
        .skip_while(|(_, line)| !line.starts_with('#'));
    for (at, line) in body.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("    ") {
            None => cases.push(Case {
                line: at + 1,
                title: line.to_owned(),
                entries: Vec::new(),
            }),
            Some(entry) => {
                let (key, value) = entry.split_once(' ').unwrap();
                let entry = (key.to_owned(), value.trim().to_owned());
                cases.last_mut().unwrap().entries.push(entry);
            }
        }
    }
    cases
}

#[test]
fn every_date_of_the_table_comes_out() {
    let mut wrong = String::new();
    let cases = cases();
    assert!(cases.len() > 60, "{} cases", cases.len());
    for case in &cases {
        let known = ["then", "stops", "warns"];
        let expected: Vec<_> = case
            .entries
            .iter()
            .filter(|(key, _)| known.contains(&key.as_str()))
            .cloned()
            .collect();
        assert!(!expected.is_empty(), "{} expects nothing", case.title);
        let outcome = case.outcome();
        if outcome != expected {
            writeln!(wrong, "dates.txt:{}: {}", case.line, case.title).unwrap();
            for (key, value) in outcome {
                writeln!(wrong, "    {key:<9} {value}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "came out otherwise:\n{wrong}");
}
