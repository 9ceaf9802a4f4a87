//! The rotations of tables, found one at a time: very many of them are never in memory together.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keywheel_manifest::Manifest;
use keywheel_model::{PluginName, RotationName, SecretName};
use keywheel_schedule::Schedule;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::config::{Config, Rotation};
use crate::document::{At, Document};
use crate::each::file::{self, Cells, Rows};
use crate::each::template::{RowPlace, Template};
use crate::problem::{Problem, Problems};
use crate::resolve::Resolver;

/// A `[[rotation]]` with `each`.
#[derive(Clone, Debug)]
pub struct Table {
    /// The file with a row for each rotation.
    pub path: PathBuf,
    /// The rotation of the first row, for what is the same of all: the plugin, inputs, hooks, who approves.
    pub sample: Arc<Rotation>,
    pub(crate) template: Arc<Template>,
    /// The host's deadline of a step, where the template does not say.
    step: Duration,
    /// What counts where the template says nothing.
    schedule: Schedule,
}

/// A row that was accepted: the name of its rotation, the table that it is of, its cells by their columns as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Of the rotation.
    pub name: RotationName,
    /// Which of [`Config::tables`].
    pub table: usize,
    /// What [`Config::listed`] makes the rotation of.
    pub cells: String,
}

/// Where rows were put that were accepted.
pub trait Listed: fmt::Debug + Send + Sync {
    /// The row of a rotation.
    fn named(&self, name: &RotationName) -> Option<Row>;
    /// The row of the rotation that rotates a secret.
    fn of_secret(&self, secret: &SecretName) -> Option<Row>;
    /// Rows by name, those behind a name, not all at once; none: there are no more.
    fn page(&self, after: Option<&RotationName>) -> Vec<Row>;
    /// How many there are.
    fn count(&self) -> usize;
}

/// Where a template stands, what is checked in its place is a rotation that nothing is wrong with: each row is checked by itself.
pub(crate) fn with_stand_ins(json: &Value) -> Value {
    let mut json = json.clone();
    let rotations = json.get_mut("rotation").and_then(Value::as_array_mut);
    for rotation in rotations.into_iter().flatten() {
        if let Some(each) = rotation.get("each") {
            *rotation = serde_json::json!({"name": "x", "plugin": "x", "secret": "x", "each": each});
        }
    }
    json
}

impl Resolver {
    /// The tables of the file; what is wrong with one, or with its first row, is reported.
    pub(crate) fn tables(&mut self, step: Duration, schedule: &Schedule) -> Vec<Table> {
        let document = Arc::clone(&self.document);
        let rotations = document.json().pointer("/rotation").and_then(Value::as_array);
        let mut tables = Vec::new();
        for (index, rotation) in rotations.into_iter().flatten().enumerate() {
            let each = rotation.get("each").and_then(Value::as_str);
            if let Some(each) = each {
                tables.extend(self.table(index, rotation, each, (step, schedule)));
            }
        }
        tables
    }

    fn table(
        &mut self,
        index: usize,
        rotation: &Value,
        each: &str,
        (step, schedule): (Duration, &Schedule),
    ) -> Option<Table> {
        let at = |pointer: &str| format!("/rotation/{index}{pointer}");
        for (key, message, hint) in NOT_IN_A_TEMPLATE {
            if rotation.get(key).is_some() {
                let (message, hint) = (message.to_owned(), Some(hint.to_owned()));
                self.report(At::Key(&at(&format!("/{key}"))), super::CODE, message, hint);
                return None;
            }
        }
        let template = match Template::of(index, rotation) {
            Ok(template) => Arc::new(template),
            Err(wrong) => {
                for (pointer, message, hint) in wrong {
                    self.report(At::Value(&at(&pointer)), super::CODE, message, Some(hint));
                }
                return None;
            }
        };
        let path = self.path(each);
        let first = Rows::open(&path, template.columns()).and_then(|mut rows| match rows.next() {
            Some(Ok(cells)) => Ok((Arc::clone(rows.header()), cells)),
            Some(Err(problem)) => Err(vec![*problem]),
            None => {
                let hint =
                    "each line behind the first is a rotation; to rotate none, take the `[[rotation]]` out";
                Err(vec![file::at_line(&path, 1, "there is no row".to_owned(), hint)])
            }
        });
        let (header, cells) = match first {
            Ok(first) => first,
            Err(problems) => {
                self.problems.extend(problems);
                return None;
            }
        };
        let row = RowPlace {
            template: Arc::clone(&template),
            header,
            path: path.clone(),
            offset: cells.offset,
            line: cells.line,
        };
        let json = template.fill(&cells.by_column);
        let mut resolver = Self::of_row(&self.document, json, row);
        resolver.structure();
        let sample = resolver.rotation(0, step, schedule);
        self.problems.extend(resolver.problems);
        let sample = Rotation { index, ..sample? };
        Some(Table {
            path,
            sample: Arc::new(sample),
            template,
            step,
            schedule: schedule.clone(),
        })
    }
}

