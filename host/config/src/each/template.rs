//! A template: the JSON of a rotation in whose texts `{column}` stands for a row's cell.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use crate::document::join;
use crate::each::file;
use crate::problem::Place;

/// The keys of a rotation in whose texts cells are put. What else it says is the same for all rows.
const FILLED: [&str; 8] = [
    "name",
    "secret",
    "outputs",
    "forms",
    "config",
    "labels",
    "schedule",
    "consumers",
];

/// Where each of them needs a column: one text for all rows would be refused from the second row on.
const TOLD_APART: [&str; 2] = ["name", "secret"];

/// What a row fills in.
#[derive(Debug)]
pub(crate) struct Template {
    /// Which `[[rotation]]` of the file it is.
    pub(crate) index: usize,
    /// Without `each`.
    json: Value,
    columns: BTreeSet<String>,
}

/// A piece of a text.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Cell(&'a str),
}

/// What is wrong with a text, at a pointer within the rotation: a message and the way out.
pub(crate) type Wrong = (String, String, String);

impl Template {
    /// Of a rotation as the file has it.
    ///
    /// # Errors
    /// Braces that do not hold the name of a column; a name or a secret that would be the same in all rows.
    pub(crate) fn of(index: usize, rotation: &Value) -> Result<Self, Vec<Wrong>> {
        let mut json = rotation.clone();
        if let Some(table) = json.as_object_mut() {
            table.shift_remove("each");
        }
        let (mut columns, mut wrong) = (BTreeSet::new(), Vec::new());
        visit(&json, "", &mut |pointer, text| match pieces(text) {
            Ok(pieces) => columns.extend(pieces.into_iter().filter_map(|piece| match piece {
                Piece::Cell(column) => Some(column.to_owned()),
                Piece::Text(_) => None,
            })),
            Err(message) => wrong.push((pointer.to_owned(), message.to_owned(), BRACES.to_owned())),
        });
        for key in TOLD_APART {
            let text = json.get(key).and_then(Value::as_str).unwrap_or_default();
            let has_cell =
                |pieces: Vec<Piece<'_>>| pieces.iter().any(|piece| matches!(piece, Piece::Cell(_)));
            if pieces(text).is_ok_and(|pieces| !has_cell(pieces)) {
                let message = format!("each row needs a `{key}` of its own, and this is the same for all");
                let hint = format!("put a column into it, like `{key} = \"db-{{role}}\"`");
                wrong.push((format!("/{key}"), message, hint));
            }
        }
        if wrong.is_empty() {
            Ok(Self { index, json, columns })
        } else {
            Err(wrong)
        }
    }

    /// What it says, with the columns.
    pub(crate) fn json(&self) -> &Value {
        &self.json
    }

    /// The columns that it takes.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(String::as_str)
    }

    /// Its JSON with the cells of a row, by their columns. One that is not there is left empty: [`file::Rows`] has seen to that.
    pub(crate) fn fill(&self, cells: &BTreeMap<String, String>) -> Value {
        let mut json = self.json.clone();
        change(&mut json, "", &mut |text| {
            let pieces = pieces(text).unwrap_or_default();
            let cell = |column: &str| cells.get(column).map_or("", String::as_str);
            let filled = pieces.into_iter().map(|piece| match piece {
                Piece::Text(text) => text,
                Piece::Cell(column) => cell(column),
            });
            *text = filled.collect();
        });
        json
    }

    /// One of its texts with the cells of a row.
    pub(crate) fn text(&self, key: &str, cells: &BTreeMap<String, String>) -> String {
        let text = self.json.get(key).and_then(Value::as_str).unwrap_or_default();
        let pieces = pieces(text).unwrap_or_default().into_iter();
        let filled = pieces.map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Cell(column) => cells.get(column).map_or("", String::as_str),
        });
        filled.collect()
    }

    /// The first column that stands in the text of a pointer within the rotation, or below it. The keys are the template's own.
    fn column_at(&self, pointer: &str, of_key: bool) -> Option<String> {
        let value = self
            .json
            .pointer(pointer)
            .filter(|value| !of_key || value.is_string())?;
        let mut found = None;
        visit(value, pointer, &mut |_, text| {
            let cell = pieces(text)
                .unwrap_or_default()
                .into_iter()
                .find_map(|piece| match piece {
                    Piece::Cell(column) => Some(column.to_owned()),
                    Piece::Text(_) => None,
                });
            found = found.take().or(cell);
        });
        found
    }
}

/// The way out where braces are no column.
const BRACES: &str =
    "`{column}` stands for a cell of the row; write `{{` and `}}` for braces that stand for themselves";

/// Whether a pointer leads to a hook: the braces of its arguments stand for what is known when it is called.
fn is_hook(pointer: &str) -> bool {
    let mut way = pointer.split('/').skip(1);
    way.next() == Some("consumers") && way.nth(1) == Some("hook")
}

fn is_outside(pointer: &str) -> bool {
    let key = pointer.split('/').nth(1);
    key.is_some_and(|key| !FILLED.contains(&key)) || is_hook(pointer)
}

