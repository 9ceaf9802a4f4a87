//! When rotations run, as it is written.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// When rotations run, where a rotation's own `schedule` does not say otherwise. A rotation without a `schedule` runs by hand alone.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Defaults {
    /// The time zone in which expressions and dates are read, like "Europe/Berlin". Default: UTC.
    #[schemars(extend("format" = "keywheel-zone"))]
    pub(crate) zone: Option<String>,
    /// The share of a credential's life after which it is renewed, if it expires: 0.8 is four fifths. Default: 0.8 where `before_expiry` is left
    /// out too.
    #[schemars(range(min = 0.05, max = 0.99))]
    pub(crate) renew_at: Option<f64>,
    /// How long before it expires a credential is renewed at the latest, like "30d". Never before half of its life is over.
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) before_expiry: Option<String>,
    /// The most by which a run is put off, so that not all start at once: a time that the rotation's name decides, at most a tenth of the period.
    /// "0s": none. Default: 15m.
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) jitter: Option<String>,
    /// What happens to times that passed while the host was down: `one` run makes up for all of them, or `skip`. What its expiry demands is never
    /// skipped. Default: `one`.
    pub(crate) catch_up: Option<CatchUp>,
    /// A time that is later than this is missed for good, like "12h". Default: none; with `catch_up = "skip"` a minute.
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) max_lateness: Option<String>,
    /// When rotations may run. Default: always.
    pub(crate) window: Vec<Window>,
    /// When they may not, whatever the windows say.
    pub(crate) blackout: Vec<Blackout>,
    /// How many runs the host drives at once. Default: 16.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) at_once: Option<u16>,
    /// How many rotations it starts on one target at once. Default: 1.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) at_once_per_target: Option<u16>,
    /// How many rotations of one plugin it starts at once. Default: no limit.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) at_once_per_plugin: Option<u16>,
    /// How often a rotation that failed is tried again before it is parked, and a person asked. Default: 8.
    #[schemars(range(min = 0, max = 100))]
    pub(crate) tries: Option<u32>,
    /// The share of all rotations that are started by themselves within an hour at most, but never fewer than twenty: 0.25 is a quarter. Default: no limit.
    #[schemars(range(min = 0.001, max = 1.0))]
    pub(crate) brake: Option<f64>,
}

/// When this rotation runs: an expression (`"0 3 * * SUN"`, `"@daily"`, `"@every 36h"`, `"manual"`), or a table. What is first counts. Default: by
/// hand alone.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Table {
    /// A cron expression of five fields (minute, hour, day of the month, month, day of the week), or a word like `@daily`. `H` in a field is a
    /// value that the rotation's name decides.
    pub(crate) cron: Option<String>,
    /// So long after the last success, in real time, like "36h".
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) every: Option<String>,
    /// Whether `cron` has six fields, the first of which is seconds. Default: false.
    pub(crate) seconds: bool,
    /// The time zone. Default: that of `[schedule]`, else UTC.
    #[schemars(extend("format" = "keywheel-zone"))]
    pub(crate) zone: Option<String>,
    /// The share of the credential's life after which it is renewed, if it expires.
    #[schemars(range(min = 0.05, max = 0.99))]
    pub(crate) renew_at: Option<f64>,
    /// How long before it expires it is renewed at the latest, like "30d".
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) before_expiry: Option<String>,
    /// Whether it runs once after each start of the host. Default: false.
    pub(crate) on_start: bool,
    /// Whether nothing is due, as long as this stands here. Default: false.
    pub(crate) paused: bool,
    /// The most by which a run is put off.
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) jitter: Option<String>,
    /// What happens to times that passed while the host was down: `one` or `skip`.
    pub(crate) catch_up: Option<CatchUp>,
    /// A time that is later than this is missed for good.
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) max_lateness: Option<String>,
    /// When it may run, instead of the windows of `[schedule]`.
    pub(crate) window: Option<Vec<Window>>,
    /// When it may not, beside the blackouts of `[schedule]`.
    pub(crate) blackout: Vec<Blackout>,
}

/// Short, or a table.
#[derive(Debug)]
pub(crate) enum Written {
    Short(String),
    Table(Box<Table>),
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self::Short(text)),
            table => Table::deserialize(table)
                .map(|table| Self::Table(Box::new(table)))
                .map_err(D::Error::custom),
        }
    }
}

/// One schema with two types, whose keywords are each of one of them: what is wrong with a table is told of the table.
impl JsonSchema for Written {
    fn schema_name() -> Cow<'static, str> {
        "Schedule".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Table::json_schema(generator);
        schema.insert("type".to_owned(), json!(["string", "object"]));
        schema
    }
}

/// A time in which rotations may run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Window {
    /// When it opens: a cron expression.
    pub(crate) start: String,
    /// How long it stays open, like "8h".
    #[serde(rename = "for")]
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) length: String,
    /// Its time zone. Default: that of the schedule.
    #[schemars(extend("format" = "keywheel-zone"))]
    pub(crate) zone: Option<String>,
}

/// A time in which no rotation may run: `from` and `to`, or `start` and `for`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Blackout {
    /// The first day, like "2026-12-20", or a local time, like "2026-12-20T18:00".
    pub(crate) from: Option<String>,
    /// The last day, which is black too, or a local time.
    pub(crate) to: Option<String>,
    /// When it begins, again and again: a cron expression.
    pub(crate) start: Option<String>,
    /// How long it lasts then, like "10h".
    #[serde(rename = "for")]
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) length: Option<String>,
    /// Its time zone. Default: that of the schedule.
    #[schemars(extend("format" = "keywheel-zone"))]
    pub(crate) zone: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CatchUp {
    One,
    Skip,
}
