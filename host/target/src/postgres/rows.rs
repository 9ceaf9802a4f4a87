use std::pin::pin;

use futures_util::TryStreamExt;
use keywheel_model::{Effect, SecretBytes};
use tokio_postgres::types::{FromSql, Kind, ToSql, Type};
use tokio_postgres::{Client, Column, Row};

use super::Access;
use crate::Error;
use crate::statement::{Rendered, Value};

/// What a query may give back at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowLimits {
    /// Rows.
    pub rows: usize,
    /// Bytes of all values together.
    pub bytes: usize,
}

impl Default for RowLimits {
    fn default() -> Self {
        Self {
            rows: 1_000,
            bytes: 256 * 1024,
        }
    }
}

/// The answer to a query.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Rows {
    /// Column names.
    pub columns: Vec<String>,
    /// One value a column. Every type beside the ones of [`Value`] has to be cast to text in the statement.
    pub rows: Vec<Vec<Value>>,
    /// Whether a limit cut it.
    pub truncated: bool,
}

impl Rows {
    /// The one value of a one-row answer, as a secret.
    ///
    /// # Errors
    /// [`Error::Protocol`] when there is not exactly one row, no such column, or it is not text or bytes: with effect `applied` for a
    /// writing statement.
    pub(crate) fn into_secret(self, column: &str, access: Access) -> Result<SecretBytes, Error> {
        let refuse = |expected| Error::Protocol {
            expected,
            effect: if access == Access::Write {
                Effect::Applied
            } else {
                Effect::None
            },
        };
        let at = self.columns.iter().position(|name| name == column);
        let (Some(at), Ok([row])) = (at, <[Vec<Value>; 1]>::try_from(self.rows)) else {
            return Err(refuse("one row with that column"));
        };
        match row.into_iter().nth(at) {
            Some(Value::Text(text)) => Ok(SecretBytes::new(text.into_bytes())),
            Some(Value::Bytes(bytes)) => Ok(SecretBytes::new(bytes)),
            _ => Err(refuse("a value of text or bytes")),
        }
    }
}

/// The bytes of a value in the binary format, whatever its type.
struct Raw<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A row's values and their size in bytes.
fn read(row: &Row) -> Result<(Vec<Value>, usize), Error> {
    let mut size = 0;
    let mut values = Vec::with_capacity(row.len());
    for (at, column) in row.columns().iter().enumerate() {
        let Raw(raw) = row.try_get(at).map_err(|_| wrong(column))?;
        size += raw.map_or(1, <[u8]>::len);
        values.push(match raw {
            None => Value::Null,
            Some(raw) => decode(column.type_(), raw).ok_or_else(|| wrong(column))?,
        });
    }
    Ok((values, size))
}

fn wrong(column: &Column) -> Error {
    Error::Column {
        name: column.name().to_owned(),
        type_name: column.type_().name().to_owned(),
        effect: Effect::None,
    }
}

fn decode(kind: &Type, raw: &[u8]) -> Option<Value> {
    if let Kind::Domain(inner) = kind.kind() {
        return decode(inner, raw);
    }
    let text = |raw: &[u8]| String::from_utf8(raw.to_vec()).ok().map(Value::Text);
    match *kind {
        Type::BOOL => Some(Value::Bool(raw == [1])),
        Type::INT2 => Some(Value::Int(i16::from_be_bytes(raw.try_into().ok()?).into())),
        Type::INT4 => Some(Value::Int(i32::from_be_bytes(raw.try_into().ok()?).into())),
        Type::INT8 => Some(Value::Int(i64::from_be_bytes(raw.try_into().ok()?))),
        Type::OID | Type::XID | Type::CID => {
            Some(Value::Int(u32::from_be_bytes(raw.try_into().ok()?).into()))
        }
        Type::FLOAT4 => Some(Value::Float(f32::from_be_bytes(raw.try_into().ok()?).into())),
        Type::FLOAT8 => Some(Value::Float(f64::from_be_bytes(raw.try_into().ok()?))),
        Type::BYTEA => Some(Value::Bytes(raw.to_vec())),
        Type::TEXT
        | Type::VARCHAR
        | Type::BPCHAR
        | Type::NAME
        | Type::CHAR
        | Type::JSON
        | Type::XML
        | Type::UNKNOWN => text(raw),
        Type::JSONB => text(raw.strip_prefix(&[1])?),
        _ if matches!(kind.kind(), Kind::Enum(_)) => text(raw),
        _ => None,
    }
}

/// Reads rows up to the limits. What is over them is read and thrown away, up to the allowance of the connection: then that ends.
pub(super) async fn collect(
    client: &Client,
    rendered: &Rendered,
    limits: RowLimits,
) -> Result<Result<Rows, Error>, tokio_postgres::Error> {
    let params = parameters(&rendered.params);
    let mut stream = pin!(client.query_typed_raw(&rendered.sql, borrowed(&params)).await?);
    let mut found = Rows::default();
    let (mut bytes, mut wrong) = (0, None);
    loop {
        let row = match stream.try_next().await {
            Ok(Some(row)) => row,
            Ok(None) => break,
            // The allowance was spent on rows that nobody wants.
            Err(error) if found.truncated && error.as_db_error().is_none() => break,
            Err(error) => return Err(error),
        };
        if found.truncated || wrong.is_some() {
            continue;
        }
        if found.columns.is_empty() {
            found.columns = row
                .columns()
                .iter()
                .map(|column| column.name().to_owned())
                .collect();
        }
        match read(&row) {
            Err(error) => wrong = Some(error),
            Ok((_, size)) if found.rows.len() >= limits.rows || bytes + size > limits.bytes => {
                found.truncated = true;
            }
            Ok((values, size)) => {
                bytes += size;
                found.rows.push(values);
            }
        }
    }
    Ok(wrong.map_or(Ok(found), Err))
}

pub(super) type Parameter<'a> = (Box<dyn ToSql + Sync + Send + 'a>, Type);

pub(super) fn parameters(values: &[Value]) -> Vec<Parameter<'_>> {
    let parameter = |value| -> Parameter<'_> {
        match value {
            &Value::Null => (Box::new(None::<&str>), Type::TEXT),
            Value::Bool(value) => (Box::new(value), Type::BOOL),
            Value::Int(value) => (Box::new(value), Type::INT8),
            Value::Float(value) => (Box::new(value), Type::FLOAT8),
            Value::Text(value) => (Box::new(value), Type::TEXT),
            Value::Bytes(value) => (Box::new(value), Type::BYTEA),
        }
    };
    values.iter().map(parameter).collect()
}

pub(super) fn borrowed<'a>(parameters: &'a [Parameter<'_>]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    parameters
        .iter()
        .map(|(value, kind)| (&**value as _, kind.clone()))
        .collect()
}
