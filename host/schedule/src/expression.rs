use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::Error;
use crate::field::{Field, Item, MONTHS, Parsed, WEEKDAYS};

/// A longer text is no expression.
const CHARS_MAX: usize = 256;
/// The most times of day that are evaluated one by one.
const FIXED_MAX: usize = 24;

/// A cron expression that was understood: five fields, six where seconds were asked for, or a word like `@daily`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    text: String,
    fields: Vec<Parsed>,
}

impl Expression {
    /// Reads it. Six fields are taken only if `seconds`, and then five are not.
    ///
    /// # Errors
    /// What is wrong, where, and the way out.
    pub fn parse(text: &str, seconds: bool) -> Result<Self, Error> {
        let whole = text.trim();
        if whole.chars().count() > CHARS_MAX {
            return Err(Error::Fields {
                wanted: 5 + usize::from(seconds),
                found: whole.split_whitespace().count(),
            });
        }
        let fields = match whole.strip_prefix('@') {
            Some(word) => split(of_word(word, whole)?),
            None => split(text),
        };
        let wanted = 5 + usize::from(seconds && !whole.starts_with('@'));
        match fields.len() {
            found if found == wanted => {}
            6 => return Err(Error::Seconds),
            found => return Err(Error::Fields { wanted, found }),
        }
        let first = 6 - fields.len();
        let kinds = Field::ALL.into_iter().skip(first);
        let mut parsed = Vec::with_capacity(6);
        if first == 1 {
            parsed.push(Parsed::read(Field::Second, "0", 0)?);
        }
        for (kind, (column, field)) in kinds.zip(fields) {
            parsed.push(Parsed::read(kind, field, column)?);
        }
        let expression = Self {
            text: whole.to_owned(),
            fields: parsed,
        };
        expression.days_that_come()?;
        Ok(expression)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the rotation's name decides a part of it.
    pub fn is_hashed(&self) -> bool {
        let hashed = |item: &Item| matches!(item, Item::Hashed { .. });
        self.fields.iter().any(|field| field.items.iter().any(hashed))
    }

    /// What is right, and often not what was meant.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for field in &self.fields {
            for item in &field.items {
                let (Item::All { step } | Item::Hashed { step, .. }) = *item else {
                    continue;
                };
                let is_day = matches!(field.field, Field::Day | Field::Weekday);
                if is_day && step > 1 {
                    warnings.push(steps_of_days(field, step, matches!(item, Item::Hashed { .. })));
                }
            }
        }
        let days = self.field(Field::Day);
        let only_late = |day: u8| days.items == [Item::One(day)] && self.field(Field::Month).is_all();
        if let Some(day) = (29..=31).find(|day| only_late(*day)) {
            warnings.push(format!(
                "months without a day {day} are left out; `L` is the last day of every month"
            ));
        }
        warnings
    }

    fn field(&self, kind: Field) -> &Parsed {
        &self.fields[kind as usize]
    }

    /// At most one day field says something, and what it says comes.
    fn days_that_come(&self) -> Result<(), Error> {
        let (days, weekdays) = (self.field(Field::Day), self.field(Field::Weekday));
        if !days.is_all() && !weekdays.is_all() {
            return Err(Error::BothDays {
                at: weekdays.at.clone(),
            });
        }
        let months = self.field(Field::Month);
        // Whatever month `H` chooses: the day must come in it.
        let is_hashed = months
            .items
            .iter()
            .any(|item| matches!(item, Item::Hashed { .. }));
        let months = if is_hashed { vec![2] } else { months.numbers("") };
        let longest = months.iter().map(|month| longest(*month)).max().unwrap_or(31);
        let comes = |item: &Item| match *item {
            Item::One(day) | Item::Nearest(day) | Item::Hashed { to: day, .. } => day <= longest,
            Item::Range { from, .. } => from <= longest,
            _ => true,
        };
        if days.items.iter().any(comes) {
            return Ok(());
        }
        let named: Vec<&str> = months
            .iter()
            .filter_map(|month| MONTHS.get(usize::from(*month).checked_sub(1)?).copied())
            .collect();
        Err(Error::NeverComes {
            at: days.at.clone(),
            why: format!("{} has at most {longest} days", named.join(", ")),
        })
    }

    /// For one rotation: the evaluators whose earliest answer counts. Times of day that are named one by one are evaluated one by one, so that each
    /// of them is kept on a day on which the clock is moved; what repeats follows real time.
    pub(crate) fn compile(&self, name: &str) -> Vec<Cron> {
        let fixed = [Field::Second, Field::Minute, Field::Hour].map(|kind| self.field(kind));
        let canonical: Vec<String> = self.fields.iter().map(|field| field.canonical(name)).collect();
        let days = canonical.get(3..).unwrap_or_default().join(" ");
        let [seconds, minutes, hours] = fixed.map(|field| field.numbers(name));
        let count = seconds.len() * minutes.len() * hours.len();
        if !fixed.iter().all(|field| field.is_fixed()) || count > FIXED_MAX {
            return evaluator(&canonical.join(" ")).into_iter().collect();
        }
        let times = hours
            .iter()
            .flat_map(|hour| minutes.iter().map(move |minute| (hour, minute)));
        let times = times.flat_map(|(hour, minute)| seconds.iter().map(move |second| (hour, minute, second)));
        times
            .filter_map(|(hour, minute, second)| evaluator(&format!("{second} {minute} {hour} {days}")))
            .collect()
    }
}

