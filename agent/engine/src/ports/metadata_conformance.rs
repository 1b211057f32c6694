//! What every [`MetadataStore`] does, as checks that any implementation runs in its tests.
//!
//! Each check works in a store (endpoint and bucket) and under names of its own, so that one instance serves all of
//! them. They expect that nothing else was written under these names before.

use futures_util::future::join_all;
use gosync_plan::{ContentHash, Generation};

use super::metadata::{
    ChangeRow, ChangeType, Changes, Cursor, Expected, FileChange, FileRow, FilesQuery, MetadataStore, Pruned, Recorded,
    Refused, StoreRow, SyncConfigRow, SyncStateRow,
};
use super::state::StateError;

const ENDPOINT: &str = "conformance.example";
const CLIENT: &str = "replica-1";

/// All checks.
pub async fn conforms(metadata: &dyn MetadataStore) -> Result<(), String> {
    a_store_is_made_at_first_sight_and_stays_the_same(metadata).await?;
    asking_for_a_store_that_is_not_known_makes_none(metadata).await?;
    a_recorded_object_has_a_row_and_a_change(metadata).await?;
    a_batch_gets_its_numbers_in_the_order_of_its_keys(metadata).await?;
    the_same_version_again_writes_nothing(metadata).await?;
    the_same_version_seen_closer_only_fills_in_what_was_unknown(metadata).await?;
    another_version_replaces_all_that_was_known(metadata).await?;
    a_delete_needs_the_etag_that_it_names(metadata).await?;
    a_change_of_a_row_that_is_not_as_expected_is_refused_and_the_others_happen(metadata).await?;
    what_the_row_says_already_is_done_whatever_is_expected(metadata).await?;
    of_many_who_expect_the_same_version_one_writes(metadata).await?;
    a_delete_that_says_where_the_content_went_is_a_rename(metadata).await?;
    a_key_that_comes_back_keeps_its_row(metadata).await?;
    several_changes_of_one_key_in_one_batch_all_happen(metadata).await?;
    parents_exist_and_are_no_files(metadata).await?;
    a_folder_object_comes_and_goes_and_its_folder_stays(metadata).await?;
    files_are_listed_in_byte_order_below_their_prefix_only(metadata).await?;
    the_rows_of_many_keys_come_in_the_order_asked_for(metadata).await?;
    odd_keys_come_back_as_they_were(metadata).await?;
    stores_do_not_see_each_other(metadata).await?;
    the_feed_goes_on_from_a_cursor(metadata).await?;
    a_cursor_of_another_feed_is_lost(metadata).await?;
    pruning_loses_the_cursors_below_it_and_no_others(metadata).await?;
    what_all_live_clients_have_read_is_pruned(metadata).await?;
    writers_at_once_leave_no_gap_and_lose_nothing(metadata).await?;
    a_listed_prefix_is_remembered(metadata).await?;
    a_replica_s_state_is_kept_by_client_store_and_prefix(metadata).await?;
    a_beat_moves_on_only_from_where_it_is_known_to_stand(metadata).await?;
    deletes_are_announced_to_the_others_of_a_prefix(metadata).await?;
    an_epoch_is_renewed_once_and_everybody_is_told(metadata).await?;
    configurations_are_kept_by_name_and_client(metadata).await?;
    a_lease_has_one_holder_and_each_new_one_a_higher_number(metadata).await
}

pub async fn a_store_is_made_at_first_sight_and_stays_the_same(metadata: &dyn MetadataStore) -> Result<(), String> {
    let first = told(metadata.store(ENDPOINT, "seen").await)?;
    same("head and pruned", (first.head_seq, first.pruned_seq), (0, 0))?;
    holds("an epoch", !first.epoch.is_empty())?;
    same("the same store", told(metadata.store(ENDPOINT, "seen").await)?, first.clone())?;
    let other = told(metadata.store("other.example", "seen").await)?;
    holds("another endpoint is another store", other.id != first.id)?;
    holds("each has an epoch of its own", other.epoch != first.epoch)?;
    let head = record(metadata, first.id, CLIENT, vec![put("a", "e1")]).await?;
    same("the head of the row", told(metadata.store(ENDPOINT, "seen").await)?.head_seq, head)
}

pub async fn asking_for_a_store_that_is_not_known_makes_none(metadata: &dyn MetadataStore) -> Result<(), String> {
    for _ in 0..2 {
        same("unknown", told(metadata.known_store(ENDPOINT, "unknown").await)?, None)?;
    }
    let made = told(metadata.store(ENDPOINT, "asked").await)?;
    same("known", told(metadata.known_store(ENDPOINT, "asked").await)?, Some(made))
}

pub async fn a_recorded_object_has_a_row_and_a_change(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "recorded").await?;
    let generation = Generation {
        etag: "e1".into(),
        size: 1 << 40,
        version_id: Some("v1".into()),
        last_modified: Some("2026-01-01".into()),
    };
    let change = FileChange::Put {
        key: "file".into(),
        expects: Expected::Any,
        generation,
        content: Some(ContentHash([0xab; 32])),
        modified_ns: Some(-1),
        mode: Some(0o100_644),
        mime_type: Some("text/plain".into()),
    };
    same("the head", record(metadata, store, CLIENT, vec![change]).await?, 1)?;

    let row = row(metadata, store, "file").await?;
    let wanted = FileRow {
        id: row.id,
        store_id: store,
        path: "/file".into(),
        s3_key: "file".into(),
        size: 1 << 40,
        modified_ns: Some(-1),
        created_ms: row.created_ms,
        etag: "e1".into(),
        version_id: Some("v1".into()),
        last_modified: Some("2026-01-01".into()),
        checksum: Some(ContentHash([0xab; 32])),
        mime_type: Some("text/plain".into()),
        mode: Some(0o100_644),
        is_directory: false,
        parent_id: None,
        version: 1,
        is_deleted: false,
        deleted_ms: None,
        seq: 1,
        updated_by: CLIENT.into(),
    };
    same("the row", &row, &wanted)?;
    same("the row by its id", told(metadata.file_by_id(row.id).await)?, Some(row.clone()))?;
    same("no row", told(metadata.file_by_key(store, "File").await)?, None)?;
    same("no row by id", told(metadata.file_by_id(i64::MAX).await)?, None)?;

    let (changes, _) = next(metadata, store, None, 10).await?;
    let wanted = ChangeRow {
        seq: 1,
        row_id: changes.first().map(|change| change.row_id.clone()).unwrap_or_default(),
        file_id: row.id,
        s3_key: "file".into(),
        change_type: ChangeType::Create,
        changed_ms: changes.first().map(|change| change.changed_ms).unwrap_or_default(),
        client_id: CLIENT.into(),
        old_path: None,
        new_path: Some("/file".into()),
        etag: "e1".into(),
        size: 1 << 40,
    };
    same("the change", changes, vec![wanted])
}

