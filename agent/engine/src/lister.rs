//! The one that lists: of all agents that share a store's metadata, one asks the bucket what it holds below a prefix, and
//! tells the others by the feed what was written or deleted there past all of them (R4).
//!
//! It may be dropped at any moment, and two may list at once: a change is recorded only over the row that it was compared
//! with. A listing that fails, is cut short or lies takes nothing away: each missing key is asked for once more, and only
//! below a complete range of pages.

use futures_util::stream::{self, StreamExt as _};
use gosync_plan::Generation;

use crate::context::Context;
use crate::feed::{OUTSIDE, is_ours};
use crate::look::Failure;
use crate::planted::{self, Planted};
use crate::ports::metadata::{Expected, FileChange, FileRow, FilesQuery};
use crate::ports::store::{ListPage, ListRequest, Listed};
use crate::sweep::{check_order, list_page};

/// How long the lease lasts without being renewed.
pub const LEASE_MS: u64 = 15_000;
pub const RENEWAL_MS: u64 = 5_000;
/// Rows read, and changes recorded, at once.
const BATCH_ROWS: usize = 500;
/// Keys that are looked at for a closer comparison, at once.
const HEADS_MAX: usize = 16;

/// A replica that was silent for so long holds up nobody's pruning: it compares everything when it comes back.
const SILENT_MS: u64 = 30 * 24 * 3_600_000;

/// What a listing came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// False: the lease was lost, and somebody else lists.
    pub complete: bool,
    pub objects: u64,
    /// Changes that were news to the feed.
    pub recorded: u64,
    pub milliseconds: u64,
}

#[must_use]
pub fn lease_name(context: &Context) -> String {
    format!("list {} {} {}", context.config.endpoint, context.config.bucket, context.config.prefix.as_str())
}

/// Takes or renews the lease.
pub async fn take_lease(context: &Context) -> Result<bool, Failure> {
    let replica = context.identity().replica;
    let lease = context.ports.metadata.lease(&lease_name(context), &replica, LEASE_MS).await;
    Ok(lease.map_err(Failure::Metadata)?.is_some())
}

/// Gives it back; where that fails it runs out by itself.
pub async fn drop_lease(context: &Context) {
    let replica = context.identity().replica;
    let _ = context.ports.metadata.release(&lease_name(context), &replica).await;
}

/// Drops what all replicas have read; where that fails the next one does it.
pub async fn prune(context: &Context) {
    if let Some(store) = context.identity().store {
        let _ = context.ports.metadata.prune_below_cursors(store, SILENT_MS).await;
    }
}

/// Lists the prefix once and records what differs from the rows.
pub async fn list(context: &Context) -> Result<Listing, Failure> {
    let began_ms = context.ports.clock.monotonic_ms();
    let Some(store) = context.identity().store else { return Ok(Listing::default()) };
    let prefix = context.config.prefix.as_str().to_owned();
    let mut request = ListRequest { prefix: prefix.clone(), ..ListRequest::default() };
    let mut rows = Rows::new(context, store, prefix.clone());
    let mut listing = Listing::default();
    let mut last: Option<String> = None;
    let mut first_head = None;
    loop {
        // Rows that are newer than this may know more than the page.
        let head = head_of_feed(context).await?;
        first_head.get_or_insert(head);
        let page = list_page(context, &request).await?;
        check_order(&prefix, last.as_deref(), &page.objects)?;
        last = page.objects.last().map(|object| object.key.clone()).or(last);
        listing.objects += page.objects.len() as u64;
        let next = page.next.clone();
        let differing = rows.compare(page, head).await?;
        let changes = confirmed(context, differing).await?;
        for batch in changes.chunks(BATCH_ROWS) {
            // Whoever stood still for too long is not the one who lists any more.
            if !planted::is(Planted::LeaseNotRechecked) && !take_lease(context).await? {
                return Ok(listing);
            }
            let recorded =
                context.ports.metadata.record(store, OUTSIDE, batch.to_vec()).await.map_err(Failure::Metadata)?;
            listing.recorded += (batch.len() - recorded.refused.len()) as u64;
        }
        match next {
            Some(token) => request.token = Some(token),
            None => break,
        }
    }
    if !planted::is(Planted::LeaseNotRechecked) && !take_lease(context).await? {
        return Ok(listing);
    }
    let head = first_head.unwrap_or_default();
    context.ports.metadata.set_prefix_listed(store, &prefix, head).await.map_err(Failure::Metadata)?;
    let milliseconds = context.ports.clock.monotonic_ms() - began_ms;
    Ok(Listing { complete: true, milliseconds, ..listing })
}

