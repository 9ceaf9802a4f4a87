//! Expressions: read, and computed over a row.

use super::functions::call;
use super::lexer::{Cursor, Token};
use super::select::Select;
use super::statement::Run;
use crate::tokens::Problem;
use crate::value::{Value, same};

pub(super) enum Expression {
    Value(Value),
    Variable(String),
    Column(Option<String>, String),
    Call(String, Vec<Expression>),
    Binary(String, Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    IsNull(Box<Expression>),
    In(Box<Expression>, Vec<Expression>),
    Exists(Box<Select>),
    Scalar(Box<Select>),
    /// Conditions with what they lead to, and what else.
    Case(Vec<(Expression, Expression)>, Option<Box<Expression>>),
}

/// The rows that names mean, the innermost last: each with the name of its table.
pub(super) type Scope<'a> = Vec<(&'a str, &'a [String], &'a [Value])>;

/// How strongly a sign binds; words are in upper case.
fn strength(sign: &str) -> u8 {
    match sign {
        "OR" => 1,
        "AND" => 2,
        "=" | "<>" | "!=" | "<" | ">" | "<=" | ">=" | "LIKE" | "IN" | "IS" => 4,
        "+" | "-" | "&" | "|" => 5,
        "*" | "/" | "%" => 6,
        _ => 0,
    }
}

impl Expression {
    pub(super) fn read(cursor: &mut Cursor) -> Result<Self, Problem> {
        Self::binding(cursor, 1)
    }

    fn binding(cursor: &mut Cursor, least: u8) -> Result<Self, Problem> {
        let mut left = if cursor.words("NOT") {
            Self::Not(Box::new(Self::binding(cursor, 3)?))
        } else {
            Self::primary(cursor)?
        };
        loop {
            let negated = cursor.is_word("NOT")
                && matches!(cursor.after(1), Some(Token::Word(word)) if same(word, "IN") || same(word, "LIKE"));
            let sign = match cursor.after(usize::from(negated)) {
                Some(Token::Sign(sign)) => sign.clone(),
                Some(Token::Word(word)) => word.to_ascii_uppercase(),
                _ => return Ok(left),
            };
            let strength = strength(&sign);
            if strength == 0 || strength < least {
                return Ok(left);
            }
            cursor.next();
            if negated {
                cursor.next();
            }
            left = match sign.as_str() {
                "IS" => {
                    let is_not = cursor.words("NOT");
                    cursor.expect_words("NULL")?;
                    Self::negated_if(is_not, Self::IsNull(Box::new(left)))
                }
                "IN" => {
                    cursor.expect("(")?;
                    let within = Self::In(Box::new(left), Self::list(cursor)?);
                    Self::negated_if(negated, within)
                }
                _ => {
                    let right = Self::binding(cursor, strength + 1)?;
                    Self::negated_if(negated, Self::Binary(sign, Box::new(left), Box::new(right)))
                }
            };
        }
    }

    fn negated_if(negated: bool, own: Self) -> Self {
        if negated { Self::Not(Box::new(own)) } else { own }
    }

    /// Up to the closing bracket.
    fn list(cursor: &mut Cursor) -> Result<Vec<Self>, Problem> {
        let mut items = Vec::new();
        if cursor.sign(")") {
            return Ok(items);
        }
        loop {
            items.push(if cursor.sign("*") {
                Self::Value(Value::Int(1))
            } else {
                Self::read(cursor)?
            });
            if !cursor.sign(",") {
                cursor.expect(")")?;
                return Ok(items);
            }
        }
    }

