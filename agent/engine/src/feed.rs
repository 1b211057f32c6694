//! The feed of a store that agents share: what the others did, without asking the bucket.
//!
//! Following changes nothing anywhere: a row of the feed says where to look, and what the bucket is said to hold there.
//! Whoever acts on it does so under the preconditions of any operation, and takes nothing away without a proof of the
//! store's own. A poll that fails, is repeated or is cut off costs time alone.

use std::collections::BTreeMap;

use gosync_plan::names::NameProblem;
use gosync_plan::{RelPath, RemoteEntry, RemoteObject};
use serde::{Deserialize, Serialize};

use crate::context::{Context, Identity, Killed, lock};
use crate::crash::{self, CrashPoint};
use crate::ports::metadata::{
    ChangeRow, ChangeType, Changes, Cursor, Expected, FileChange, FileRow, Recorded, StoreRow, SyncStateRow,
};
use crate::ports::state::{StateChange, StateError, StateErrorKind};

/// Who recorded what nobody of us did: whoever lists the bucket.
pub const OUTSIDE: &str = "outside";
/// Change rows read at once.
const NEWS_ROWS: usize = 1_000;
/// So many changes are kept for a database that is away; what is beyond them is found by the next listing.
const UNTOLD_MAX: usize = 10_000;
/// A change that is refused is compared with the bucket and told again, at most so often.
const TELLINGS_MAX: usize = 3;
/// So many share a batch at most.
const TELLERS_MAX: usize = 256;

/// The note of how far this replica had read, for the next start.
const NOTE_POSITION: &str = "feed";

/// Where a replica stands in the feed. Nothing is known of what lies before it but what a sweep of the rows shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Of the store: another one is another feed.
    pub epoch: String,
    /// `None`: before its first row.
    pub cursor: Option<Cursor>,
}

/// What one poll brought.
#[derive(Debug)]
pub enum Followed {
    /// The feed goes on from here; what came before has to be compared with the rows.
    Began(Position),
    Went {
        position: Position,
        news: Vec<News>,
        /// There is more to be read at once.
        more: bool,
    },
    /// The feed can't go on from where we are: a restored backup, a failover, tables made anew, or pruned past us.
    Lost,
}

/// Something happened at this path.
#[derive(Debug)]
pub struct News {
    pub path: RelPath,
    /// Of the object that was put there; `None`: it was taken away, or what is there has to be seen.
    etag: Option<String>,
    /// It was taken away, and the guard of whoever did it let it pass.
    pub guarded: bool,
    /// Another agent deleted it: its replica.
    pub deleted_by: Option<String>,
    /// What this replica holds already, most often because the change was its own. It says something only where another
    /// conclusion waits: that the object was gone for a while.
    pub is_echo: bool,
}

/// Reads on from `position`; without one, finds where the feed ends now.
pub async fn follow(context: &Context, position: Option<Position>) -> Result<Followed, StateError> {
    let metadata = &context.ports.metadata;
    let Some(position) = position else { return begin(context).await.map(Followed::Began) };
    let Some(store) = context.identity().store else { return Ok(Followed::Lost) };
    match metadata.changes_since(store, position.cursor.as_ref(), NEWS_ROWS).await? {
        Changes::Next { rows, cursor, epoch } if epoch == position.epoch => {
            // Not before it is known that these are still the tables that know the store.
            tell_untold(context).await?;
            let more = rows.len() == NEWS_ROWS;
            let news = with_echoes_marked(context, rows.iter().flat_map(|row| news_of(context, row)).collect()).await?;
            let position = Position { cursor, ..position };
            lock(&context.shared.identity).read = Some(position.clone());
            Ok(Followed::Went { position, news, more })
        }
        Changes::CursorLost | Changes::Next { .. } => Ok(Followed::Lost),
    }
}

async fn begin(context: &Context) -> Result<Position, StateError> {
    let metadata = &context.ports.metadata;
    let (endpoint, bucket) = (&context.config.endpoint, &context.config.bucket);
    let mut store = metadata.store(endpoint, bucket).await?;
    if !is_the_feed_we_read(context, &store).await? {
        // What the rows tell may be long past, and what the cache keeps for this epoch was never in them.
        metadata.renew_epoch(store.id, &store.epoch).await?;
        store = metadata.store(endpoint, bucket).await?;
    }
    let newest = metadata.change(store.id, store.head_seq).await?;
    let cursor = newest.map(|row| Cursor { sequence: row.seq, row_id: row.row_id });
    let position = Position { epoch: store.epoch.clone(), cursor };
    {
        let mut identity = lock(&context.shared.identity);
        (identity.store, identity.epoch, identity.cursor) = (Some(store.id), store.epoch, store.head_seq);
        identity.read = Some(position.clone());
    }
    tell_untold(context).await?;
    Ok(position)
}