/// Numbers alone have been looked at already; an expression that the evaluator refuses all the same fires never.
fn evaluator(canonical: &str) -> Option<Cron> {
    let parser = CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Disallowed)
        .build();
    parser.parse(canonical).ok()
}

fn longest(month: u8) -> u8 {
    match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn of_word(word: &str, whole: &str) -> Result<&'static str, Error> {
    Ok(match word.to_ascii_lowercase().as_str() {
        "hourly" => "0 * * * *",
        "daily" | "midnight" => "0 0 * * *",
        "weekly" => "0 0 * * SUN",
        "monthly" => "0 0 1 * *",
        "yearly" | "annually" => "0 0 1 1 *",
        _ => {
            return Err(Error::Word {
                word: whole.chars().take(24).collect(),
            });
        }
    })
}

/// The fields with the columns at which they begin, in characters from 0.
fn split(text: &str) -> Vec<(usize, &str)> {
    let mut fields = Vec::new();
    let mut start = None;
    for (column, (at, c)) in text.char_indices().enumerate() {
        match (c.is_whitespace(), start) {
            (false, None) => start = Some((column, at)),
            (true, Some((column, from))) => {
                fields.push((column, text.get(from..at).unwrap_or_default()));
                start = None;
            }
            _ => {}
        }
    }
    if let Some((column, from)) = start {
        fields.push((column, text.get(from..).unwrap_or_default()));
    }
    fields
}

fn steps_of_days(field: &Parsed, step: u8, is_hashed: bool) -> String {
    let sign = if is_hashed { 'H' } else { '*' };
    let counted = format!("`{sign}/{step}` in the {} starts anew", field.field);
    if is_hashed {
        return format!("{counted} every month or week: it is not every {step} days; `@every` counts on");
    }
    let numbers = field.numbers("");
    let (what, when) = if field.field == Field::Day {
        let days: Vec<String> = numbers.iter().map(|day| ordinal(*day)).collect();
        (format!("the {}", listed(&days)), "every month")
    } else {
        let days: Vec<String> = numbers
            .iter()
            .filter_map(|day| WEEKDAYS.get(usize::from(*day)).map(ToString::to_string))
            .collect();
        (listed(&days), "every week")
    };
    format!(
        "{counted} {when}: it means {what}, not every {step} days; `0 0 * * SUN` is weekly, and `@every {}h` counts on",
        u32::from(step) * 24
    )
}

fn ordinal(number: u8) -> String {
    let ending = match (number % 10, number / 10) {
        (1, 0 | 2 | 3) => "st",
        (2, 0 | 2) => "nd",
        (3, 0 | 2) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

fn listed(words: &[String]) -> String {
    match words {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => words.join(""),
    }
}