    fn primary(cursor: &mut Cursor) -> Result<Self, Problem> {
        let wrong = cursor.wrong();
        match cursor.next() {
            Some(Token::Text(text)) => Ok(Self::Value(Value::Text(text))),
            Some(Token::Number(number)) => Ok(Self::Value(Value::Int(number))),
            Some(Token::Bytes(bytes)) => Ok(Self::Value(Value::Bytes(bytes))),
            Some(Token::Variable(name)) => Ok(Self::Variable(name)),
            Some(Token::Sign(sign)) if sign == "-" => {
                let zero = Self::Value(Value::Int(0));
                Ok(Self::Binary(
                    sign,
                    Box::new(zero),
                    Box::new(Self::primary(cursor)?),
                ))
            }
            Some(Token::Sign(sign)) if sign == "(" => {
                let inner = if cursor.is_word("SELECT") {
                    Self::Scalar(Box::new(Select::read(cursor)?))
                } else {
                    Self::read(cursor)?
                };
                cursor.expect(")")?;
                Ok(inner)
            }
            Some(Token::Word(word)) if same(&word, "NULL") => Ok(Self::Value(Value::Null)),
            Some(Token::Word(word)) if same(&word, "CASE") => Self::case(cursor),
            Some(Token::Word(word)) if same(&word, "EXISTS") => {
                cursor.expect("(")?;
                let inner = Self::Exists(Box::new(Select::read(cursor)?));
                cursor.expect(")")?;
                Ok(inner)
            }
            Some(Token::Word(word)) if same(&word, "CAST") || same(&word, "CONVERT") => {
                Self::cast(cursor, &word)
            }
            Some(Token::Word(name) | Token::Name(name)) => {
                if cursor.sign("(") {
                    Ok(Self::Call(name.to_ascii_uppercase(), Self::list(cursor)?))
                } else if cursor.sign(".") {
                    Ok(Self::Column(Some(name), cursor.name()?))
                } else if ["CURRENT_USER", "SYSTEM_USER", "SESSION_USER"]
                    .iter()
                    .any(|own| same(own, &name))
                {
                    Ok(Self::Call(name.to_ascii_uppercase(), Vec::new()))
                } else {
                    Ok(Self::Column(None, name))
                }
            }
            _ => Err(wrong),
        }
    }

    fn case(cursor: &mut Cursor) -> Result<Self, Problem> {
        let mut cases = Vec::new();
        while cursor.words("WHEN") {
            let condition = Self::read(cursor)?;
            cursor.expect_words("THEN")?;
            cases.push((condition, Self::read(cursor)?));
        }
        let other = if cursor.words("ELSE") {
            Some(Box::new(Self::read(cursor)?))
        } else {
            None
        };
        cursor.expect_words("END")?;
        Ok(Self::Case(cases, other))
    }

    /// `CAST(x AS t)`, `CONVERT(t, x[, style])`.
    fn cast(cursor: &mut Cursor, word: &str) -> Result<Self, Problem> {
        cursor.expect("(")?;
        let (inner, kind) = if same(word, "CAST") {
            let inner = Self::read(cursor)?;
            cursor.expect_words("AS")?;
            (inner, type_name(cursor)?)
        } else {
            let kind = type_name(cursor)?;
            cursor.expect(",")?;
            let inner = Self::read(cursor)?;
            if cursor.sign(",") {
                Self::read(cursor)?;
            }
            (inner, kind)
        };
        cursor.expect(")")?;
        Ok(Self::Call(
            format!("TO {}", kind.to_ascii_uppercase()),
            vec![inner],
        ))
    }

    /// Whether it counts rows.
    pub(super) fn is_count(&self) -> bool {
        match self {
            Self::Call(name, arguments) => name == "COUNT" || arguments.iter().any(Self::is_count),
            Self::Binary(_, left, right) => left.is_count() || right.is_count(),
            _ => false,
        }
    }