pub async fn a_batch_gets_its_numbers_in_the_order_of_its_keys(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "ordered").await?;
    let batch = vec![put("b", "e"), put("a/x", "e"), put("a-1", "e"), put("c", "e"), put("B", "e")];
    same("the head", record(metadata, store, CLIENT, batch).await?, 5)?;
    same("the head after nothing", record(metadata, store, CLIENT, vec![]).await?, 5)?;
    let (changes, cursor) = next(metadata, store, None, 100).await?;
    let told: Vec<_> = changes.iter().map(|change| (change.seq, change.s3_key.as_str())).collect();
    same("the feed", told, vec![(1, "B"), (2, "a-1"), (3, "a/x"), (4, "b"), (5, "c")])?;
    let last = changes.last().map(|change| Cursor { sequence: 5, row_id: change.row_id.clone() });
    same("the cursor", cursor, last)?;
    let mut ids: Vec<_> = changes.iter().map(|change| &change.row_id).collect();
    ids.sort();
    ids.dedup();
    same("different row ids", ids.len(), 5)
}

pub async fn the_same_version_again_writes_nothing(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "again").await?;
    record(metadata, store, CLIENT, vec![put("a/b", "e1"), put("c", "e1")]).await?;
    let before = all_files(metadata, store).await?;
    for client in [CLIENT, "replica-2"] {
        same("the head", record(metadata, store, client, vec![put("c", "e1"), put("a/b", "e1")]).await?, 2)?;
    }
    same("the rows", all_files(metadata, store).await?, before)?;
    same("the feed", next(metadata, store, None, 100).await?.0.len(), 2)
}

pub async fn the_same_version_seen_closer_only_fills_in_what_was_unknown(
    metadata: &dyn MetadataStore,
) -> Result<(), String> {
    let store = store(metadata, "closer").await?;
    record(metadata, store, CLIENT, vec![put("f", "e1")]).await?;
    let listed = row(metadata, store, "f").await?;
    let closer = |version: Option<&str>, modified: Option<&str>, content, mode| FileChange::Put {
        key: "f".into(),
        expects: Expected::Any,
        generation: Generation {
            version_id: version.map(Into::into),
            last_modified: modified.map(Into::into),
            ..generation("e1")
        },
        content,
        modified_ns: Some(5),
        mode,
        mime_type: None,
    };
    let hash = ContentHash([1; 32]);
    let seen = vec![closer(None, Some("t1"), Some(hash), None), closer(Some("v1"), None, None, Some(0o100_600))];
    same("the head", record(metadata, store, "replica-2", seen).await?, 1)?;
    let filled = row(metadata, store, "f").await?;
    holds("the row's version counts its writes", filled.version > listed.version)?;
    let wanted = FileRow {
        version_id: Some("v1".into()),
        last_modified: Some("t1".into()),
        checksum: Some(hash),
        modified_ns: Some(5),
        mode: Some(0o100_600),
        version: filled.version,
        ..listed
    };
    same("the row", &filled, &wanted)?;
    // What was known is not overwritten, and nothing is forgotten.
    let vague =
        vec![closer(None, None, Some(ContentHash([2; 32])), Some(0)), closer(Some("v1"), Some("t2"), None, None)];
    same("the head", record(metadata, store, CLIENT, vague).await?, 1)?;
    same("the row as it was", row(metadata, store, "f").await?, wanted)
}

pub async fn another_version_replaces_all_that_was_known(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "replaced").await?;
    let versioned = |version: &str, content| FileChange::Put {
        key: "f".into(),
        expects: Expected::Any,
        generation: Generation { version_id: Some(version.into()), ..generation("e1") },
        content,
        modified_ns: Some(5),
        mode: Some(1),
        mime_type: Some("a/b".into()),
    };
    record(metadata, store, CLIENT, vec![versioned("v1", Some(ContentHash([1; 32])))]).await?;
    let first = row(metadata, store, "f").await?;
    same("equal content, another version", record(metadata, store, CLIENT, vec![versioned("v2", None)]).await?, 2)?;
    same("its content is unknown", row(metadata, store, "f").await?.checksum, None)?;
    same("another ETag", record(metadata, store, "replica-2", vec![put("f", "e2")]).await?, 3)?;
    let found = row(metadata, store, "f").await?;
    let wanted = FileRow {
        etag: "e2".into(),
        version_id: None,
        last_modified: None,
        checksum: None,
        modified_ns: None,
        mode: None,
        mime_type: None,
        seq: 3,
        version: 3,
        updated_by: "replica-2".into(),
        ..first
    };
    same("the row", found, wanted)?;
    let (changes, _) = next(metadata, store, None, 100).await?;
    let told: Vec<_> =
        changes.iter().map(|change| (change.change_type, change.etag.as_str(), change.old_path.as_deref())).collect();
    let wanted = vec![
        (ChangeType::Create, "e1", None),
        (ChangeType::Update, "e1", Some("/f")),
        (ChangeType::Update, "e2", Some("/f")),
    ];
    same("the feed", told, wanted)
}

pub async fn a_delete_needs_the_etag_that_it_names(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "deleted").await?;
    record(metadata, store, CLIENT, vec![put("f", "e1"), put("g", "e1")]).await?;
    let known = row(metadata, store, "f").await?;
    let no_news = vec![delete("f", Some("e0")), delete("unknown", None), delete("unknown", Some("e1"))];
    let recorded = told(metadata.record(store, CLIENT, no_news).await)?;
    same("recorded", recorded, Recorded { head: 2, refused: vec![Refused { key: "f".into(), row: Some(known) }] })?;
    holds("still there", !row(metadata, store, "f").await?.is_deleted)?;
    same("no row was made", told(metadata.file_by_key(store, "unknown").await)?, None)?;
    same("the head", record(metadata, store, "replica-2", vec![delete("f", Some("e1")), delete("g", None)]).await?, 4)?;
    let deleted = row(metadata, store, "f").await?;
    holds("deleted", deleted.is_deleted && deleted.deleted_ms.is_some())?;
    same("by whom and when", (deleted.updated_by.as_str(), deleted.seq), ("replica-2", 3))?;
    same("deleted twice", record(metadata, store, CLIENT, vec![delete("f", Some("e1")), delete("g", None)]).await?, 4)?;
    let (changes, _) = next(metadata, store, None, 100).await?;
    let last = changes
        .get(2)
        .map(|change| (change.change_type, change.old_path.as_deref(), change.new_path.as_deref(), &*change.etag));
    same("the change", last, Some((ChangeType::Delete, Some("/f"), None, "e1")))?;
    let alone = told(metadata.change(store, deleted.seq).await)?;
    same("the change by its number", alone.as_ref(), changes.get(2))?;
    same("a number that is not given yet", told(metadata.change(store, 5).await)?, None)
}

