//! What is printed: the matrix, and the timeline of a failure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::check::{Kind, Violation};
use crate::points::{Path, Point};
use crate::record::{Entry, Fact};

/// How often the host was hit, by point and path.
#[derive(Debug, Default)]
pub(crate) struct Matrix(BTreeMap<(Point, Path), u32>);

impl Matrix {
    pub(crate) fn count(&mut self, point: Point, path: Path) {
        *self.0.entry((point, path)).or_default() += 1;
    }

    /// Adds those of another target.
    pub(crate) fn join(&mut self, other: Self) {
        for (cell, count) in other.0 {
            *self.0.entry(cell).or_default() += count;
        }
    }

    pub(crate) fn sum(&self) -> u32 {
        self.0.values().sum()
    }

    fn of(&self, point: Point, path: Path) -> u32 {
        self.0.get(&(point, path)).copied().unwrap_or(0)
    }

    /// A table of points by paths, over all targets; a dash where a point does not lie on a path.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{:<24}", "point");
        for path in Path::ALL {
            let _ = write!(text, "{:>10}", path.name());
        }
        for point in Point::all() {
            let _ = write!(text, "\n{:<24}", point.name());
            for path in Path::ALL {
                let cell = match self.of(point, path) {
                    0 if !point.lies_on(path, true) => "-".to_owned(),
                    count => count.to_string(),
                };
                let _ = write!(text, "{cell:>10}");
            }
        }
        text
    }
}

/// How often what must not be was found.
#[derive(Debug, Default)]
pub(crate) struct Counts(BTreeMap<Kind, u32>);

impl Counts {
    pub(crate) fn add(&mut self, violations: &[Violation]) {
        for violation in violations {
            *self.0.entry(violation.kind).or_default() += 1;
        }
    }

    pub(crate) fn join(&mut self, other: Self) {
        for (kind, count) in other.0 {
            *self.0.entry(kind).or_default() += count;
        }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.0.is_empty()
    }

    fn of(&self, kind: Kind) -> u32 {
        self.0.get(&kind).copied().unwrap_or(0)
    }

    /// The last line.
    pub(crate) fn line(&self, kills: u32, targets: &str) -> String {
        let mut line = format!(
            "crash: kills={kills} targets={targets} lockouts={} lost={} stale={}",
            self.of(Kind::Lockout),
            self.of(Kind::Lost),
            self.of(Kind::Stale)
        );
        let others = [
            (Kind::Budget, "over-budget"),
            (Kind::Late, "late"),
            (Kind::Recovery, "unrecovered"),
        ];
        for (kind, word) in others {
            if self.of(kind) > 0 {
                let _ = write!(line, " {word}={}", self.of(kind));
            }
        }
        line
    }
}

/// What was seen of one kill, a line for each thing; rounds in which all went as before are left out.
pub(crate) fn timeline(entries: &[Entry]) -> String {
    let mut text = String::new();
    let mut known: BTreeMap<(String, String), String> = BTreeMap::new();
    for entry in entries {
        let line = match &entry.fact {
            Fact::Attempt {
                subject,
                value,
                said,
                proof,
                ..
            } => {
                let said = format!("{said:?}");
                let before = known.insert((subject.clone(), value.clone()), said.clone());
                if !proof && before.as_ref() == Some(&said) {
                    continue;
                }
                format!("witness: {subject} {value} {said}")
            }
            fact => serde_json::to_string(fact).unwrap_or_default(),
        };
        let _ = writeln!(text, "{:>12.3} ms  {line}", at_ms(entry.at));
    }
    text
}

#[expect(
    clippy::cast_precision_loss,
    reason = "for people: a run of days has no microseconds"
)]
fn at_ms(at: u64) -> f64 {
    at as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_names_what_a_script_reads() {
        let mut counts = Counts::default();
        let line = counts.line(60, "postgres,redis");
        assert_eq!(
            line,
            "crash: kills=60 targets=postgres,redis lockouts=0 lost=0 stale=0"
        );
        let found = |kind| Violation {
            kind,
            at: 0,
            words: String::new(),
        };
        counts.add(&[found(Kind::Lockout), found(Kind::Recovery)]);
        let line = counts.line(1, "redis");
        assert_eq!(
            line,
            "crash: kills=1 targets=redis lockouts=1 lost=0 stale=0 unrecovered=1"
        );
        assert!(!counts.is_clean());
    }

    #[test]
    fn the_matrix_has_every_point_and_tells_none_from_not_there() {
        let mut matrix = Matrix::default();
        matrix.count(Point::Random, Path::Rotate);
        let mut other = Matrix::default();
        other.count(Point::Random, Path::Rotate);
        matrix.join(other);
        let table = matrix.table();
        let row = |name: &str| {
            let row = table.lines().find(|line| line.starts_with(name)).unwrap();
            row[name.len()..].split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(row("random time"), "2 0 0 0 0 0 0");
        assert_eq!(row("change before"), "0 0 - - 0 0 0");
        assert_eq!(table.lines().count(), Point::all().len() + 1);
        assert_eq!(matrix.sum(), 2);
    }
}