    /// Its value. `count`: how many rows there are, where they are counted.
    pub(super) fn value(&self, run: &Run<'_>, scope: &Scope<'_>, count: usize) -> Result<Value, Problem> {
        let of = |inner: &Self| inner.value(run, scope, count);
        Ok(match self {
            Self::Value(value) => value.clone(),
            Self::Variable(name) => run.variable(name)?,
            Self::Column(table, name) => column(scope, table.as_deref(), name)?,
            Self::Call(name, _) if name == "COUNT" => Value::Int(i64::try_from(count).unwrap_or(i64::MAX)),
            Self::Call(name, arguments) => {
                let arguments: Result<Vec<_>, _> = arguments.iter().map(of).collect();
                call(run, name, &arguments?)?
            }
            Self::Binary(sign, left, right) => binary(sign, &of(left)?, &of(right)?),
            Self::Not(inner) => match of(inner)? {
                Value::Null => Value::Null,
                value => Value::Bit(!value.is_true()),
            },
            Self::IsNull(inner) => Value::Bit(of(inner)? == Value::Null),
            Self::In(inner, items) => {
                let inner = of(inner)?;
                let items: Result<Vec<_>, _> = items.iter().map(of).collect();
                Value::Bit(items?.iter().any(|item| binary("=", &inner, item).is_true()))
            }
            Self::Exists(select) => Value::Bit(!select.rows(run, scope)?.is_empty()),
            Self::Scalar(select) => {
                let rows = select.rows(run, scope)?;
                rows.into_iter()
                    .next()
                    .and_then(|row| row.into_iter().next())
                    .unwrap_or(Value::Null)
            }
            Self::Case(cases, other) => {
                for (condition, then) in cases {
                    if of(condition)?.is_true() {
                        return of(then);
                    }
                }
                other.as_deref().map_or(Ok(Value::Null), of)?
            }
        })
    }
}

fn type_name(cursor: &mut Cursor) -> Result<String, Problem> {
    let name = cursor.name()?;
    if cursor.sign("(") {
        while !cursor.sign(")") {
            cursor.next().ok_or_else(|| super::lexer::syntax(")"))?;
        }
    }
    Ok(name)
}

fn column(scope: &Scope<'_>, table: Option<&str>, name: &str) -> Result<Value, Problem> {
    let tables = scope
        .iter()
        .rev()
        .filter(|(own, ..)| table.is_none_or(|table| same(table, own)));
    let found = tables.filter_map(|(_, columns, row)| {
        let at = columns.iter().position(|column| same(column, name))?;
        row.get(at).cloned()
    });
    let missing = || Problem::new(207, format!("Invalid column name '{name}'."));
    found.into_iter().next().ok_or_else(missing)
}

fn binary(sign: &str, left: &Value, right: &Value) -> Value {
    match (sign, left, right) {
        ("AND", ..) => return Value::Bit(left.is_true() && right.is_true()),
        ("OR", ..) => return Value::Bit(left.is_true() || right.is_true()),
        (_, Value::Null, _) | (_, _, Value::Null) => return Value::Null,
        ("+", Value::Text(left), Value::Text(right)) => return Value::Text(format!("{left}{right}")),
        ("LIKE", ..) => {
            return Value::Bit(is_like(&left.text().to_lowercase(), &right.text().to_lowercase()));
        }
        _ => {}
    }
    let order = left.compare(right);
    let (a, b) = (left.number(), right.number());
    match sign {
        "=" => Value::Bit(order.is_some_and(std::cmp::Ordering::is_eq)),
        "<>" | "!=" => Value::Bit(order.is_some_and(std::cmp::Ordering::is_ne)),
        "<" => Value::Bit(order.is_some_and(std::cmp::Ordering::is_lt)),
        ">" => Value::Bit(order.is_some_and(std::cmp::Ordering::is_gt)),
        "<=" => Value::Bit(order.is_some_and(std::cmp::Ordering::is_le)),
        ">=" => Value::Bit(order.is_some_and(std::cmp::Ordering::is_ge)),
        "+" => Value::Int(a.wrapping_add(b)),
        "-" => Value::Int(a.wrapping_sub(b)),
        "*" => Value::Int(a.wrapping_mul(b)),
        "/" => a.checked_div(b).map_or(Value::Null, Value::Int),
        "%" => a.checked_rem(b).map_or(Value::Null, Value::Int),
        "&" => Value::Int(a & b),
        _ => Value::Int(a | b),
    }
}

/// `%` alone.
fn is_like(text: &str, pattern: &str) -> bool {
    match pattern.split_once('%') {
        None => text == pattern,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|text| {
            text.char_indices()
                .map(|(at, _)| &text[at..])
                .chain([""])
                .any(|tail| is_like(tail, rest))
        }),
    }
}
