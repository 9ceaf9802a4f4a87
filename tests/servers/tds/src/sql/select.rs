//! `SELECT` over the views of the server's books.

use super::expression::{Expression, Scope};
use super::lexer::{Cursor, Token, begins_statement};
use super::statement::Run;
use super::views;
use crate::tokens::Problem;
use crate::value::{Value, same};

pub(super) struct Select {
    most: Option<i64>,
    /// Each with its name; none: every column.
    items: Vec<(Option<Expression>, String)>,
    tables: Vec<Source>,
    filter: Option<Expression>,
    order: Vec<(Expression, bool)>,
}

struct Source {
    /// `sys.databases`.
    view: String,
    alias: String,
    /// With the ones before it.
    on: Option<Expression>,
    is_outer: bool,
}

impl Select {
    pub(super) fn read(cursor: &mut Cursor) -> Result<Self, Problem> {
        cursor.expect_words("SELECT")?;
        cursor.words("DISTINCT");
        let most = if cursor.words("TOP") {
            let bracket = cursor.sign("(");
            let Some(Token::Number(most)) = cursor.next() else {
                return Err(cursor.wrong());
            };
            if bracket {
                cursor.expect(")")?;
            }
            Some(most)
        } else {
            None
        };
        let mut select = Self {
            most,
            items: Vec::new(),
            tables: Vec::new(),
            filter: None,
            order: Vec::new(),
        };
        loop {
            select.items.push(item(cursor)?);
            if !cursor.sign(",") {
                break;
            }
        }
        if cursor.words("FROM") {
            select.tables.push(Source::read(cursor)?);
            loop {
                let is_outer = cursor.words("LEFT OUTER JOIN") || cursor.words("LEFT JOIN");
                if !is_outer && !cursor.words("INNER JOIN") && !cursor.words("JOIN") {
                    break;
                }
                let mut source = Source::read(cursor)?;
                cursor.expect_words("ON")?;
                (source.on, source.is_outer) = (Some(Expression::read(cursor)?), is_outer);
                select.tables.push(source);
            }
        }
        if cursor.words("WHERE") {
            select.filter = Some(Expression::read(cursor)?);
        }
        if cursor.words("ORDER BY") {
            loop {
                let by = Expression::read(cursor)?;
                let descending = cursor.words("DESC");
                cursor.words("ASC");
                select.order.push((by, descending));
                if !cursor.sign(",") {
                    break;
                }
            }
        }
        Ok(select)
    }

    /// The names of its columns.
    pub(super) fn columns(&self, run: &Run<'_>) -> Result<Vec<String>, Problem> {
        let mut names = Vec::new();
        for (item, name) in &self.items {
            if item.is_some() {
                names.push(name.clone());
            } else {
                for source in &self.tables {
                    names.extend(views::table(run, &source.view)?.0);
                }
            }
        }
        Ok(names)
    }

    /// Its rows, within those of the statement around it.
    pub(super) fn rows(&self, run: &Run<'_>, outer: &Scope<'_>) -> Result<Vec<Vec<Value>>, Problem> {
        let mut tables = Vec::new();
        for source in &self.tables {
            let (columns, rows) = views::table(run, &source.view)?;
            tables.push((source, columns, rows));
        }
        let mut joined: Vec<Vec<Vec<Value>>> = vec![Vec::new()];
        for (at, (source, columns, rows)) in tables.iter().enumerate() {
            let mut next = Vec::new();
            for before in joined {
                let start = next.len();
                for row in rows {
                    let mut both = before.clone();
                    both.push(row.clone());
                    let scope = scope(outer, &tables[..=at], &both);
                    if source.on.as_ref().map_or(Ok(true), |on| {
                        on.value(run, &scope, 0).map(|value| value.is_true())
                    })? {
                        next.push(both);
                    }
                }
                if next.len() == start && source.is_outer {
                    next.push([before, vec![vec![Value::Null; columns.len()]]].concat());
                }
            }
            joined = next;
        }
        let mut kept = Vec::new();
        for row in joined {
            let scope = scope(outer, &tables, &row);
            if self.filter.as_ref().map_or(Ok(true), |filter| {
                filter.value(run, &scope, 0).map(|value| value.is_true())
            })? {
                let keys: Result<Vec<_>, _> = self
                    .order
                    .iter()
                    .map(|(by, _)| by.value(run, &scope, 0))
                    .collect();
                kept.push((keys?, row));
            }
        }
        kept.sort_by(|(left, _), (right, _)| {
            let parts = self.order.iter().zip(left.iter().zip(right));
            parts.fold(
                std::cmp::Ordering::Equal,
                |order, ((_, descending), (left, right))| {
                    let own = left.compare(right).unwrap_or(std::cmp::Ordering::Equal);
                    order.then(if *descending { own.reverse() } else { own })
                },
            )
        });
        if self
            .items
            .iter()
            .any(|(item, _)| item.as_ref().is_some_and(Expression::is_count))
        {
            return Ok(vec![self.project(run, outer, kept.len())?]);
        }
        let most = self
            .most
            .and_then(|most| usize::try_from(most).ok())
            .unwrap_or(usize::MAX);
        let project =
            |(_, row): &(Vec<Value>, Vec<Vec<Value>>)| self.project(run, &scope(outer, &tables, row), 0);
        kept.iter().take(most).map(project).collect()
    }

    fn project(&self, run: &Run<'_>, scope: &Scope<'_>, count: usize) -> Result<Vec<Value>, Problem> {
        let mut values = Vec::new();
        for (item, _) in &self.items {
            match item {
                Some(item) => values.push(item.value(run, scope, count)?),
                None => values.extend(scope.iter().flat_map(|(.., row)| row.iter().cloned())),
            }
        }
        Ok(values)
    }
}

/// A table with its columns and rows.
type Filled<'a> = (&'a Source, Vec<String>, Vec<Vec<Value>>);

fn scope<'a>(outer: &Scope<'a>, tables: &'a [Filled<'a>], row: &'a [Vec<Value>]) -> Scope<'a> {
    let own = tables
        .iter()
        .zip(row)
        .map(|((source, columns, _), values)| (source.alias.as_str(), columns.as_slice(), values.as_slice()));
    outer.iter().copied().chain(own).collect()
}

fn item(cursor: &mut Cursor) -> Result<(Option<Expression>, String), Problem> {
    if cursor.sign("*") {
        return Ok((None, String::new()));
    }
    let expression = Expression::read(cursor)?;
    let own = match &expression {
        Expression::Column(_, name) => name.clone(),
        _ => String::new(),
    };
    let name = if cursor.words("AS") { cursor.name()? } else { own };
    Ok((Some(expression), name))
}

impl Source {
    fn read(cursor: &mut Cursor) -> Result<Self, Problem> {
        let mut view = cursor.name()?;
        while cursor.sign(".") {
            view = format!("{view}.{}", cursor.name()?);
        }
        let is_alias = |token: &Token| match token {
            Token::Word(word) => {
                let ends = ["WHERE", "ORDER", "JOIN", "LEFT", "INNER", "ON", "GROUP", "UNION"];
                !ends.iter().any(|end| same(end, word)) && !begins_statement(token)
            }
            Token::Name(_) => true,
            _ => false,
        };
        let alias = if cursor.words("AS") || cursor.peek().is_some_and(is_alias) {
            cursor.name()?
        } else {
            view.rsplit('.').next().unwrap_or_default().to_owned()
        };
        Ok(Self {
            view,
            alias,
            on: None,
            is_outer: false,
        })
    }
}
