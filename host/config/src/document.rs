//! The text of a configuration with the place of every key and value. Everything above it talks in JSON pointers.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::each::RowPlace;
use crate::leak;
use crate::problem::{PROBLEMS_MAX, Place, Problem};

/// A longer line is not printed with a problem.
const LINE_SHOWN_BYTES_MAX: usize = 240;

/// What it says, and where it says so.
#[derive(Debug)]
pub(crate) struct Document {
    source: Arc<Source>,
    json: Value,
    /// It is a template, filled from a row of another file.
    row: Option<RowPlace>,
}

#[derive(Debug)]
struct Source {
    path: PathBuf,
    /// Without what looks like a secret: safe to show.
    shown: String,
    /// Where each line begins.
    lines: Vec<usize>,
    root: Node,
    /// Values that JSON does not have: something else stands in their place, of which nothing more is said.
    unread: BTreeSet<String>,
}

/// Where a problem is pinned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At<'a> {
    /// The key that leads to what the pointer names.
    Key(&'a str),
    /// The value itself.
    Value(&'a str),
    /// Of a text: the characters from one to another.
    Part(&'a str, usize, usize),
}

#[derive(Debug, Default)]
struct Node {
    key: Option<Range<usize>>,
    value: Range<usize>,
    table: BTreeMap<String, Node>,
    array: Vec<Node>,
}

impl Document {
    /// Reads the text. The problems are those of TOML itself, and of values that have no place in a configuration; the
    /// document holds what could be read.
    pub(crate) fn read(text: &str, path: &Path) -> (Self, Vec<Problem>) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut reader = Reader {
            shown: text.to_owned(),
            findings: Vec::new(),
            unread: BTreeSet::new(),
        };
        let (json, root) = reader.table(table.get_ref(), table.span(), None, "");
        let broken = !errors.is_empty();
        // A file of another kind has an error on each of a million lines.
        for error in errors.into_iter().take(PROBLEMS_MAX) {
            let span = error.span().unwrap_or(0..0);
            reader.findings.push(Finding {
                span,
                code: "config.syntax",
                message: syntax_message(&error),
                hint: None,
            });
        }
        let source = Source {
            path: path.to_owned(),
            shown: reader.shown,
            lines: std::iter::once(0)
                .chain(text.match_indices('\n').map(|(at, _)| at + 1))
                .collect(),
            root,
            unread: reader.unread,
        };
        let document = Self {
            source: Arc::new(source),
            json,
            row: None,
        };
        let problems = reader.findings.into_iter().map(|finding| {
            let mut problem =
                document
                    .source
                    .problem_at(finding.span, finding.code, finding.message, finding.hint);
            if broken {
                // What was not understood as TOML was not searched for secrets either.
                problem.line_text = problem.line_text.filter(|line| !line_may_hold_secret(line));
            }
            problem
        });
        let problems = problems.collect();
        (document, problems)
    }

    /// One rotation alone, as a row of another file has filled it in: what is wrong with a text that the row is in stands in that file.
    pub(crate) fn of_row(&self, rotation: Value, row: RowPlace) -> Self {
        Self {
            source: Arc::clone(&self.source),
            json: serde_json::json!({ "rotation": [rotation] }),
            row: Some(row),
        }
    }

    pub(crate) fn json(&self) -> &Value {
        &self.json
    }

    pub(crate) fn path(&self) -> &Path {
        &self.source.path
    }

    /// Whether what stands at the pointer in the JSON is not what stands in the file; that has been reported.
    pub(crate) fn is_unread(&self, pointer: &str) -> bool {
        self.source.unread.contains(self.in_file(pointer).as_ref())
    }

    /// The same of anything below the pointer.
    pub(crate) fn is_unread_below(&self, pointer: &str) -> bool {
        let pointer = self.in_file(pointer);
        let below = |unread: &String| {
            unread
                .strip_prefix(pointer.as_ref())
                .is_some_and(|rest| rest.starts_with('/'))
        };
        self.source.unread.iter().any(below)
    }

    /// A problem pinned at the nearest thing that exists on the way to the pointer.
    pub(crate) fn problem(
        &self,
        at: At<'_>,
        code: &'static str,
        message: String,
        hint: Option<String>,
    ) -> Problem {
        let (pointer, wants_key) = match at {
            At::Key(pointer) => (pointer, true),
            At::Value(pointer) | At::Part(pointer, ..) => (pointer, false),
        };
        let pointer = self.in_file(pointer);
        if let Some(place) = self
            .row
            .as_ref()
            .and_then(|row| row.place_of(&pointer, wants_key))
        {
            let hint = hint.unwrap_or_else(|| where_it_is_described(code).to_owned());
            return Problem::of_cell(place, code, message, hint);
        }
        self.source.problem(&pointer, wants_key, at, code, message, hint)
    }

    /// Where the value of the pointer stands; `None` if the file does not have it.
    pub(crate) fn place_of(&self, pointer: &str) -> Option<Place> {
        self.source.place_of(pointer)
    }

    /// The pointer as the file has it: of a row the one rotation is the template's.
    fn in_file<'p>(&self, pointer: &'p str) -> Cow<'p, str> {
        match &self.row {
            Some(row) => row.in_file(pointer),
            None => Cow::Borrowed(pointer),
        }
    }
}

