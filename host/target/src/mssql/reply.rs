//! The tokens of an answer (MS-TDS 2.2.7). An answer is read whole, within its bound, before any of it is looked at.

use std::io;

use super::fields::Fields;
use super::packet::garbled;
use super::types::Column;
use crate::postgres::{RowLimits, Rows};

const COLUMNS: u8 = 0x81;
const ERROR: u8 = 0xAA;
const LOGIN_TAKEN: u8 = 0xAD;
const ROW: u8 = 0xD1;
const ROW_WITH_NULLS: u8 = 0xD2;
const CHANGE: u8 = 0xE3;
const RETURN_STATUS: u8 = 0x79;
const FEATURES: u8 = 0xAE;
const DONE: [u8; 3] = [0xFD, 0xFE, 0xFF];
/// What begins with its length in two bytes, and says nothing that is asked here: information, orders, names of tables and columns.
const SIZED: [u8; 4] = [0xAB, 0xA9, 0xA4, 0xA5];
/// The same with four bytes: the state of a session.
const LONG: [u8; 1] = [0xE4];

/// Most columns of an answer.
const MOST_COLUMNS: u16 = 4096;

/// An error as the server sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reported {
    pub(super) number: u32,
    /// From 20 on the server closes the session.
    pub(super) class: u8,
    pub(super) message: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    Reported(Reported),
    /// The stream ended, brought too much, or what is not of the protocol.
    Stream(io::Error),
    /// A column of a type that is not read here.
    Column(String, u8),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Stream(error)
    }
}

/// An answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Rows touched by the last statement that counts any.
    pub(super) count: u64,
    pub(super) rows: Rows,
    pub(super) errors: Vec<Reported>,
    pub(super) login_taken: bool,
    /// The server sends its client to another address.
    pub(super) is_sent_on: bool,
    /// Whether a transaction that began in it was not ended.
    pub(super) in_transaction: bool,
}

/// Takes an answer apart. What is over the limits is left out.
pub(super) fn read(message: &[u8], limits: RowLimits) -> Result<Answer, Trouble> {
    let mut answer = Answer::default();
    let mut fields = Fields::of(message);
    let (mut columns, mut bytes, mut is_over) = (Vec::new(), 0, false);
    while let Some(token) = fields.byte() {
        is_over = false;
        let known = match token {
            COLUMNS => {
                columns = read_columns(&mut fields).ok_or_else(garbled)?;
                answer.rows = Rows {
                    columns: columns
                        .iter()
                        .map(|column: &Column| column.name.clone())
                        .collect(),
                    ..Rows::default()
                };
                if let Some(column) = columns.iter().find(|column| !column.is_readable()) {
                    return Err(Trouble::Column(column.name.clone(), column.number));
                }
                Some(())
            }
            ROW | ROW_WITH_NULLS => {
                let row = read_row(&columns, &mut fields, token == ROW_WITH_NULLS).ok_or_else(garbled)?;
                bytes += row.iter().map(size_of_value).sum::<usize>();
                if answer.rows.rows.len() >= limits.rows || bytes > limits.bytes {
                    answer.rows.truncated = true;
                } else if !answer.rows.truncated {
                    answer.rows.rows.push(row);
                }
                Some(())
            }
            ERROR => read_error(&mut fields).map(|error| answer.errors.push(error)),
            LOGIN_TAKEN => fields.after_two().map(|_| answer.login_taken = true),
            CHANGE => fields.after_two().and_then(|change| note(change, &mut answer)),
            RETURN_STATUS => fields.take(4).map(drop),
            FEATURES => skip_features(&mut fields),
            token if DONE.contains(&token) => {
                is_over = true;
                read_done(&mut fields, &mut answer)
            }
            token if SIZED.contains(&token) => fields.after_two().map(drop),
            token if LONG.contains(&token) => fields.after_four().map(drop),
            _ => None,
        };
        known.ok_or_else(garbled)?;
    }
    // An answer that ends in the middle is none.
    if is_over {
        Ok(answer)
    } else {
        Err(garbled().into())
    }
}

fn read_columns(fields: &mut Fields<'_>) -> Option<Vec<Column>> {
    const NONE: u16 = 0xFFFF;
    let count = fields.two()?;
    if count == NONE {
        return Some(Vec::new());
    }
    (count <= MOST_COLUMNS).then_some(())?;
    (0..count).map(|_| Column::read(fields)).collect()
}

fn read_row(
    columns: &[Column],
    fields: &mut Fields<'_>,
    with_nulls: bool,
) -> Option<Vec<crate::statement::Value>> {
    let nulls = if with_nulls {
        fields.take(columns.len().div_ceil(8))?
    } else {
        &[]
    };
    let is_null = |at: usize| nulls.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
    let value = |(at, column): (usize, &Column)| {
        if is_null(at) {
            Some(crate::statement::Value::Null)
        } else {
            column.value(fields)
        }
    };
    (!columns.is_empty()).then_some(())?;
    columns.iter().enumerate().map(value).collect()
}

