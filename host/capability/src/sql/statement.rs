use keywheel_manifest::{Call, Piece};
use keywheel_target::statement::{Dialect, Statement as Quoted, Value};
use wasmtime::component::Resource;

use super::connection::Connection;
use crate::bindings::keywheel::sql::sql;
use crate::error::Error;
use crate::handle::Handle;
use crate::state::HostState;

/// A statement in pieces: as it will be quoted, and as the manifest's shapes are compared with it.
pub struct Statement {
    quoted: Quoted,
    parts: Vec<Part>,
}

enum Part {
    Plain(Piece),
    Secret(Handle),
}

impl Statement {
    fn new(dialect: Dialect) -> Self {
        Self {
            quoted: Quoted::new(dialect),
            parts: Vec::new(),
        }
    }

    pub(super) fn quoted(&self) -> &Quoted {
        &self.quoted
    }

    /// The secrets in it, in order.
    pub(super) fn secrets(&self) -> Vec<Handle> {
        let secret = |part: &Part| {
            if let Part::Secret(handle) = part {
                Some(handle.clone())
            } else {
                None
            }
        };
        self.parts.iter().filter_map(secret).collect()
    }

    /// The call that it is now: what a secret is to the run can change after it was put in.
    pub(super) fn call(&self, state: &HostState) -> Call {
        let piece = |part: &Part| match part {
            Part::Plain(piece) => piece.clone(),
            Part::Secret(handle) => Piece::Secret(state.secret_use(handle)),
        };
        Call::Statement {
            dialect: self.quoted.dialect().as_str().to_owned(),
            pieces: self.parts.iter().map(piece).collect(),
        }
    }

    fn add(
        &mut self,
        piece: Piece,
        quote: impl FnOnce(&mut Quoted) -> Result<(), keywheel_target::Error>,
    ) -> Result<(), Error> {
        quote(&mut self.quoted).map_err(|error| Error::Answer(error.to_step_error()))?;
        self.parts.push(Part::Plain(piece));
        Ok(())
    }

    fn add_secret(&mut self, handle: Handle) -> Result<(), Error> {
        // Decided by the label, so that whether it works says nothing of the value (rule H10).
        if !handle.labels().alphabet.is_text() {
            return Err(Error::invalid(
                "sql.secret",
                "a secret in a statement is text, and this one may be any bytes",
            ));
        }
        self.quoted
            .secret_literal(handle.value().duplicate())
            .map_err(|error| Error::Answer(error.to_step_error()))?;
        self.parts.push(Part::Secret(handle));
        Ok(())
    }
}

fn to_target(value: sql::Value) -> Value {
    match value {
        sql::Value::Null => Value::Null,
        sql::Value::Boolean(value) => Value::Bool(value),
        sql::Value::Integer(value) => Value::Int(value),
        sql::Value::Float(value) => Value::Float(value),
        sql::Value::Text(value) => Value::Text(value),
        sql::Value::Bytes(value) => Value::Bytes(value),
    }
}

pub(super) fn from_target(value: Value) -> sql::Value {
    match value {
        Value::Null => sql::Value::Null,
        Value::Bool(value) => sql::Value::Boolean(value),
        Value::Int(value) => sql::Value::Integer(value),
        Value::Float(value) => sql::Value::Float(value),
        Value::Text(value) => sql::Value::Text(value),
        Value::Bytes(value) => sql::Value::Bytes(value),
    }
}

impl HostState {
    /// A piece that the guest wrote. A server may log it, or quote it in an error: it says no secret.
    fn add_piece(
        &mut self,
        statement: &Resource<Statement>,
        text: &[u8],
        piece: Piece,
        quote: impl FnOnce(&mut Quoted) -> Result<(), keywheel_target::Error>,
    ) -> Result<(), Error> {
        self.clear_bytes(text, "a piece of a statement")?;
        self.table.get_mut(statement)?.add(piece, quote)
    }
}

impl sql::HostStatement for HostState {
    async fn new(&mut self, connection: Resource<Connection>) -> wasmtime::Result<Resource<Statement>> {
        let dialect = self.table.get(&connection)?.dialect();
        Ok(self.table.push(Statement::new(dialect))?)
    }

    async fn text(&mut self, statement: Resource<Statement>, sql: String) -> Result<(), Error> {
        self.add_piece(
            &statement,
            sql.as_bytes(),
            Piece::text(sql.as_bytes()),
            |quoted| quoted.text(&sql),
        )
    }

    async fn identifier(&mut self, statement: Resource<Statement>, name: String) -> Result<(), Error> {
        self.add_piece(
            &statement,
            name.as_bytes(),
            Piece::Identifier(name.clone()),
            |quoted| quoted.identifier(&name),
        )
    }

    async fn literal(&mut self, statement: Resource<Statement>, text: String) -> Result<(), Error> {
        self.add_piece(
            &statement,
            text.as_bytes(),
            Piece::Literal(text.clone()),
            |quoted| quoted.literal(&text),
        )
    }

    async fn secret_literal(
        &mut self,
        statement: Resource<Statement>,
        secret: Resource<Handle>,
    ) -> Result<(), Error> {
        let secret = self.handle(&secret)?;
        self.hold(secret.value().expose().len())?;
        self.table.get_mut(&statement)?.add_secret(secret)
    }

    async fn param(&mut self, statement: Resource<Statement>, value: sql::Value) -> Result<(), Error> {
        let said = match &value {
            sql::Value::Text(text) => text.as_bytes().to_vec(),
            sql::Value::Bytes(bytes) => bytes.clone(),
            _ => Vec::new(),
        };
        self.add_piece(&statement, &said, Piece::Param, |quoted| {
            quoted.param(to_target(value))
        })
    }

    async fn secret_literal_as(
        &mut self,
        statement: Resource<Statement>,
        _secret: Resource<Handle>,
        form: String,
    ) -> Result<(), Error> {
        let dialect = self.table.get(&statement)?.quoted.dialect().as_str();
        let shown: String = form.chars().take(32).collect();
        Err(Error::invalid(
            "sql.form",
            format!(
                "`{dialect}` has no form `{}`; use `secret-literal`",
                shown.escape_debug()
            ),
        ))
    }

    async fn preview(&mut self, statement: Resource<Statement>) -> wasmtime::Result<String> {
        Ok(self.table.get(&statement)?.quoted.preview())
    }

    async fn drop(&mut self, statement: Resource<Statement>) -> wasmtime::Result<()> {
        self.table.delete(statement)?;
        Ok(())
    }
}