impl Source {
    fn problem(
        &self,
        pointer: &str,
        wants_key: bool,
        at: At<'_>,
        code: &'static str,
        message: String,
        hint: Option<String>,
    ) -> Problem {
        let (node, _) = self.nearest(pointer);
        let span = match &node.key {
            Some(key) if wants_key || node.value.is_empty() => key.clone(),
            _ => node.value.clone(),
        };
        let span = match at {
            At::Part(_, from, to) => self.part(&span, from, to).unwrap_or(span),
            _ => span,
        };
        self.problem_at(span, code, message, hint)
    }

    /// Characters of a text in quotes; `None` where they do not stand in the file one by one.
    fn part(&self, span: &Range<usize>, from: usize, to: usize) -> Option<Range<usize>> {
        let quoted = self.shown.get(span.clone())?;
        let quote = quoted
            .chars()
            .next()
            .filter(|quote| matches!(quote, '"' | '\''))?;
        let inner = quoted.get(1..quoted.len().checked_sub(1)?)?;
        if inner.contains([quote, '\\', '\n']) {
            return None;
        }
        let ends = inner.char_indices().map(|(at, _)| at).chain([inner.len()]);
        let ends: Vec<usize> = ends.map(|at| span.start + 1 + at).collect();
        Some(*ends.get(from)?..*ends.get(to).or(ends.last())?)
    }

    fn place_of(&self, pointer: &str) -> Option<Place> {
        let (node, exact) = self.nearest(pointer);
        exact.then(|| self.place(node.key.as_ref().unwrap_or(&node.value).start))
    }

    fn nearest(&self, pointer: &str) -> (&Node, bool) {
        let mut node = &self.root;
        for part in pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            let child = node
                .table
                .get(&part)
                .or_else(|| part.parse::<usize>().ok().and_then(|at| node.array.get(at)));
            match child {
                Some(child) => node = child,
                None => return (node, false),
            }
        }
        (node, true)
    }

    fn problem_at(
        &self,
        span: Range<usize>,
        code: &'static str,
        message: String,
        hint: Option<String>,
    ) -> Problem {
        let place = self.place(span.start);
        let start = floor(&self.shown, span.start);
        let (number, line_start) = self.line(start);
        let line_end = self.lines.get(number).map_or(self.shown.len(), |next| next - 1);
        let line = self.shown[line_start..line_end].trim_end_matches('\r');
        let end = floor(&self.shown, span.end).clamp(start, line_start + line.len().max(start - line_start));
        Problem {
            code,
            message,
            hint: hint.or_else(|| Some(where_it_is_described(code).to_owned())),
            place,
            line_text: (line.len() <= LINE_SHOWN_BYTES_MAX).then(|| visible(line)),
            length: self.shown[start..end].chars().count(),
        }
    }

    fn place(&self, offset: usize) -> Place {
        let offset = floor(&self.shown, offset);
        let (line, start) = self.line(offset);
        Place {
            file: self.path.clone(),
            line,
            column: self.shown[start..offset].chars().count() + 1,
        }
    }

    /// The number of the line that something stands on, from 1, and where that line begins.
    fn line(&self, offset: usize) -> (usize, usize) {
        let number = self.lines.partition_point(|start| *start <= offset).max(1);
        (number, self.lines.get(number - 1).copied().unwrap_or_default())
    }
}

/// The way out where a message needs no better one.
fn where_it_is_described(code: &str) -> &'static str {
    if code == "config.plugin-setting" {
        "`keywheel plugin show PLUGIN --schema` describes every setting"
    } else {
        "`keywheel config schema` describes every key"
    }
}