pub async fn a_change_of_a_row_that_is_not_as_expected_is_refused_and_the_others_happen(
    metadata: &dyn MetadataStore,
) -> Result<(), String> {
    let store = store(metadata, "expected").await?;
    record(metadata, store, CLIENT, vec![put("a", "e1"), put("b", "e1"), put("c", "e1"), put("d/e", "e1")]).await?;
    record(metadata, store, CLIENT, vec![delete("b", None)]).await?;
    let of = |etag| Expected::Object(Some(generation(etag)));
    let changes = vec![
        // Not as expected.
        expecting(of("e0"), put("a", "e2")),
        expecting(Expected::Object(None), put("a", "e2")),
        expecting(Expected::Version(0), put("a", "e2")),
        expecting(Expected::Version(2), put("a", "e2")),
        expecting(Expected::Version(2), delete("a", None)),
        expecting(of("e1"), put("b", "e2")),
        expecting(Expected::Version(0), put("b", "e2")),
        expecting(of("e1"), put("new", "e2")),
        expecting(Expected::Version(1), put("new", "e2")),
        expecting(of("e1"), put("d/", "e2")),
        // As expected.
        expecting(of("e1"), put("c", "e2")),
        expecting(Expected::Version(1), put("d/e", "e2")),
        expecting(Expected::Object(None), put("newer", "e2")),
        expecting(Expected::Version(0), put("newest", "e2")),
    ];
    let (a, b) = (row(metadata, store, "a").await?, row(metadata, store, "b").await?);
    let folder = row(metadata, store, "d/").await?;
    let recorded = told(metadata.record(store, "replica-2", changes).await)?;
    same("the head", recorded.head, 9)?;
    let refused = |key: &str, row: Option<&FileRow>| Refused { key: key.into(), row: row.cloned() };
    let mut wanted = vec![refused("a", Some(&a)); 5];
    wanted.extend(vec![refused("b", Some(&b)); 2]);
    wanted.push(refused("d/", Some(&folder)));
    wanted.extend(vec![refused("new", None); 2]);
    same("refused", recorded.refused, wanted)?;
    let (changes, _) = next(metadata, store, None, 100).await?;
    let told: Vec<_> = changes.iter().skip(5).map(|change| (change.s3_key.as_str(), change.change_type)).collect();
    let wanted = vec![
        ("c", ChangeType::Update),
        ("d/e", ChangeType::Update),
        ("newer", ChangeType::Create),
        ("newest", ChangeType::Create),
    ];
    same("the feed", told, wanted)?;
    same("the row of a", row(metadata, store, "a").await?, a)?;
    // A deleted row holds no object.
    let back =
        vec![expecting(Expected::Object(None), put("b", "e2")), expecting(Expected::Object(None), put("d/", "e2"))];
    same("the head", record(metadata, store, CLIENT, back).await?, 11)?;
    // Each change expects what those before it have made of the row.
    let chain = vec![
        expecting(of("e1"), put("a", "e2")),
        expecting(of("e2"), put("a", "e3")),
        expecting(of("e3"), delete("a", None)),
        expecting(Expected::Object(None), put("a", "e4")),
    ];
    same("the head", record(metadata, store, CLIENT, chain).await?, 15)
}

pub async fn what_the_row_says_already_is_done_whatever_is_expected(
    metadata: &dyn MetadataStore,
) -> Result<(), String> {
    let store = store(metadata, "known").await?;
    record(metadata, store, CLIENT, vec![put("f", "e1"), put("gone", "e1"), delete("gone", None)]).await?;
    let head = told(metadata.store(ENDPOINT, "known").await)?.head_seq;
    let before = all_files(metadata, store).await?;
    for expected in [Expected::Object(None), Expected::Object(Some(generation("e0"))), Expected::Version(7)] {
        let changes = vec![
            expecting(expected.clone(), put("f", "e1")),
            expecting(expected.clone(), delete("gone", None)),
            expecting(expected, delete("never", None)),
        ];
        same("the head", record(metadata, store, CLIENT, changes).await?, head)?;
    }
    same("the rows", all_files(metadata, store).await?, before)
}

pub async fn of_many_who_expect_the_same_version_one_writes(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "contended").await?;
    record(metadata, store, CLIENT, vec![put("a/f", "e0")]).await?;
    for round in 1..=5 {
        let version = row(metadata, store, "a/f").await?.version;
        let all = join_all((0..8).map(async |writer| {
            let change = expecting(Expected::Version(version), put("a/f", &format!("e{round}.{writer}")));
            let beside = put(&format!("a/{round}/{writer}"), "e");
            told(metadata.record(store, &format!("replica-{writer}"), vec![beside, change]).await)
        }))
        .await;
        let mut winners = Vec::new();
        for (writer, recorded) in all.into_iter().enumerate() {
            match &recorded?.refused[..] {
                [] => winners.push(writer),
                [refused] if refused.key == "a/f" => {}
                refused => return Err(format!("refused of writer {writer}: {refused:?}")),
            }
        }
        same("winners", winners.len(), 1)?;
        let won = row(metadata, store, "a/f").await?;
        same("the row", won.etag, format!("e{round}.{}", winners.first().unwrap_or(&9)))?;
        same("its version", won.version, version + 1)?;
    }
    // What nobody was in the way of is there, and each round had one folder.
    same("totals", told(metadata.totals(store, "").await)?, (41, 41))?;
    same("rows", all_files(metadata, store).await?.len(), 41 + 6)
}

pub async fn a_delete_that_says_where_the_content_went_is_a_rename(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "renamed").await?;
    record(metadata, store, CLIENT, vec![put("old\0name", "e1")]).await?;
    let moved = FileChange::Delete {
        key: "old\0name".into(),
        expects: Expected::Object(Some(generation("e1"))),
        moved_to: Some("new\0name".into()),
    };
    same("the head", record(metadata, store, CLIENT, vec![moved.clone(), put("new\0name", "e1")]).await?, 3)?;
    same("again", record(metadata, store, CLIENT, vec![moved]).await?, 3)?;
    holds("deleted", row(metadata, store, "old\0name").await?.is_deleted)?;
    let (changes, _) = next(metadata, store, None, 100).await?;
    let told: Vec<_> = changes
        .iter()
        .map(|change| {
            (change.s3_key.as_str(), change.change_type, change.old_path.as_deref(), change.new_path.as_deref())
        })
        .collect();
    let wanted = vec![
        ("old\0name", ChangeType::Create, None, Some("/old\0name")),
        ("new\0name", ChangeType::Create, None, Some("/new\0name")),
        ("old\0name", ChangeType::Rename, Some("/old\0name"), Some("/new\0name")),
    ];
    same("the feed", told, wanted)
}

