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
    /// `[identifier]`, `N'literal'`, parameters written as literals: by the pinned `QUOTED_IDENTIFIER`.
    MsSql,
}

impl Dialect {
    /// The word used in configuration and manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
            Self::MariaDb => "mariadb",
            Self::MsSql => "mssql",
        }
    }

    /// Longest identifier, and in what; some servers would cut a longer one silently and mean another object.
    pub(super) fn identifier_limit(self) -> (usize, &'static str) {
        match self {
            Self::Postgres => (63, "bytes"),
            Self::MySql | Self::MariaDb => (64, "bytes"),
            Self::MsSql => (128, "characters"),
        }
    }

    /// The length of an identifier, in the same. Characters of SQL Server are units of UTF-16.
    pub(super) fn identifier_length(self, name: &str) -> usize {
        if self == Self::MsSql {
            name.encode_utf16().count()
        } else {
            name.len()
        }
    }

    /// Whether a text is itself once it is quoted as a literal. SQL Server takes a backslash at the end of a line away, and the line's end with it.
    pub(super) fn is_literal(self, text: &str) -> bool {
        !text.contains('\0') && !(self == Self::MsSql && (text.contains("\\\n") || text.contains("\\\r\n")))
    }

    pub(super) fn push_identifier(self, sql: &mut String, name: &str) {
        match self {
            Self::Postgres => push_doubled(sql, name, &['"']),
            Self::MySql | Self::MariaDb => push_doubled(sql, name, &['`']),
            Self::MsSql => {
                sql.push('[');
                for character in name.chars() {
                    sql.extend(std::iter::repeat_n(
                        character,
                        if character == ']' { 2 } else { 1 },
                    ));
                }
                sql.push(']');
            }
        }
    }

    pub(super) fn push_literal(self, sql: &mut String, text: &str) {
        match self {
            Self::Postgres => push_doubled(sql, text, &['\'']),
            Self::MySql | Self::MariaDb => push_doubled(sql, text, &['\'', '\\']),
            Self::MsSql => {
                sql.push('N');
                push_doubled(sql, text, &['\'']);
            }
        }
    }

    pub(super) fn push_param(self, sql: &mut String, number: usize, value: &Value) {
        match (self, value) {
            (Self::Postgres, _) => {
                sql.push('$');
                sql.push_str(&number.to_string());
            }
            (_, Value::Null) => sql.push_str("NULL"),
            (Self::MsSql, Value::Bool(value)) => sql.push(if *value { '1' } else { '0' }),
            (_, Value::Bool(value)) => sql.push_str(if *value { "TRUE" } else { "FALSE" }),
            (_, Value::Int(value)) => sql.extend(["(", &value.to_string(), ")"]),
            (_, Value::Float(value)) => sql.extend(["(", &format!("{value:e}"), ")"]),
            (_, Value::Text(text)) => self.push_literal(sql, text),
            (_, Value::Bytes(bytes)) => {
                let (open, close) = if self == Self::MsSql {
                    ("0x", "")
                } else {
                    ("X'", "'")
                };
                sql.push_str(open);
                sql.extend(bytes.iter().map(|byte| format!("{byte:02x}")));
                sql.push_str(close);
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