/// The pointer one step down.
pub(crate) fn join(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// A key or name for a message: cut, control characters escaped.
pub(crate) fn quoted(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut shown: String = text
        .chars()
        .take(CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

struct Finding {
    span: Range<usize>,
    code: &'static str,
    message: String,
    hint: Option<String>,
}

struct Reader {
    shown: String,
    findings: Vec<Finding>,
    unread: BTreeSet<String>,
}

impl Reader {
    fn table(
        &mut self,
        table: &DeTable<'_>,
        span: Range<usize>,
        key: Option<Range<usize>>,
        pointer: &str,
    ) -> (Value, Node) {
        let mut json = serde_json::Map::new();
        let mut node = Node {
            key,
            value: span,
            ..Node::default()
        };
        for (name, value) in table {
            let pointer = join(pointer, name.get_ref());
            let (child_json, child) = self.value(value, Some(name.span()), name.get_ref(), &pointer);
            json.insert(name.get_ref().to_string(), child_json);
            node.table.insert(name.get_ref().to_string(), child);
        }
        (Value::Object(json), node)
    }

    fn value(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        key_span: Option<Range<usize>>,
        key: &str,
        pointer: &str,
    ) -> (Value, Node) {
        let span = value.span();
        let leaf = Node {
            key: key_span.clone(),
            value: span.clone(),
            ..Node::default()
        };
        match value.get_ref() {
            DeValue::String(text) => {
                self.look_for_secret(text, key, pointer, &span);
                (Value::String(text.to_string()), leaf)
            }
            DeValue::Integer(integer) => (self.integer(integer, pointer, &span), leaf),
            DeValue::Float(float) => {
                let number = float.as_str().parse().ok().and_then(serde_json::Number::from_f64);
                if number.is_none() {
                    self.find(pointer, &span, "config.number", "not a finite number", None);
                }
                (number.map_or(Value::from(0), Value::Number), leaf)
            }
            DeValue::Boolean(truth) => (Value::Bool(*truth), leaf),
            DeValue::Datetime(datetime) => {
                self.find(
                    pointer,
                    &span,
                    "config.datetime",
                    "no key takes a date",
                    Some("write it as a quoted string"),
                );
                (Value::String(datetime.to_string()), leaf)
            }
            DeValue::Array(items) => {
                let mut json = Vec::new();
                let mut node = leaf;
                for (at, item) in items.iter().enumerate() {
                    let (item_json, item) = self.value(item, None, key, &format!("{pointer}/{at}"));
                    json.push(item_json);
                    node.array.push(item);
                }
                (Value::Array(json), node)
            }
            DeValue::Table(table) => self.table(table, span, key_span, pointer),
        }
    }

    fn integer(&mut self, integer: &DeInteger<'_>, pointer: &str, span: &Range<usize>) -> Value {
        let digits = integer.as_str().replace('_', "");
        i64::from_str_radix(&digits, integer.radix()).map_or_else(
            |_| {
                self.find(pointer, span, "config.number", "not a 64-bit number", None);
                Value::from(0)
            },
            Value::from,
        )
    }

    fn look_for_secret(&mut self, text: &str, key: &str, pointer: &str, span: &Range<usize>) {
        let mut way = pointer.split('/').skip(1);
        let part = way.next();
        let is_name = part == Some("rotation") && matches!(way.nth(1), Some("inputs" | "outputs"));
        let is_held = part == Some("notify") && matches!(key, "url" | "key");
        let what = leak::recognise(text);
        if what.is_none() && (is_name || text.is_empty() || !(is_held || leak::names_a_value(key))) {
            return;
        }
        let what = what.unwrap_or("a secret's value");
        let black: String = self.shown[span.clone()]
            .chars()
            .map(|c| {
                if c == '\n' {
                    "\n".into()
                } else {
                    "*".repeat(c.len_utf8())
                }
            })
            .collect();
        self.shown.replace_range(span.clone(), &black);
        self.add(Finding {
            span: span.clone(),
            code: "config.secret-value",
            message: format!("this looks like {what}; a configuration holds only names of secrets"),
            hint: Some(
                "take it out, store it with `keywheel secret import NAME`, and name it under `inputs`; \
                 change it if others could read this file"
                    .to_owned(),
            ),
        });
    }

    /// Of a value that cannot be read.
    fn find(
        &mut self,
        pointer: &str,
        span: &Range<usize>,
        code: &'static str,
        message: &str,
        hint: Option<&str>,
    ) {
        self.unread.insert(pointer.to_owned());
        let finding = Finding {
            span: span.clone(),
            code,
            message: message.to_owned(),
            hint: hint.map(ToOwned::to_owned),
        };
        self.add(finding);
    }

    fn add(&mut self, finding: Finding) {
        if self.findings.len() < PROBLEMS_MAX {
            self.findings.push(finding);
        }
    }
}

/// The reader's message without its picture; it may quote a key, so it is cut.
fn syntax_message(error: &toml::de::Error) -> String {
    let text: String = error.message().chars().take(160).collect();
    visible(&text.replace('\n', "; "))
}

fn line_may_hold_secret(line: &str) -> bool {
    let key_is_telling = line
        .split_once('=')
        .is_some_and(|(key, _)| leak::names_a_value(key));
    let pieces = line.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '='));
    key_is_telling
        || leak::recognise(line).is_some()
        || pieces.into_iter().any(|piece| leak::recognise(piece).is_some())
}

/// Control characters and those that turn the direction of writing become `?`: a file cannot paint on a terminal.
fn visible(line: &str) -> String {
    line.chars()
        .map(|c| match c {
            '\t' => ' ',
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => '?',
            c if c.is_control() => '?',
            c => c,
        })
        .collect()
}

fn floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}