/// False: this epoch's feed had another change where we stood once (a restored backup, a failover that lost the newest).
async fn is_the_feed_we_read(context: &Context, store: &StoreRow) -> Result<bool, StateError> {
    let known = match context.identity().read {
        Some(position) => Some(position),
        None => context.ports.state.note(NOTE_POSITION).await?.and_then(|note| serde_json::from_str(&note).ok()),
    };
    let Some(Position { epoch, cursor: Some(cursor) }) = known else { return Ok(true) };
    if epoch != store.epoch || cursor.sequence < store.pruned_seq {
        return Ok(true);
    }
    let stands = context.ports.metadata.change(store.id, cursor.sequence).await?;
    Ok(stands.is_some_and(|row| row.row_id == cursor.row_id))
}

fn news_of(context: &Context, row: &ChangeRow) -> impl Iterator<Item = News> {
    let taken_away = matches!(row.change_type, ChangeType::Delete | ChangeType::Rename);
    let is_delete_elsewhere = row.change_type == ChangeType::Delete
        && row.client_id != OUTSIDE
        && row.client_id != lock(&context.shared.identity).replica;
    let of_key = path_of(context, &row.s3_key).map(|path| News {
        path,
        etag: (!taken_away).then(|| row.etag.clone()),
        guarded: taken_away && row.client_id != OUTSIDE,
        deleted_by: is_delete_elsewhere.then(|| row.client_id.clone()),
        is_echo: false,
    });
    let arrived = row.new_path.as_deref().filter(|_| row.change_type == ChangeType::Rename);
    let arrived = arrived.and_then(|path| path_of(context, path.strip_prefix('/')?));
    arrived
        .map(|path| News { path, etag: None, guarded: false, deleted_by: None, is_echo: false })
        .into_iter()
        .chain(of_key)
}

async fn with_echoes_marked(context: &Context, mut news: Vec<News>) -> Result<Vec<News>, StateError> {
    let paths: Vec<RelPath> = news.iter().map(|news| news.path.clone()).collect();
    let mut known = context.ports.state.ancestors(&paths).await?.into_iter();
    for news in &mut news {
        let known = known.next().flatten().map(|ancestor| ancestor.generation.etag);
        news.is_echo = known.is_some() && known == news.etag;
    }
    Ok(news)
}

fn path_of(context: &Context, key: &str) -> Option<RelPath> {
    context.listed_path(key)?.ok()
}