pub async fn a_key_that_comes_back_keeps_its_row(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "back").await?;
    record(metadata, store, CLIENT, vec![put("f", "e1")]).await?;
    let first = row(metadata, store, "f").await?;
    record(metadata, store, CLIENT, vec![delete("f", None)]).await?;
    same("the same object once more", record(metadata, store, CLIENT, vec![put("f", "e1")]).await?, 3)?;
    let back = row(metadata, store, "f").await?;
    same(
        "the row",
        (back.id, back.created_ms, back.is_deleted, back.deleted_ms),
        (first.id, first.created_ms, false, None),
    )?;
    same("its version", back.version, 3)?;
    let (changes, _) = next(metadata, store, None, 100).await?;
    let types: Vec<_> = changes.iter().map(|change| change.change_type).collect();
    same("the feed", types, vec![ChangeType::Create, ChangeType::Delete, ChangeType::Create])
}

pub async fn several_changes_of_one_key_in_one_batch_all_happen(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "several").await?;
    let batch =
        vec![put("f", "e1"), put("a", "e1"), delete("f", Some("e1")), put("f", "e2"), put("f", "e2"), put("f", "e3")];
    same("the head", record(metadata, store, CLIENT, batch).await?, 5)?;
    let (changes, _) = next(metadata, store, None, 100).await?;
    let told: Vec<_> =
        changes.iter().map(|change| (change.s3_key.as_str(), change.change_type, change.etag.as_str())).collect();
    let wanted = vec![
        ("a", ChangeType::Create, "e1"),
        ("f", ChangeType::Create, "e1"),
        ("f", ChangeType::Delete, "e1"),
        ("f", ChangeType::Create, "e2"),
        ("f", ChangeType::Update, "e3"),
    ];
    same("the feed", told, wanted)?;
    let row = row(metadata, store, "f").await?;
    same("the row", (row.etag.as_str(), row.seq, row.is_deleted), ("e3", 5, false))
}

pub async fn parents_exist_and_are_no_files(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "parents").await?;
    same(
        "the head",
        record(metadata, store, CLIENT, vec![put("a/b/c", "e"), put("a/b/d", "e"), put("a", "e")]).await?,
        3,
    )?;
    let child = row(metadata, store, "a/b/c").await?;
    let sibling = row(metadata, store, "a/b/d").await?;
    let folder = row(metadata, store, "a/b/").await?;
    let top = row(metadata, store, "a/").await?;
    same("the child's parent", child.parent_id, Some(folder.id))?;
    same("the sibling's parent", sibling.parent_id, Some(folder.id))?;
    same("the folder's parent", folder.parent_id, Some(top.id))?;
    same("the top", (top.parent_id, top.is_directory, top.path.as_str(), top.etag.as_str()), (None, true, "/a/", ""))?;
    let file = row(metadata, store, "a").await?;
    same("a file of a folder's name", (file.is_directory, file.id == top.id), (false, false))?;
    same("totals", told(metadata.totals(store, "").await)?, (3, 3))?;
    record(metadata, store, CLIENT, vec![put("a/b/e/f", "e")]).await?;
    same("a known folder is used again", row(metadata, store, "a/b/e/").await?.parent_id, Some(folder.id))
}

pub async fn a_folder_object_comes_and_goes_and_its_folder_stays(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "markers").await?;
    record(metadata, store, CLIENT, vec![put("d/f", "e1")]).await?;
    let folder = row(metadata, store, "d/").await?;
    same("nothing to delete", record(metadata, store, CLIENT, vec![delete("d/", None)]).await?, 1)?;
    same("the head", record(metadata, store, CLIENT, vec![put("d/", "e2")]).await?, 2)?;
    let marked = row(metadata, store, "d/").await?;
    same("the row", (marked.id, marked.etag.as_str(), marked.is_directory), (folder.id, "e2", true))?;
    same("the head", record(metadata, store, CLIENT, vec![delete("d/", Some("e2"))]).await?, 3)?;
    let left = row(metadata, store, "d/").await?;
    same("the folder", (left.id, left.etag.as_str(), left.is_deleted), (folder.id, "", false))?;
    let (changes, _) = next(metadata, store, None, 100).await?;
    let types: Vec<_> = changes.iter().map(|change| (change.s3_key.as_str(), change.change_type)).collect();
    same("the feed", types, vec![("d/f", ChangeType::Create), ("d/", ChangeType::Create), ("d/", ChangeType::Delete)])?;
    same("totals", told(metadata.totals(store, "").await)?, (1, 1))
}

pub async fn files_are_listed_in_byte_order_below_their_prefix_only(
    metadata: &dyn MetadataStore,
) -> Result<(), String> {
    let store = store(metadata, "listed").await?;
    let sorted = ["B", "a-1", "a.x", "a/1", "a/2", "a0", "aa/1", "b", "\u{e9}", "\u{ffff}", "\u{1f600}"];
    record(metadata, store, CLIENT, sorted.iter().rev().map(|key| put(key, "e")).collect()).await?;
    record(metadata, store, CLIENT, vec![put("a/gone", "e"), delete("a/gone", None)]).await?;

    for limit in [1, 3, 100] {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let query = FilesQuery { store, after: after.clone(), limit, ..FilesQuery::default() };
            let page = told(metadata.files(query).await)?;
            let Some(last) = page.last() else { break };
            holds("a page's limit", page.len() <= limit)?;
            after = Some(last.s3_key.clone());
            seen.extend(page.into_iter().filter(|row| !row.is_directory).map(|row| row.s3_key));
        }
        same("the order", seen, sorted.map(str::to_owned).to_vec())?;
    }

    let below = |deleted| FilesQuery { store, prefix: "a/".into(), deleted, after: None, limit: 100 };
    let keys = |rows: Vec<FileRow>| rows.into_iter().map(|row| row.s3_key).collect::<Vec<_>>();
    same("below a/", keys(told(metadata.files(below(false)).await)?), strings(&["a/", "a/1", "a/2"]))?;
    let with_deleted = keys(told(metadata.files(below(true)).await)?);
    same("with the deleted ones", with_deleted, strings(&["a/", "a/1", "a/2", "a/gone"]))?;
    let rest = FilesQuery { after: Some("a/1".into()), ..below(false) };
    same("after a/1", keys(told(metadata.files(rest).await)?), strings(&["a/2"]))?;
    let from_outside = FilesQuery { after: Some("B".into()), ..below(false) };
    same("after a key before the prefix", told(metadata.files(from_outside).await)?.len(), 3)?;
    same("totals below a/", told(metadata.totals(store, "a/").await)?, (2, 2))?;
    same("totals below nothing", told(metadata.totals(store, "x/").await)?, (0, 0))?;
    same("all totals", told(metadata.totals(store, "").await)?.0, 11)
}

