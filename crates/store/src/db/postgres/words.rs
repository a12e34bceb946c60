//! Statements and values as PostgreSQL takes them, and columns as it gives them.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::super::Value;

/// What stands for a character that PostgreSQL has no place for.
const REPLACEMENT: &str = "\u{fffd}";

/// A statement of ours with its values numbered as here: `?7` is `$7`. No text in them has a question mark.
pub(super) fn translated(sql: &str) -> String {
    sql.replace('?', "$")
}

/// A value on its way to another thread.
#[derive(Debug)]
pub(super) enum Owned {
    Null,
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
}

pub(super) fn owned(values: &[Value<'_>]) -> Vec<Owned> {
    let each = values.iter().map(|value| match value {
        Value::Null => Owned::Null,
        Value::Number(number) => Owned::Number(*number),
        Value::Text(text) => Owned::Text(text.replace('\0', REPLACEMENT)),
        Value::Bytes(bytes) => Owned::Bytes(bytes.to_vec()),
    });
    each.collect()
}

impl ToSql for Owned {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Number(number) => match *kind {
                Type::INT4 => i32::try_from(*number)?.to_sql(kind, out),
                _ => number.to_sql_checked(kind, out),
            },
            Self::Text(text) => text.to_sql_checked(kind, out),
            Self::Bytes(bytes) => bytes.to_sql_checked(kind, out),
        }
    }

    /// Each value looks for itself.
    fn accepts(_kind: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value<'a> {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(match *kind {
            Type::INT8 => Self::Number(i64::from_sql(kind, raw)?),
            Type::INT4 => Self::Number(i32::from_sql(kind, raw)?.into()),
            Type::BOOL => Self::Number(bool::from_sql(kind, raw)?.into()),
            Type::BYTEA => Self::Bytes(raw),
            _ => Self::Text(<&str>::from_sql(kind, raw)?),
        })
    }

    fn from_sql_null(_kind: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT8 | Type::INT4 | Type::BOOL | Type::BYTEA)
            || <&str as FromSql<'_>>::accepts(kind)
    }
}
