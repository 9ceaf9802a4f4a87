use std::ops::Range;

use crate::Field;

/// Where in an expression something stands: the field, and the characters of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The field, if it is about one.
    pub field: Option<Field>,
    /// The characters, from 0.
    pub range: Range<usize>,
}

impl Spot {
    fn words(&self) -> String {
        let column = self.range.start + 1;
        match self.field {
            Some(field) => format!("{field} (column {column})"),
            None => format!("column {column}"),
        }
    }
}

/// Why something is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not five fields, or not six with seconds.
    #[error("expected {wanted} fields, found {found}")]
    Fields {
        /// How many it should have.
        wanted: usize,
        /// How many it has.
        found: usize,
    },
    /// Six fields without having said so.
    #[error("six fields: the first one would be seconds, and nothing says so")]
    Seconds,
    /// A word with `@` that nobody knows.
    #[error("unknown word `{word}`")]
    Word {
        /// What was written; cut.
        word: String,
    },
    /// Something in a field.
    #[error("{}: {why}", at.words())]
    Field {
        /// Where.
        at: Spot,
        /// A fragment.
        why: String,
        /// The way out.
        way_out: String,
    },
    /// Both day fields are restricted.
    #[error("{}: both day fields are restricted, and cron programs do not agree on what that means", at.words())]
    BothDays {
        /// The second of them.
        at: Spot,
    },
    /// No month that is named has a day that is named.
    #[error("{}: this day never comes: {why}", at.words())]
    NeverComes {
        /// Where.
        at: Spot,
        /// A fragment.
        why: String,
    },
    /// No such zone.
    #[error("there is no time zone `{name}`")]
    Zone {
        /// What was written; cut.
        name: String,
    },
    /// A time of a blackout is none.
    #[error("expected a date like \"2026-12-20\" or a local time like \"2026-12-20T18:00\"")]
    Date,
    /// A blackout ends before it begins.
    #[error("ends before it begins")]
    Backwards,
    /// Windows and blackouts leave nothing.
    #[error("windows and blackouts leave no time within the next {days} days")]
    NoTime {
        /// How far was looked.
        days: u64,
    },
}

impl Error {
    /// Stable, dotted, lower case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Fields { .. } | Self::Word { .. } | Self::Field { .. } => "schedule.expression",
            Self::Seconds => "schedule.seconds",
            Self::BothDays { .. } => "schedule.both-days",
            Self::NeverComes { .. } => "schedule.never-comes",
            Self::Zone { .. } => "schedule.zone",
            Self::Date | Self::Backwards => "schedule.blackout",
            Self::NoTime { .. } => "schedule.no-time",
        }
    }

    /// The way out.
    pub fn hint(&self) -> String {
        match self {
            Self::Fields { .. } => "write minute, hour, day of the month, month, day of the week: `0 3 * * SUN` is Sundays at 03:00".to_owned(),
            Self::Seconds => "leave the seconds out, or say `seconds = true` in the table of the schedule".to_owned(),
            Self::Word { .. } => "there are @hourly, @daily, @weekly, @monthly, @yearly, and @every with a duration: `@every 36h`".to_owned(),
            Self::Field { way_out, .. } => way_out.clone(),
            Self::BothDays { .. } => {
                "leave one of them `*`; `MON#1` is the first Monday of a month, `15W` the working day nearest to the 15th".to_owned()
            }
            Self::NeverComes { .. } => "`L` is the last day of every month".to_owned(),
            Self::Zone { .. } => "write a name of the IANA time zone database, like \"Europe/Berlin\" or \"UTC\"; an offset is not enough, it knows no \
                                  daylight saving"
                .to_owned(),
            Self::Date => "without a zone of its own: it is read in the `zone` beside it, or the schedule's".to_owned(),
            Self::Backwards => "`to` is the last day that is black, or the time at which it ends".to_owned(),
            Self::NoTime { .. } => "shorten a blackout, or widen a window; `keywheel schedule next` shows what is left".to_owned(),
        }
    }

    /// The characters of the expression that are meant, if it is about some.
    pub fn range(&self) -> Option<Range<usize>> {
        match self {
            Self::Field { at, .. } | Self::BothDays { at } | Self::NeverComes { at, .. } => {
                Some(at.range.clone())
            }
            _ => None,
        }
    }
}
