//! Every row of every table, checked as a rotation is that is written out, and against all others.

use std::collections::{BTreeSet, HashSet};

use keywheel_manifest::{Manifest, Principal};
use keywheel_model::{RotationName, SecretName, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::against::Checker;
use crate::check::graces;
use crate::config::{Config, Rotation};
use crate::document::{At, Document};
use crate::each::file::{self, Cells, Rows};
use crate::each::{CODE, Table};
use crate::problem::{Problem, Problems};

/// A file that is wrong as a whole is wrong in each row.
const PROBLEMS_MAX: usize = 50;

/// A row that nothing is wrong with.
#[derive(Debug)]
pub struct CheckedRow {
    /// Which of [`Config::tables`] it is of.
    pub table: usize,
    /// Its rotation.
    pub rotation: Rotation,
    /// Its cells by their columns, as JSON.
    pub cells: String,
    /// The targets that it works on, as leases name them.
    pub targets: String,
}

/// What rows have taken so far, and nobody else may: a digest of each, for there may be a million.
#[derive(Default)]
struct Taken(HashSet<[u8; 16]>);

impl Taken {
    /// Whether it was free.
    fn take(&mut self, kind: &str, what: &str) -> bool {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(kind)
            .chain_update(what)
            .finalize()
            .into();
        let mut short = [0; 16];
        short.copy_from_slice(&hash[..16]);
        self.0.insert(short)
    }

    fn take_name(&mut self, name: &RotationName) -> bool {
        self.take("name ", name.as_str())
    }

    fn take_secret(&mut self, secret: &SecretName) -> bool {
        self.take("secret ", secret.as_str())
    }

    fn take_principal(&mut self, principal: &Principal) -> bool {
        self.take("account ", &format!("{} {}", principal.target, principal.account))
    }
}

/// Goes through the rows of all tables.
struct Check<'a> {
    config: &'a Config,
    taken: Taken,
    now: Timestamp,
    table: usize,
    rows: Option<Rows>,
    problems: Vec<Problem>,
}

impl Config {
    /// Every row, checked; at the end, or once much is wrong, what is wrong with all. Rows that came before that are none then.
    ///
    /// # Errors
    /// Each says what is wrong, and is the last.
    pub fn check_rows(&self, now: Timestamp) -> impl Iterator<Item = Result<CheckedRow, Problems>> {
        let mut taken = Taken::default();
        for rotation in &self.rotations {
            taken.take_name(&rotation.name);
            for (_, secret) in rotation.written() {
                taken.take_secret(secret);
            }
            let manifest = self.manifests.get(&rotation.plugin);
            for principal in manifest
                .iter()
                .flat_map(|manifest| changed(manifest, &rotation.config))
            {
                taken.take_principal(&principal);
            }
        }
        let mut check = Check {
            config: self,
            taken,
            now,
            table: 0,
            rows: None,
            problems: Vec::new(),
        };
        let mut over = false;
        std::iter::from_fn(move || {
            if over {
                return None;
            }
            let next = check.next();
            over = next.as_ref().is_none_or(Result::is_err);
            next
        })
    }

    /// That nothing is wrong with any row.
    ///
    /// # Errors
    /// What is.
    pub fn check_all_rows(&self, now: Timestamp) -> Result<(), Problems> {
        self.check_rows(now).try_for_each(|row| row.map(drop))
    }
}

