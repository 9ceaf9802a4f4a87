use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Where something stands: a file, a line and a column, both from 1; the column counts characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file, as it was named.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// Stable, dotted, lower case: `config.unknown-key`.
    pub code: &'static str,
    /// What is wrong: a lower-case fragment. Never holds a secret's value.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
    /// Where.
    pub place: Place,
    /// The line it stands on, without what looks like a secret; none if the line is too long to help.
    pub line_text: Option<String>,
    /// How many characters from the column on are meant.
    pub length: usize,
}

impl Problem {
    /// Of a cell of a table. The line is not shown: what stands in it was not searched for secrets as a whole.
    pub(crate) fn of_cell(place: Place, code: &'static str, message: String, hint: String) -> Self {
        Self {
            code,
            message,
            hint: Some(hint),
            place,
            line_text: None,
            length: 0,
        }
    }
}

/// More problems help nobody, and each costs time to find its place.
pub(crate) const PROBLEMS_MAX: usize = 200;

/// Everything that is wrong with the configuration, in the order of the file; of a file that has more, the first 200. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `Err` with all problems in the order of the file; `Ok` if there is none.
    pub(crate) fn result(mut problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort_by(|a, b| (&a.place, a.code, &a.message).cmp(&(&b.place, b.code, &b.message)));
        problems.dedup();
        problems.truncate(PROBLEMS_MAX);
        Err(Self(problems))
    }

    /// Of problems, of which there is at least one.
    pub(crate) fn of(problems: Vec<Problem>) -> Self {
        Self::result(problems).err().unwrap_or_else(|| Self(Vec::new()))
    }

    /// A problem of the file as a whole: it cannot be read.
    pub(crate) fn of_file(path: &Path, code: &'static str, message: String, hint: Option<String>) -> Self {
        Self::behind(path, "", code, message, hint)
    }

    /// A problem behind the part of the file that could be read.
    pub(crate) fn behind(
        path: &Path,
        read: &str,
        code: &'static str,
        message: String,
        hint: Option<String>,
    ) -> Self {
        let last = read.rsplit('\n').next().unwrap_or_default();
        let place = Place {
            file: path.to_owned(),
            line: read.matches('\n').count() + 1,
            column: last.chars().count() + 1,
        };
        Self(vec![Problem {
            code,
            message,
            hint,
            place,
            line_text: None,
            length: 0,
        }])
    }

    /// The problems; at least one.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Stable code of the whole.
    pub fn code(&self) -> &'static str {
        self.0.first().map_or("config.invalid", |problem| problem.code)
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One line for each: place, message.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            let newline = if at == 0 { "" } else { "\n" };
            write!(f, "{newline}{}: {}", problem.place, problem.message)?;
        }
        Ok(())
    }
}
