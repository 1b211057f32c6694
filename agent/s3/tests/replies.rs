//! Replies that no well-behaved store gives, byte by byte, and what requests look like on the wire.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may stop at the first surprise")]
#![allow(dead_code, reason = "each test binary uses its part of what they share")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{below, config, connect, get, put, read, witnessed};
use gosync_engine::ports::store::{Condition, ListRequest, ObjectHeaders, ObjectStore, StoreErrorKind as Kind};
use gosync_s3::{Checksums, S3Config, S3Store, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server that answers each request by what `answer` makes of its head, then closes the connection.
struct Canned {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

enum Answer {
    Reply(String),
    /// Sends this and says no more.
    ThenSilence(String),
}

impl Canned {
    async fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), requests.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer.clone(), seen.clone()));
            }
        });
        Self { url, requests }
    }

    async fn replying(reply: impl Into<String>) -> Self {
        let reply = reply.into();
        Self::start(move |_| Answer::Reply(reply.clone())).await
    }

    async fn store(&self) -> S3Store {
        connect(config(&self.url)).await
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: Arc<impl Fn(&str) -> Answer + Send + Sync + 'static>,
    seen: Arc<Mutex<Vec<String>>>,
) {
    let mut received = Vec::new();
    let head = loop {
        if stream.read_buf(&mut received).await.unwrap_or(0) == 0 {
            return;
        }
        if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            break String::from_utf8(received[..end].to_vec()).unwrap();
        }
    };
    let announced = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    let mut left = announced - (received.len() - head.len() - 4);
    let mut sink = vec![0; 65536];
    while left > 0 {
        let wanted = left.min(sink.len());
        left -= stream.read_exact(&mut sink[..wanted]).await.unwrap();
    }
    let answer = answer(&head);
    seen.lock().unwrap().push(head);
    match answer {
        Answer::Reply(reply) => {
            let _ = stream.write_all(reply.as_bytes()).await;
        }
        Answer::ThenSilence(reply) => {
            let _ = stream.write_all(reply.as_bytes()).await;
            // Until the client hangs up.
            let _ = stream.read_buf(&mut Vec::new()).await;
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
    Some(line.split_once(':')?.1.trim())
}

fn reply(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}

fn refusal(status: &str, code: &str) -> String {
    reply(status, "", &format!("<Error><Code>{code}</Code><Message>because</Message></Error>"))
}

fn page(rest: &str, keys: &[&str]) -> String {
    reply("200 OK", "", &listing(rest, keys))
}

fn listing(rest: &str, keys: &[&str]) -> String {
    let entry = |key: &&str| {
        format!(
            "<Contents><Key>{key}</Key><LastModified>2024-02-03T04:05:06.789Z</LastModified>\
             <ETag>&quot;0123&quot;</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )
    };
    let entries: String = keys.iter().map(entry).collect();
    format!("<ListBucketResult>{rest}{entries}</ListBucketResult>")
}

const LAST: &str = "<IsTruncated>false</IsTruncated>";
const URL: &str = "<IsTruncated>false</IsTruncated><EncodingType>url</EncodingType>";

async fn list_kind(reply: String, request: ListRequest) -> Result<Vec<String>, Kind> {
    let canned = Canned::replying(reply).await;
    let page = canned.store().await.list(request).await.map_err(|error| error.kind)?;
    Ok(page.objects.into_iter().map(|object| object.key).collect())
}

#[tokio::test]
async fn keys_are_decoded_where_the_store_encoded_them() {
    let keys = list_kind(page(URL, &["a%01", "a%0Ab", "a+b", "a%252B", "a%2Bb", "%C3%BC"]), below("")).await;
    assert_eq!(keys.unwrap(), ["a\u{1}", "a\nb", "a b", "a%2B", "a+b", "ü"]);
    let keys = list_kind(page(LAST, &["a%2Bb", "a+b"]), below("")).await;
    assert_eq!(keys.unwrap(), ["a%2Bb", "a+b"]);
}

#[tokio::test]
async fn keys_that_the_listing_cannot_spell_are_left_out_and_block_no_others() {
    assert_eq!(list_kind(page(URL, &["a", "b%FF", "c"]), below("")).await.unwrap(), ["a", "c"]);
    assert_eq!(list_kind(page(LAST, &["b\u{fffd}", "a"]), below("")).await.unwrap(), ["a"]);
}

#[tokio::test]
async fn a_page_with_anything_odd_in_it_is_a_failed_look() {
    let after = |key: &str| ListRequest { start_after: Some(key.into()), ..below("") };
    let from = |token: &str| ListRequest { token: Some(token.into()), ..below("") };
    let more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>";
    let without = |text: &str, instead: &str| reply("200 OK", "", &listing(LAST, &["a"]).replace(text, instead));
    for (reply, request, why) in [
        (page(LAST, &["b", "a"]), below(""), "disordered"),
        (page(LAST, &["a", "a"]), below(""), "twice the same"),
        (page(LAST, &["p/a", "q/a"]), below("p/"), "outside of the prefix"),
        (page(LAST, &["a", "b"]), after("a"), "not after the start"),
        (page("<IsTruncated>true</IsTruncated>", &["a"]), below(""), "truncated without a token"),
        (page(more, &["a"]), from("t"), "leads to itself"),
        (page("", &["a"]), below(""), "does not say whether it is the last"),
        (page("<IsTruncated>false</IsTruncated><KeyCount>2</KeyCount>", &["a"]), below(""), "fewer than counted"),
        (reply("200 OK", "", ""), below(""), "empty"),
        (reply("200 OK", "", "<html>a proxy says hello</html>"), below(""), "no listing"),
        (without("<Size>1</Size>", ""), below(""), "no size"),
        (without("<ETag>&quot;0123&quot;</ETag>", ""), below(""), "no ETag"),
        (without("Key>", "Kee>"), below(""), "no key"),
    ] {
        assert_eq!(list_kind(reply, request).await, Err(Kind::Corrupt), "{why}");
    }
}

#[tokio::test]
async fn a_page_that_was_cut_is_a_failed_look_wherever_it_was_cut() {
    let (whole, body) = (page(LAST, &["a", "b"]), listing(LAST, &["a", "b"]));
    for end in 1..body.len() {
        // The cut is not announced by the connection: the length fits.
        let result = list_kind(reply("200 OK", "", &body[..end]), below("")).await;
        assert_eq!(result, Err(Kind::Corrupt), "cut to {}", &body[..end]);
    }
    assert_eq!(list_kind(whole[..whole.len() - 1].into(), below("")).await, Err(Kind::Transport));
}

#[tokio::test]
async fn refusals_become_kinds_that_can_be_acted_on() {
    let kinds = [
        ("404 Not Found", "NoSuchKey", Kind::NotFound),
        ("404 Not Found", "NoSuchBucket", Kind::NoSuchBucket),
        ("404 Not Found", "NoSuchUpload", Kind::NoSuchUpload),
        ("301 Moved Permanently", "PermanentRedirect", Kind::NoSuchBucket),
        ("412 Precondition Failed", "PreconditionFailed", Kind::PreconditionFailed),
        ("409 Conflict", "ConditionalRequestConflict", Kind::Conflict),
        ("409 Conflict", "OperationAborted", Kind::Conflict),
        ("409 Conflict", "ObjectParentIsFile", Kind::Invalid),
        ("403 Forbidden", "AccessDenied", Kind::Denied),
        ("403 Forbidden", "SignatureDoesNotMatch", Kind::Credentials),
        ("403 Forbidden", "InvalidAccessKeyId", Kind::Credentials),
        ("404 Not Found", "XAdminUserNotFound", Kind::Credentials),
        ("403 Forbidden", "RequestTimeTooSkewed", Kind::Unavailable),
        ("400 Bad Request", "ExpiredToken", Kind::Credentials),
        ("403 Forbidden", "InvalidObjectState", Kind::Unreadable),
        ("400 Bad Request", "KMS.DisabledException", Kind::Unreadable),
        ("503 Service Unavailable", "SlowDown", Kind::Throttled),
        ("503 Service Unavailable", "XMinioServerNotInitialized", Kind::Throttled),
        ("429 Too Many Requests", "Anything", Kind::Throttled),
        ("500 Internal Server Error", "InternalError", Kind::Unavailable),
        ("507 Insufficient Storage", "XMinioStorageFull", Kind::Unavailable),
        ("502 Bad Gateway", "Anything", Kind::Unavailable),
        ("400 Bad Request", "RequestTimeout", Kind::Transport),
        ("400 Bad Request", "BadDigest", Kind::Corrupt),
        ("400 Bad Request", "XMinioInvalidObjectName", Kind::Invalid),
        ("501 Not Implemented", "NotImplemented", Kind::NotImplemented),
    ];
    for (status, code, kind) in kinds {
        let canned = Canned::replying(refusal(status, code)).await;
        let Err(error) = read(&canned.store().await, get("k")).await else { panic!("{code} is no success") };
        assert_eq!(error.kind, kind, "{status} {code}");
        assert_eq!((error.operation, error.key.as_str()), ("GetObject", "k"));
        assert!(error.to_string().contains(&format!("{code}: because")), "{error}");
    }
}

#[tokio::test]
async fn the_encryption_key_of_somebody_else_makes_an_object_unreadable_and_nothing_more() {
    let text = "The object was stored using a form of Server Side Encryption. The correct parameters must be provided.";
    let body = format!("<Error><Code>InvalidRequest</Code><Message>{text}</Message></Error>");
    let canned = Canned::replying(reply("400 Bad Request", "", &body)).await;
    let store = canned.store().await;
    assert_eq!(read(&store, get("k")).await.unwrap_err().kind, Kind::Unreadable);
    // A HEAD's refusal has no body of its own.
    let body = body.clone();
    let canned = Canned::start(move |head| {
        let shown = if head.starts_with("HEAD") { "" } else { &body };
        Answer::Reply(reply("400 Bad Request", "", shown))
    });
    let store = canned.await.store().await;
    let error = store.head("k").await.unwrap_err();
    assert_eq!((error.kind, error.operation), (Kind::Unreadable, "HeadObject"));
}

#[tokio::test]
async fn a_proxy_that_speaks_no_xml_is_understood_by_its_status() {
    for (status, kind) in [
        ("502 Bad Gateway", Kind::Unavailable),
        ("503 Service Unavailable", Kind::Throttled),
        ("403 Forbidden", Kind::Denied),
        ("404 Not Found", Kind::NotFound),
        ("200 OK", Kind::Corrupt),
    ] {
        let canned = Canned::replying(reply(status, "", "<html>nginx</html>")).await;
        let error = canned.store().await.put(put("k", b"x", Condition::None)).await.unwrap_err();
        assert_eq!(error.kind, kind, "{status}");
    }
}

#[tokio::test]
async fn a_silent_store_is_not_waited_for_for_ever() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\netag: \"e\"\r\n\r\nfive!";
    let canned = Canned::start(move |request| {
        Answer::ThenSilence(if request.starts_with("GET") { head.into() } else { String::new() })
    });
    let canned = canned.await;
    let with = |timeouts| connect(S3Config { timeouts, ..config(&canned.url) });
    let short = Duration::from_millis(300);
    let store = with(Timeouts { reply: short, ..Timeouts::default() }).await;
    let error = store.put(put("k", b"x", Condition::None)).await.unwrap_err();
    assert_eq!(error.kind, Kind::Transport);
    let store = with(Timeouts { idle: short, ..Timeouts::default() }).await;
    let mut body = store.get(get("k")).await.unwrap();
    assert_eq!(body.chunk().await.unwrap().unwrap(), "five!");
    assert_eq!(body.chunk().await.unwrap_err().kind, Kind::Transport);
    assert_eq!(body.chunk().await.unwrap_err().kind, Kind::Transport, "a failed content stays failed");
}

#[tokio::test]
async fn a_content_without_length_or_etag_is_not_taken() {
    for (headers, why) in [("", "no ETag"), ("etag: \"e\"\r\ncontent-range: bytes 1-4/9\r\n", "another range")] {
        let canned = Canned::replying(reply("200 OK", headers, "hello")).await;
        let range = (why == "another range").then_some(0..5);
        let request = gosync_engine::ports::store::GetRequest { range, ..get("k") };
        assert_eq!(read(&canned.store().await, request).await.unwrap_err().kind, Kind::Corrupt, "{why}");
    }
    let chunked = "HTTP/1.1 200 OK\r\netag: \"e\"\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let canned = Canned::replying(chunked).await;
    assert_eq!(read(&canned.store().await, get("k")).await.unwrap_err().kind, Kind::Corrupt);
}

#[tokio::test]
async fn a_get_that_ignored_its_condition_is_a_failed_precondition() {
    let canned = Canned::replying(reply("200 OK", "etag: \"other\"\r\n", "hello")).await;
    let request = gosync_engine::ports::store::GetRequest { etag: Some("wanted".into()), ..get("k") };
    assert_eq!(read(&canned.store().await, request).await.unwrap_err().kind, Kind::PreconditionFailed);
}

#[tokio::test]
async fn a_write_is_acknowledged_only_with_an_etag() {
    let canned = Canned::replying(reply("200 OK", "", "")).await;
    let error = canned.store().await.put(put("k", b"x", Condition::None)).await.unwrap_err();
    assert_eq!(error.kind, Kind::Corrupt);
    assert!(error.outcome_unknown());
}

async fn checksum_store(canned: &Canned, checksums: Checksums) -> S3Store {
    connect(S3Config { checksums, ..config(&canned.url) }).await
}

fn carried(requests: &[String]) -> Vec<(bool, bool)> {
    let of = |head: &String| {
        let unsigned = header(head, "x-amz-content-sha256") == Some("UNSIGNED-PAYLOAD");
        (header(head, "x-amz-checksum-crc64nvme").is_some(), unsigned)
    };
    requests.iter().map(of).collect()
}

const CHECKED: (bool, bool) = (true, true);
const SIGNED: (bool, bool) = (false, false);

#[tokio::test]
async fn a_store_that_refuses_checksums_is_asked_once() {
    let canned = Canned::start(|head| {
        let checked = header(head, "x-amz-checksum-crc64nvme").is_some();
        Answer::Reply(if checked {
            refusal("400 Bad Request", "InvalidArgument")
        } else {
            reply("200 OK", "etag: e\r\n", "")
        })
    })
    .await;
    let store = checksum_store(&canned, Checksums::Auto).await;
    for _ in 0..2 {
        store.put(put("k", b"x", Condition::Absent)).await.unwrap();
    }
    store.upload_part("k", "u", 1, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(carried(&canned.requests()), [CHECKED, SIGNED, SIGNED, SIGNED]);
    assert!(canned.requests().iter().all(|head| head.starts_with("PUT /bucket/k?")));

    let store = checksum_store(&canned, Checksums::Always).await;
    assert_eq!(store.put(put("k", b"x", Condition::None)).await.unwrap_err().kind, Kind::Invalid);
}

#[tokio::test]
async fn a_refusal_that_has_nothing_to_do_with_checksums_changes_nothing() {
    let canned = Canned::replying(refusal("400 Bad Request", "InvalidArgument")).await;
    let store = checksum_store(&canned, Checksums::Auto).await;
    for _ in 0..2 {
        assert_eq!(store.put(put("k", b"x", Condition::None)).await.unwrap_err().kind, Kind::Invalid);
    }
    assert_eq!(carried(&canned.requests()), [CHECKED, SIGNED, CHECKED, SIGNED]);
}

#[tokio::test]
async fn only_definite_refusals_lead_to_a_second_request() {
    for (status, code) in [
        ("500 Internal Server Error", "InternalError"),
        ("503 Service Unavailable", "SlowDown"),
        ("412 Precondition Failed", "PreconditionFailed"),
        ("403 Forbidden", "AccessDenied"),
        ("400 Bad Request", "BadDigest"),
    ] {
        let canned = Canned::replying(refusal(status, code)).await;
        let store = checksum_store(&canned, Checksums::Auto).await;
        store.put(put("k", b"x", Condition::None)).await.unwrap_err();
        assert_eq!(canned.requests().len(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_store_that_took_a_checksum_is_never_sent_content_without() {
    let canned = Canned::start(|head| {
        let wrong = head.starts_with("PUT /bucket/wrong");
        Answer::Reply(if wrong {
            refusal("400 Bad Request", "InvalidArgument")
        } else {
            reply("200 OK", "etag: e\r\n", "")
        })
    })
    .await;
    let store = checksum_store(&canned, Checksums::Auto).await;
    store.put(put("k", b"x", Condition::None)).await.unwrap();
    store.put(put("wrong", b"x", Condition::None)).await.unwrap_err();
    assert_eq!(carried(&canned.requests()), [CHECKED, CHECKED]);
}

#[tokio::test]
async fn without_checksums_a_content_over_plain_http_is_signed() {
    let canned = Canned::replying(reply("200 OK", "etag: e\r\n", "")).await;
    checksum_store(&canned, Checksums::WhenRequired).await.put(put("k", b"x", Condition::None)).await.unwrap();
    assert_eq!(carried(&canned.requests()), [SIGNED]);
}

#[tokio::test]
async fn a_write_carries_its_headers_in_their_spelling() {
    let canned = Canned::replying(reply("200 OK", "etag: e\r\n", "")).await;
    let mut config = config(&canned.url);
    config.sse = Some("aws:kms".into());
    config.kms_key_id = Some("key-1".into());
    config.storage_class = Some("STANDARD_IA".into());
    let store = connect(config).await;
    let headers = ObjectHeaders {
        mtime_ns: Some(1_700_000_000_120_000_000),
        mode: Some(0o100_644),
        blake3: Some(gosync_plan::ContentHash([0xab; 32])),
        nonce: Some(gosync_plan::Nonce([0xcd; 16])),
        open: true,
    };
    let request =
        gosync_engine::ports::store::PutRequest { headers, ..put("a b/ü.html", b"x", Condition::Etag("0123".into())) };
    store.put(request).await.unwrap();
    let head = &canned.requests()[0];
    assert!(head.starts_with("PUT /bucket/a%20b/%C3%BC.html?"), "{head}");
    for (name, value) in [
        ("x-amz-meta-mtime", "1700000000.12"),
        ("x-amz-meta-mode", "100644"),
        ("x-amz-meta-gosync-blake3", "ab".repeat(32).as_str()),
        ("x-amz-meta-gosync-op", "cd".repeat(16).as_str()),
        ("x-amz-meta-gosync-open", "1"),
        ("if-match", "\"0123\""),
        ("content-type", "text/html"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "key-1"),
        ("x-amz-storage-class", "STANDARD_IA"),
    ] {
        assert_eq!(header(head, name), Some(value), "{name}");
    }
    assert!(header(head, "user-agent").unwrap().contains("gosync"));
    assert_eq!(header(head, "content-encoding"), None, "no trailers");
}

#[tokio::test]
async fn a_delete_reply_that_leaves_a_key_out_proves_nothing_of_it() {
    let body = "<DeleteResult><Deleted><Key>a</Key></Deleted>\
                <Error><Key>c</Key><Code>AccessDenied</Code><Message>no</Message></Error>\
                <Error><Key>d</Key><Code>PreconditionFailed</Code></Error>\
                <Error><Key>e</Key><Code>InternalError</Code></Error>\
                <Error><Key>f</Key><Code>NoSuchKey</Code></Error></DeleteResult>";
    let canned = Canned::replying(reply("200 OK", "", body)).await;
    let keys: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(|key| (key.to_owned(), Condition::None)).into();
    let results = canned.store().await.delete_many(&keys).await.unwrap();
    let kinds: Vec<_> = results.into_iter().map(|result| result.map_err(|error| error.kind)).collect();
    assert_eq!(
        kinds,
        [Ok(()), Err(Kind::Corrupt), Err(Kind::Denied), Err(Kind::PreconditionFailed), Err(Kind::Unavailable), Ok(())]
    );
    assert_eq!(canned.requests().len(), 1);
}

#[tokio::test]
async fn a_dropped_call_ends_its_request() {
    let (arrived, arrivals) = tokio::sync::oneshot::channel();
    let (arrived, hung_up) = (Mutex::new(Some(arrived)), Arc::new(tokio::sync::Notify::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let told = hung_up.clone();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        stream.read_buf(&mut received).await.unwrap();
        let _ = arrived.lock().unwrap().take().unwrap().send(());
        while stream.read_buf(&mut received).await.unwrap_or(0) > 0 {}
        told.notify_one();
    });
    let (config, witness) = witnessed(config(&url));
    let store = connect(config).await;
    tokio::select! {
        result = store.put(put("k", b"x", Condition::None)) => panic!("nobody answered, yet: {result:?}"),
        arrival = arrivals => arrival.unwrap(),
    }
    hung_up.notified().await;
    assert!(witness.seen().is_empty());
}

#[tokio::test]
async fn a_wrong_clock_spoils_one_request_and_not_the_next() {
    let canned = Canned::start(|_| {
        let body = "<Error><Code>RequestTimeTooSkewed</Code><Message>because</Message></Error>";
        Answer::Reply(reply("403 Forbidden", "date: Fri, 02 Jan 2099 03:04:05 GMT\r\n", body))
    })
    .await;
    let store = canned.store().await;
    for _ in 0..2 {
        let error = store.put(put("k", b"x", Condition::None)).await.unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable);
    }
    let signed_at: Vec<_> =
        canned.requests().iter().map(|head| header(head, "x-amz-date").unwrap().starts_with("20990102T03")).collect();
    assert_eq!(signed_at, [false, true]);
}
