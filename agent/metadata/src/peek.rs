//! A look into a state file that leaves everything as it is: no migration, no lock, no file beside it.
//!
//! What an agent has written since its last checkpoint is not seen: good enough for what is only told to people.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, query_scalar};

/// A note of the replica whose state is in this file; `None` also where the file can't be read.
pub async fn peek_note(path: &Path, name: &str) -> Option<String> {
    let path = std::path::absolute(path).ok()?;
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(true);
    let mut connection = options.connect().await.ok()?;
    let found =
        query_scalar("SELECT value FROM notes WHERE name = $1").bind(name).fetch_optional(&mut connection).await;
    let _ = connection.close().await;
    found.ok().flatten()
}
