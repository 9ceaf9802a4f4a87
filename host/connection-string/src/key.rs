//! What parts are called.

use crate::form::Form;

/// One part, by each of its names: SqlClient, MySqlConnector, Npgsql, ODBC drivers, mssql-jdbc, libpq, pgjdbc, StackExchange.Redis.
const SYNONYMS: [&[&str]; 5] = [
    &["password", "pwd", "psw"],
    &["user", "user id", "userid", "uid", "username", "user name"],
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

/// The one name of a part, whatever a string calls it: `password` for `Pwd`; of a key that has no other name, that in small letters. Two keys
/// mean the same part where this is the same.
pub fn canonical(key: &str) -> String {
    let key = key.to_lowercase();
    let group = SYNONYMS.iter().find(|names| names.contains(&key.as_str()));
    group.map_or(key, |names| names[0].to_owned())
}

/// Whether a key of the text is the one that is asked for, under one of its names.
pub(crate) fn is_same(form: Form, there: &str, asked: &str) -> bool {
    let is_written_so = form.folds_case() || there == there.to_lowercase();
    is_written_so && canonical(there) == canonical(asked)
}