fn size_of_value(value: &crate::statement::Value) -> usize {
    match value {
        crate::statement::Value::Text(text) => text.len(),
        crate::statement::Value::Bytes(bytes) => bytes.len(),
        _ => 8,
    }
}

fn read_error(fields: &mut Fields<'_>) -> Option<Reported> {
    let mut error = fields.after_two()?;
    let number = error.four()?;
    let (_state, class) = (error.byte()?, error.byte()?);
    let length = error.two()?;
    Some(Reported {
        number,
        class,
        message: error.text(length.into())?,
    })
}

/// A change of the session that matters: a transaction, another address.
fn note(mut change: Fields<'_>, answer: &mut Answer) -> Option<()> {
    match change.byte()? {
        8 => answer.in_transaction = true,
        9 | 10 | 12 | 17 => answer.in_transaction = false,
        20 => answer.is_sent_on = true,
        _ => {}
    }
    Some(())
}

fn read_done(fields: &mut Fields<'_>, answer: &mut Answer) -> Option<()> {
    const COUNTED: u16 = 0x10;
    let (status, _command) = (fields.two()?, fields.two()?);
    let count = fields.eight()?;
    if status & COUNTED != 0 {
        answer.count = count;
    }
    Some(())
}

fn skip_features(fields: &mut Fields<'_>) -> Option<()> {
    const END: u8 = 0xFF;
    while fields.byte()? != END {
        fields.after_four()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::Value;

    const DONE: &[u8] = &[0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    fn parsed(parts: &[&[u8]]) -> Result<Answer, Trouble> {
        read(&[&parts.concat(), DONE].concat(), RowLimits::default())
    }

    /// An nvarchar column `a` and an int column `b`.
    const COLUMNS: &[u8] = &[
        0x81, 2, 0, 0, 0, 0, 0, 1, 0, 0xE7, 8, 0, 9, 4, 0, 0, 0, 1, b'a', 0, 0, 0, 0, 0, 1, 0, 0x26, 4, 1,
        b'b', 0,
    ];

    #[test]
    fn rows_come_with_and_without_nulls_and_are_cut_at_the_limits() {
        let row: &[u8] = &[0xD1, 4, 0, b'x', 0, b'y', 0, 4, 0xFF, 0xFF, 0xFF, 0xFF];
        let nulls: &[u8] = &[0xD2, 0b01, 1, 7];
        let answer = parsed(&[COLUMNS, row, nulls]).unwrap();
        let expected = [
            vec![Value::Text("xy".into()), Value::Int(-1)],
            vec![Value::Null, Value::Int(7)],
        ];
        assert_eq!(
            (answer.rows.columns, answer.rows.rows.as_slice()),
            (vec!["a".to_owned(), "b".to_owned()], &expected[..])
        );
        let limits = RowLimits {
            rows: 1,
            ..RowLimits::default()
        };
        let cut = read(&[COLUMNS, row, row, DONE].concat(), limits).unwrap().rows;
        assert!(cut.truncated && cut.rows.len() == 1);
    }

    #[test]
    fn no_message_of_a_hostile_server_is_taken_for_a_whole_answer_or_panics() {
        let row: &[u8] = &[0xD1, 4, 0, b'x', 0, b'y', 0, 4, 1, 0, 0, 0];
        let whole = [COLUMNS, row, DONE].concat();
        for end in 0..whole.len() {
            assert!(read(&whole[..end], RowLimits::default()).is_err(), "{end}");
        }
        // A row before its columns, a type that is not known, an endless list, a token that is none.
        for bad in [
            row,
            &[0x81, 1, 0, 0, 0, 0, 0, 1, 0, 0xF1, 0],
            &[0xAE, 1, 0xFF, 0xFF, 0xFF, 0xFF],
            &[0x00],
        ] {
            assert!(parsed(&[bad]).is_err(), "{bad:?}");
        }
        let money = [&COLUMNS[..26], &[0x6E, 8, 1, b'b', 0]].concat();
        assert!(matches!(parsed(&[&money]), Err(Trouble::Column(name, 0x6E)) if name == "b"));
    }

    #[test]
    fn errors_counts_and_transactions_are_noted() {
        let error: &[u8] = &[0xAA, 14, 0, 0x18, 0x48, 0, 0, 1, 14, 2, 0, b'n', 0, b'o', 0, 0, 0];
        let error = [error, &[]].concat();
        let begin: &[u8] = &[0xE3, 11, 0, 8, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        let counted: &[u8] = &[0xFD, 0x10, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
        let answer = parsed(&[&error, begin, counted]).unwrap();
        assert_eq!(
            (
                answer.errors[0].number,
                answer.errors[0].class,
                answer.errors[0].message.as_str()
            ),
            (18456, 14, "no")
        );
        assert!(answer.in_transaction && answer.count == 3);
    }
}
