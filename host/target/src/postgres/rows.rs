use keywheel_model::Effect;
use tokio_postgres::types::{FromSql, Kind, Type};
use tokio_postgres::{Column, Row};

use crate::Error;
use crate::statement::Value;

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
pub(super) fn read(row: &Row) -> Result<(Vec<Value>, usize), Error> {
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
