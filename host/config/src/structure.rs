//! Checks a JSON value against a JSON Schema and pins what is wrong in the file. The configuration's own structure and
//! each plugin's settings go through here.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use keywheel_manifest::{HOST_FORMAT, HOST_OR_SOCKET_FORMAT};
use serde_json::Value;

use crate::document::{At, Document, join, quoted};
use crate::format;
use crate::problem::{PROBLEMS_MAX, Problem};

/// Whose schema it is: decides codes and wording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    File,
    Plugin,
}

/// Every violation, at most `PROBLEMS_MAX`. `base` is the pointer of `value` in the document.
pub(crate) fn check(
    document: &Document,
    owner: Owner,
    schema: &Value,
    validator: &Validator,
    base: &str,
    value: &Value,
) -> Vec<Problem> {
    let mut describer = Describer {
        document,
        owner,
        schema,
        base,
        problems: Vec::new(),
        unexplained: None,
    };
    for error in validator.iter_errors(value).take(PROBLEMS_MAX) {
        describer.describe(&error);
    }
    // Where something else explains what is wrong, it says nothing new.
    let unexplained = describer.unexplained.filter(|_| describer.problems.is_empty());
    describer.problems.extend(unexplained);
    describer.problems
}

struct Describer<'a> {
    document: &'a Document,
    owner: Owner,
    schema: &'a Value,
    base: &'a str,
    problems: Vec<Problem>,
    unexplained: Option<Problem>,
}

impl Describer<'_> {
    fn report(&mut self, at: At<'_>, code_of_file: &'static str, message: String, hint: Option<String>) {
        // One violation alone may be of a hundred thousand unknown keys.
        if self.problems.len() >= PROBLEMS_MAX {
            return;
        }
        let problem = self.problem(at, code_of_file, message, hint);
        self.problems.push(problem);
    }

    fn problem(
        &self,
        at: At<'_>,
        code_of_file: &'static str,
        message: String,
        hint: Option<String>,
    ) -> Problem {
        let code = if self.owner == Owner::File {
            code_of_file
        } else {
            "config.plugin-setting"
        };
        self.document.problem(at, code, message, hint)
    }

    fn describe(&mut self, error: &ValidationError<'_>) {
        let pointer = format!("{}{}", self.base, error.instance_path().as_str());
        if self.document.is_unread(&pointer) {
            return;
        }
        let value = At::Value(&pointer);
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                let known = siblings(self.schema, error.schema_path().as_str());
                for key in unexpected {
                    let (message, hint) = unknown_key(key, &known);
                    self.report(At::Key(&join(&pointer, key)), "config.unknown-key", message, hint);
                }
            }
            ValidationErrorKind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                let message = format!("{} needs the key {}", subject(&pointer), quoted(key));
                let hint = description(self.schema, error.schema_path().as_str(), key);
                self.report(At::Key(&pointer), "config.missing-key", message, hint);
            }
            ValidationErrorKind::Type { kind } => {
                let message = format!("expected {}, found {}", types(kind), kind_of(error.instance()));
                let hint = type_hint(kind, error.instance())
                    .or_else(|| form_hint(self.schema, error.schema_path().as_str()));
                self.report(value, "config.type", message, hint);
            }
            ValidationErrorKind::Enum { options } => {
                let (message, hint) = wrong_word(options, error.instance());
                self.report(value, "config.value", message, hint);
            }
            ValidationErrorKind::Format { format } => {
                self.wrong_text(value, format, error.instance().as_str().unwrap_or_default());
            }
            ValidationErrorKind::PropertyNames { error } => self.wrong_key(&pointer, error),
            ValidationErrorKind::OneOfNotValid { context } | ValidationErrorKind::AnyOf { context } => {
                if let Some(form) = nearest_form(context) {
                    for error in form {
                        self.describe(error);
                    }
                } else {
                    let message = "fits none of the forms that are allowed here".to_owned();
                    self.unexplained = Some(self.problem(value, "config.value", message, None));
                }
            }
            ValidationErrorKind::FalseSchema => {
                let message = "not allowed together with the other settings".to_owned();
                self.report(At::Key(&pointer), "config.value", message, None);
            }
            other => {
                let keyword = other.keyword();
                let message =
                    limit_message(other).unwrap_or_else(|| format!("does not fit the schema's `{keyword}`"));
                self.report(value, "config.value", message, None);
            }
        }
    }

    fn wrong_key(&mut self, table: &str, error: &ValidationError<'_>) {
        let key = error.instance().as_str().unwrap_or_default();
        let pointer = join(table, key);
        if let ValidationErrorKind::Format { format } = error.kind() {
            return self.wrong_text(At::Key(&pointer), format, key);
        }
        let message = format!("the key {} is not allowed here", quoted(key));
        self.report(At::Key(&pointer), "config.value", message, None);
    }

    /// A text that does not fit its format: ours say what is wrong with it, a plugin's are only named, but for a host.
    fn wrong_text(&mut self, at: At<'_>, format: &str, text: &str) {
        let wrong = match self.owner {
            Owner::File => format::wrong(format, text),
            Owner::Plugin if format == HOST_FORMAT => format::wrong_host(text),
            Owner::Plugin if format == HOST_OR_SOCKET_FORMAT => format::wrong_host_or_socket(text),
            Owner::Plugin => None,
        };
        match wrong {
            Some(wrong) => self.report(at, wrong.code, wrong.message, wrong.hint),
            None => self.report(at, "config.value", format!("is not a valid {format}"), None),
        }
    }
}