/// Keys that a template cannot have, what to say, and the way out.
const NOT_IN_A_TEMPLATE: [(&str, &str, &str); 1] = [(
    "policy",
    "a grant for one rotation alone cannot be for each row",
    "leave `policy` out: the plugin's own grant counts; or write that rotation out",
)];

impl Table {
    /// The rows of its file as it is now.
    pub(crate) fn rows(&self) -> Result<Rows, Vec<Problem>> {
        Rows::open(&self.path, self.template.columns())
    }

    pub(crate) fn place(&self, rows: &Rows, cells: &Cells) -> RowPlace {
        RowPlace {
            template: Arc::clone(&self.template),
            header: Arc::clone(rows.header()),
            path: self.path.clone(),
            offset: cells.offset,
            line: cells.line,
        }
    }

    /// What is to be resolved of a row.
    pub(crate) fn resolver(
        &self,
        document: &Document,
        cells: &BTreeMap<String, String>,
        row: RowPlace,
    ) -> Resolver {
        Resolver::of_row(document, self.template.fill(cells), row)
    }

    /// The rotation of a row, with what is wrong with it.
    pub(crate) fn resolved(&self, resolver: &mut Resolver) -> Option<Rotation> {
        let rotation = resolver.rotation(0, self.step, &self.schedule)?;
        Some(Rotation {
            index: self.template.index,
            ..rotation
        })
    }

    /// The rotation of a row that was accepted.
    fn rotation(&self, document: &Document, cells: &BTreeMap<String, String>) -> Option<Arc<Rotation>> {
        let nowhere = RowPlace {
            template: Arc::clone(&self.template),
            header: Arc::default(),
            path: PathBuf::new(),
            offset: 0,
            line: 0,
        };
        let mut resolver = self.resolver(document, cells, nowhere);
        self.resolved(&mut resolver).map(Arc::new)
    }
}

impl Config {
    /// The rotation of that name.
    pub fn rotation(&self, name: &RotationName) -> Option<Arc<Rotation>> {
        if let Some(written) = self.written(name) {
            return Some(Arc::clone(written));
        }
        match &self.listed {
            Some(listed) => self.listed(&listed.named(name)?),
            None => self.search(|table, cells| table.template.text("name", cells) == name.as_str()),
        }
    }

    /// The rotation that rotates that secret.
    pub fn rotation_of(&self, secret: &SecretName) -> Option<Arc<Rotation>> {
        let mut written = self.rotations.iter();
        if let Some(written) = written.find(|rotation| rotation.secret == *secret) {
            return Some(Arc::clone(written));
        }
        match &self.listed {
            Some(listed) => self.listed(&listed.of_secret(secret)?),
            None => self.search(|table, cells| table.template.text("secret", cells) == secret.as_str()),
        }
    }

    /// The rotation that writes that name beside the secret that it rotates. Those of tables are not looked through: each of their rows would have to be read.
    pub fn writer_of(&self, name: &SecretName) -> Option<&Arc<Rotation>> {
        let writes = |rotation: &&Arc<Rotation>| {
            rotation.secret != *name && rotation.written().any(|(_, written)| written == name)
        };
        self.rotations.iter().find(writes)
    }

    /// The rotation of a row.
    pub fn listed(&self, row: &Row) -> Option<Arc<Rotation>> {
        let cells = serde_json::from_str(&row.cells).ok()?;
        self.tables.get(row.table)?.rotation(&self.document, &cells)
    }

    /// How many rotations there are.
    pub fn count(&self) -> usize {
        let listed = match &self.listed {
            Some(listed) => listed.count(),
            None => self.tables.iter().map(count).sum(),
        };
        self.rotations.len() + listed
    }

