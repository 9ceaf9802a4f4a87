//! The little of T-SQL that is spoken here.

mod accounts;
mod expression;
mod functions;
mod lexer;
mod rights;
mod select;
mod statement;
mod views;

pub(crate) use statement::{Reply, Run};
