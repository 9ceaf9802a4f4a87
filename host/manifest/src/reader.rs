//! Strict reading of small documents: every problem is listed, each with its place, and a key that nobody asked for is one.

use std::fmt;

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

/// The largest text that is read, in bytes.
const MAX_TEXT_BYTES: usize = 1 << 20;
const MAX_PROBLEMS: usize = 100;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path in the document: `frame[0].effect`; empty for the document as a whole.
    pub path: String,
    /// Line and column, from 1, where the document is a text.
    pub at: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.at {
            write!(f, "{line}:{column}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Collects problems while a document is read.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Notes a problem at a path. More than a hundred help nobody, and each costs time to find its place.
    pub fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.0.len() == MAX_PROBLEMS {
            return;
        }
        self.0.push(Problem {
            path: path.into(),
            at: None,
            message: message.into(),
        });
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, with lines and columns where `text` is the TOML that was read.
    pub fn into_list(mut self, text: Option<&str>) -> Vec<Problem> {
        if let Some((text, table)) = text.and_then(|text| Some((text, DeTable::parse(text).ok()?))) {
            for problem in &mut self.0 {
                problem.at =
                    offset_of(table.get_ref(), &problem.path).map(|offset| line_column(text, offset));
            }
        }
        self.0
    }
}

/// Reads TOML into a JSON value.
///
/// # Errors
/// All syntax errors, each with line and column; or a text over 1 MiB.
pub fn toml_to_json(text: &str) -> Result<Value, Vec<Problem>> {
    let whole = |message: String| {
        vec![Problem {
            path: String::new(),
            at: None,
            message,
        }]
    };
    if text.len() > MAX_TEXT_BYTES {
        return Err(whole(format!(
            "{} bytes; at most {MAX_TEXT_BYTES} are read",
            text.len()
        )));
    }
    let (_, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problem = |error: toml::de::Error| Problem {
            path: String::new(),
            at: error.span().map(|span| line_column(text, span.start)),
            message: error.message().to_owned(),
        };
        return Err(errors.into_iter().take(MAX_PROBLEMS).map(problem).collect());
    }
    let table: toml::Table = toml::from_str(text).map_err(|error| whole(error.message().to_owned()))?;
    serde_json::to_value(table).map_err(|error| whole(error.to_string()))
}

fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// Where the value (or the key, for an unknown one) at a path begins. Follows the path as far as the document goes.
fn offset_of(table: &DeTable<'_>, path: &str) -> Option<usize> {
    let mut here = None;
    let mut table = Some(table);
    let mut value: Option<&DeValue<'_>> = None;
    for step in path_steps(path) {
        if let Ok(index) = step.parse::<usize>()
            && let Some(DeValue::Array(items)) = value
        {
            let item = items.get(index)?;
            here = Some(item.span().start);
            value = Some(item.get_ref());
            table = item.get_ref().as_table();
            continue;
        }
        let Some((key, found)) = table.and_then(|table| table.iter().find(|(key, _)| key.get_ref() == &step))
        else {
            break;
        };
        here = Some(key.span().start);
        value = Some(found.get_ref());
        table = found.get_ref().as_table();
    }
    here
}

/// `mode[0].when."/a.b"` → `mode`, `0`, `when`, `/a.b`. What [`join`] escaped between quotes is itself again.
fn path_steps(path: &str) -> Vec<String> {
    let (mut steps, mut step) = (Vec::new(), String::new());
    let (mut begun, mut quoted) = (false, false);
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                quoted = !quoted;
                begun = true;
            }
            '\\' if quoted => step.extend(unescaped(&mut characters)),
            '.' | '[' if !quoted => {
                if std::mem::take(&mut begun) {
                    steps.push(std::mem::take(&mut step));
                }
            }
            ']' if !quoted => {}
            other => {
                step.push(other);
                begun = true;
            }
        }
    }
    steps.extend(begun.then_some(step));
    steps
}

/// The character that `escape_default` wrote after a backslash.
fn unescaped(rest: &mut std::str::Chars<'_>) -> Option<char> {
    match rest.next()? {
        't' => Some('\t'),
        'r' => Some('\r'),
        'n' => Some('\n'),
        'u' => {
            let digits: String = rest.take_while(|c| *c != '}').filter(|c| *c != '{').collect();
            u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32)
        }
        other => Some(other),
    }
}

/// `path.key`, quoted where the key is not a bare one.
pub fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let key = if bare {
        key.to_owned()
    } else {
        format!("\"{}\"", key.escape_default())
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

/// An object whose keys are asked for one by one; [`Fields::finish`] complains about the rest.
#[derive(Debug)]
pub struct Fields<'v> {
    map: &'v Map<String, Value>,
    path: String,
    known: Vec<&'static str>,
}

impl<'v> Fields<'v> {
    /// Begins to read `value`, noting when it is no object.
    pub fn of(value: &'v Value, path: impl Into<String>, problems: &mut Problems) -> Option<Self> {
        let path = path.into();
        let Some(map) = value.as_object() else {
            problems.add(path, format!("expected a table, found {}", kind(value)));
            return None;
        };
        Some(Self {
            map,
            path,
            known: Vec::new(),
        })
    }

    /// The path of a key.
    pub fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// The raw value of a key that may be left out.
    pub fn value(&mut self, key: &'static str) -> Option<&'v Value> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.map.get(key)
    }

