//! Where words go: data to standard output, talk to standard error. Nothing else in this crate prints.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io;
use std::sync::Arc;

use keywheel_engine::SystemClock;
use keywheel_model::Clock as _;
use keywheel_server::Ask;
use serde::Serialize;

use crate::args::{Color, Format, Global};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::terminal::Terminal;
use crate::{time, visible};

/// Colours of one stream, or none. A colour never carries a meaning alone: there is always a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    on: bool,
}

/// Every sequence that a style writes. Nothing else of its kind goes out: what comes from elsewhere cannot paint.
const SEQUENCES: [&str; 6] = [
    "\u{1b}[1;31m",
    "\u{1b}[32m",
    "\u{1b}[1;33m",
    "\u{1b}[1;36m",
    "\u{1b}[2m",
    "\u{1b}[0m",
];

impl Style {
    /// Without colours.
    pub(crate) const PLAIN: Self = Self { on: false };

    fn paint(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// The text, in which nothing paints but what this style has painted.
    fn visible(self, text: &str) -> Cow<'_, str> {
        visible::text(text, if self.on { &SEQUENCES } else { &[] })
    }

    /// Wrong.
    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Right.
    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Needs a look.
    pub(crate) fn attention(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    /// A way out.
    pub(crate) fn hint(self, text: &str) -> String {
        self.paint("1;36", text)
    }

    /// Less important.
    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
}

/// How to talk, as the command line and the terminals say.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of a terminal and a command line"
)]
pub(crate) struct Output {
    terminal: Arc<dyn Terminal>,
    format: Format,
    quiet: bool,
    out: Style,
    err: Style,
    interactive: bool,
    live: bool,
    /// Talk is a log: one JSON object a line.
    is_log: bool,
}

/// A line of talk, as the host's own log writes its events.
#[derive(Serialize)]
struct LogLine<'t> {
    timestamp: String,
    level: &'static str,
    message: &'t str,
    #[serde(flatten)]
    failure: Option<serde_json::Value>,
}

impl Output {
    /// From the global options and the terminal.
    pub(crate) fn new(global: &Global, terminal: Arc<dyn Terminal>) -> Self {
        let facts = terminal.facts();
        let style = |is_terminal: bool| Style {
            on: match global.color {
                Color::Always => true,
                Color::Never => false,
                Color::Auto => is_terminal && !facts.plain,
            },
        };
        Self {
            format: global.output,
            quiet: global.quiet,
            out: style(facts.stdout),
            err: style(facts.stderr),
            interactive: !global.no_input && facts.stdin && facts.stderr,
            live: terminal.is_own() && facts.stderr && !global.quiet && global.output == Format::Table,
            terminal,
            is_log: false,
        }
    }

    /// The same, with its talk as a log.
    pub(crate) fn into_log(self) -> Self {
        Self {
            is_log: true,
            interactive: false,
            live: false,
            err: Style::PLAIN,
            ..self
        }
    }

    /// Where the command was started.
    pub(crate) fn terminal(&self) -> &dyn Terminal {
        &*self.terminal
    }

    /// Whether a person can be asked.
    pub(crate) fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Whether progress may move on the terminal.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// Whether data is wanted as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// The data of a command: a struct as JSON, or what `text` makes of it for people.
    ///
    /// # Errors
    /// Standard output cannot be written; a closed pipe is a silent end.
    pub(crate) fn data<T: Serialize + ?Sized>(
        &self,
        value: &T,
        text: impl FnOnce(Style) -> String,
    ) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table => self.out.visible(&text(self.out)).into_owned(),
            Format::Json => {
                let json = serde_json::to_string_pretty(value);
                let json =
                    json.map_err(|error| Failure::from_error(ExitCode::Unexpected, "output.json", &error))?;
                visible::json(&json).into_owned() + "\n"
            }
        };
        self.raw(text.as_bytes())
    }

    /// Bytes to standard output as they are.
    ///
    /// # Errors
    /// Standard output cannot be written; a closed pipe is a silent end.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        match self.terminal.out(bytes) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Silent(ExitCode::Ok)),
            Err(error) => Err(Failure::because(
                ExitCode::Unexpected,
                "output.write",
                "cannot write to standard output",
                &error,
            )),
        }
    }

    /// Talk: what is going on, what was changed.
    pub(crate) fn say(&self, text: &str) {
        if self.quiet {
            return;
        }
        if self.is_log {
            self.log("INFO", text, None);
        } else {
            self.tell(&format!("{text}\n"));
        }
    }

    /// Asks a person for a yes.
    ///
    /// # Errors
    /// The answer is another one, or nobody may be asked.
    pub(crate) fn confirm(&self, question: &str) -> Result<(), Failure> {
        if !self.interactive {
            let failure = Failure::new(
                ExitCode::Usage,
                "input.confirm",
                "this needs a yes, and nobody may be asked",
            );
            return Err(failure.hint("`--yes` says it beforehand"));
        }
        let question = format!("{question} [y/N] ");
        let question = self.err.visible(&question).into_owned();
        match self.terminal.ask(&Ask::Line(question), &[]) {
            Ok(answer) if matches!(answer.trim_ascii(), b"y" | b"Y" | b"yes") => Ok(()),
            _ => Err(Failure::new(
                ExitCode::Unexpected,
                "input.confirm",
                "stopped: nothing was done",
            )),
        }
    }

    /// The command to run next.
    pub(crate) fn next(&self, command: &str) {
        self.say(&format!("{} {command}", self.err.hint("next:")));
    }

    /// Something to look at that does not stop the command. Shown even with `--quiet`.
    pub(crate) fn warn(&self, text: &str) {
        if self.is_log {
            self.log("WARN", text, None);
        } else {
            self.tell(&format!("{} {text}\n", self.err.attention("warning:")));
        }
    }

    /// The last word of a failed command.
    pub(crate) fn fail(&self, failure: &Failure) {
        if self.is_log {
            if let Ok(report) = serde_json::from_str(&failure.to_json()) {
                self.log("ERROR", "failed", Some(report));
            }
        } else if self.is_json() {
            self.terminal.err(&visible::json(&failure.to_json()));
        } else {
            self.tell(&failure.to_text(self.err));
        }
    }

    fn log(&self, level: &'static str, message: &str, failure: Option<serde_json::Value>) {
        let line = LogLine {
            timestamp: time::exact(SystemClock.now()),
            level,
            message,
            failure,
        };
        if let Ok(line) = serde_json::to_string(&line) {
            self.terminal.err(&(visible::json(&line).into_owned() + "\n"));
        }
    }

    fn tell(&self, text: &str) {
        self.terminal.err(&self.err.visible(text));
    }
}

