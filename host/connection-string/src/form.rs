//! The forms that there are, and which one a text is in.

mod commas;
mod go_mysql;
mod libpq;
mod semicolons;
mod url;

use std::fmt;

use zeroize::Zeroizing;

use crate::quote::percent;
use crate::{Error, Pair, key};

/// How a connection string is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `scheme://user:password@host:port/database?key=value` (RFC 3986; libpq, MySQL and Redis clients).
    Url,
    /// The same after `jdbc:`, its query as a form has it (`+` is a space).
    Jdbc,
    /// The same of MariaDB's driver, which takes what stands in the query as it stands.
    JdbcMariaDb,
    /// `jdbc:sqlserver://host:port;key=value;key={value}` (mssql-jdbc).
    JdbcSqlServer,
    /// `Key=value;Key="value"` (ADO.NET: SqlClient, Npgsql, MySqlConnector).
    AdoNet,
    /// `Driver={…};Key=value;Key={value}` (ODBC).
    Odbc,
    /// `key=value key='value'` (libpq).
    Libpq,
    /// `host:port,key=value` (StackExchange.Redis).
    StackExchange,
    /// `user:password@tcp(host:port)/database?key=value` (go-sql-driver/mysql).
    GoMySql,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Url => "a URL",
            Self::Jdbc => "a JDBC URL",
            Self::JdbcMariaDb => "a JDBC URL of MariaDB",
            Self::JdbcSqlServer => "a JDBC URL of SQL Server",
            Self::AdoNet => "a connection string of ADO.NET",
            Self::Odbc => "a connection string of ODBC",
            Self::Libpq => "a connection string of libpq",
            Self::StackExchange => "a configuration of StackExchange.Redis",
            Self::GoMySql => "a data source name of go-sql-driver",
        })
    }
}

impl Form {
    /// Whether its keys may be written in any case.
    pub(crate) fn folds_case(self) -> bool {
        !matches!(
            self,
            Self::Url | Self::Jdbc | Self::JdbcMariaDb | Self::Libpq | Self::GoMySql
        )
    }

    pub(crate) fn read(self, text: &str) -> Result<Vec<Pair>, Error> {
        let read = match self {
            Self::Url => url::read(text, 0, Quoting::Percent),
            Self::Jdbc => url::read(text, JDBC.len(), Quoting::Query),
            Self::JdbcMariaDb => url::read(text, JDBC.len(), Quoting::Plain),
            Self::JdbcSqlServer => semicolons::of_sql_server(text),
            Self::AdoNet => semicolons::read(text, 0, Quoting::AdoNet),
            Self::Odbc => semicolons::read(text, 0, Quoting::Braces),
            Self::Libpq => libpq::read(text),
            Self::StackExchange => commas::read(text),
            Self::GoMySql => go_mysql::read(text),
        };
        read.map_err(|at| Error::Malformed { form: self, at })
    }
}

const JDBC: &str = "jdbc:";
const MARIADB: &str = "mariadb:";

/// A key that only a string of ODBC begins with.
const ODBC_KEYS: [&str; 3] = ["driver", "dsn", "filedsn"];

/// The form of a text, and its values.
pub(crate) fn read(text: &str) -> Result<(Form, Vec<Pair>), Error> {
    let of = |form: Form| form.read(text).map(|pairs| (form, pairs));
    if let Some(inner) = text.strip_prefix(JDBC) {
        return of(if inner.starts_with(semicolons::SQL_SERVER) {
            Form::JdbcSqlServer
        } else if inner.starts_with(MARIADB) {
            Form::JdbcMariaDb
        } else {
            Form::Jdbc
        });
    }
    match (of(Form::GoMySql), of_others(text)) {
        (Ok(_), Ok((second, pairs))) if has_password(second, &pairs) => Err(Error::Ambiguous {
            first: Form::GoMySql,
            second,
        }),
        (Ok(go), _) => Ok(go),
        (Err(_), others) => others,
    }
}

fn has_password(form: Form, pairs: &[Pair]) -> bool {
    pairs.iter().any(|pair| key::is_same(form, &pair.key, "password"))
}

fn of_others(text: &str) -> Result<(Form, Vec<Pair>), Error> {
    let of = |form: Form| form.read(text).map(|pairs| (form, pairs));
    let first = text.find(['=', ';', ',', ' ']).unwrap_or(text.len());
    if text[..first].contains("://") {
        return of(Form::Url);
    }
    if text[first..].starts_with(',') {
        return of(Form::StackExchange);
    }
    if !text.contains('=') {
        return Err(Error::Unknown);
    }
    let is_odbc = |pairs: &[Pair]| {
        let mut keys = pairs.iter().map(|pair| pair.key.to_lowercase());
        keys.any(|key| ODBC_KEYS.contains(&key.as_str()))
    };
    if let Ok((form, pairs)) = of(Form::Odbc)
        && is_odbc(&pairs)
    {
        return Ok((form, pairs));
    }
    match (of(Form::AdoNet), of(Form::Libpq)) {
        (Ok(ado), Err(_)) => Ok(ado),
        (Err(_), Ok(libpq)) => Ok(libpq),
        (Err(error), Err(_)) => Err(error),
        // One value for all the rest: the other reading has found keys in it.
        (Ok(ado), Ok(libpq)) if libpq.1.len() == 1 && ado.1.len() > 1 => Ok(ado),
        // Each `;` is within quotes that only libpq knows.
        (Ok(_), Ok(libpq)) if libpq::has_all(text, ';', &libpq.1) => Ok(libpq),
        (Ok((first, _)), Ok((second, _))) => Err(Error::Ambiguous { first, second }),
    }
}

/// How a value is written at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quoting {
    /// Percent-encoded.
    Percent,
    /// The same, where `+` is a space.
    Query,
    /// In quotes of one kind or the other, doubled inside.
    AdoNet,
    /// In braces, the closing one doubled inside.
    Braces,
    /// In single quotes, with backslashes.
    Libpq,
    /// Not at all.
    Plain,
}

impl Quoting {
    /// The value. None: that is not how one is written.
    pub(crate) fn read(self, raw: &str) -> Option<Zeroizing<String>> {
        match self {
            Self::Percent => url::decoded(raw, false),
            Self::Query => url::decoded(raw, true),
            Self::AdoNet | Self::Braces => Some(semicolons::unquoted(raw, self)),
            Self::Libpq => Some(libpq::unquoted(raw)),
            Self::Plain => Some(Zeroizing::new(raw.to_owned())),
        }
    }

    /// A value as it is written. None: it cannot be.
    pub(crate) fn write(self, value: &str) -> Option<Zeroizing<String>> {
        if value.contains(char::is_control) {
            return None;
        }
        Some(match self {
            Self::Percent | Self::Query => percent(value.as_bytes(), "%20"),
            Self::AdoNet => semicolons::quoted(value),
            Self::Braces => semicolons::braced(value),
            Self::Libpq => libpq::quoted(value),
            Self::Plain => Zeroizing::new(value.to_owned()),
        })
    }
}
