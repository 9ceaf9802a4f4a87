//! Batches: one statement after the other, by words.

use super::accounts;
use super::expression::Expression;
use super::lexer::{Cursor, Token, begins_statement};
use super::select::Select;
use crate::books::{Books, Database};
use crate::policy::Identity;
use crate::server::{Session, Settings};
use crate::tokens::Problem;
use crate::value::Value;

/// What a statement comes to.
pub(crate) enum Reply {
    Rows(Vec<String>, Vec<Vec<Value>>),
    Done,
    /// Another database from now on; the one before.
    Database(String),
    Transaction(u8),
}

/// A batch that runs.
pub(crate) struct Run<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) books: &'a mut Books,
    pub(crate) session: &'a mut Session,
    pub(crate) variables: Vec<(String, Value)>,
    /// Whether the books are others than before.
    pub(crate) changed: bool,
}

impl Run<'_> {
    pub(crate) fn identity(&self) -> &Identity {
        &self.session.identity
    }

    /// The database that the session is in.
    pub(crate) fn database(&self) -> &Database {
        let own = self.books.database(&self.session.database);
        own.unwrap_or(&self.books.databases[0])
    }

    /// `@name`, `@@name`.
    pub(super) fn variable(&self, name: &str) -> Result<Value, Problem> {
        let own = self.variables.iter().find(|(own, _)| own == name);
        Ok(match (name, own) {
            (_, Some((_, value))) => value.clone(),
            ("@@version", _) => Value::Text(format!(
                "Microsoft SQL Server {} (a server for tests of Keywheel)",
                crate::VERSION
            )),
            ("@@servername", _) => Value::of(crate::SERVER_NAME),
            ("@@trancount", _) => Value::Int(self.session.transactions.into()),
            ("@@spid", _) => Value::Int(self.session.number),
            ("@@max_precision", _) => Value::Int(38),
            ("@@error" | "@@options" | "@@rowcount", _) => Value::Int(0),
            ("@@language", _) => Value::of("us_english"),
            _ => {
                return Err(Problem::new(
                    137,
                    format!("Must declare the scalar variable \"{name}\"."),
                ));
            }
        })
    }

    /// Every statement of a text, up to the first that fails.
    pub(crate) fn batch(&mut self, sql: &str, reply: &mut dyn FnMut(Reply)) -> Result<(), Problem> {
        let mut cursor = Cursor::of(sql)?;
        while cursor.peek().is_some() {
            if !cursor.sign(";") {
                self.statement(&mut cursor, reply)?;
            }
        }
        Ok(())
    }

    fn statement(&mut self, cursor: &mut Cursor, reply: &mut dyn FnMut(Reply)) -> Result<(), Problem> {
        if cursor.is_word("SELECT") {
            let select = Select::read(cursor)?;
            let columns = select.columns(self)?;
            let rows = select.rows(self, &Vec::new())?;
            reply(Reply::Rows(columns, rows));
        } else if cursor.words("IF") {
            self.branch(cursor, reply)?;
        } else if cursor.words("SET") || cursor.words("PRINT") || cursor.words("WAITFOR") {
            skip(cursor);
            reply(Reply::Done);
        } else if cursor.words("USE") {
            let wanted = cursor.name()?;
            let known = self
                .books
                .database(&wanted)
                .filter(|database| self.books.may_enter(self.identity(), database));
            let name = known.map(|database| database.name.clone()).ok_or_else(|| {
                Problem::new(
                    911,
                    format!(
                        "Database '{wanted}' does not exist. Make sure that the name is entered correctly."
                    ),
                )
            })?;
            let old = std::mem::replace(&mut self.session.database, name);
            reply(Reply::Database(old));
        } else if cursor.words("BEGIN TRANSACTION") || cursor.words("BEGIN TRAN") {
            self.session.transactions += 1;
            reply(Reply::Transaction(8));
        } else if cursor.words("COMMIT") || cursor.words("ROLLBACK") {
            let _ = cursor.words("TRANSACTION") || cursor.words("TRAN") || cursor.words("WORK");
            if self.session.transactions == 0 {
                return Err(Problem::new(
                    3903,
                    "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION.",
                ));
            }
            self.session.transactions = 0;
            reply(Reply::Transaction(10));
        } else if cursor.words("EXEC") || cursor.words("EXECUTE") {
            self.procedure(cursor, reply)?;
        } else {
            if self.session.transactions > 0 {
                // A real server can take them back; nothing that is tried here may rest on that.
                return Err(Problem::new(
                    574,
                    "This statement cannot be used inside a user transaction.",
                ));
            }
            accounts::change(self, cursor)?;
            self.changed = true;
            reply(Reply::Done);
        }
        match cursor.peek() {
            None => Ok(()),
            Some(Token::Sign(sign)) if sign == ";" => Ok(()),
            Some(token) if begins_statement(token) => Ok(()),
            Some(_) => Err(cursor.wrong()),
        }
    }

    /// `IF condition statement [ELSE statement]`.
    fn branch(&mut self, cursor: &mut Cursor, reply: &mut dyn FnMut(Reply)) -> Result<(), Problem> {
        let condition = Expression::read(cursor)?.value(self, &Vec::new(), 0)?.is_true();
        if condition {
            self.statement(cursor, reply)?;
        } else {
            cursor.next();
            skip(cursor);
        }
        if cursor.words("ELSE") {
            if condition {
                cursor.next();
                skip(cursor);
            } else {
                self.statement(cursor, reply)?;
            }
        }
        Ok(())
    }

    /// `EXEC sp_executesql N'…'`, without parameters.
    fn procedure(&mut self, cursor: &mut Cursor, reply: &mut dyn FnMut(Reply)) -> Result<(), Problem> {
        let mut name = cursor.name()?;
        while cursor.sign(".") {
            name = cursor.name()?;
        }
        if !name.eq_ignore_ascii_case("sp_executesql") {
            return Err(Problem::new(
                2812,
                format!("Could not find stored procedure '{name}'."),
            ));
        }
        let sql = cursor.text()?;
        self.batch(&sql, reply)
    }
}

/// The rest of a statement that changes nothing here.
fn skip(cursor: &mut Cursor) {
    while let Some(token) = cursor.peek() {
        let ends = matches!(token, Token::Sign(sign) if sign == ";") || begins_statement(token);
        if ends {
            return;
        }
        cursor.next();
    }
}