pub async fn the_rows_of_many_keys_come_in_the_order_asked_for(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "many").await?;
    record(metadata, store, CLIENT, vec![put("b", "e1"), put("a\0", "e2"), put("gone", "e3")]).await?;
    record(metadata, store, CLIENT, vec![delete("gone", None)]).await?;
    let found = told(metadata.files_by_key(store, &strings(&["a\0", "none", "b", "a\0", "gone"])).await)?;
    let found: Vec<_> = found.iter().map(|row| row.as_ref().map(|row| (row.s3_key.as_str(), row.is_deleted))).collect();
    let wanted = vec![Some(("a\0", false)), None, Some(("b", false)), Some(("a\0", false)), Some(("gone", true))];
    same("the rows", found, wanted)?;
    same("of no keys", told(metadata.files_by_key(store, &[]).await)?, vec![])
}

pub async fn odd_keys_come_back_as_they_were(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "odd").await?;
    // In byte order.
    let keys = [
        "\0",
        "\0\0",
        "\u{1}",
        "\u{1}\u{1}",
        "\u{1}\u{2}",
        "\u{2}",
        " ",
        "%",
        "'\"\\",
        "//",
        "//x",
        "/x",
        "_",
        "a\nb",
        "nul\0/x",
        "\u{10ffff}",
    ];
    holds("the table of this check is sorted", keys.is_sorted())?;
    let head = record(metadata, store, CLIENT, keys.iter().map(|key| put(key, "e")).collect()).await?;
    same("the head", head, 16)?;
    same("the head again", record(metadata, store, CLIENT, keys.iter().map(|key| put(key, "e")).collect()).await?, 16)?;
    let (changes, _) = next(metadata, store, None, 100).await?;
    for (key, change) in keys.iter().zip(&changes) {
        same("the key of the change", change.s3_key.as_str(), *key)?;
        same("its path", change.new_path.clone(), Some(format!("/{key}")))?;
        let found = row(metadata, store, key).await?;
        same("the row's key and path", (found.s3_key.as_str(), found.path), (*key, format!("/{key}")))?;
    }
    let listed = told(metadata.files(FilesQuery { store, limit: 100, ..FilesQuery::default() }).await)?;
    let listed: Vec<_> = listed.iter().filter(|row| !row.etag.is_empty()).map(|row| row.s3_key.as_str()).collect();
    same("listed", listed, keys.to_vec())?;
    let below = FilesQuery { store, prefix: "nul\0/".into(), limit: 100, ..FilesQuery::default() };
    let below: Vec<_> = told(metadata.files(below).await)?.into_iter().map(|row| row.s3_key).collect();
    same("below a prefix with NUL", below, strings(&["nul\0/", "nul\0/x"]))
}

pub async fn stores_do_not_see_each_other(metadata: &dyn MetadataStore) -> Result<(), String> {
    let one = store(metadata, "one").await?;
    let two = store(metadata, "two").await?;
    record(metadata, one, CLIENT, vec![put("a/f", "e1"), put("a/g", "e1")]).await?;
    same("a sequence of its own", record(metadata, two, CLIENT, vec![put("a/f", "e2")]).await?, 1)?;
    same("its row", row(metadata, two, "a/f").await?.etag, "e2".into())?;
    holds("its parent", row(metadata, two, "a/").await?.id != row(metadata, one, "a/").await?.id)?;
    same("its totals", told(metadata.totals(two, "").await)?, (1, 1))?;
    same("its files", all_files(metadata, two).await?.len(), 2)?;
    same("its feed", next(metadata, two, None, 100).await?.0.len(), 1)
}

pub async fn the_feed_goes_on_from_a_cursor(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "feed").await?;
    let (rows, start) = next(metadata, store, None, 10).await?;
    same("an empty feed", (rows, start), (vec![], None))?;
    record(metadata, store, CLIENT, (0..5).map(|number| put(&format!("f{number}"), "e")).collect()).await?;
    let mut cursor = None;
    for wanted in [vec![1, 2], vec![3, 4], vec![5], vec![]] {
        let (rows, after) = next(metadata, store, cursor.as_ref(), 2).await?;
        same("the page", rows.iter().map(|row| row.seq).collect(), wanted)?;
        if let Some(last) = rows.last() {
            same("the cursor", after.clone(), Some(Cursor { sequence: last.seq, row_id: last.row_id.clone() }))?;
        } else {
            same("a cursor that has nothing after it stays", &after, &cursor)?;
        }
        cursor = after;
    }
    record(metadata, store, CLIENT, vec![put("f0", "e2")]).await?;
    same("the news", next(metadata, store, cursor.as_ref(), 10).await?.0.len(), 1)
}

pub async fn a_cursor_of_another_feed_is_lost(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "lost").await?;
    record(metadata, store, CLIENT, vec![put("a", "e"), put("b", "e")]).await?;
    let (rows, _) = next(metadata, store, None, 10).await?;
    let row_id = |position: usize| rows.get(position).map(|row| row.row_id.clone()).unwrap_or_default();
    for (what, cursor) in [
        ("another row's id", Cursor { sequence: 1, row_id: row_id(1) }),
        ("an unknown id", Cursor { sequence: 2, row_id: "0000".into() }),
        ("a row that isn't there yet", Cursor { sequence: 3, row_id: row_id(1) }),
        ("a row that never is", Cursor { sequence: 0, row_id: String::new() }),
        ("a sequence beyond all", Cursor { sequence: u64::MAX, row_id: row_id(0) }),
    ] {
        same(what, told(metadata.changes_since(store, Some(&cursor), 10).await)?, Changes::CursorLost)?;
    }
    let good = Cursor { sequence: 1, row_id: row_id(0) };
    same("a good one", next(metadata, store, Some(&good), 10).await?.0.len(), 1)?;
    same("an unknown store", told(metadata.changes_since(i64::MAX, None, 10).await)?, Changes::CursorLost)
}