/// Text of another process that talks as this one does: nothing in it paints but what a style paints.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    visible::text(text, &SEQUENCES)
}

/// The word that stands for a value in JSON.
pub(crate) fn word_of(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// Text for people, line by line.
#[derive(Debug, Default)]
pub(crate) struct Text {
    done: String,
    /// The facts since the last other line: their values will stand in one column.
    facts: Vec<(String, String)>,
}

impl Text {
    /// One more line.
    pub(crate) fn line(&mut self, line: impl Display) {
        self.align();
        // Writing to a string cannot fail.
        let _ = writeln!(self.done, "{line}");
    }

    /// One more line, `label: value`, its value in the same column as its neighbours'.
    pub(crate) fn fact(&mut self, label: &str, value: impl Display) {
        self.facts.push((format!("{label}:"), value.to_string()));
    }

    /// Lines that are already there.
    pub(crate) fn lines(&mut self, lines: &str) {
        self.align();
        self.done.push_str(lines);
    }

    /// The whole.
    pub(crate) fn finish(mut self) -> String {
        self.align();
        self.done
    }

    fn align(&mut self) {
        let widest = self.facts.iter().map(|(label, _)| label.chars().count()).max();
        let width = widest.unwrap_or(0);
        for (label, value) in self.facts.drain(..) {
            let _ = writeln!(self.done, "{label:<width$}  {value}");
        }
    }
}

/// Rows under headings, in columns as wide as their widest cell.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these headings.
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self {
            rows: vec![headings.map(ToOwned::to_owned).to_vec()],
        }
    }

    /// One more row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(Vec::from(cells));
    }

    /// As text; the headings are dim.
    pub(crate) fn to_text(&self, style: Style) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(at))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
        let mut text = String::new();
        for (at, row) in self.rows.iter().enumerate() {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            let line = line.trim_end();
            text.push_str(&if at == 0 { style.dim(line) } else { line.to_owned() });
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_nothing_trails() {
        let mut table = Table::new(["NAME", "STATE"]);
        table.row(["a-long-name".into(), "ok".into()]);
        table.row(["ü".into(), String::new()]);
        assert_eq!(
            table.to_text(Style::PLAIN),
            "NAME         STATE\na-long-name  ok\nü\n"
        );
    }

    #[test]
    fn the_values_of_neighbouring_facts_stand_in_one_column() {
        let mut text = Text::default();
        text.fact("a", 1);
        text.fact("old credential", "lives");
        text.line("--");
        text.fact("bc", 2);
        assert_eq!(
            text.finish(),
            "a:               1\nold credential:  lives\n--\nbc:  2\n"
        );
    }

    #[test]
    fn plain_style_adds_nothing() {
        assert_eq!(Style::PLAIN.bad("x"), "x");
        assert_eq!(Style { on: true }.bad("x"), "\u{1b}[1;31mx\u{1b}[0m");
    }

    #[test]
    fn what_a_style_paints_goes_out_and_what_a_name_would_paint_does_not() {
        let style = Style { on: true };
        for paint in [Style::bad, Style::good, Style::attention, Style::hint, Style::dim] {
            let painted = paint(style, "x");
            assert_eq!(style.visible(&painted), painted);
        }
        assert_eq!(style.visible("\u{1b}[2Jx"), "\\u{1b}[2Jx");
        assert_eq!(Style::PLAIN.visible("\u{1b}[32mx"), "\\u{1b}[32mx");
    }
}