async fn head_of_feed(context: &Context) -> Result<u64, Failure> {
    let store = context.ports.metadata.store(&context.config.endpoint, &context.config.bucket).await;
    Ok(store.map_err(Failure::Metadata)?.head_seq)
}

/// A key of which the page and the row say something else.
struct Differing {
    key: String,
    /// Of the row; 0: there is none.
    version: u64,
    listed: Option<Generation>,
    /// There is no row, so that nothing can be newer than the page.
    is_new: bool,
}

/// The rows below the prefix in the order of their keys, deleted ones too.
struct Rows<'a> {
    context: &'a Context,
    store: i64,
    prefix: String,
    after: Option<String>,
    batch: std::collections::VecDeque<FileRow>,
    ended: bool,
}

impl<'a> Rows<'a> {
    fn new(context: &'a Context, store: i64, prefix: String) -> Self {
        Self { context, store, prefix, after: None, batch: std::collections::VecDeque::new(), ended: false }
    }

    /// The next row whose key is at most `until`.
    async fn next(&mut self, until: Option<&str>) -> Result<Option<FileRow>, Failure> {
        if self.batch.is_empty() && !self.ended {
            let query = FilesQuery {
                store: self.store,
                prefix: self.prefix.clone(),
                deleted: true,
                after: self.after.clone(),
                limit: BATCH_ROWS,
            };
            let rows = self.context.ports.metadata.files(query).await.map_err(Failure::Metadata)?;
            self.ended = rows.len() < BATCH_ROWS;
            self.after = rows.last().map(|row| row.s3_key.clone()).or_else(|| self.after.take());
            self.batch = rows.into();
        }
        match self.batch.front() {
            Some(row) if until.is_none_or(|until| row.s3_key.as_str() <= until) => Ok(self.batch.pop_front()),
            _ => Ok(None),
        }
    }

    /// Compares a page with the rows of its range: those after the last page's end, and up to its own.
    async fn compare(&mut self, page: ListPage, head: u64) -> Result<Vec<Differing>, Failure> {
        let is_last = page.next.is_none();
        let until = page.objects.last().map(|object| object.key.clone());
        let until = if is_last { None } else { until };
        let mut objects = page.objects.into_iter().filter(|object| !is_ours(self.context, &object.key)).peekable();
        let mut differing = Vec::new();
        if !is_last && until.is_none() {
            // A page without a key ends nowhere: what it covers is told by the next one.
            return Ok(differing);
        }
        while let Some(row) = self.next(until.as_deref()).await? {
            while let Some(object) = objects.next_if(|object| object.key < row.s3_key) {
                differing.push(new(object));
            }
            let listed = objects.next_if(|object| object.key == row.s3_key).map(|object| object.generation);
            let known = row.holds_object().then(|| row.generation());
            let agrees = match (&known, &listed) {
                (Some(known), Some(listed)) => known.same(listed),
                (None, None) => true,
                _ => false,
            };
            if !agrees && row.seq <= head {
                differing.push(Differing { key: row.s3_key, version: row.version, listed, is_new: false });
            }
        }
        differing.extend(objects.map(new));
        Ok(differing)
    }
}

fn new(object: Listed) -> Differing {
    Differing { key: object.key, version: 0, listed: Some(object.generation), is_new: true }
}

/// What a closer look says of each: a page may be older than it seems, and its silence proves nothing.
async fn confirmed(context: &Context, differing: Vec<Differing>) -> Result<Vec<FileChange>, Failure> {
    let looked = stream::iter(differing).map(async |key| {
        let expects = Expected::Version(key.version);
        if key.is_new
            && let Some(generation) = key.listed
        {
            return Ok(Some(put(key.key, generation, expects)));
        }
        let permit = context.request().await;
        let head = context.ports.store.head(&key.key).await;
        permit.answered();
        match head {
            Ok(Some(head)) => Ok(Some(put(key.key, head.generation, expects))),
            // Neither the page nor the key itself.
            Ok(None) if key.listed.is_none() => Ok(Some(FileChange::Delete { key: key.key, moved_to: None, expects })),
            Ok(None) => Ok(None),
            // That it can't be read is a problem of its own, and known to be there by the page.
            Err(error) if !error.is_of_the_store() => {
                Ok(key.listed.map(|generation| put(key.key, generation, expects)))
            }
            Err(error) => Err(Failure::from(error)),
        }
    });
    let all: Vec<Result<Option<FileChange>, Failure>> = looked.buffered(HEADS_MAX).collect().await;
    all.into_iter().filter_map(Result::transpose).collect()
}

fn put(key: String, generation: Generation, expects: Expected) -> FileChange {
    FileChange::Put { key, generation, content: None, modified_ns: None, mode: None, mime_type: None, expects }
}