impl Check<'_> {
    fn next(&mut self) -> Option<Result<CheckedRow, Problems>> {
        loop {
            if self.problems.len() >= PROBLEMS_MAX {
                return Some(Err(self.found()));
            }
            let Some(table) = self.config.tables.get(self.table) else {
                let is_well = self.problems.is_empty();
                return (!is_well).then(|| Err(self.found()));
            };
            let mut rows = match self.rows.take().map_or_else(|| table.rows(), Ok) {
                Ok(rows) => rows,
                Err(problems) => {
                    self.problems.extend(problems);
                    self.table += 1;
                    continue;
                }
            };
            match rows.next() {
                Some(Ok(cells)) => {
                    let row = self.row(table, &rows, &cells);
                    self.rows = Some(rows);
                    if let Some(row) = row.filter(|_| self.problems.is_empty()) {
                        return Some(Ok(row));
                    }
                }
                Some(Err(problem)) => {
                    self.problems.push(*problem);
                    self.rows = Some(rows);
                }
                None => {
                    self.end(table, &rows);
                    self.table += 1;
                }
            }
        }
    }

    fn found(&mut self) -> Problems {
        Problems::of(std::mem::take(&mut self.problems))
    }

    /// The file is over: it is what it was when the first row was read.
    fn end(&mut self, table: &Table, rows: &Rows) {
        let read = rows.digest();
        if rows.count() == 0 {
            let hint = "each line behind the first is a rotation";
            self.problems
                .push(file::at_line(&table.path, 1, "there is no row".to_owned(), hint));
        } else if file::digest(&table.path).is_ok_and(|now| now != read) {
            let hint = "write the new one beside it and rename it over the old one; then try again";
            let message = "the file was changed while it was read".to_owned();
            self.problems.push(file::at_line(&table.path, 1, message, hint));
        }
    }

    fn row(&mut self, table: &Table, rows: &Rows, cells: &Cells) -> Option<CheckedRow> {
        let mut resolver = table.resolver(&self.config.document, &cells.by_column, table.place(rows, cells));
        resolver.structure();
        let rotation = table.resolved(&mut resolver);
        let is_well = resolver.problems.is_empty();
        self.problems.append(&mut resolver.problems);
        let rotation = rotation.filter(|_| is_well)?;
        let document = resolver.document;
        self.problems.extend(graces(&document, &rotation));
        self.alone(&document, &rotation);
        let targets = self.against(&document, &rotation);
        if rotation.schedule.on_start {
            let message =
                "the rotations of a table cannot run at the start of the host: all would at once".to_owned();
            let hint = Some("leave `on_start` out, or write that rotation out".to_owned());
            self.report(&document, "/schedule/on_start", CODE, message, hint);
        }
        if let Err(error) = rotation.schedule.leaves_time(&rotation.name, self.now) {
            self.report(
                &document,
                "/schedule",
                error.code(),
                error.to_string(),
                Some(error.hint()),
            );
        }
        Some(CheckedRow {
            table: self.table,
            rotation,
            cells: serde_json::json!(cells.by_column).to_string(),
            targets,
        })
    }

    /// Nobody else has its name or writes its secrets.
    fn alone(&mut self, document: &Document, rotation: &Rotation) {
        let way_out = |key: &str| {
            Some(format!(
                "each row makes a `{key}` of its own: put a column that tells them apart into it, or take one of the two out"
            ))
        };
        if !self.taken.take_name(&rotation.name) {
            let message = format!("two rotations are named `{}`", rotation.name);
            self.report(document, "/name", "config.duplicate", message, way_out("name"));
        }
        for (at, secret) in rotation.written() {
            if !self.taken.take_secret(secret) {
                let message = format!("the secret `{secret}` is written by two rotations, or twice by one");
                let code = "config.one-rotation-per-secret";
                self.report(document, &at, code, message, way_out("secret"));
            }
        }
    }

    /// It is what its plugin wants, and nobody else rotates its accounts. Its targets, none of a plugin that is not there.
    fn against(&mut self, document: &Document, rotation: &Rotation) -> String {
        let Some(manifest) = self.config.manifests.get(&rotation.plugin) else {
            return String::new();
        };
        let manifest: &Manifest = manifest;
        let mut checker = Checker {
            config: self.config,
            document,
            problems: Vec::new(),
        };
        let principals = checker.rotation(rotation, manifest);
        self.problems.append(&mut checker.problems);
        let taken = principals
            .union(&manifest.copies(&rotation.config))
            .any(|principal| !self.taken.take_principal(principal));
        if taken {
            let message = "another rotation rotates the same account".to_owned();
            let hint = "rotate each account in one place, and let its consumers share the secret".to_owned();
            let code = "config.one-rotation-per-account";
            self.report(document, "/config", code, message, Some(hint));
        }
        let mut targets: Vec<String> = principals.into_iter().map(|principal| principal.target).collect();
        targets.dedup();
        targets.join(" ")
    }

    fn report(
        &mut self,
        document: &Document,
        at: &str,
        code: &'static str,
        message: String,
        hint: Option<String>,
    ) {
        let pointer = format!("/rotation/0{at}");
        self.problems
            .push(document.problem(At::Value(&pointer), code, message, hint));
    }
}

/// Whom a rotation changes, and where that is copied to.
fn changed(manifest: &Manifest, configuration: &serde_json::Value) -> BTreeSet<Principal> {
    let principals = manifest.principals(configuration);
    principals
        .union(&manifest.copies(configuration))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_free_once_and_by_its_kind() {
        let mut taken = Taken::default();
        let (name, secret) = ("a".parse().unwrap(), "a".parse().unwrap());
        assert!(taken.take_name(&name) && taken.take_secret(&secret));
        assert!(!taken.take_name(&name) && !taken.take_secret(&secret));
    }
}