/// What is wrong with the form that was meant: of those whose constants (a mode, a kind) hold, the one with the fewest
/// errors; if the constants hold in none, nobody knows.
fn nearest_form<'e>(forms: &'e [Vec<ValidationError<'static>>]) -> Option<&'e [ValidationError<'static>]> {
    let is_meant = |form: &&Vec<ValidationError<'static>>| {
        !form.is_empty()
            && !form
                .iter()
                .any(|error| matches!(error.kind(), ValidationErrorKind::Constant { .. }))
    };
    forms
        .iter()
        .filter(is_meant)
        .min_by_key(|form| form.len())
        .map(Vec::as_slice)
}

fn wrong_word(options: &Value, found: &Value) -> (String, Option<String>) {
    let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
    let words: Vec<String> = options.iter().map(Value::to_string).collect();
    let names: Vec<&str> = options.iter().filter_map(Value::as_str).collect();
    let near = nearest(found.as_str().unwrap_or_default(), &names);
    (
        format!("expected {}", either(&words)),
        near.map(|name| format!("did you mean \"{name}\"?")),
    )
}

fn unknown_key(key: &str, known: &[&str]) -> (String, Option<String>) {
    let hint = match nearest(key, known) {
        Some(name) => Some(format!("did you mean `{name}`?")),
        None if known.is_empty() => None,
        None => Some(format!("known keys are {}", known.join(", "))),
    };
    (format!("unknown key {}", quoted(key)), hint)
}

/// The property names beside the keyword that failed.
fn siblings<'a>(schema: &'a Value, keyword_path: &str) -> Vec<&'a str> {
    properties(schema, keyword_path)
        .map(|map| map.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

fn properties<'a>(schema: &'a Value, keyword_path: &str) -> Option<&'a serde_json::Map<String, Value>> {
    let (parent, _) = keyword_path.rsplit_once('/')?;
    follow(schema, parent)?.get("properties")?.as_object()
}

/// Walks an evaluation path, which goes through `$ref`, to the schema it ends in.
fn follow<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    let mut at = root;
    for part in path.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        at = match at {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            _ => at.get(&part)?,
        };
        if part == "$ref" {
            at = root.pointer(at.as_str()?.strip_prefix('#')?)?;
        }
    }
    Some(at)
}

fn description(schema: &Value, keyword_path: &str, key: &str) -> Option<String> {
    // A form among several names only what it is about; the whole is described beside it.
    let whole = keyword_path
        .find("/oneOf/")
        .or_else(|| keyword_path.find("/anyOf/"));
    let beside = whole.map_or(keyword_path, |at| &keyword_path[..=at]);
    let property = properties(schema, keyword_path).and_then(|map| map.get(key));
    let property = property.or_else(|| properties(schema, beside)?.get(key))?;
    let text = property.get("description").and_then(Value::as_str)?;
    Some(format!("`{key}`: {}", text.replace('\n', " ")))
}

