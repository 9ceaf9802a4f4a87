use std::fmt;
use std::fmt::Write as _;

use crate::hash::spread;
use crate::{Error, Spot};

/// A field of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// 0 to 59; only where it was asked for.
    Second,
    /// 0 to 59.
    Minute,
    /// 0 to 23.
    Hour,
    /// 1 to 31.
    Day,
    /// 1 to 12, or its English name.
    Month,
    /// 0 to 7, Sunday twice, or its English name.
    Weekday,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day of the month",
            Self::Month => "month",
            Self::Weekday => "day of the week",
        })
    }
}

pub(crate) const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
pub(crate) const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

impl Field {
    pub(crate) const ALL: [Self; 6] = [
        Self::Second,
        Self::Minute,
        Self::Hour,
        Self::Day,
        Self::Month,
        Self::Weekday,
    ];

    pub(crate) fn bounds(self) -> (u8, u8) {
        match self {
            Self::Second | Self::Minute => (0, 59),
            Self::Hour => (0, 23),
            Self::Day => (1, 31),
            Self::Month => (1, 12),
            Self::Weekday => (0, 7),
        }
    }

    /// From where `H` chooses: days that every month has, and Sunday once.
    fn hashed(self) -> (u8, u8) {
        match self {
            Self::Day => (1, 28),
            Self::Weekday => (0, 6),
            _ => self.bounds(),
        }
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Month => &MONTHS,
            Self::Weekday => &WEEKDAYS,
            _ => &[],
        }
    }

    /// The number of its first name.
    fn first(self) -> u8 {
        u8::from(self == Self::Month)
    }
}

/// One entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// `*`, `*/5`
    All { step: u8 },
    /// `5`
    One(u8),
    /// `1-5`, `0-30/5`
    Range { from: u8, to: u8, step: u8 },
    /// `H`, `H(0-29)`, `H/15`
    Hashed { from: u8, to: u8, step: u8 },
    /// `L`
    Last,
    /// `LW`
    LastWorking,
    /// `15W`
    Nearest(u8),
    /// `MON#2`
    Nth(u8, u8),
    /// `MONL`, `5L`
    LastOf(u8),
}

/// A field that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) field: Field,
    pub(crate) items: Vec<Item>,
    pub(crate) at: Spot,
}

impl Parsed {
    /// What stands in a field whose text begins at a column.
    pub(crate) fn read(field: Field, text: &str, column: usize) -> Result<Self, Error> {
        let mut items = Vec::new();
        let mut from = column;
        for entry in text.split(',') {
            let at = Spot {
                field: Some(field),
                range: from..from + entry.chars().count().max(1),
            };
            items.push(Reader { field, at }.item(entry)?);
            from += entry.chars().count() + 1;
        }
        let at = Spot {
            field: Some(field),
            range: column..column + text.chars().count(),
        };
        Ok(Self { field, items, at })
    }

    pub(crate) fn is_all(&self) -> bool {
        self.items == [Item::All { step: 1 }]
    }

    /// Whether it names times one by one: nothing in it repeats.
    pub(crate) fn is_fixed(&self) -> bool {
        self.items
            .iter()
            .all(|item| matches!(item, Item::One(_) | Item::Hashed { step: 0, .. }))
    }

