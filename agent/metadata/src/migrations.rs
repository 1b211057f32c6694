//! The schemas: files of SQL, compiled in, each applied once and in order.
//!
//! sqlx has a macro for it. It would have sqlx and SQLite compiled a second time, for the compiler to run, which takes a
//! sixth of a cold build.

use std::borrow::Cow;
use std::sync::LazyLock;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

macro_rules! file {
    ($folder:literal, $version:literal, $name:literal) => {
        ($version, $name, include_str!(concat!("../migrations/", $folder, "/000", $version, "_", $name, ".sql")))
    };
}

pub static METADATA: LazyLock<Migrator> = LazyLock::new(|| {
    migrator(&[
        file!("metadata", 1, "metadata"),
        file!("metadata", 2, "silence"),
        file!("metadata", 3, "beat"),
        file!("metadata", 4, "deletes"),
    ])
});

pub static POSTGRES: LazyLock<Migrator> = LazyLock::new(|| {
    migrator(&[
        file!("postgres", 1, "metadata"),
        file!("postgres", 2, "silence"),
        file!("postgres", 3, "beat"),
        file!("postgres", 4, "deletes"),
    ])
});

pub static STATE: LazyLock<Migrator> =
    LazyLock::new(|| migrator(&[file!("state", 1, "state"), file!("state", 2, "folders")]));

fn migrator(files: &[(i64, &'static str, &'static str)]) -> Migrator {
    let migration = |(version, name, sql): &(i64, &'static str, &'static str)| {
        Migration::new(*version, Cow::Borrowed(*name), MigrationType::Simple, (*sql).into_sql_str(), false)
    };
    Migrator::with_migrations(files.iter().map(migration).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use super::*;

    #[test]
    fn every_file_of_a_schema_is_compiled_in() {
        for (folder, migrator) in [("metadata", &METADATA), ("postgres", &POSTGRES), ("state", &STATE)] {
            let path = format!("{}/migrations/{folder}", env!("CARGO_MANIFEST_DIR"));
            let mut files: Vec<String> =
                std::fs::read_dir(path).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
            files.sort();
            let known: Vec<String> =
                migrator.iter().map(|file| format!("{:04}_{}.sql", file.version, file.description)).collect();
            assert_eq!(files, known, "{folder}");
        }
    }
}
