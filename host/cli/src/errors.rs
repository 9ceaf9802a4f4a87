//! How a command fails: an error with its causes, hints and exit code, shown on standard error.

pub(crate) mod engine;

use std::error::Error;

use keywheel_config::{Problem, Problems};
use serde::Serialize;

use crate::exit_code::ExitCode;
use crate::output::{Style, Text};

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// One error with its causes.
    Error(Box<Report>),
    /// What is wrong with the configuration, all at once.
    Config(Problems),
    /// What had to be said has been said; only the code is left.
    Silent(ExitCode),
}

/// One error, ready to be shown.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The exit code.
    pub(crate) exit: ExitCode,
    /// Stable, dotted, lower case.
    pub(crate) code: String,
    /// What failed: a lower-case fragment.
    pub(crate) message: String,
    /// Its causes, outermost first.
    pub(crate) causes: Vec<String>,
    /// The ways out.
    pub(crate) hints: Vec<String>,
}

impl Failure {
    /// A failure without a cause.
    pub(crate) fn new(exit: ExitCode, code: &str, message: impl Into<String>) -> Self {
        let report = Report {
            exit,
            code: code.to_owned(),
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
        };
        Self::Error(Box::new(report))
    }

    /// A failure from an error; its sources become the causes.
    pub(crate) fn from_error(exit: ExitCode, code: &str, error: &(dyn Error + 'static)) -> Self {
        Self::new(exit, code, error.to_string()).caused_by(error.source())
    }

    /// What could not be done, and the error that stopped it.
    pub(crate) fn because(
        exit: ExitCode,
        code: &str,
        message: impl Into<String>,
        cause: &(dyn Error + 'static),
    ) -> Self {
        Self::new(exit, code, message).caused_by(Some(cause))
    }

    fn caused_by(mut self, cause: Option<&(dyn Error + 'static)>) -> Self {
        if let Self::Error(report) = &mut self {
            let mut cause = cause;
            while let Some(error) = cause {
                report.causes.push(error.to_string());
                cause = error.source();
            }
        }
        self
    }

    /// The same with a way out.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Error(report) = &mut self {
            report.hints.push(hint.into());
        }
        self
    }

    /// The same with a way out, if there is one.
    #[must_use]
    pub(crate) fn maybe_hint(self, hint: Option<String>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> ExitCode {
        match self {
            Self::Error(report) => report.exit,
            Self::Config(_) => ExitCode::ConfigInvalid,
            Self::Silent(exit) => *exit,
        }
    }

    /// The stable code.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Error(report) => &report.code,
            Self::Config(_) => CONFIG_INVALID,
            Self::Silent(_) => "",
        }
    }

    /// As text for people.
    pub(crate) fn to_text(&self, style: Style) -> String {
        match self {
            Self::Error(report) => report_text(report, style),
            Self::Config(problems) => problems_text(problems, style),
            Self::Silent(_) => String::new(),
        }
    }

    /// As one line of JSON.
    pub(crate) fn to_json(&self) -> String {
        let value = match self {
            Self::Error(report) => serde_json::json!({ "error": report }),
            Self::Config(problems) => serde_json::json!({ "error": {
                "exit": ExitCode::ConfigInvalid,
                "code": CONFIG_INVALID,
                "message": counted(problems.count(), "problem"),
                "problems": problems,
            }}),
            Self::Silent(_) => return String::new(),
        };
        value.to_string() + "\n"
    }
}

/// Of a configuration with problems, each of which has its own code.
const CONFIG_INVALID: &str = "config.invalid";

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Config(problems)
    }
}

/// `1 problem`, `2 problems`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn report_text(report: &Report, style: Style) -> String {
    let mut text = Text::default();
    text.line(format_args!(
        "{} {}",
        style.bad(&format!("error[{}]:", report.code)),
        report.message
    ));
    for cause in &report.causes {
        text.line(format_args!(
            "  caused by: {}",
            cause.replace('\n', "\n             ")
        ));
    }
    for hint in &report.hints {
        text.line(format_args!(
            "{} {}",
            style.hint("hint:"),
            hint.replace('\n', "\n      ")
        ));
    }
    text.finish()
}

fn problems_text(problems: &Problems, style: Style) -> String {
    let mut text = Text::default();
    for problem in problems {
        problem_text(&mut text, problem, style);
        text.line("");
    }
    text.line(format_args!(
        "{} {}",
        style.bad("error:"),
        counted(problems.count(), "problem")
    ));
    text.finish()
}

fn problem_text(text: &mut Text, problem: &Problem, style: Style) {
    let place = &problem.place;
    let gutter = " ".repeat(place.line.to_string().len());
    text.line(format_args!(
        "{} {}",
        style.bad(&format!("error[{}]:", problem.code)),
        problem.message
    ));
    text.line(format_args!("{gutter}{} {place}", style.dim("-->")));
    if let Some(line) = &problem.line_text {
        let before = " ".repeat(place.column.saturating_sub(1));
        let marks = "^".repeat(problem.length.max(1));
        text.line(format_args!("{gutter} {}", style.dim("|")));
        text.line(format_args!("{} {line}", style.dim(&format!("{} |", place.line))));
        text.line(format_args!(
            "{gutter} {} {before}{}",
            style.dim("|"),
            style.bad(&marks)
        ));
    }
    if let Some(hint) = &problem.hint {
        text.line(format_args!("{} {hint}", style.hint("hint:")));
    }
}
