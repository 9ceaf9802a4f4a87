//! SQL in typed pieces. The text is the author's; everything else is quoted by the host, by the dialect.
//!
//! Text pieces are held to a small lexical rule, so that a piece can never change what its neighbour means: quotes are closed within
//! the piece; no comment, no semicolon, no dollar sign, no backslash; a quoted piece stands apart from letters and quotes beside it.

use keywheel_model::SecretBytes;
use zeroize::Zeroizing;

use crate::Error;

mod dialect;

pub use dialect::Dialect;

/// Longest statement, in bytes of its parts.
pub const STATEMENT_LIMIT: usize = 64 * 1024;

/// A value, as it goes in as a parameter or comes back in a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A truth value.
    Bool(bool),
    /// Every integer type up to 64 bits.
    Int(i64),
    /// Floating point.
    Float(f64),
    /// Text, names.
    Text(String),
    /// `bytea`, `BLOB`.
    Bytes(Vec<u8>),
}

/// One piece of a statement.
#[derive(Debug)]
pub enum Piece {
    /// The author's SQL.
    Text(String),
    /// Quoted as a name.
    Identifier(String),
    /// Quoted as a string.
    Literal(String),
    /// Quoted as a string; shown as `***`.
    Secret(SecretBytes),
    /// Sent beside the text, or written as a literal where the dialect says so.
    Param(Value),
}

/// A statement under construction.
#[derive(Debug)]
pub struct Statement {
    dialect: Dialect,
    pieces: Vec<Piece>,
    bytes: usize,
}

/// A statement as it is sent. Wiped when dropped.
pub(crate) struct Rendered {
    pub(crate) sql: Zeroizing<String>,
    pub(crate) params: Vec<Value>,
}

impl Statement {
    /// An empty one.
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            pieces: Vec::new(),
            bytes: 0,
        }
    }

    /// Its dialect.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// SQL written by the author. Never data.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the piece breaks the lexical rule of this module.
    pub fn text(&mut self, sql: &str) -> Result<(), Error> {
        check_text(self.dialect, sql)?;
        let piece = Piece::Text(sql.to_owned());
        self.push(piece, sql.len())
    }

    /// A name, quoted.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty name, NUL, or one that is longer than the server keeps.
    pub fn identifier(&mut self, name: &str) -> Result<(), Error> {
        if name.is_empty() || name.contains('\0') {
            return Err(Error::invalid("an identifier is not empty and has no NUL"));
        }
        let (most, what) = self.dialect.identifier_limit();
        if self.dialect.identifier_length(name) > most {
            return Err(Error::invalid(format!("an identifier has at most {most} {what}")));
        }
        self.push(Piece::Identifier(name.to_owned()), name.len())
    }

    /// A string, quoted.
    ///
    /// # Errors
    /// [`Error::Invalid`] for NUL, and for what the server would take for something else.
    pub fn literal(&mut self, text: &str) -> Result<(), Error> {
        self.check_literal(text)?;
        self.push(Piece::Literal(text.to_owned()), text.len())
    }

    /// A secret, quoted as a string. Whether its bytes are text is checked when the statement runs.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it stands against a letter or a quote; [`Error::Limit`].
    pub fn secret_literal(&mut self, secret: SecretBytes) -> Result<(), Error> {
        self.push(Piece::Secret(secret), 0)
    }

    /// A parameter.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it stands against a letter or a quote, and for a number that the server does not know; [`Error::Limit`].
    pub fn param(&mut self, value: Value) -> Result<(), Error> {
        if matches!(value, Value::Float(number) if !number.is_finite()) && self.dialect != Dialect::Postgres {
            return Err(Error::invalid("the server knows no such number"));
        }
        if let (Value::Text(text), true) = (&value, self.dialect != Dialect::Postgres) {
            self.check_literal(text)?;
        }
        let bytes = match &value {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            _ => 8,
        };
        self.push(Piece::Param(value), bytes)
    }

    fn check_literal(&self, text: &str) -> Result<(), Error> {
        if self.dialect.is_literal(text) {
            return Ok(());
        }
        Err(Error::invalid(if text.contains('\0') {
            "a literal has no NUL"
        } else {
            "a literal has no backslash at the end of a line: the server would take it away"
        }))
    }

    /// The pieces so far.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Whether a secret is inside: execute-only, and errors keep their SQLSTATE only.
    pub fn carries_secret(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Secret(_)))
    }

    /// Whether it may go through a session that others use too: it changes the catalogue, and nothing of the session.
    pub fn may_share(&self) -> bool {
        self.verb() == "ALTER"
    }

    /// The statement with every secret shown as `***`.
    pub fn preview(&self) -> String {
        let mut sql = String::new();
        let mut params = 0;
        for piece in &self.pieces {
            match piece {
                Piece::Secret(_) => sql.push_str("***"),
                shown => params = self.push_piece(&mut sql, shown, "", params),
            }
        }
        sql
    }

    /// The first word, in upper case.
    pub(crate) fn verb(&self) -> String {
        let Some(Piece::Text(text)) = self.pieces.first() else {
            return String::new();
        };
        text.trim_start()
            .chars()
            .take_while(char::is_ascii_alphabetic)
            .collect::<String>()
            .to_ascii_uppercase()
    }

    /// The author's words, in upper case, however the text is cut into pieces.
    pub(crate) fn words(&self) -> Vec<String> {
        let text = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            _ => " ",
        });
        let text = text.collect::<String>().to_ascii_uppercase();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    /// The author's words that stand in no quotes, in upper case.
    pub(crate) fn unquoted_words(&self) -> Vec<String> {
        let mut text = String::new();
        for piece in &self.pieces {
            let Piece::Text(own) = piece else {
                text.push(' ');
                continue;
            };
            // Closed within the piece.
            let mut quote = None;
            for character in own.chars() {
                match (quote, character) {
                    (Some(open), c) => quote = Some(open).filter(|_| c != open),
                    (None, '\'' | '"') => {
                        quote = Some(character);
                        text.push(' ');
                    }
                    (None, c) => text.push(c.to_ascii_uppercase()),
                }
            }
        }
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    fn push(&mut self, piece: Piece, bytes: usize) -> Result<(), Error> {
        if let Some(last) = self.pieces.last() {
            check_joint(last, &piece)?;
        }
        self.bytes += bytes + 3;
        if self.bytes > STATEMENT_LIMIT {
            return Err(Error::Limit {
                what: "the statement",
                limit: STATEMENT_LIMIT,
                effect: keywheel_model::Effect::None,
            });
        }
        self.pieces.push(piece);
        Ok(())
    }

    pub(crate) fn render(&self) -> Result<Rendered, Error> {
        // Reserved in full, so that no half-written copy of a secret is left behind by a reallocation.
        let most: usize = self
            .pieces
            .iter()
            .map(|piece| {
                if let Piece::Secret(s) = piece {
                    2 * s.expose().len() + 2
                } else {
                    0
                }
            })
            .sum();
        let mut sql = Zeroizing::new(String::with_capacity(
            2 * self.bytes + most + 16 * self.pieces.len(),
        ));
        let mut params = Vec::new();
        for piece in &self.pieces {
            let secret = match piece {
                Piece::Secret(secret) => self.secret_text(secret)?,
                Piece::Param(value) => {
                    params.push(value.clone());
                    ""
                }
                _ => "",
            };
            self.push_piece(&mut sql, piece, secret, params.len().saturating_sub(1));
        }
        Ok(Rendered { sql, params })
    }

    fn secret_text<'s>(&self, secret: &'s SecretBytes) -> Result<&'s str, Error> {
        let text = std::str::from_utf8(secret.expose()).ok();
        let text = text.filter(|text| self.dialect.is_literal(text));
        text.ok_or_else(|| {
            Error::invalid("a secret in a statement is text without NUL, and for SQL Server without a backslash at the end of a line")
        })
    }

    /// Returns how many parameters there are up to and with this piece.
    fn push_piece(&self, sql: &mut String, piece: &Piece, secret: &str, params_before: usize) -> usize {
        match piece {
            Piece::Text(text) => sql.push_str(text),
            Piece::Identifier(name) => self.dialect.push_identifier(sql, name),
            Piece::Literal(text) => self.dialect.push_literal(sql, text),
            Piece::Secret(_) => self.dialect.push_literal(sql, secret),
            Piece::Param(value) => {
                self.dialect.push_param(sql, params_before + 1, value);
                return params_before + 1;
            }
        }
        params_before
    }
}

