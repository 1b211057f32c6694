//! Recording a batch: the rows as they are, what they come to ([`Batch`], pure), and one statement that writes all of it.
//!
//! That statement takes the store's counter first and holds it until the commit, so that commits happen in the order of
//! their numbers and no number is left out. It writes each row only as the next version of the one that was read. If
//! another agent was faster with any of them, nothing is written, and the batch is planned again with the counter held
//! from the start: then nobody can come between. What holds the counter is a few round trips long, and a frozen agent is
//! thrown out by the server.

use gosync_engine::ports::metadata::{ChangeType, FileChange, FileRow, Recorded};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Row as _, query};

use super::connect::Connections;
use super::rows;
use crate::batch::{self, Batch};
use crate::text::{spell, undecodable};

/// Also returns whether the feed has news.
pub(super) async fn record(
    connections: &Connections,
    store: i64,
    client: &str,
    changes: &[FileChange],
) -> Result<(Recorded, bool), sqlx::Error> {
    let changes: Vec<_> = changes.iter().map(|change| (0, change)).collect();
    for alone in [false, true] {
        let mut transaction = connections.begin().await?;
        let connection = &mut transaction.connection;
        if alone {
            query("SELECT FROM stores WHERE id = $1 FOR UPDATE")
                .persistent(false)
                .bind(store)
                .execute(&mut *connection)
                .await?;
        }
        let mut batch = read(connection, store, client, &batch::keys(&changes)).await?;
        let head = batch.head;
        batch.add_all(changes.clone());
        let mut recorded = Recorded { head, refused: Vec::new() };
        let rows = batch.rows();
        if !rows.is_empty() {
            match write(connection, &batch, head, &rows).await? {
                Some(head) => recorded.head = head,
                None => {
                    transaction.roll_back().await?;
                    continue;
                }
            }
        }
        transaction.commit().await?;
        let news = !batch.changes.is_empty();
        recorded.refused = batch.refused.into_iter().map(|(_, refused)| refused).collect();
        return Ok((recorded, news));
    }
    // With the counter held, only somebody who writes rows without it can be in the way.
    Err(sqlx::Error::Protocol("the rows of this batch are changed by somebody who does not take the counter".into()))
}

/// The rows of these keys, and ids for those that have none.
async fn read<'a>(
    connection: &mut PgConnection,
    store: i64,
    client: &'a str,
    keys: &[&str],
) -> Result<Batch<'a, std::vec::IntoIter<i64>>, sqlx::Error> {
    let keys: Vec<_> = keys.iter().map(|key| spell(key)).collect();
    // In one statement: the rows are as they were when the feed's head was this one.
    let found = query(rows::select_files!(
        ", CASE WHEN f.id IS NULL AND wanted.s3_key IS NOT NULL THEN nextval('file_ids') END, s.head_seq, \
           (extract(epoch FROM clock_timestamp()) * 1000)::bigint \
         FROM stores s \
         LEFT JOIN unnest($2::text[]) AS wanted (s3_key) ON true \
         LEFT JOIN files f ON f.store_id = s.id AND f.s3_key = wanted.s3_key \
         WHERE s.id = $1"
    ))
    .persistent(false)
    .bind(store)
    .bind(&keys[..])
    .fetch_all(connection)
    .await?;
    let first = found.first().ok_or(sqlx::Error::RowNotFound)?;
    let (head, now_ms) = (rows::unsigned(first, 20)?, first.try_get(21)?);
    let (mut known, mut ids) = (Vec::new(), Vec::new());
    for row in &found {
        match row.try_get::<Option<i64>, _>(0)? {
            Some(_) => known.push(rows::file(row)?),
            None => ids.extend(row.try_get::<Option<i64>, _>(19)?),
        }
    }
    Ok(Batch::new(store, client, now_ms, head, ids.into_iter(), known))
}

