//! What the engine relies on at the `ObjectStore` port, over every store it is promised for: one body per behaviour, run
//! through the real adapter against the dev store, MinIO and versitygw.
//!
//! Where real servers differ, [`Truth`] says how, and the tests hold them to it in both directions: a server that learns
//! a condition is noticed as well as one that forgets it.

mod conditions;
mod content;
mod listing;
mod trouble;
mod uploads;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use gosync_engine::ports::store::{
    Condition, GetRequest, Head, ListRequest, ObjectHeaders, ObjectStore, PutRequest, StoreError, StoreErrorKind,
    Written,
};
use gosync_plan::{ContentHash, Nonce};
use gosync_s3::{Credentials, S3Config, S3Store};
use gosync_tests::dev_store::DevStore;
use gosync_tests::proxy::{Kind, Proxy, Verdict};
use gosync_tests::server::{Address, REGION, Server, Which};
use gosync_tests::stranger::Stranger;

const WRITERS: usize = 8;
const ROUNDS: usize = 50;
const PART_BYTES_MIN: usize = 5 << 20;

/// How a server departs from what S3 promises.
#[derive(Clone, Copy)]
struct Truth {
    /// A stale If-Match keeps a DELETE from its effect.
    delete_condition: bool,
    /// The same for each key of a DeleteObjects.
    delete_many_condition: bool,
    /// If-None-Match keeps a CopyObject from replacing its target.
    copy_condition: bool,
    file_beside_folder: Beside,
    /// Unfinished uploads are listed below a prefix, not only at their exact key.
    uploads_by_prefix: bool,
    /// A request with an unknown key id is answered 404, which for a HEAD looks like "no such key".
    unknown_key_id_is_404: bool,
}

/// `a` beside `a/b`.
#[derive(Clone, Copy)]
enum Beside {
    Possible,
    /// Both are there for HEAD and GET, but a listing leaves out everything below `a/`. So a key that is missing from a
    /// complete listing may be there all the same: only HEAD proves an absence.
    Hidden,
    Refused,
}

const DEV_S3: Truth = Truth {
    delete_condition: true,
    delete_many_condition: true,
    copy_condition: true,
    file_beside_folder: Beside::Possible,
    uploads_by_prefix: true,
    unknown_key_id_is_404: false,
};
const MINIO: Truth = Truth {
    delete_condition: false,
    delete_many_condition: false,
    copy_condition: false,
    file_beside_folder: Beside::Hidden,
    uploads_by_prefix: false,
    unknown_key_id_is_404: false,
};
const VERSITYGW: Truth = Truth {
    delete_condition: true,
    delete_many_condition: false,
    copy_condition: false,
    file_beside_folder: Beside::Refused,
    uploads_by_prefix: true,
    unknown_key_id_is_404: true,
};

/// One store in a bucket of its own.
struct Rig {
    truth: Truth,
    store: Arc<dyn ObjectStore>,
    /// Somebody else in the same bucket.
    stranger: Stranger,
    _server: Box<dyn Send + Sync>,
}

impl Rig {
    async fn dev_s3(bucket: &str) -> Self {
        let server = DevStore::start().await;
        let stranger = Stranger::new(&server.address, bucket);
        Self::new(DEV_S3, stranger, Box::new(server)).await
    }

    async fn minio(bucket: &str) -> Self {
        let server = Server::shared(Which::Minio).await;
        let stranger = Stranger::new(&server.address, bucket);
        Self::new(MINIO, stranger, Box::new(server)).await
    }

    async fn versitygw(bucket: &str) -> Self {
        let server = Server::shared(Which::Versitygw).await;
        let stranger = Stranger::new(&server.address, bucket);
        Self::new(VERSITYGW, stranger, Box::new(server)).await
    }

    async fn new(truth: Truth, stranger: Stranger, server: Box<dyn Send + Sync>) -> Self {
        stranger.create_bucket().await;
        let store = open(&stranger.address, &stranger.bucket).await;
        Self { truth, store, stranger, _server: server }
    }

    fn address(&self) -> &Address {
        &self.stranger.address
    }

    async fn put(&self, key: &str, body: &'static [u8]) -> Written {
        put(&*self.store, key, body, Condition::None).await.unwrap()
    }

    async fn content(&self, key: &str) -> Option<Bytes> {
        self.stranger.get(key).await
    }

    async fn keys(&self, request: ListRequest) -> Vec<String> {
        list(&*self.store, request).await
    }
}

