//! Repeated measurements.

use std::time::{Duration, Instant};

/// The least, the median and the greatest of several measurements, in whatever unit they were taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of at least one measurement; all zero of none.
    pub(crate) fn of(mut measured: Vec<f64>) -> Self {
        measured.sort_by(f64::total_cmp);
        let at = |place: usize| measured.get(place).copied().unwrap_or_default();
        Self {
            min: at(0),
            median: at(measured.len() / 2),
            max: at(measured.len().saturating_sub(1)),
        }
    }

    /// `median (min - max)`, each as `show` writes it.
    pub(crate) fn shown(&self, show: impl Fn(f64) -> String) -> String {
        format!("{} ({} - {})", show(self.median), show(self.min), show(self.max))
    }
}

/// Microseconds, or milliseconds from one on.
pub(crate) fn microseconds(value: f64) -> String {
    if value < 1_000.0 {
        format!("{value:.0} us")
    } else {
        format!("{:.2} ms", value / 1_000.0)
    }
}

/// As a number of microseconds.
pub(crate) fn as_microseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}

/// How often something happened in a second.
pub(crate) fn rate(count: usize, span: Duration) -> f64 {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    f64::from(count) / span.as_secs_f64().max(1e-9)
}

/// Runs `work` and takes its time.
pub(crate) async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    let done = work.await;
    (done, begun.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_sorted_and_shown_with_its_unit() {
        let spread = Spread::of(vec![3.0, 1.0, 2_000.0]);
        assert_eq!(spread.shown(microseconds), "3 us (1 us - 2.00 ms)");
        assert_eq!(Spread::of(Vec::new()).median.to_bits(), 0.0_f64.to_bits());
    }
}