    /// The raw value of a key that must be there.
    pub fn required(&mut self, key: &'static str, problems: &mut Problems) -> Option<&'v Value> {
        let value = self.value(key);
        if value.is_none() {
            problems.add(self.path.clone(), format!("key `{key}` is missing"));
        }
        value
    }

    /// A text that may be left out.
    pub fn text(&mut self, key: &'static str, problems: &mut Problems) -> Option<&'v str> {
        let value = self.value(key)?;
        let text = value.as_str();
        if text.is_none() {
            problems.add(self.path(key), format!("expected a text, found {}", kind(value)));
        }
        text
    }

    /// A text that must be there.
    pub fn required_text(&mut self, key: &'static str, problems: &mut Problems) -> Option<&'v str> {
        self.required(key, problems)?;
        self.text(key, problems)
    }

    /// A list of texts; left out is empty.
    pub fn texts(&mut self, key: &'static str, problems: &mut Problems) -> Vec<&'v str> {
        let mut texts = Vec::new();
        for (at, item) in self.list(key, problems).iter().enumerate() {
            match item.as_str() {
                Some(text) => texts.push(text),
                None => problems.add(
                    format!("{}[{at}]", self.path(key)),
                    format!("expected a text, found {}", kind(item)),
                ),
            }
        }
        texts
    }

    /// A list; left out is empty.
    pub fn list(&mut self, key: &'static str, problems: &mut Problems) -> &'v [Value] {
        match self.value(key) {
            None => &[],
            Some(Value::Array(items)) => items,
            Some(other) => {
                problems.add(self.path(key), format!("expected a list, found {}", kind(other)));
                &[]
            }
        }
    }

    /// A table with free keys; left out is `None`.
    pub fn table(&mut self, key: &'static str, problems: &mut Problems) -> Option<&'v Map<String, Value>> {
        let value = self.value(key)?;
        let map = value.as_object();
        if map.is_none() {
            problems.add(self.path(key), format!("expected a table, found {}", kind(value)));
        }
        map
    }

    /// Parses a text that may be left out, noting what its type says is wrong.
    pub fn parsed<T>(&mut self, key: &'static str, problems: &mut Problems) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: fmt::Display,
    {
        let text = self.text(key, problems)?;
        text.parse()
            .map_err(|error: T::Err| problems.add(self.path(key), error.to_string()))
            .ok()
    }

    /// The same for a text that must be there.
    pub fn required_parsed<T>(&mut self, key: &'static str, problems: &mut Problems) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: fmt::Display,
    {
        self.required(key, problems)?;
        self.parsed(key, problems)
    }

    /// Parses each text of a list.
    pub fn parsed_list<T>(&mut self, key: &'static str, problems: &mut Problems) -> Vec<T>
    where
        T: std::str::FromStr,
        T::Err: fmt::Display,
    {
        let path = self.path(key);
        let mut parsed = Vec::new();
        for (at, text) in self.texts(key, problems).into_iter().enumerate() {
            match text.parse() {
                Ok(item) => parsed.push(item),
                Err(error) => problems.add(format!("{path}[{at}]"), format!("{error}")),
            }
        }
        parsed
    }

    /// Notes every key that was not asked for.
    pub fn finish(self, problems: &mut Problems) {
        for key in self.map.keys().filter(|key| !self.known.contains(&key.as_str())) {
            let known = self
                .known
                .iter()
                .map(|key| format!("`{key}`"))
                .collect::<Vec<_>>()
                .join(", ");
            problems.add(
                join(&self.path, key),
                format!("unknown key; expected one of {known}"),
            );
        }
    }
}

/// What a value is, in words.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_listed_with_its_line_and_column() {
        let text = "name = 3\n\n[[mode]]\nclass = \"A\"\ncolour = \"red\"\n";
        let document = toml_to_json(text).unwrap();
        let mut problems = Problems::default();
        let mut fields = Fields::of(&document, "", &mut problems).unwrap();
        assert_eq!(fields.required_text("name", &mut problems), None);
        for (at, mode) in fields.list("mode", &mut problems).iter().enumerate() {
            let mut mode = Fields::of(mode, format!("mode[{at}]"), &mut problems).unwrap();
            mode.required_text("class", &mut problems);
            mode.finish(&mut problems);
        }
        fields.required("format", &mut problems);
        fields.finish(&mut problems);
        let shown: Vec<String> = problems
            .into_list(Some(text))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            shown,
            [
                "1:1: name: expected a text, found a number",
                "5:1: mode[0].colour: unknown key; expected one of `class`",
                "key `format` is missing",
            ]
        );
    }

    #[test]
    fn a_key_of_any_characters_has_its_place() {
        for key in ["", "ä", "a.b", "a[0]", "\"", "\\", "\n\u{7f}"] {
            assert_eq!(path_steps(&join("mode[0]", key)), ["mode", "0", key], "{key:?}");
            assert_eq!(path_steps(&join("", key)), [key], "{key:?}");
        }
        assert_eq!(path_steps(""), [""; 0]);
    }

    #[test]
    fn a_megabyte_of_nonsense_ends_soon_and_with_few_lines() {
        assert_eq!(
            toml_to_json(&"a".repeat(MAX_TEXT_BYTES + 1)).unwrap_err().len(),
            1
        );
        assert!(toml_to_json(&"=\n".repeat(MAX_TEXT_BYTES / 2)).unwrap_err().len() <= MAX_PROBLEMS);
    }

    #[test]
    fn all_syntax_errors_are_listed() {
        let problems = toml_to_json("a = \nb = 1\nb = 2\n").unwrap_err();
        assert_eq!(
            problems
                .iter()
                .map(|problem| problem.at.map(|at| at.0))
                .collect::<Vec<_>>(),
            [Some(1), Some(3)]
        );
    }
}