    /// All rotations, one after the other.
    pub fn all(&self) -> Box<dyn Iterator<Item = Arc<Rotation>> + '_> {
        let written = self.rotations.iter().cloned();
        match &self.listed {
            Some(listed) => Box::new(written.chain(self.pages(listed.as_ref()))),
            None => Box::new(written.chain(self.tables.iter().flat_map(|table| self.read(table)))),
        }
    }

    /// Those of tables that were put somewhere, as they were accepted.
    fn pages<'a>(&'a self, listed: &'a dyn Listed) -> impl Iterator<Item = Arc<Rotation>> + 'a {
        let mut last: Option<RotationName> = None;
        std::iter::from_fn(move || {
            let page = listed.page(last.as_ref());
            last = page.last().map(|row| row.name.clone());
            last.is_some().then_some(page)
        })
        .flatten()
        .filter_map(|row| self.listed(&row))
    }

    /// Those of a table, as its file is now; a row that is wrong is left out.
    fn read<'a>(&'a self, table: &'a Table) -> impl Iterator<Item = Arc<Rotation>> + 'a {
        let mut rows = table.rows().ok();
        std::iter::from_fn(move || rows.as_mut()?.next())
            .filter_map(|row| table.rotation(&self.document, &row.ok()?.by_column))
    }

    fn search(&self, is_it: impl Fn(&Table, &BTreeMap<String, String>) -> bool) -> Option<Arc<Rotation>> {
        for table in &self.tables {
            let mut rows = table.rows().ok()?;
            while let Some(row) = rows.next() {
                if let Some(row) = row.ok().filter(|row| is_it(table, &row.by_column)) {
                    return table.rotation(&self.document, &row.by_column);
                }
            }
        }
        None
    }

    /// The tables: each has its rotations in a file of its own.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Where the rows are that were accepted; without it their files are searched each time.
    pub fn set_listed(&mut self, listed: Option<Arc<dyn Listed>>) {
        self.listed = listed;
    }

    /// What the rotations of tables are made of, but for their rows: two configurations with the same take the same row for the same rotation.
    pub fn basis(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(env!("CARGO_PKG_VERSION"));
        for pointer in ["/schedule", "/limits", "/trust"] {
            let part = self.document.json().pointer(pointer);
            hash.update(format!("\n{pointer} {}", part.unwrap_or(&Value::Null)));
        }
        for table in &self.tables {
            hash.update(format!("\n{:?}", table.template));
        }
        file::hex(hash)
    }

    /// What else decides whether rows are accepted: the manifests of their plugins. `None` where one is not there: nothing can be accepted then.
    pub fn manifests(&self) -> Option<String> {
        let mut hash = Sha256::new();
        for table in &self.tables {
            let manifest: &Manifest = self.manifests.get(&table.sample.plugin)?;
            hash.update(format!("{manifest:?}\n"));
        }
        Some(file::hex(hash))
    }

    /// All that decides what the rotations of tables are and whether they are accepted, but for [`Config::manifests`]. Reads the files.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn digest(&self) -> Result<String, Problems> {
        let mut hash = Sha256::new();
        hash.update(self.basis());
        // No row may have the name, the secret or the account of one that is written out.
        let written = self.document.json().pointer("/rotation");
        hash.update(format!("\n{}", written.unwrap_or(&Value::Null)));
        for table in &self.tables {
            let digest = file::digest(&table.path);
            let digest = digest.map_err(|problem| Problems::of(vec![*problem]))?;
            hash.update(format!("\n{digest}"));
        }
        Ok(file::hex(hash))
    }

    /// The manifests that rows are checked against.
    pub(crate) fn keep_manifests(&mut self, manifests: &BTreeMap<PluginName, Manifest>) {
        let named = self.tables.iter().map(|table| &table.sample.plugin);
        let kept = named.filter_map(|name| Some((name.clone(), manifests.get(name)?.clone())));
        self.manifests = kept.collect::<BTreeMap<_, _>>().into();
    }
}

fn count(table: &Table) -> usize {
    let Ok(mut rows) = table.rows() else { return 0 };
    let mut count = 0;
    while let Some(row) = rows.next() {
        count += usize::from(row.is_ok());
    }
    count
}

/// Whether a file that decides is one of these.
pub(crate) fn paths(tables: &[Table]) -> impl Iterator<Item = &Path> {
    tables.iter().map(|table| table.path.as_path())
}