fn check_text(dialect: Dialect, sql: &str) -> Result<(), Error> {
    let backticks = matches!(dialect, Dialect::MySql | Dialect::MariaDb);
    let brackets = dialect == Dialect::MsSql;
    let refuse = |why: &str| {
        Err(Error::invalid(format!(
            "SQL text may not hold {why}; use the typed pieces"
        )))
    };
    let mut quote = None;
    let mut before = ' ';
    for character in sql.chars() {
        match (quote, character) {
            (_, '\0' | '\\') => return refuse("NUL or a backslash"),
            (Some(open), c) => quote = Some(open).filter(|_| c != open),
            (None, '\'' | '"') => quote = Some(character),
            (None, '`') if backticks => quote = Some(character),
            (None, '#') if backticks => return refuse("a comment"),
            (None, '[' | ']') if brackets => return refuse("a name in brackets"),
            (None, ';') => return refuse("a semicolon"),
            (None, '$') => return refuse("a dollar sign"),
            (None, '-') if before == '-' => return refuse("a comment"),
            (None, '*') if before == '/' => return refuse("a comment"),
            _ => {}
        }
        before = character;
    }
    if quote.is_some() {
        refuse("an open quote")
    } else {
        Ok(())
    }
}

/// `E'…'`, `U&"…"`, `''` and `--` must not come to be at the joint of two pieces.
fn check_joint(left: &Piece, right: &Piece) -> Result<(), Error> {
    let sticks =
        |c: char| c.is_alphanumeric() || matches!(c, '_' | '\'' | '"' | '`' | '&' | '$') || !c.is_ascii();
    let good = match (left, right) {
        (Piece::Text(a), Piece::Text(b)) => {
            let (end, start) = (
                a.chars().next_back().unwrap_or(' '),
                b.chars().next().unwrap_or(' '),
            );
            let comment = matches!((end, start), ('-', '-') | ('/', '*'));
            let prefixed = sticks(end) && matches!(start, '\'' | '"' | '`');
            !comment && !prefixed
        }
        (Piece::Text(a), _) => !a.chars().next_back().is_some_and(sticks),
        (_, Piece::Text(b)) => !b.chars().next().is_some_and(sticks),
        // `"schema""table"` would read as one name.
        _ => false,
    };
    if good {
        Ok(())
    } else {
        Err(Error::invalid(
            "a quoted piece stands apart: put a space, comma, dot or bracket between it and its neighbour",
        ))
    }
}

#[cfg(test)]
mod tests;