fn visit(value: &Value, pointer: &str, see: &mut impl FnMut(&str, &str)) {
    if is_outside(pointer) {
        return;
    }
    match value {
        Value::String(text) => see(pointer, text),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                visit(item, &format!("{pointer}/{at}"), see);
            }
        }
        Value::Object(table) => {
            for (key, value) in table {
                visit(value, &join(pointer, key), see);
            }
        }
        _ => {}
    }
}

fn change(value: &mut Value, pointer: &str, make: &mut impl FnMut(&mut String)) {
    if is_outside(pointer) {
        return;
    }
    match value {
        Value::String(text) => make(text),
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                change(item, &format!("{pointer}/{at}"), make);
            }
        }
        Value::Object(table) => {
            for (key, value) in table {
                change(value, &join(pointer, key), make);
            }
        }
        _ => {}
    }
}

/// What a text is made of.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, &'static str> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        pieces.push(Piece::Text(before));
        if let Some(after) = brace.strip_prefix("{{").or_else(|| brace.strip_prefix("}}")) {
            pieces.push(Piece::Text(&brace[..1]));
            rest = after;
            continue;
        }
        let inner = brace.strip_prefix('{').ok_or("a brace that closes nothing")?;
        let (column, after) = inner.split_once('}').ok_or("a brace that is not closed")?;
        if column.is_empty() || column.contains('{') {
            return Err("braces without the name of a column");
        }
        pieces.push(Piece::Cell(column));
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

/// Where a row stands, and what it fills in.
#[derive(Clone, Debug)]
pub(crate) struct RowPlace {
    pub(crate) template: Arc<Template>,
    /// Where the columns stand in a row.
    pub(crate) header: Arc<Vec<String>>,
    pub(crate) path: PathBuf,
    /// Where it begins, in bytes.
    pub(crate) offset: u64,
    /// On which line that is, from 1.
    pub(crate) line: u64,
}

impl RowPlace {
    /// A pointer of the filled rotation, as the file of the template has it.
    pub(crate) fn in_file<'p>(&self, pointer: &'p str) -> Cow<'p, str> {
        match within(pointer) {
            Some(rest) => Cow::Owned(format!("/rotation/{}{rest}", self.template.index)),
            None => Cow::Borrowed(pointer),
        }
    }

    /// Where the cell stands that is in the text of a pointer; `None` where no cell is.
    pub(crate) fn place_of(&self, pointer: &str, of_key: bool) -> Option<Place> {
        let column = self.template.column_at(within(pointer)?, of_key)?;
        let field = self.header.iter().position(|name| *name == column)?;
        Some(file::place(&self.path, self.offset, self.line, field))
    }
}

/// Of a pointer to something in a rotation what comes behind that.
fn within(pointer: &str) -> Option<&str> {
    let rest = pointer.strip_prefix("/rotation/")?;
    let digits = rest.find('/').unwrap_or(rest.len());
    Some(&rest[digits..])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_put_into_texts_and_doubled_braces_stand_for_themselves() {
        let json = json!({
            "each": "r.csv", "name": "db-{role}", "plugin": "{role}", "secret": "{server}/{role}",
            "config": {"sql": "{{{role}}}", "list": ["{server}", 5]},
            "consumers": [{"name": "{role}", "hook": {"exec": ["/bin/tell", "{secret}"]}}],
        });
        let template = Template::of(3, &json).unwrap();
        assert_eq!(template.columns().collect::<Vec<_>>(), ["role", "server"]);
        let cells =
            [("role", "app"), ("server", "eu{1}")].map(|(column, cell)| (column.to_owned(), cell.to_owned()));
        let cells = BTreeMap::from(cells);
        let filled = json!({
            "name": "db-app", "plugin": "{role}", "secret": "eu{1}/app",
            "config": {"sql": "{app}", "list": ["eu{1}", 5]},
            "consumers": [{"name": "app", "hook": {"exec": ["/bin/tell", "{secret}"]}}],
        });
        assert_eq!(template.fill(&cells), filled);
        assert_eq!(template.text("secret", &cells), "eu{1}/app");
        let column_at = |pointer: &str| template.column_at(pointer, false);
        assert_eq!(column_at("/secret").as_deref(), Some("server"));
        assert_eq!(column_at("/config").as_deref(), Some("role"));
        assert_eq!(
            template.column_at("/config", true),
            None,
            "its keys are the template's"
        );
        assert_eq!(column_at("/consumers/0/hook/exec/1"), None);
        assert_eq!(column_at("/plugin"), None);
    }

    #[test]
    fn braces_that_are_no_column_are_refused_where_they_stand_and_so_is_one_name_for_all() {
        for (text, words) in [
            ("{role", "not closed"),
            ("role}", "closes nothing"),
            ("{}", "without the name"),
            ("{{role}", "closes nothing"),
        ] {
            let json = json!({"name": "{role}", "secret": "{role}", "config": {"a": [text]}});
            let wrong = Template::of(0, &json).unwrap_err();
            assert_eq!(wrong[0].0, "/config/a/0");
            assert!(wrong[0].1.contains(words), "{text}: {}", wrong[0].1);
        }
        let json = json!({"name": "one", "secret": "{{role}}"});
        let wrong = Template::of(0, &json).unwrap_err();
        let at: Vec<&str> = wrong.iter().map(|(at, ..)| at.as_str()).collect();
        assert_eq!(at, ["/name", "/secret"]);
    }
}
