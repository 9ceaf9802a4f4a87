use std::fmt;

use jiff::civil::{Date, DateTime};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use keywheel_model::Timestamp;

use crate::Error;

/// Where the rules of named zones come from.
#[derive(Clone, Debug)]
pub struct Zones(TimeZoneDatabase);

impl Zones {
    /// Those of the machine, so that a new rule reaches the host with the machine's updates; what it does not have, those within the binary.
    pub fn of_machine() -> Self {
        Self(jiff::tz::db().clone())
    }

    /// Those within the binary alone.
    pub fn bundled() -> Self {
        Self(TimeZoneDatabase::bundled())
    }

    /// Every name there is.
    pub fn names(&self) -> Vec<String> {
        self.0.available().map(|name| name.to_string()).collect()
    }
}

/// A time zone by name. Its rules are read once; afterwards nothing is looked up.
#[derive(Clone)]
pub struct Zone(TimeZone);

impl Zone {
    /// UTC.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// The zone of that name, like `Europe/Berlin`.
    ///
    /// # Errors
    /// There is none. An offset (`+02:00`) is none either: it knows no daylight saving.
    pub fn named(name: &str, zones: &Zones) -> Result<Self, Error> {
        if name == "UTC" {
            return Ok(Self::UTC);
        }
        // A machine may have some zones and not all, or a file that is damaged.
        let found = zones.0.get(name);
        let found = found.or_else(|_| TimeZoneDatabase::bundled().get(name));
        found.map(Self).map_err(|_| Error::Zone {
            name: name.chars().take(60).collect(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// A time as a clock on its wall shows it, with the offset from UTC: `Sun 2026-10-25 02:30:00+02:00 Europe/Berlin`.
    pub fn show(&self, at: Timestamp) -> String {
        format!("{} {}", self.format(at, "%a %Y-%m-%d %H:%M:%S%:z"), self.name())
    }

    /// The same without day, offset and name, as configuration has it: `2026-10-25T02:30:00`.
    pub fn local(&self, at: Timestamp) -> String {
        self.format(at, "%Y-%m-%dT%H:%M:%S")
    }

    fn format(&self, at: Timestamp, format: &str) -> String {
        match instant(at) {
            Some(instant) => instant.to_zoned(self.0.clone()).strftime(format).to_string(),
            None => "out of range".to_owned(),
        }
    }

    /// The first instant that is not before a local time: in a gap the first one after it, of two the first. `2026-12-20T18:00`; a date
    /// (`2026-12-20`) is its first instant, or the first one after it if `whole_day`.
    pub(crate) fn instant_of(&self, text: &str, whole_day: bool) -> Option<Timestamp> {
        let local = if text.contains([':', 'T', 't']) {
            text.parse::<DateTime>().ok()?
        } else {
            let date = text.parse::<Date>().ok()?;
            let day = if whole_day { date.tomorrow().ok()? } else { date };
            day.at(0, 0, 0, 0)
        };
        let zoned = self.0.to_ambiguous_zoned(local).compatible().ok()?;
        let ms = u64::try_from(zoned.timestamp().as_millisecond()).ok()?;
        Some(Timestamp::from_unix_ms(ms))
    }

    pub(crate) fn rules(&self) -> &TimeZone {
        &self.0
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Zone {}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Zone").field(&self.name()).finish()
    }
}

pub(crate) fn instant(at: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond(i64::try_from(at.as_unix_ms()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_zones_has_those_within_the_binary() {
        let none = Zones(TimeZoneDatabase::none());
        let berlin = Zone::named("Europe/Berlin", &none).unwrap();
        let at = Timestamp::from_unix_ms(1_792_888_200_000);
        assert_eq!(berlin.show(at), "Sun 2026-10-25 02:30:00+02:00 Europe/Berlin");
        assert_eq!(berlin.local(at), "2026-10-25T02:30:00");
        assert!(Zone::named("Europe/Berln", &none).is_err());
    }
}
