//! Rows of the state's tables as values.

use gosync_plan::{Ancestor, ContentHash, Fingerprint, Generation, Nonce, RelPath};
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

pub(super) fn path(row: &SqliteRow, column: usize) -> Result<RelPath, sqlx::Error> {
    RelPath::with_markers(row.try_get::<String, _>(column)?).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// The twelve columns from `first` on.
pub(super) fn ancestor(row: &SqliteRow, first: usize) -> Result<Ancestor, sqlx::Error> {
    Ok(Ancestor {
        fingerprint: Fingerprint {
            size: row.try_get::<i64, _>(first)?.cast_unsigned(),
            mtime_ns: row.try_get(first + 1)?,
            ctime_ns: row.try_get(first + 2)?,
            inode: row.try_get::<i64, _>(first + 3)?.cast_unsigned(),
            mode: row.try_get(first + 4)?,
        },
        generation: Generation {
            etag: row.try_get(first + 5)?,
            size: row.try_get::<i64, _>(first + 6)?.cast_unsigned(),
            version_id: row.try_get(first + 7)?,
            last_modified: row.try_get(first + 8)?,
        },
        content: bytes(row, first + 9)?.map(ContentHash),
        nonce: bytes(row, first + 10)?.map(Nonce),
        open: row.try_get(first + 11)?,
    })
}

fn bytes<const N: usize>(row: &SqliteRow, column: usize) -> Result<Option<[u8; N]>, sqlx::Error> {
    let bytes: Option<&[u8]> = row.try_get(column)?;
    bytes.map(<[u8; N]>::try_from).transpose().map_err(|error| sqlx::Error::Decode(error.into()))
}

/// A column that holds JSON.
pub(super) fn entry<T: DeserializeOwned + Send + Unpin>(row: &SqliteRow, column: usize) -> Result<T, sqlx::Error> {
    serde_json::from_str(row.try_get(column)?).map_err(|error| sqlx::Error::Decode(error.into()))
}
