//! One `[[rotation]]` for many: with `each` it is a template, and each row of a CSV file fills it in.

mod check;
mod file;
mod listed;
mod template;

pub use check::CheckedRow;
pub use listed::{Listed, Row, Table};
pub(crate) use listed::{paths, with_stand_ins};
pub(crate) use template::RowPlace;

/// The code of what is wrong with the file of rows, or with how a template takes them.
const CODE: &str = "config.each";