/// The adapter as the agent makes it.
async fn open(address: &Address, bucket: &str) -> Arc<dyn ObjectStore> {
    let config = S3Config {
        endpoint: Some(address.endpoint.clone()),
        credentials: Some(Credentials {
            access_key: address.access_key.clone(),
            secret_key: address.secret_key.clone(),
            session_token: None,
        }),
        force_path_style: true,
        ..S3Config::new(bucket, REGION)
    };
    Arc::new(S3Store::connect(config).await.unwrap())
}

async fn put(
    store: &dyn ObjectStore,
    key: &str,
    body: impl Into<Bytes>,
    condition: Condition,
) -> Result<Written, StoreError> {
    let request = PutRequest { key: key.to_owned(), body: body.into(), condition, ..PutRequest::default() };
    store.put(request).await
}

async fn read(store: &dyn ObjectStore, request: GetRequest) -> Result<(Head, Bytes), StoreError> {
    let mut body = store.get(request).await?;
    let mut content = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        content.extend_from_slice(&chunk);
    }
    Ok((body.head().clone(), content.into()))
}

/// All pages.
async fn list(store: &dyn ObjectStore, mut request: ListRequest) -> Vec<String> {
    let mut keys = Vec::new();
    loop {
        let page = store.list(request.clone()).await.unwrap();
        if request.page_keys_max > 0 {
            assert!(page.objects.len() <= request.page_keys_max as usize);
        }
        keys.extend(page.objects.into_iter().map(|object| object.key));
        match page.next {
            None => return keys,
            next => request.token = next,
        }
    }
}

fn prefix(prefix: &str) -> ListRequest {
    ListRequest { prefix: prefix.to_owned(), ..ListRequest::default() }
}

fn get(key: &str) -> GetRequest {
    GetRequest { key: key.to_owned(), ..GetRequest::default() }
}

#[track_caller]
fn fails<T>(result: Result<T, StoreError>, kind: StoreErrorKind) {
    match result {
        Ok(_) => panic!("succeeded instead of {kind:?}"),
        Err(error) => assert_eq!(error.kind, kind, "{error}"),
    }
}

async fn upload_one(rig: &Rig, key: &str, content: String) -> (String, Vec<(u32, String)>) {
    let upload = rig.store.create_upload(key, &ObjectHeaders::default()).await.unwrap();
    let etag = rig.store.upload_part(key, &upload, 1, content.into()).await.unwrap();
    (upload, vec![(1, etag)])
}

/// Runs each body, found in its file, as a test of its own over each store.
macro_rules! over_every_store {
    (@ $store:ident $($file:ident { $($body:ident)+ })+) => {
        mod $store {
            $($(#[tokio::test]
            async fn $body() {
                // A bucket's name holds no underscore and at most 63 characters.
                let name = stringify!($body).replace('_', "-");
                let rig = super::Rig::$store(name[..name.len().min(63)].trim_end_matches('-')).await;
                super::$file::$body(rig).await;
            })+)+
        }
    };
    ($($all:tt)+) => {
        over_every_store!(@ dev_s3 $($all)+);
        over_every_store!(@ minio $($all)+);
        over_every_store!(@ versitygw $($all)+);
    };
}

over_every_store! {
    content {
        what_was_put_is_read_back_whole_and_in_ranges
        a_read_of_a_replaced_object_is_refused
        what_is_not_there_is_none_or_not_found
        headers_come_back_as_they_were_sent
        headers_are_spelled_as_other_tools_read_them
        headers_of_other_tools_are_read
        a_copy_keeps_content_and_headers
        equal_content_put_twice_can_be_told_apart_or_has_one_etag
        an_etag_of_a_put_is_the_md5
        versions_come_newest_first_and_can_be_read
    }
    conditions {
        of_eight_creations_one_wins
        of_eight_replacements_one_wins
        a_stale_put_changes_nothing
        deleting_what_is_not_there_succeeds
        a_stale_delete_does_what_the_table_says
        many_deletes_answer_one_by_one
        a_copy_condition_does_what_the_table_says
        a_copy_of_a_replaced_source_is_refused
        of_eight_completions_one_wins
        a_stale_completion_changes_nothing
    }
    uploads {
        parts_become_one_object
        an_aborted_upload_is_gone
        unfinished_uploads_are_found
    }
    listing {
        keys_come_in_byte_order_whatever_the_page
        a_listing_starts_after_a_key_and_stays_below_its_prefix
        odd_keys_come_back_unchanged
        a_file_beside_its_folder_does_what_the_table_says
        a_listing_tells_the_generation_that_head_tells
    }
    trouble {
        a_missing_bucket_is_no_missing_key
        wrong_keys_are_wrong_credentials
        nobody_listening_is_a_transport_error
        a_cut_body_is_an_error_and_never_a_short_content
        a_lost_reply_leaves_the_outcome_unknown
        a_busy_store_is_asked_once
    }
}
