//! What a host measures of itself, each measurement under one name and one unit. Knows the words of the model; not who measures, nor who reads.
//!
//! Names follow [OpenTelemetry's conventions](https://opentelemetry.io/docs/specs/semconv/general/naming/) (`keywheel.rotation.run.duration`, seconds) as
//! Prometheus writes them (`keywheel_rotation_run_duration_seconds`). A label has few values: words of the model and names of plugins; of secrets only where the
//! operator wants them.

#![forbid(unsafe_code)]

mod process;
mod snapshot;

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use keywheel_model::{ErrorKind, PluginName, StepName, Timestamp, Trigger};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub use snapshot::{Expiry, Snapshot};

/// The media type of [`Metrics::text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds in seconds: a step takes milliseconds, or as long as its deadline.
const SECONDS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

/// Bounds in seconds: a run takes milliseconds, or waits a day for consumers.
const LONG_SECONDS: [f64; 12] = [
    0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
#[expect(clippy::struct_field_names, reason = "a field is named as its label")]
struct RunLabels {
    keywheel_plugin_name: String,
    keywheel_rotation_trigger: &'static str,
    keywheel_rotation_result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    keywheel_plugin_name: String,
    keywheel_rotation_step: &'static str,
    /// Empty where nothing went wrong.
    error_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeliveryLabels {
    keywheel_notification_sink: String,
    keywheel_notification_result: &'static str,
}

/// Counts and durations since the host was started.
pub struct Metrics {
    registry: Registry,
    runs: Family<RunLabels, Histogram>,
    steps: Family<StepLabels, Histogram>,
    lag: Histogram,
    looked: Gauge,
    looked_at: Mutex<Option<Instant>>,
    generation: Gauge,
    refused: Counter,
    deliveries: Family<DeliveryLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("keywheel");
        let runs = Family::new_with_constructor(long as fn() -> Histogram);
        let steps = Family::new_with_constructor(short as fn() -> Histogram);
        let (lag, looked, generation, refused) =
            (short(), Gauge::default(), Gauge::default(), Counter::default());
        let seconds = || Unit::Seconds;
        registry.register_with_unit(
            "rotation_run_duration",
            "Runs that ended, from their first step to their end",
            seconds(),
            runs.clone(),
        );
        registry.register_with_unit(
            "rotation_step_duration",
            "Calls of plugins' steps",
            seconds(),
            steps.clone(),
        );
        registry.register_with_unit(
            "schedule_lag",
            "How late what was due was started",
            seconds(),
            lag.clone(),
        );
        registry.register_with_unit(
            "scheduler_last_tick_timestamp",
            "When the keeper looked for work last, Unix time",
            seconds(),
            looked.clone(),
        );
        registry.register(
            "config_generation",
            "Which configuration counts: 1 since the start, one more for each that was taken",
            generation.clone(),
        );
        registry.register(
            "config_reload_errors",
            "Configurations that were not taken",
            refused.clone(),
        );
        let deliveries = Family::<DeliveryLabels, Counter>::default();
        registry.register(
            "notification_deliveries",
            "Notices that were handed to a sink",
            deliveries.clone(),
        );
        generation.set(1);
        Self {
            registry,
            runs,
            steps,
            lag,
            looked,
            looked_at: Mutex::default(),
            generation,
            refused,
            deliveries,
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// A run ended; `result` is a word of its state. Without a plugin: it is gone.
    pub fn run_ended(
        &self,
        plugin: Option<&PluginName>,
        trigger: Trigger,
        result: &'static str,
        took: Duration,
    ) {
        let labels = RunLabels {
            keywheel_plugin_name: plugin.map_or_else(String::new, ToString::to_string),
            keywheel_rotation_trigger: trigger.as_str(),
            keywheel_rotation_result: result,
        };
        self.runs.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A step was called, and came back.
    pub fn step_ended(&self, plugin: &PluginName, step: StepName, error: Option<ErrorKind>, took: Duration) {
        let labels = StepLabels {
            keywheel_plugin_name: plugin.to_string(),
            keywheel_rotation_step: step.as_str(),
            error_type: error.map_or("", error_word),
        };
        self.steps.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// What was due was started so late.
    pub fn started_late(&self, by: Duration) {
        self.lag.observe(by.as_secs_f64());
    }

    /// The keeper has looked for work.
    pub fn looked(&self, at: Timestamp) {
        self.looked
            .set(i64::try_from(at.as_unix_ms() / 1000).unwrap_or(i64::MAX));
        *self.looked_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// How long ago that was, whatever was done to the clock since; none: it has not yet.
    pub fn looked_ago(&self) -> Option<Duration> {
        let looked_at = *self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        looked_at.map(|at| at.elapsed())
    }

    /// Another configuration counts.
    pub fn configured(&self) {
        self.generation.inc();
    }

    /// A configuration was not taken.
    pub fn not_configured(&self) {
        self.refused.inc();
    }

    /// A notice was handed to a sink, which has taken it or not.
    pub fn delivered(&self, sink: &str, well: bool) {
        let labels = DeliveryLabels {
            keywheel_notification_sink: sink.to_owned(),
            keywheel_notification_result: if well { "taken" } else { "failed" },
        };
        self.deliveries.get_or_create(&labels).inc();
    }

    /// All of it, with what is counted at this time, as `/metrics` answers it ([`MEDIA_TYPE`]).
    ///
    /// # Errors
    /// None that a text can make.
    pub fn text(&self, now: &Snapshot) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode_registry(&mut text, &self.registry)?;
        text::encode_registry(&mut text, &now.registry())?;
        text::encode_registry(&mut text, &process::registry())?;
        text::encode_eof(&mut text)?;
        Ok(text)
    }
}

fn short() -> Histogram {
    Histogram::new(SECONDS)
}

fn long() -> Histogram {
    Histogram::new(LONG_SECONDS)
}

fn error_word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Denied => "denied",
        ErrorKind::Invalid => "invalid",
        ErrorKind::NotFound => "not-found",
        ErrorKind::Conflict => "conflict",
        ErrorKind::Unauthenticated => "unauthenticated",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Limit => "limit",
        ErrorKind::Cancelled => "cancelled",
        ErrorKind::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_in_the_text_under_its_name_unit_and_labels() {
        let metrics = Metrics::default();
        let plugin: PluginName = "postgres".parse().expect("a name");
        metrics.run_ended(
            Some(&plugin),
            Trigger::Schedule,
            "succeeded",
            Duration::from_millis(300),
        );
        metrics.step_ended(
            &plugin,
            StepName::Apply,
            Some(ErrorKind::Timeout),
            Duration::from_millis(30),
        );
        metrics.started_late(Duration::from_millis(7));
        metrics.looked(Timestamp::from_unix_ms(1_764_000_000_123));
        metrics.configured();
        metrics.not_configured();
        let text = metrics.text(&Snapshot::default()).expect("text");
        for line in [
            "# TYPE keywheel_rotation_run_duration_seconds histogram",
            r#"keywheel_rotation_run_duration_seconds_bucket{le="0.5",keywheel_plugin_name="postgres",keywheel_rotation_trigger="schedule",keywheel_rotation_result="succeeded"} 1"#,
            r#"keywheel_rotation_step_duration_seconds_count{keywheel_plugin_name="postgres",keywheel_rotation_step="apply",error_type="timeout"} 1"#,
            "keywheel_schedule_lag_seconds_sum 0.007",
            "keywheel_scheduler_last_tick_timestamp_seconds 1764000000",
            "keywheel_config_generation 2",
            "keywheel_config_reload_errors_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn the_reference_lists_what_there_is_and_nothing_else() {
        let page = include_str!("../../../docs/reference/metrics.md");
        let snapshot = Snapshot {
            backed_up: Some(Timestamp::from_unix_ms(1)),
            open_runs: vec![("running", 1)],
            expiries: vec![Expiry {
                secret: None,
                expires: Some(Timestamp::from_unix_ms(1)),
                renews: Some(Timestamp::from_unix_ms(1)),
            }],
            ..Snapshot::default()
        };
        let metrics = Metrics::default();
        metrics.run_ended(None, Trigger::Manual, "succeeded", Duration::ZERO);
        let plugin: PluginName = "redis".parse().expect("a name");
        metrics.step_ended(&plugin, StepName::Test, None, Duration::ZERO);
        metrics.delivered("ops", true);
        let text = metrics.text(&snapshot).expect("text");
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let families: Vec<(&str, &str)> = types.filter_map(|line| line.split_once(' ')).collect();
        assert!(families.len() > 15, "{text}");
        let suffix = |kind: &str| match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let names: Vec<String> = families
            .iter()
            .map(|(name, kind)| format!("{name}{}", suffix(kind)))
            .collect();
        for name in &names {
            assert!(page.contains(&format!("`{name}`")), "{name} is not on the page");
        }
        let rows = page.lines().filter(|line| line.starts_with("| `"));
        let listed = rows.flat_map(|row| {
            let first = row.split('|').nth(1).unwrap_or_default();
            first.split('`').skip(1).step_by(2)
        });
        for name in listed {
            assert!(names.iter().any(|there| there == name), "{name} is not there");
        }
    }
}