/// The head of the feed afterwards; `None` when a row was another version, and all of this has to be undone.
async fn write<I: Iterator<Item = i64>>(
    connection: &mut PgConnection,
    batch: &Batch<'_, I>,
    planned_head: u64,
    rows: &[&FileRow],
) -> Result<Option<u64>, sqlx::Error> {
    let signed = |numbers: Vec<u64>| numbers.into_iter().map(u64::cast_signed).collect::<Vec<_>>();
    let texts = |of: fn(&FileRow) -> Option<&str>| rows.iter().map(|row| of(row)).collect::<Vec<_>>();
    let changes = &batch.changes;
    let written: PgRow = query(WRITE)
        .persistent(false)
        .bind(batch.store)
        .bind(batch.client)
        .bind(batch.now_ms)
        .bind(planned_head.cast_signed())
        .bind(i64::try_from(changes.len()).map_err(undecodable)?)
        .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| spell(&row.s3_key)).collect::<Vec<_>>())
        .bind(signed(rows.iter().map(|row| row.size).collect()))
        .bind(rows.iter().map(|row| row.modified_ns).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.created_ms).collect::<Vec<_>>())
        .bind(texts(|row| Some(&row.etag)))
        .bind(texts(|row| row.version_id.as_deref()))
        .bind(texts(|row| row.last_modified.as_deref()))
        .bind(rows.iter().map(|row| row.checksum.map(|hash| hash.0.to_vec())).collect::<Vec<_>>())
        .bind(texts(|row| row.mime_type.as_deref()))
        .bind(rows.iter().map(|row| row.mode.map(i64::from)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.is_directory).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.parent_id).collect::<Vec<_>>())
        .bind(signed(rows.iter().map(|row| row.version).collect()))
        .bind(rows.iter().map(|row| row.is_deleted).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.deleted_ms).collect::<Vec<_>>())
        .bind(signed(rows.iter().map(|row| row.seq).collect()))
        .bind(texts(|row| Some(&row.updated_by)))
        .bind(signed(changes.iter().map(|change| change.seq).collect()))
        .bind(changes.iter().map(|change| change.file_id).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| spell(&change.key)).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| type_text(change.change_type)).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| change.moved_to.as_deref().map(spell)).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| change.etag.as_str()).collect::<Vec<_>>())
        .bind(signed(changes.iter().map(|change| change.size).collect()))
        .fetch_one(connection)
        .await?;
    let (head, count) = (rows::unsigned(&written, 0)?, rows::unsigned(&written, 1)?);
    Ok((count == rows.len() as u64).then_some(head))
}

/// Numbers above the head that was planned with are moved to where the feed really stands.
const WRITE: &str = "\
    WITH counter AS ( \
        UPDATE stores SET head_seq = head_seq + $5 WHERE id = $1 RETURNING head_seq, head_seq - $5 - $4 AS moved \
    ), written AS ( \
        INSERT INTO files (id, store_id, s3_key, size, modified_time, created_time, etag, version_id, last_modified, \
                           checksum, mime_type, mode, is_directory, parent_id, version, is_deleted, deleted_at, seq, \
                           updated_by) \
        SELECT f.id, $1, f.s3_key, f.size, f.modified_time, f.created_time, f.etag, f.version_id, f.last_modified, \
               f.checksum, f.mime_type, f.mode, f.is_directory, f.parent_id, f.version, f.is_deleted, f.deleted_at, \
               CASE WHEN f.seq > $4 THEN f.seq + counter.moved ELSE f.seq END, f.updated_by \
        FROM counter, \
             unnest($6::bigint[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[], $11::text[], $12::text[], \
                    $13::text[], $14::bytea[], $15::text[], $16::bigint[], $17::boolean[], $18::bigint[], $19::bigint[], \
                    $20::boolean[], $21::bigint[], $22::bigint[], $23::text[]) \
             AS f (id, s3_key, size, modified_time, created_time, etag, version_id, last_modified, checksum, mime_type, \
                   mode, is_directory, parent_id, version, is_deleted, deleted_at, seq, updated_by) \
        ORDER BY f.s3_key COLLATE \"C\" \
        ON CONFLICT (store_id, s3_key) DO UPDATE SET \
            size = excluded.size, modified_time = excluded.modified_time, etag = excluded.etag, \
            version_id = excluded.version_id, last_modified = excluded.last_modified, checksum = excluded.checksum, \
            mime_type = excluded.mime_type, mode = excluded.mode, version = excluded.version, \
            is_deleted = excluded.is_deleted, deleted_at = excluded.deleted_at, seq = excluded.seq, \
            updated_by = excluded.updated_by \
        WHERE files.id = excluded.id AND files.version = excluded.version - 1 \
        RETURNING 1 \
    ), told AS ( \
        INSERT INTO file_changes (store_id, seq, file_id, s3_key, change_type, changed_at, client_id, old_path, \
                                  new_path, etag, size) \
        SELECT $1, c.seq + counter.moved, c.file_id, c.s3_key, c.change_type, $3, $2, \
               CASE WHEN c.change_type <> 'CREATE' THEN '/' || c.s3_key END, \
               '/' || CASE WHEN c.change_type IN ('CREATE', 'UPDATE') THEN c.s3_key ELSE c.moved_to END, \
               c.etag, c.size \
        FROM counter, \
             unnest($24::bigint[], $25::bigint[], $26::text[], $27::text[], $28::text[], $29::text[], $30::bigint[]) \
             AS c (seq, file_id, s3_key, change_type, moved_to, etag, size) \
    ) \
    SELECT head_seq, (SELECT count(*) FROM written) FROM counter";

fn type_text(change_type: ChangeType) -> &'static str {
    match change_type {
        ChangeType::Create => "CREATE",
        ChangeType::Update => "UPDATE",
        ChangeType::Delete => "DELETE",
        ChangeType::Rename => "RENAME",
    }
}