    /// The numbers that it means, without what depends on the month.
    pub(crate) fn numbers(&self, name: &str) -> Vec<u8> {
        let (low, high) = self.field.bounds();
        let mut numbers: Vec<u8> = Vec::new();
        for item in &self.items {
            match *item {
                Item::All { step } => numbers.extend((low..=high).step_by(step.into())),
                Item::One(one) => numbers.push(one),
                Item::Range { from, to, step } => numbers.extend((from..=to).step_by(step.into())),
                Item::Hashed { from, to, step } => numbers.extend(self.hashed(name, from, to, step)),
                Item::Last | Item::LastWorking | Item::Nearest(_) | Item::Nth(..) | Item::LastOf(_) => {}
            }
        }
        if self.field == Field::Weekday {
            for number in &mut numbers {
                *number %= 7;
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    fn hashed(&self, name: &str, from: u8, to: u8, step: u8) -> Vec<u8> {
        let count = u64::from(to - from) + 1;
        let among = if step == 0 { count } else { count.min(step.into()) };
        let chosen = spread("cron", name, self.field as u64) % among;
        let first = from.saturating_add(u8::try_from(chosen).unwrap_or_default());
        match step {
            0 => vec![first],
            step => (first..=to).step_by(step.into()).collect(),
        }
    }

    /// The field for the evaluator: numbers alone, `H` decided.
    pub(crate) fn canonical(&self, name: &str) -> String {
        let mut text = String::new();
        for (at, item) in self.items.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = match *item {
                Item::All { step: 1 } => write!(text, "{comma}*"),
                Item::All { step } => write!(text, "{comma}*/{step}"),
                Item::One(one) => write!(text, "{comma}{one}"),
                Item::Range { from, to, step: 1 } => write!(text, "{comma}{from}-{to}"),
                Item::Range { from, to, step } => write!(text, "{comma}{from}-{to}/{step}"),
                Item::Hashed { from, to, step } => {
                    let numbers = self.hashed(name, from, to, step);
                    let numbers: Vec<String> = numbers.iter().map(u8::to_string).collect();
                    write!(text, "{comma}{}", numbers.join(","))
                }
                Item::Last => write!(text, "{comma}L"),
                Item::LastWorking => write!(text, "{comma}LW"),
                Item::Nearest(day) => write!(text, "{comma}{day}W"),
                Item::Nth(weekday, nth) => write!(text, "{comma}{weekday}#{nth}"),
                Item::LastOf(weekday) => write!(text, "{comma}{weekday}#L"),
            };
        }
        text
    }
}

struct Reader {
    field: Field,
    at: Spot,
}

impl Reader {
    fn wrong(&self, why: String, way_out: impl Into<String>) -> Error {
        Error::Field {
            at: self.at.clone(),
            why,
            way_out: way_out.into(),
        }
    }

    fn item(&self, text: &str) -> Result<Item, Error> {
        if text.is_empty() {
            return Err(self.wrong("an entry of the list is empty".to_owned(), "take the comma out"));
        }
        let upper = text.to_ascii_uppercase();
        if let Some(rest) = upper.strip_prefix('H') {
            return self.hashed(rest);
        }
        if let Some(special) = self.special(&upper)? {
            return Ok(special);
        }
        let (values, step) = match upper.split_once('/') {
            Some((values, step)) => (values, Some(self.step(step)?)),
            None => (&*upper, None),
        };
        match (values, values.split_once('-'), step) {
            ("*", _, step) => Ok(Item::All {
                step: step.unwrap_or(1),
            }),
            (_, Some((from, to)), step) => {
                let (from, to) = self.range(from, to)?;
                Ok(Item::Range {
                    from,
                    to,
                    step: step.unwrap_or(1),
                })
            }
            (value, None, None) => Ok(Item::One(self.number(value)?)),
            (value, None, Some(step)) => {
                self.number(value)?;
                let (_, high) = self.field.bounds();
                Err(self.wrong(
                    format!("a step follows `*` or a range, and `{value}` is neither"),
                    format!("write `{value}-{high}/{step}`"),
                ))
            }
        }
    }

    /// `L`, `LW`, `15W`, `MON#2`, `MONL`: in the fields that have them.
    fn special(&self, text: &str) -> Result<Option<Item>, Error> {
        let item = match self.field {
            Field::Day => match text {
                "L" => Item::Last,
                "LW" => Item::LastWorking,
                _ => match text.strip_suffix('W') {
                    Some(day) => Item::Nearest(self.number(day)?),
                    None => return Ok(None),
                },
            },
            Field::Weekday => {
                if let Some((weekday, nth)) = text.split_once('#') {
                    let nth = nth.parse().ok().filter(|nth| (1..=5).contains(nth));
                    let Some(nth) = nth else {
                        return Err(self.wrong(
                            "after `#` stands which of the month it is, 1 to 5".to_owned(),
                            "`MON#1` is the first Monday, `MONL` the last one",
                        ));
                    };
                    Item::Nth(self.number(weekday)? % 7, nth)
                } else if let Some(weekday) = text.strip_suffix('L').filter(|rest| !rest.is_empty()) {
                    Item::LastOf(self.number(weekday)? % 7)
                } else {
                    return Ok(None);
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(item))
    }

    fn hashed(&self, rest: &str) -> Result<Item, Error> {
        let way_out = "`H` is a value that the rotation's name decides, `H(0-29)` one of a range, `H/15` every 15 from such a value on";
        let malformed = || self.wrong("this is no form of `H`".to_owned(), way_out);
        let (low, high) = self.field.hashed();
        let (from, to, rest) = match rest.strip_prefix('(') {
            Some(inner) => {
                let (range, rest) = inner.split_once(')').ok_or_else(malformed)?;
                let (from, to) = range.split_once('-').ok_or_else(malformed)?;
                let (from, to) = self.range(from, to)?;
                (from, to, rest)
            }
            None => (low, high, rest),
        };
        let step = match rest.strip_prefix('/') {
            Some(step) => self.step(step)?,
            None if rest.is_empty() => 0,
            None => return Err(malformed()),
        };
        Ok(Item::Hashed { from, to, step })
    }

    fn range(&self, from: &str, to: &str) -> Result<(u8, u8), Error> {
        let (low, high) = (self.number(from)?, self.number(to)?);
        // `FRI-SUN` ends with the other number of Sunday.
        let high = if self.field == Field::Weekday && high == 0 && low > 0 {
            7
        } else {
            high
        };
        if low > high {
            let (first, last) = self.field.hashed();
            return Err(self.wrong(
                format!("the range `{from}-{to}` ends before it begins"),
                format!("write it as two: `{from}-{last},{first}-{to}`"),
            ));
        }
        Ok((low, high))
    }

    fn step(&self, text: &str) -> Result<u8, Error> {
        let (_, high) = self.field.bounds();
        let step = digits(text).filter(|step| (1..=high).contains(step));
        step.ok_or_else(|| {
            let shown: String = text.chars().take(12).collect();
            self.wrong(
                format!("the step `{shown}` is not a number from 1 to {high}"),
                "a step counts within the field and starts anew in the next hour, day or month; `@every 36h` counts on",
            )
        })
    }

    fn number(&self, text: &str) -> Result<u8, Error> {
        let (low, high) = self.field.bounds();
        let named = self.field.names().iter().position(|name| *name == text);
        if let Some(at) = named {
            return Ok(u8::try_from(at).unwrap_or_default() + self.field.first());
        }
        if let Some(number) = digits(text).filter(|number| (low..=high).contains(number)) {
            return Ok(number);
        }
        let shown: String = text.chars().take(12).collect();
        let names = match self.field.names() {
            [first, .., last] => format!(", or {first} to {last}"),
            _ => String::new(),
        };
        Err(self.wrong(
            format!("`{shown}` is not a number from {low} to {high}{names}"),
            self.way_out(),
        ))
    }

    fn way_out(&self) -> &'static str {
        match self.field {
            Field::Day => "`L` is the last day of the month, `15W` the working day nearest to the 15th",
            Field::Weekday => {
                "0 and 7 are Sunday; `MON#1` is the first Monday of the month, `FRIL` the last Friday"
            }
            _ => "lists, ranges and steps are `1,15`, `1-5`, `*/10`; `H` lets the rotation's name decide",
        }
    }
}

fn digits(text: &str) -> Option<u8> {
    let is_number = !text.is_empty() && text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}
