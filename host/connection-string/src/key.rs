//! What parts are called.

use crate::form::Form;

/// One part, by each of its names: SqlClient, MySqlConnector, Npgsql, ODBC drivers, mssql-jdbc, libpq, pgjdbc, StackExchange.Redis.
const SYNONYMS: [&[&str]; 5] = [
    &["password", "pwd"],
    &["user", "user id", "uid", "username", "user name"],
    &[
        "host",
        "server",
        "data source",
        "address",
        "addr",
        "network address",
        "servername",
    ],
    &["port", "portnumber"],
    &["database", "initial catalog", "dbname", "databasename"],
];

/// Whether a key of the text is the one that is asked for, under one of its names.
pub(crate) fn is_same(form: Form, there: &str, asked: &str) -> bool {
    let asked = asked.to_lowercase();
    let there = if form.folds_case() {
        there.to_lowercase()
    } else {
        there.to_owned()
    };
    let group = SYNONYMS.iter().find(|names| names.contains(&asked.as_str()));
    match group {
        Some(names) => names.contains(&there.as_str()),
        None => there == asked,
    }
}