pub async fn an_epoch_is_renewed_once_and_everybody_is_told(metadata: &dyn MetadataStore) -> Result<(), String> {
    let made = told(metadata.store(ENDPOINT, "renewed").await)?;
    record(metadata, made.id, CLIENT, vec![put("a", "e")]).await?;
    told(metadata.set_prefix_listed(made.id, "docs/", 1).await)?;
    let epoch = async || match told(metadata.changes_since(made.id, None, 10).await)? {
        Changes::Next { epoch, rows, .. } if rows.len() == 1 => Ok(epoch),
        other => Err(format!("the feed: {other:?}")),
    };
    same("as it was made", epoch().await?, made.epoch.clone())?;
    told(metadata.renew_epoch(made.id, "another").await)?;
    same("of another one", epoch().await?, made.epoch.clone())?;
    same("listed", told(metadata.prefix_listed(made.id, "docs/").await)?, Some(1))?;

    told(metadata.renew_epoch(made.id, &made.epoch).await)?;
    let renewed = told(metadata.store(ENDPOINT, "renewed").await)?;
    holds("another one", renewed.epoch != made.epoch && !renewed.epoch.is_empty())?;
    same("told", epoch().await?, renewed.epoch.clone())?;
    same("the rest stays", renewed.clone(), StoreRow { epoch: renewed.epoch.clone(), head_seq: 1, ..made.clone() })?;
    same("nothing is listed", told(metadata.prefix_listed(made.id, "docs/").await)?, None)?;
    told(metadata.set_prefix_listed(made.id, "docs/", 1).await)?;
    told(metadata.renew_epoch(made.id, &made.epoch).await)?;
    same("somebody was first", epoch().await?, renewed.epoch)?;
    same("listed since", told(metadata.prefix_listed(made.id, "docs/").await)?, Some(1))
}

pub async fn pruning_loses_the_cursors_below_it_and_no_others(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "pruned").await?;
    record(metadata, store, CLIENT, (0..6).map(|number| put(&format!("f{number}"), "e")).collect()).await?;
    let (rows, _) = next(metadata, store, None, 10).await?;
    let cursors: Vec<_> = rows.iter().map(|row| Cursor { sequence: row.seq, row_id: row.row_id.clone() }).collect();
    same("nothing to prune", told(metadata.prune(store, 1).await)?, 0)?;
    same("from the beginning", next(metadata, store, None, 10).await?.0.len(), 6)?;
    same("rows dropped", told(metadata.prune(store, 4).await)?, 3)?;
    same("pruned", told(metadata.store(ENDPOINT, "pruned").await)?.pruned_seq, 4)?;
    for (position, cursor) in cursors.iter().enumerate() {
        let found = told(metadata.changes_since(store, Some(cursor), 10).await)?;
        match (found, cursor.sequence) {
            (Changes::CursorLost, 1..=3) => {}
            (Changes::Next { rows, .. }, 4..) if rows.len() == 5 - position => {}
            (found, sequence) => return Err(format!("a cursor at {sequence} after pruning below 4: {found:?}")),
        }
    }
    same("from the beginning", told(metadata.changes_since(store, None, 10).await)?, Changes::CursorLost)?;
    same("pruning goes one way", told(metadata.prune(store, 2).await)?, 0)?;
    same("pruned", told(metadata.store(ENDPOINT, "pruned").await)?.pruned_seq, 4)?;
    same("the newest row is never dropped", told(metadata.prune(store, u64::MAX).await)?, 2)?;
    same("its cursor stands", next(metadata, store, cursors.last(), 10).await?.0.len(), 0)?;
    same("the files stay", all_files(metadata, store).await?.len(), 6)
}

pub async fn what_all_live_clients_have_read_is_pruned(metadata: &dyn MetadataStore) -> Result<(), String> {
    const DAY_MS: u64 = 86_400_000;
    let made = told(metadata.store(ENDPOINT, "read").await)?;
    let store = made.id;
    record(metadata, store, CLIENT, (0..6).map(|number| put(&format!("f{number}"), "e")).collect()).await?;
    let (rows, _) = next(metadata, store, None, 10).await?;
    let state = |client: &str, sequence: Option<u64>| SyncStateRow {
        client_id: client.into(),
        store_id: store,
        prefix: String::new(),
        last_sync_ms: None,
        cursor: sequence.and_then(|wanted| rows.iter().find(|row| row.seq == wanted)).map(cursor_at),
        epoch: made.epoch.clone(),
        device_name: "d".into(),
        platform: "p".into(),
        agent_version: "v".into(),
        status: "active".into(),
    };
    let pruned = async |silent_ms| told(metadata.prune_below_cursors(store, silent_ms).await);
    same("while nobody has read", pruned(DAY_MS).await?, Pruned::default())?;
    told(metadata.put_sync_state(&state("read-none", None)).await)?;
    same("while nobody says how far", pruned(DAY_MS).await?, Pruned::default())?;
    for (client, sequence) in [("read-3", 3), ("read-5", 5)] {
        told(metadata.put_sync_state(&state(client, Some(sequence))).await)?;
    }
    // It has read another feed: that its number is small says nothing of this one.
    told(metadata.put_sync_state(&SyncStateRow { epoch: "other".into(), ..state("read-other", Some(1)) }).await)?;
    same("what both have read", pruned(DAY_MS).await?, Pruned { changes: 2, clients: 0 })?;
    let third = rows.get(2).map(cursor_at);
    same("the slower one goes on", next(metadata, store, third.as_ref(), 10).await?.0.len(), 3)?;
    told(metadata.put_sync_state(&state("read-3", Some(5))).await)?;
    same("what both have read", pruned(DAY_MS).await?, Pruned { changes: 2, clients: 0 })?;

    // All were silent for longer than no time at all, once the clock has moved.
    let mut dropped = 0;
    while dropped < 4 {
        dropped += pruned(0).await?.clients;
    }
    same("forgotten", told(metadata.sync_state("read-3", store, "").await)?, None)?;
    same("and nothing more is pruned", pruned(0).await?, Pruned::default())?;
    same("the newest rows stay", told(metadata.store(ENDPOINT, "read").await)?.pruned_seq, 5)
}

pub async fn writers_at_once_leave_no_gap_and_lose_nothing(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "writers").await?;
    let written = join_all((0..8).map(async |writer| {
        for batch in 0..5 {
            let changes = (0..10).map(|file| put(&format!("shared/{batch}/{writer}-{file}"), "e")).collect();
            record(metadata, store, &format!("replica-{writer}"), changes).await?;
        }
        Ok::<(), String>(())
    }))
    .await;
    written.into_iter().collect::<Result<(), String>>()?;
    let (rows, _) = next(metadata, store, None, 1_000).await?;
    same("the feed", rows.iter().map(|row| row.seq).collect::<Vec<_>>(), (1..=400).collect())?;
    for row in &rows {
        same("the row's number", self::row(metadata, store, &row.s3_key).await?.seq, row.seq)?;
    }
    let mut keys: Vec<_> = rows.iter().map(|row| row.s3_key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    same("keys", keys.len(), 400)?;
    // A batch has its numbers in a row.
    let batches = rows
        .chunks(10)
        .all(|batch| batch.iter().all(|row| Some(&row.client_id) == batch.first().map(|row| &row.client_id)));
    holds("no batch stands in another", batches)?;
    same("one row for each shared folder", all_files(metadata, store).await?.len(), 400 + 6)
}

