use super::Value;

/// How a server family writes identifiers, literals and parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `"identifier"`, `'literal'` with `standard_conforming_strings` on, `$1`.
    Postgres,
    /// `` `identifier` ``, `'literal'` with backslashes doubled, parameters written as literals: by the pinned `sql_mode`.
    MySql,
    /// The same of a server that says it is MariaDB: its account statements are others.
    MariaDb,
}

impl Dialect {
    /// The word used in configuration and manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
            Self::MariaDb => "mariadb",
        }
    }

    /// Longest identifier in bytes; the server would cut a longer one silently and mean another object.
    pub(super) fn identifier_limit(self) -> usize {
        match self {
            Self::Postgres => 63,
            Self::MySql | Self::MariaDb => 64,
        }
    }

    pub(super) fn push_identifier(self, sql: &mut String, name: &str) {
        match self {
            Self::Postgres => push_doubled(sql, name, &['"']),
            Self::MySql | Self::MariaDb => push_doubled(sql, name, &['`']),
        }
    }

    pub(super) fn push_literal(self, sql: &mut String, text: &str) {
        match self {
            Self::Postgres => push_doubled(sql, text, &['\'']),
            Self::MySql | Self::MariaDb => push_doubled(sql, text, &['\'', '\\']),
        }
    }

    pub(super) fn push_param(self, sql: &mut String, number: usize, value: &Value) {
        match (self, value) {
            (Self::Postgres, _) => {
                sql.push('$');
                sql.push_str(&number.to_string());
            }
            (_, Value::Null) => sql.push_str("NULL"),
            (_, Value::Bool(value)) => sql.push_str(if *value { "TRUE" } else { "FALSE" }),
            (_, Value::Int(value)) => sql.extend(["(", &value.to_string(), ")"]),
            (_, Value::Float(value)) => sql.extend(["(", &format!("{value:e}"), ")"]),
            (_, Value::Text(text)) => self.push_literal(sql, text),
            (_, Value::Bytes(bytes)) => {
                sql.push_str("X'");
                sql.extend(bytes.iter().map(|byte| format!("{byte:02x}")));
                sql.push('\'');
            }
        }
    }
}

/// Between two of the first of `special`, each character that is among them twice.
fn push_doubled(sql: &mut String, text: &str, special: &[char]) {
    sql.push(special[0]);
    for character in text.chars() {
        if special.contains(&character) {
            sql.push(character);
        }
        sql.push(character);
    }
    sql.push(special[0]);
}