fn subject(pointer: &str) -> String {
    let mut parts = pointer.split('/').skip(1);
    match (parts.next(), parts.next(), parts.next()) {
        (None | Some(""), ..) => "the file".to_owned(),
        (Some("rotation"), Some(_), None) => "this rotation".to_owned(),
        (Some("rotation"), Some(_), Some("consumers")) => "this consumer".to_owned(),
        _ => {
            let words: Vec<&str> = pointer
                .split('/')
                .skip(1)
                .filter(|part| part.parse::<usize>().is_err())
                .collect();
            format!("`{}`", words.join("."))
        }
    }
}

fn types(kind: &TypeKind) -> String {
    let words: Vec<String> = match kind {
        TypeKind::Single(one) => vec![type_word(&one.to_string()).to_owned()],
        TypeKind::Multiple(many) => many
            .iter()
            .map(|one| type_word(&one.to_string()).to_owned())
            .collect(),
    };
    either(&words)
}

fn type_word(json_type: &str) -> &str {
    match json_type {
        "string" => "a string",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "an array",
        "object" => "a table",
        other => other,
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a whole number",
        Value::Bool(_) => "true or false",
        Value::Array(_) => "an array",
        Value::Object(_) => "a table",
        Value::Null => "nothing",
    }
}

fn type_hint(kind: &TypeKind, found: &Value) -> Option<String> {
    let TypeKind::Single(wanted) = kind else {
        return None;
    };
    match (wanted.to_string().as_str(), found) {
        ("string", Value::Number(number)) => Some(format!(
            "write it in quotes, with its unit if it is a time or a size: \"{number}s\", \"{number} MiB\""
        )),
        ("string", Value::Bool(truth)) => Some(format!("write it in quotes: \"{truth}\"")),
        ("integer" | "number", Value::String(text)) if text.trim().parse::<f64>().is_ok() => {
            Some("write it without quotes".to_owned())
        }
        ("array", Value::String(_)) => Some("write it in brackets: [\"…\"]".to_owned()),
        _ => None,
    }
}

/// What stands there by its schema: a table's keys, else what it is.
fn form_hint(schema: &Value, keyword_path: &str) -> Option<String> {
    let (mut at, _) = keyword_path.rsplit_once('/')?;
    let keys = follow(schema, at)?.get("properties").and_then(Value::as_object);
    if let Some(keys) = keys {
        let names: Vec<&str> = keys.keys().map(String::as_str).collect();
        return Some(format!(
            "a table is written {{ key = … }}; its keys are {}",
            names.join(", ")
        ));
    }
    // Of an entry of a list, what the list is.
    loop {
        let text = follow(schema, at)?.get("description").and_then(Value::as_str);
        match text {
            Some(text) => return Some(text.replace('\n', " ")),
            None => at = at.strip_suffix("/items")?,
        }
    }
}

fn limit_message(kind: &ValidationErrorKind) -> Option<String> {
    Some(match kind {
        ValidationErrorKind::Minimum { limit } => format!("less than {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("more than {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("not more than {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("not less than {limit}"),
        ValidationErrorKind::MinLength { limit } => format!("shorter than {limit} characters"),
        ValidationErrorKind::MaxLength { limit } => format!("longer than {limit} characters"),
        ValidationErrorKind::MinItems { limit } => format!("fewer than {limit} entries"),
        ValidationErrorKind::MaxItems { limit } => format!("more than {limit} entries"),
        ValidationErrorKind::UniqueItems => "an entry stands there twice".to_owned(),
        ValidationErrorKind::Pattern { pattern } => format!("does not fit the pattern {}", quoted(pattern)),
        ValidationErrorKind::Constant { expected_value } => format!("expected {expected_value}"),
        ValidationErrorKind::OneOfMultipleValid { .. } => {
            "fits more than one of the forms allowed here".to_owned()
        }
        _ => return None,
    })
}

fn either(words: &[String]) -> String {
    match words {
        [] => "something else".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// The name nearest to what was written, if it is near enough to be a slip.
pub fn nearest<'a>(written: &str, names: &[&'a str]) -> Option<&'a str> {
    const COMPARED_CHARS_MAX: usize = 64;
    if written.len() > COMPARED_CHARS_MAX {
        return None;
    }
    let plain = |text: &str| text.replace(['-', ' '], "_").to_lowercase();
    let scored = names
        .iter()
        .map(|name| (distance(&plain(written), &plain(name)), *name));
    let (best, name) = scored.min_by_key(|(score, _)| *score)?;
    (best <= written.chars().count().div_ceil(3)).then_some(name)
}

/// Edits between two texts: insert, delete, replace, swap of neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}