pub async fn a_listed_prefix_is_remembered(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "prefixes").await?;
    same("never listed", told(metadata.prefix_listed(store, "docs/").await)?, None)?;
    told(metadata.set_prefix_listed(store, "docs/", 0).await)?;
    told(metadata.set_prefix_listed(store, "docs/", 7).await)?;
    told(metadata.set_prefix_listed(store, "", 3).await)?;
    same("listed", told(metadata.prefix_listed(store, "docs/").await)?, Some(7))?;
    same("the whole bucket", told(metadata.prefix_listed(store, "").await)?, Some(3))?;
    same("another", told(metadata.prefix_listed(store, "docs2/").await)?, None)
}

pub async fn a_replica_s_state_is_kept_by_client_store_and_prefix(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "states").await?;
    let row = SyncStateRow {
        client_id: "states-client".into(),
        store_id: store,
        prefix: "docs/".into(),
        last_sync_ms: None,
        cursor: None,
        epoch: "e".into(),
        device_name: "laptop".into(),
        platform: "linux".into(),
        agent_version: "0.1.0".into(),
        status: "active".into(),
    };
    let later = SyncStateRow {
        last_sync_ms: Some(5),
        cursor: Some(Cursor { sequence: 9, row_id: "a:b".into() }),
        status: "paused".into(),
        ..row.clone()
    };
    let elsewhere = SyncStateRow { prefix: String::new(), ..row.clone() };
    let another = SyncStateRow { client_id: "states-other".into(), ..row.clone() };
    for row in [&row, &later, &elsewhere, &another] {
        told(metadata.put_sync_state(row).await)?;
        let found = told(metadata.sync_state(&row.client_id, store, &row.prefix).await)?;
        same("the row", found.as_ref(), Some(row))?;
    }
    told(metadata.drop_sync_state("states-client").await)?;
    same("dropped", told(metadata.sync_state("states-client", store, "docs/").await)?, None)?;
    same("dropped everywhere", told(metadata.sync_state("states-client", store, "").await)?, None)?;
    same("the other stays", told(metadata.sync_state("states-other", store, "docs/").await)?, Some(another))
}

pub async fn a_beat_moves_on_only_from_where_it_is_known_to_stand(metadata: &dyn MetadataStore) -> Result<(), String> {
    let store = store(metadata, "beats").await?;
    let row = SyncStateRow {
        client_id: "beats-client".into(),
        store_id: store,
        prefix: "docs/".into(),
        last_sync_ms: Some(5),
        cursor: None,
        epoch: "e".into(),
        device_name: "laptop".into(),
        platform: "linux".into(),
        agent_version: "0.1.0".into(),
        status: "active".into(),
    };
    let beat = async |row: &SyncStateRow, from: &[&str], to: &str| {
        let from: Vec<String> = from.iter().map(|&value| value.to_owned()).collect();
        told(metadata.beat(row, &from, to).await)
    };
    same("the first one", beat(&row, &["none"], "one").await?, "one".to_owned())?;
    same("it made the row", told(metadata.sync_state("beats-client", store, "docs/").await)?, Some(row.clone()))?;
    let later =
        SyncStateRow { cursor: Some(Cursor { sequence: 9, row_id: "a".into() }), last_sync_ms: Some(7), ..row.clone() };
    told(metadata.put_sync_state(&later).await)?;
    same("another's", beat(&row, &[], "two").await?, "one".to_owned())?;
    same("another's", beat(&row, &["none", "two"], "two").await?, "one".to_owned())?;
    same("known", beat(&row, &["none", "one"], "two").await?, "two".to_owned())?;
    same("the same once more", beat(&row, &["two"], "two").await?, "two".to_owned())?;
    same("and over", beat(&row, &["one"], "three").await?, "two".to_owned())?;
    same("the rest stays", told(metadata.sync_state("beats-client", store, "docs/").await)?, Some(later))?;
    let elsewhere = SyncStateRow { prefix: String::new(), ..row.clone() };
    same("of another prefix", beat(&elsewhere, &[], "other").await?, "other".to_owned())?;

    let (left, right) = (beat(&row, &["two"], "left"), beat(&row, &["two"], "right"));
    let both = join_all([left, right]).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    holds("one of two at once", both == ["left", "left"] || both == ["right", "right"])?;
    told(metadata.drop_sync_state("beats-client").await)?;
    same("after the row was dropped", beat(&row, &[], "anew").await?, "anew".to_owned())?;
    told(metadata.drop_sync_state("beats-client").await)
}

pub async fn deletes_are_announced_to_the_others_of_a_prefix(metadata: &dyn MetadataStore) -> Result<(), String> {
    const LONG_MS: u64 = 600_000;
    let store = store(metadata, "announced").await?;
    let row = |client: &str, prefix: &str| SyncStateRow {
        client_id: format!("announced-{client}"),
        store_id: store,
        prefix: prefix.into(),
        last_sync_ms: Some(5),
        cursor: None,
        epoch: "e".into(),
        device_name: "laptop".into(),
        platform: "linux".into(),
        agent_version: "0.1.0".into(),
        status: "active".into(),
    };
    let announce = async |client: &str, prefix: &str, deletes: u64| {
        let others = told(metadata.announce_deletes(&row(client, prefix), deletes, LONG_MS).await)?;
        Ok::<_, String>(others.into_iter().collect::<Vec<_>>())
    };
    let of = |client: &str, deletes: u64| (format!("announced-{client}"), deletes);
    same("nobody else", announce("one", "docs/", 7).await?, vec![])?;
    let made = told(metadata.sync_state("announced-one", store, "docs/").await)?;
    same("it made the row", made, Some(row("one", "docs/")))?;
    same("the first", announce("two", "docs/", 3).await?, vec![of("one", 7)])?;
    same("the second", announce("one", "docs/", 8).await?, vec![of("two", 3)])?;
    same("of another prefix", announce("three", "docs/below/", 9).await?, vec![])?;
    let later = SyncStateRow { status: "paused".into(), ..row("one", "docs/") };
    told(metadata.put_sync_state(&later).await)?;
    same("both of the last", announce("four", "docs/", 0).await?, vec![of("one", 8), of("two", 3)])?;
    same("none any more", announce("two", "docs/", 0).await?, vec![of("one", 8)])?;
    same("the rest stays", told(metadata.sync_state("announced-one", store, "docs/").await)?, Some(later))?;
    // All were told longer ago than no time at all.
    same("long ago", told(metadata.announce_deletes(&row("two", "docs/"), 1, 0).await)?.len(), 0)?;

    let (left, right) = (announce("left", "both/", 5), announce("right", "both/", 5));
    let seen = join_all([left, right]).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    holds("one of two at once sees the other", seen.iter().any(|others| !others.is_empty()))?;
    for client in ["one", "two", "three", "four", "left", "right"] {
        told(metadata.drop_sync_state(&format!("announced-{client}")).await)?;
    }
    same("dropped", announce("five", "docs/", 1).await?, vec![])?;
    told(metadata.drop_sync_state("announced-five").await)
}

