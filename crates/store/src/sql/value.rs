//! Values that go into statements and rows that come out, free of any engine's types.

use super::SqlError;

/// One value bound to a placeholder.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// SQL NULL.
    Null,
    /// `bigint`.
    I64(i64),
    /// `boolean`.
    Bool(bool),
    /// `text`.
    Text(&'a str),
    /// `bytea`.
    Bytes(&'a [u8]),
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::I64(value)
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::I64(value.into())
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(value)
    }
}

impl<'a> From<&'a Vec<u8>> for Value<'a> {
    fn from(value: &'a Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Value<'a> {
    fn from(value: &'a [u8; N]) -> Self {
        Self::Bytes(value)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[derive(Clone, Debug)]
pub(super) enum Cell {
    Null,
    I64(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// One row of a result, its columns by position from 0.
#[derive(Clone, Debug)]
pub struct Row(pub(super) Vec<Cell>);

impl Row {
    /// Its values in the order of the columns; a boolean is a number here.
    pub fn values(&self) -> impl Iterator<Item = Value<'_>> {
        self.0.iter().map(|cell| match cell {
            Cell::Null => Value::Null,
            Cell::I64(value) => Value::I64(*value),
            Cell::Text(text) => Value::Text(text),
            Cell::Bytes(bytes) => Value::Bytes(bytes),
        })
    }

    /// About how much memory it takes.
    pub(super) fn size(&self) -> usize {
        let long = |cell: &Cell| match cell {
            Cell::Null | Cell::I64(_) => 0,
            Cell::Text(text) => text.len(),
            Cell::Bytes(bytes) => bytes.len(),
        };
        self.0.len() * size_of::<Cell>() + self.0.iter().map(long).sum::<usize>()
    }

    /// A `bigint`.
    pub fn i64(&self, column: usize) -> Result<i64, SqlError> {
        self.opt_i64(column)?.ok_or(SqlError::Column { column })
    }

    /// A `boolean`.
    pub fn bool(&self, column: usize) -> Result<bool, SqlError> {
        Ok(self.i64(column)? != 0)
    }

    /// A `text`.
    pub fn text(&self, column: usize) -> Result<&str, SqlError> {
        self.opt_text(column)?.ok_or(SqlError::Column { column })
    }

    /// A `bytea`.
    pub fn bytes(&self, column: usize) -> Result<&[u8], SqlError> {
        self.opt_bytes(column)?.ok_or(SqlError::Column { column })
    }

    /// A `bytea`, taken out of the row.
    pub fn take_bytes(&mut self, column: usize) -> Result<Vec<u8>, SqlError> {
        match self.0.get_mut(column) {
            Some(Cell::Bytes(value)) => Ok(std::mem::take(value)),
            _ => Err(SqlError::Column { column }),
        }
    }

    /// A `bytea` of exactly `N` bytes.
    pub fn array<const N: usize>(&self, column: usize) -> Result<[u8; N], SqlError> {
        self.bytes(column)?
            .try_into()
            .map_err(|_| SqlError::Column { column })
    }

    /// A `bytea` of exactly `N` bytes, or NULL.
    pub fn opt_array<const N: usize>(&self, column: usize) -> Result<Option<[u8; N]>, SqlError> {
        self.opt_bytes(column)?
            .map(|bytes| bytes.try_into().map_err(|_| SqlError::Column { column }))
            .transpose()
    }

    /// A `bigint` or NULL.
    pub fn opt_i64(&self, column: usize) -> Result<Option<i64>, SqlError> {
        match self.0.get(column) {
            Some(Cell::Null) => Ok(None),
            Some(Cell::I64(value)) => Ok(Some(*value)),
            _ => Err(SqlError::Column { column }),
        }
    }

    /// A `text` or NULL.
    pub fn opt_text(&self, column: usize) -> Result<Option<&str>, SqlError> {
        match self.0.get(column) {
            Some(Cell::Null) => Ok(None),
            Some(Cell::Text(value)) => Ok(Some(value)),
            _ => Err(SqlError::Column { column }),
        }
    }

    /// A `bytea` or NULL.
    pub fn opt_bytes(&self, column: usize) -> Result<Option<&[u8]>, SqlError> {
        match self.0.get(column) {
            Some(Cell::Null) => Ok(None),
            Some(Cell::Bytes(value)) => Ok(Some(value)),
            _ => Err(SqlError::Column { column }),
        }
    }
}
