mod lines;

use std::fmt;

use serde_json::Value;

use crate::call::Call;
use crate::manifest::Manifest;

/// Why a call is no declared one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No shape of its kind fits.
    NoShape,
    /// Two shapes fit; their ids.
    Ambiguous(String, String),
    /// A secret in it has no role in this run: composed, or generated and not stored. No shape can name it.
    Unplaced,
}

/// A call that was refused before anything was sent. Shows texts, names and roles; it never had a secret's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// The call in short, with `…` for everything that is not author's text.
    pub preview: String,
    /// What to add to `manifest.toml` so that the call is a declared one; empty when no line could do that.
    pub lines: String,
    /// What of the lines has to be decided by a person (a name that is nowhere in the configuration).
    pub notes: Vec<String>,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, call: &Call, configuration: &Value, manifest: &Manifest) -> Self {
        let preview = lines::preview(call);
        let (lines, notes) = match reason {
            Reason::NoShape => lines::declare(call, configuration, manifest),
            _ => (String::new(), Vec::new()),
        };
        Self {
            reason,
            preview,
            lines,
            notes,
        }
    }

    fn comments(&self) -> String {
        self.notes
            .iter()
            .map(|note| format!("# {note}\n"))
            .collect::<Vec<_>>()
            .concat()
    }

    /// Stable, dotted, lower case.
    pub fn code(&self) -> &'static str {
        match self.reason {
            Reason::NoShape => "shape.none",
            Reason::Ambiguous(..) => "shape.ambiguous",
            Reason::Unplaced => "shape.unplaced-secret",
        }
    }

    /// The way out.
    pub fn hint(&self) -> String {
        match &self.reason {
            Reason::NoShape if self.lines.is_empty() => self.notes.join("\n"),
            Reason::NoShape => format!("add to manifest.toml:\n{}{}", self.lines, self.comments()),
            Reason::Ambiguous(first, second) => format!("make `{first}` and `{second}` differ in their text, or drop one"),
            Reason::Unplaced => "store it first (`set-pending`, `set-secret-state`), and give each secret as a piece of its own".to_owned(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::NoShape if self.lines.is_empty() => {
                write!(
                    f,
                    "no shape matches \"{}\", and none can: {}",
                    self.preview,
                    self.notes.join("; ")
                )
            }
            Reason::NoShape => {
                let (lines, comments) = (&self.lines, self.comments());
                write!(
                    f,
                    "no shape matches \"{}\"; add to manifest.toml:\n{lines}{comments}",
                    self.preview
                )
            }
            Reason::Ambiguous(first, second) => write!(
                f,
                "the shapes `{first}` and `{second}` both match \"{}\"",
                self.preview
            ),
            Reason::Unplaced => write!(
                f,
                "a secret in \"{}\" is composed, or was generated and not stored",
                self.preview
            ),
        }
    }
}

impl std::error::Error for Refusal {}