pub async fn configurations_are_kept_by_name_and_client(metadata: &dyn MetadataStore) -> Result<(), String> {
    let row = SyncConfigRow {
        name: "docs".into(),
        client_id: "configs-1".into(),
        local_path: "/home/me/Docs".into(),
        s3_path: "s3://bucket/docs".into(),
        bidirectional: true,
        ignore_patterns: strings(&["*.tmp", "a \"b\"", ""]),
        status: "active".into(),
        last_sync_ms: None,
        file_count: 3,
        created_ms: 1,
        updated_ms: 2,
    };
    let later = SyncConfigRow { bidirectional: false, ignore_patterns: vec![], last_sync_ms: Some(9), ..row.clone() };
    let another = SyncConfigRow { client_id: "configs-2".into(), ..row.clone() };
    for row in [&row, &later, &another] {
        told(metadata.put_sync_config(row).await)?;
        let found = told(metadata.sync_config(&row.name, &row.client_id).await)?;
        same("the row", found.as_ref(), Some(row))?;
    }
    let ours = |rows: Vec<SyncConfigRow>| {
        rows.into_iter().filter(|row| row.client_id.starts_with("configs-")).collect::<Vec<_>>()
    };
    same("all", ours(told(metadata.sync_configs().await)?), vec![later, another.clone()])?;
    told(metadata.drop_sync_config("docs", "configs-1").await)?;
    told(metadata.drop_sync_config("docs", "configs-3").await)?;
    same("what is left", ours(told(metadata.sync_configs().await)?), vec![another])?;
    same("dropped", told(metadata.sync_config("docs", "configs-1").await)?, None)
}

pub async fn a_lease_has_one_holder_and_each_new_one_a_higher_number(
    metadata: &dyn MetadataStore,
) -> Result<(), String> {
    const HOUR: u64 = 3_600_000;
    let take =
        async |holder: &'static str, milliseconds| told(metadata.lease("conformance", holder, milliseconds).await);
    let Some(first) = take("a", HOUR).await? else { return Err("a free lease was refused".into()) };
    same("held by another", take("b", HOUR).await?, None)?;
    same("renewed", take("a", HOUR).await?, Some(first))?;
    told(metadata.release("conformance", "b").await)?;
    same("only the holder releases", take("b", HOUR).await?, None)?;
    // One that has run out at once.
    same("shortened", take("a", 0).await?, Some(first))?;
    let Some(second) = take("b", HOUR).await? else { return Err("a lease that has run out was refused".into()) };
    holds("a new holder has a higher number", second > first)?;
    same("the old holder is out", take("a", HOUR).await?, None)?;
    told(metadata.release("conformance", "b").await)?;
    let Some(third) = take("b", HOUR).await? else { return Err("a released lease was refused".into()) };
    holds("so has the same one after a gap", third > second)?;
    same("another name is another lease", told(metadata.lease("conformance-2", "c", HOUR).await)?.is_some(), true)
}

async fn store(metadata: &dyn MetadataStore, bucket: &str) -> Result<i64, String> {
    Ok(told(metadata.store(ENDPOINT, bucket).await)?.id)
}

/// The head of the feed afterwards; none of the changes may be refused.
async fn record(
    metadata: &dyn MetadataStore,
    store: i64,
    client: &str,
    changes: Vec<FileChange>,
) -> Result<u64, String> {
    let recorded = told(metadata.record(store, client, changes).await)?;
    same("refused", recorded.refused, vec![])?;
    Ok(recorded.head)
}

async fn row(metadata: &dyn MetadataStore, store: i64, key: &str) -> Result<FileRow, String> {
    told(metadata.file_by_key(store, key).await)?.ok_or_else(|| format!("no row of {key:?}"))
}

async fn all_files(metadata: &dyn MetadataStore, store: i64) -> Result<Vec<FileRow>, String> {
    told(metadata.files(FilesQuery { store, deleted: true, limit: 1_000, ..FilesQuery::default() }).await)
}

async fn next(
    metadata: &dyn MetadataStore,
    store: i64,
    cursor: Option<&Cursor>,
    limit: usize,
) -> Result<(Vec<ChangeRow>, Option<Cursor>), String> {
    match told(metadata.changes_since(store, cursor, limit).await)? {
        Changes::Next { rows, cursor, .. } => Ok((rows, cursor)),
        Changes::CursorLost => Err(format!("the cursor {cursor:?} is lost")),
    }
}

fn generation(etag: &str) -> Generation {
    Generation { etag: etag.into(), size: 1, version_id: None, last_modified: None }
}

fn put(key: &str, etag: &str) -> FileChange {
    let generation = generation(etag);
    let (key, expects) = (key.into(), Expected::Any);
    FileChange::Put { key, expects, generation, content: None, modified_ns: None, mode: None, mime_type: None }
}

fn delete(key: &str, etag: Option<&str>) -> FileChange {
    let expects = etag.map_or(Expected::Any, |etag| Expected::Object(Some(generation(etag))));
    FileChange::Delete { key: key.into(), expects, moved_to: None }
}

/// The same change, of a row that has to be this.
fn expecting(expected: Expected, mut change: FileChange) -> FileChange {
    match &mut change {
        FileChange::Put { expects, .. } | FileChange::Delete { expects, .. } => *expects = expected,
    }
    change
}

fn cursor_at(row: &ChangeRow) -> Cursor {
    Cursor { sequence: row.seq, row_id: row.row_id.clone() }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn told<T>(result: Result<T, StateError>) -> Result<T, String> {
    result.map_err(|error| format!("{error} {:?}", error.source))
}

fn holds(what: &str, condition: bool) -> Result<(), String> {
    if condition { Ok(()) } else { Err(format!("not so: {what}")) }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what}: found {found:?}, wanted {wanted:?}")) }
}
