//! Statements in pieces and answers by column name.

use crate::bindings::keywheel::sql::sql::{Connection, Rows, Statement, Value};
use crate::error::{ErrorExt, admin_refused, error, missing};
use crate::nodes::Node;
use crate::{Error, ErrorKind, Run, Secret};
use serde::Deserialize;

pub use crate::bindings::keywheel::sql::sql::Connector;

/// One piece of a statement. Text is the author's own: data goes into the other kinds, which the host quotes.
#[derive(Clone, Copy)]
pub enum Piece<'a> {
    /// SQL.
    Text(&'static str),
    /// A name.
    Name(&'a str),
    /// A string.
    Literal(&'a str),
    /// A bind parameter.
    Param(&'a str),
    /// A secret, as a string.
    Secret(&'a Secret),
}

/// Where a database is, as most configurations say it: to be flattened into one.
#[derive(Debug, Deserialize)]
pub struct Server {
    /// A name or an address; with `postgres` also the folder of a Unix socket.
    pub host: String,
    /// The port.
    pub port: u16,
    /// `tls`, or `plaintext` in words; `strict` with SQL Server.
    transport: Option<String>,
    /// A trust set of the host's configuration.
    trust: Option<String>,
}

impl Server {
    /// Whether what is sent stays on this machine: `host` is the folder of a Unix socket.
    pub fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// Whether connections go without TLS.
    pub fn is_plaintext(&self) -> bool {
        self.transport.as_deref() == Some("plaintext")
    }

    /// Whether TLS comes before everything else (TDS 8.0).
    pub fn is_strict(&self) -> bool {
        self.transport.as_deref() == Some("strict")
    }

    /// For this user; without a database if that is empty.
    pub fn connector(&self, driver: &str, user: &str, database: &str) -> Connector {
        self.connector_to((&self.host, self.port), driver, (user, database))
    }

    /// The same for a server beside it that is reached the same way.
    pub fn connector_at(&self, node: &Node, driver: &str, user: &str, database: &str) -> Connector {
        self.connector_to((&node.host, node.port), driver, (user, database))
    }

    fn connector_to(&self, at: (&str, u16), driver: &str, who: (&str, &str)) -> Connector {
        connector(driver, at, self.is_plaintext(), self.trust.as_deref(), who)
    }
}

/// A connector with what most targets have. `who` is the user and, unless empty, the database; `trust` is a trust set of the host's
/// configuration.
pub fn connector(driver: &str, at: (&str, u16), plaintext: bool, trust: Option<&str>, who: (&str, &str)) -> Connector {
    let connector = Connector::new(driver);
    connector.host(at.0, at.1);
    connector.user(who.0);
    if !who.1.is_empty() {
        connector.database(who.1);
    }
    if let Some(trust) = trust {
        connector.trust(trust);
    }
    if plaintext {
        connector.plaintext();
    }
    connector
}

/// A connection that is used for whole statements.
pub struct Session(Connection);

impl Session {
    /// Opens what the connector describes.
    ///
    /// # Errors
    /// The server's SQLSTATE in the code (`sql.28p01`), or the host's word.
    pub fn open(connector: Connector) -> Result<Self, Error> {
        Connector::open(connector).map(Self)
    }

    /// The administrator's, whose password is the input `admin`. `refused`: the server's number for a login that it refuses.
    ///
    /// # Errors
    /// [`admin_refused`]; the host's word.
    pub fn of_administrator(login: Connector, run: &Run, refused: u16) -> Result<Self, Error> {
        login.password(&run.input("admin")?);
        Self::open(login).map_err(|problem| {
            let is_refused = problem.server_error() == Some(refused);
            if is_refused { admin_refused() } else { problem.at("the administrator's login") }
        })
    }

    /// What the server speaks: `postgres`, `mariadb`, …
    pub fn dialect(&self) -> String {
        self.0.dialect()
    }

    /// Runs a statement; gives the number of rows.
    ///
    /// # Errors
    /// The server's SQLSTATE, or the host's refusal.
    pub fn execute(&self, pieces: &[Piece<'_>]) -> Result<u64, Error> {
        self.0.execute(&self.statement(pieces)?)
    }

    /// Asks; gives the rows.
    ///
    /// # Errors
    /// The server's SQLSTATE, or the host's refusal. `limit` if the answer was too long to be whole.
    pub fn query(&self, pieces: &[Piece<'_>]) -> Result<Table, Error> {
        let rows = self.0.query(&self.statement(pieces)?)?;
        if rows.truncated {
            return Err(error(ErrorKind::Limit, "sql.truncated", "the answer was longer than the host's limit"));
        }
        Ok(Table(rows))
    }

    fn statement(&self, pieces: &[Piece<'_>]) -> Result<Statement, Error> {
        let statement = Statement::new(&self.0);
        for piece in pieces {
            match piece {
                Piece::Text(sql) => statement.text(sql)?,
                Piece::Name(name) => statement.identifier(name)?,
                Piece::Literal(text) => statement.literal(text)?,
                Piece::Param(text) => statement.param(&Value::Text((*text).to_owned()))?,
                Piece::Secret(secret) => statement.secret_literal(secret)?,
            }
        }
        Ok(statement)
    }
}

/// The answer of a query.
#[derive(Debug)]
pub struct Table(Rows);

impl Table {
    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.0.rows.is_empty()
    }

    /// The same, unless it has no row: then there is no account of that name.
    ///
    /// # Errors
    /// [`crate::error::missing`].
    pub fn or_missing(self, what: &str, name: &str) -> Result<Self, Error> {
        if self.is_empty() { Err(missing(what, name)) } else { Ok(self) }
    }

    /// Each row as a table of its own.
    pub fn each(&self) -> impl Iterator<Item = Self> {
        let alone =
            |row: &Vec<Value>| Rows { columns: self.0.columns.clone(), rows: vec![row.clone()], truncated: false };
        self.0.rows.iter().map(move |row| Self(alone(row)))
    }

    /// A truth value of the first row, which some servers write as a number. False where it is null or neither.
    pub fn flag(&self, column: &str) -> bool {
        match self.value(column) {
            Some(Value::Boolean(flag)) => *flag,
            Some(Value::Integer(number)) => *number != 0,
            _ => false,
        }
    }

    /// A number of the first row; 0 where it is null or no number.
    pub fn number(&self, column: &str) -> i64 {
        if let Some(Value::Integer(number)) = self.value(column) { *number } else { 0 }
    }

    /// A text of the first row; empty where it is null or no text.
    pub fn text(&self, column: &str) -> &str {
        if let Some(Value::Text(text)) = self.value(column) { text } else { "" }
    }

    fn value(&self, column: &str) -> Option<&Value> {
        let at = self.0.columns.iter().position(|name| name == column)?;
        self.0.rows.first()?.get(at)
    }
}