/// Whether a listing of this mirror's prefix, or of one above it, has been complete since the tables were made: until then
/// the rows say nothing about what is not among them.
pub async fn is_listed(context: &Context) -> Result<bool, StateError> {
    let Some(store) = context.identity().store else { return Ok(false) };
    let prefix = context.config.prefix.as_str();
    let above = prefix.match_indices('/').map(|(at, _)| &prefix[..=at]);
    for listed in above.chain([""]) {
        if context.ports.metadata.prefix_listed(store, listed).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the rows say of these paths. A row that holds no object leaves it to the store: a row is no proof of absence.
pub async fn entries(context: &Context, paths: &[RelPath]) -> Result<Vec<RemoteEntry>, StateError> {
    let Some(store) = context.identity().store else { return Ok(vec![RemoteEntry::Absent; paths.len()]) };
    let keys: Vec<String> = paths.iter().map(|path| context.config.prefix.key(path)).collect();
    let rows = context.ports.metadata.files_by_key(store, &keys).await?;
    Ok(rows
        .iter()
        .map(|row| row.as_ref().and_then(object_of).map_or(RemoteEntry::Absent, RemoteEntry::Object))
        .collect())
}

/// The object that the row says the key holds.
#[must_use]
pub fn object_of(row: &FileRow) -> Option<RemoteObject> {
    row.holds_object().then(|| RemoteObject { generation: row.generation(), facts: None, content: row.checksum })
}

/// Names of ours are nobody's files.
#[must_use]
pub fn is_ours(context: &Context, key: &str) -> bool {
    matches!(context.listed_path(key), Some(Err(NameProblem::OwnFolder)))
}

/// Says how far this replica has come, so that nothing is pruned that it has not read. Where that fails, it is told later.
pub async fn tell_standing(context: &Context, position: Position) {
    if let Ok(note) = serde_json::to_string(&position) {
        let _ = context.record(vec![StateChange::PutNote(NOTE_POSITION.to_owned(), note)], Vec::new()).await;
    }
    let Some(row) = own_row(context) else { return };
    let row = SyncStateRow { last_sync_ms: Some(context.utc_ms()), cursor: position.cursor, ..row };
    let _ = context.ports.metadata.put_sync_state(&row).await;
}

/// Tells the others of deletes that are about to be sent, and learns of theirs; see
/// [`announce_deletes`](crate::ports::MetadataStore::announce_deletes).
pub async fn announce_deletes(
    context: &Context,
    deletes: u64,
    within_ms: u64,
) -> Result<BTreeMap<String, u64>, StateError> {
    match own_row(context) {
        Some(row) => context.ports.metadata.announce_deletes(&row, deletes, within_ms).await,
        None => Ok(BTreeMap::new()),
    }
}

/// The row of a replica that has read nothing yet; `None` until the metadata have answered for the first time.
#[must_use]
pub fn own_row(context: &Context) -> Option<SyncStateRow> {
    let Identity { replica, store: Some(store), epoch, .. } = context.identity() else { return None };
    Some(SyncStateRow {
        client_id: replica,
        store_id: store,
        prefix: context.config.prefix.as_str().to_owned(),
        last_sync_ms: None,
        cursor: None,
        epoch,
        device_name: context.config.device.clone(),
        platform: std::env::consts::OS.to_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        status: "active".to_owned(),
    })
}

/// Tells the others. Where the database is away, what is to be told waits, and nothing else does.
pub async fn tell(context: &Context, files: Vec<FileChange>) -> Result<(), StateError> {
    if files.is_empty() {
        return Ok(());
    }
    let identity = context.identity();
    let store = identity.store.filter(|_| !context.shared.metadata_is_away());
    let told = match store {
        Some(store) => tell_now(context, store, &identity.replica, files.clone()).await,
        None => Err(away()),
    };
    if told.is_ok() {
        crash::reached(CrashPoint::MetadataTold);
    }
    match told {
        Err(error) if error.kind == StateErrorKind::Unavailable && context.config.shared => {
            context.shared.untold(files, UNTOLD_MAX);
            Ok(())
        }
        told => told,
    }
}

fn away() -> StateError {
    StateError { kind: StateErrorKind::Unavailable, what: "telling the metadata".to_owned(), source: None }
}

/// A change whose row is not as we thought is compared with the bucket: what it holds is the truth, and the later one of
/// two who write tells it.
async fn tell_now(context: &Context, store: i64, replica: &str, mut files: Vec<FileChange>) -> Result<(), StateError> {
    for _ in 0..TELLINGS_MAX {
        let recorded = record_together(context, store, replica, files.clone()).await?;
        {
            let mut identity = lock(&context.shared.identity);
            identity.cursor = identity.cursor.max(recorded.head);
        }
        if recorded.refused.is_empty() {
            return Ok(());
        }
        let mut again = Vec::new();
        for refused in recorded.refused {
            let version = refused.row.as_ref().map_or(0, |row| row.version);
            let of_key = |file: &&FileChange| file.key() == refused.key;
            let Some(file) = files.iter().rfind(of_key) else { continue };
            // Whatever can't be looked at now is found by the next listing.
            let Ok(head) = context.ports.store.head(file.key()).await else { continue };
            let holds = match file {
                FileChange::Put { generation, .. } => head.is_some_and(|head| generation.same(&head.generation)),
                FileChange::Delete { .. } => head.is_none(),
            };
            if holds {
                again.push(file.clone().expecting(Expected::Version(version)));
            }
        }
        if again.is_empty() {
            return Ok(());
        }
        files = again;
    }
    Ok(())
}

/// A server of a database is a round trip and a commit away: those who tell at the same time share them.
async fn record_together(
    context: &Context,
    store: i64,
    replica: &str,
    files: Vec<FileChange>,
) -> Result<Recorded, StateError> {
    let metadata = &context.ports.metadata;
    if !context.config.shared {
        return metadata.record(store, replica, files).await;
    }
    let told = context.shared.tellings.call(files, TELLERS_MAX, |all| async move {
        match metadata.record(store, replica, all.concat()).await {
            Ok(Recorded { head, refused }) => all
                .iter()
                .map(|files| {
                    let own = refused.iter().filter(|refused| files.iter().any(|file| file.key() == refused.key));
                    Ok(Recorded { head, refused: own.cloned().collect() })
                })
                .collect(),
            // None is to fail by the fault of another.
            Err(error) if error.kind != StateErrorKind::Unavailable && all.len() > 1 => {
                let mut answers = Vec::new();
                for files in all {
                    answers.push(metadata.record(store, replica, files).await);
                }
                answers
            }
            Err(error) => {
                let again = || Err(StateError { kind: error.kind, what: error.what.clone(), source: None });
                let mut answers: Vec<_> = all[1..].iter().map(|_| again()).collect();
                answers.insert(0, Err(error));
                answers
            }
        }
    });
    told.await.unwrap_or(Err(Killed.into()))
}

/// What could not be told while the database was away.
async fn tell_untold(context: &Context) -> Result<(), StateError> {
    let identity = context.identity();
    let Some(store) = identity.store else { return Ok(()) };
    let untold = context.shared.take_untold();
    if untold.is_empty() {
        return Ok(());
    }
    let told = tell_now(context, store, &identity.replica, untold.clone()).await;
    if told.is_err() {
        context.shared.untold(untold, UNTOLD_MAX);
    }
    told
}
