//! Starts, stops, kills and what is counted meanwhile.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use aws_sdk_s3::primitives::ByteStream;
use gosync_dev_s3::{DevS3, Kind, Operation, Options};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::fixture::{BUCKET, blob_files, client, noise, options, start, status};

#[tokio::test]
async fn a_restart_finds_everything_where_it_was() {
    let s3 = start().await;
    let addr = s3.server.addr();
    for size in [10, 100_000] {
        s3.put(&format!("k{size}"), noise(1, size)).await;
    }
    let created = s3.client.create_multipart_upload().bucket(BUCKET).key("parts").send().await.unwrap();
    let id = created.upload_id().unwrap();
    let part = s3.client.upload_part().bucket(BUCKET).key("parts").upload_id(id).part_number(1);
    part.body(ByteStream::from(noise(2, 100_000))).send().await.unwrap();
    let before = s3.client.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    s3.server.shutdown().await;
    std::fs::write(s3.dir.path().join("blobs/00/orphan"), "never committed").unwrap();

    let server = DevS3::start(Options { listen: addr, ..options(&s3.dir) }).await.unwrap();
    assert_eq!(server.addr(), addr, "the same port at once");
    let after = s3.client.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    assert_eq!(before.contents(), after.contents());
    let got = s3.client.get_object().bucket(BUCKET).key("k100000").send().await.unwrap();
    assert_eq!(got.body.collect().await.unwrap().to_vec(), noise(1, 100_000));
    let parts = s3.client.list_parts().bucket(BUCKET).key("parts").upload_id(id).send().await.unwrap();
    assert_eq!(parts.parts().len(), 1);
    assert_eq!(blob_files(s3.dir.path()), 2, "what was never committed is gone");
}

#[tokio::test]
async fn dropping_a_server_stops_it() {
    let s3 = start().await;
    s3.put("k", "x").await;
    let addr = s3.server.addr();
    drop(s3.server);
    // Starts once the dropped one has let go of the folder and the port.
    let server = DevS3::start(options(&s3.dir)).await.unwrap();
    assert!(s3.client.head_object().bucket(BUCKET).key("k").send().await.is_err());
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    let client = client(&server.url(), "gosync", "gosync-secret", "us-east-1");
    assert!(client.head_object().bucket(BUCKET).key("k").send().await.is_ok());
}

#[tokio::test]
async fn one_server_owns_a_folder() {
    let s3 = start().await;
    let second = DevS3::start(options(&s3.dir)).await.unwrap_err();
    assert_eq!(second.kind(), Kind::InUse);
}

#[tokio::test]
async fn impossible_options_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for wrong in [
        Options { page_size_max: 0, ..options(&dir) },
        Options { page_size_max: 1001, ..options(&dir) },
        Options { secret_key: String::new(), ..options(&dir) },
        Options { buckets: vec!["No".into()], ..options(&dir) },
    ] {
        assert_eq!(DevS3::start(wrong).await.unwrap_err().kind(), Kind::Options);
    }
}

#[tokio::test]
async fn a_taken_address_is_told() {
    let (s3, dir) = (start().await, tempfile::tempdir().unwrap());
    let taken = DevS3::start(Options { listen: s3.server.addr(), ..options(&dir) }).await.unwrap_err();
    assert_eq!(taken.kind(), Kind::Listen);
}

#[tokio::test]
async fn requests_and_bytes_are_counted() {
    let s3 = start().await;
    let before = s3.server.counters().snapshot();
    s3.put("k", noise(1, 50_000)).await;
    s3.get("k").await;
    s3.keys().await;
    s3.exists("no").await;
    let copy = s3.client.copy_object().bucket(BUCKET).key("copy").copy_source(format!("{BUCKET}/k"));
    copy.send().await.unwrap();
    s3.client.delete_object().bucket(BUCKET).key("k").send().await.unwrap();
    let counts = s3.server.counters().snapshot().since(&before);
    for operation in [
        Operation::PutObject,
        Operation::GetObject,
        Operation::ListObjectsV2,
        Operation::HeadObject,
        Operation::CopyObject,
        Operation::DeleteObject,
    ] {
        assert_eq!(counts.of(operation), 1, "{operation:?}");
    }
    assert_eq!((counts.total(), counts.writes(), counts.listings()), (6, 3, 1));
    assert!((50_000..52_000).contains(&counts.bytes_in), "{}", counts.bytes_in);
    assert!((50_000..54_000).contains(&counts.bytes_out), "{}", counts.bytes_out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_gets_the_version_it_asked_for_to_the_end() {
    let s3 = start().await;
    let content = noise(1, 8_000_000);
    s3.put("k", content.clone()).await;
    let got = s3.client.get_object().bucket(BUCKET).key("k").send().await.unwrap();
    s3.put("k", noise(2, 100_000)).await;
    s3.client.delete_object().bucket(BUCKET).key("k").send().await.unwrap();
    assert_eq!(got.body.collect().await.unwrap().to_vec(), content);
}

/// The server as a process of its own, that can be killed.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(dir: &std::path::Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dev-s3"))
            .arg(dir)
            .args(["--bucket", BUCKET])
            .env("AWS_ACCESS_KEY_ID", "gosync")
            .env("AWS_SECRET_ACCESS_KEY", "gosync-secret")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { child, url: url.trim().to_owned() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_leaves_whole_objects_only() {
    let dir = tempfile::tempdir().unwrap();
    let size = |n: usize| [100, 300_000][n % 2];
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let mut process = Process::start(dir.path());
        let client = client(&process.url, "gosync", "gosync-secret", "us-east-1");
        let writers = (0..4).map(|writer| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut done = Vec::new();
                for n in 0.. {
                    let key = format!("{round}/{writer}/{n}");
                    let body = ByteStream::from(noise(n as u64, size(n)));
                    match client.put_object().bucket(BUCKET).key(&key).body(body).send().await {
                        Ok(_) => done.push((key, n)),
                        Err(_) => break,
                    }
                }
                done
            })
        });
        let writers: Vec<_> = writers.collect();
        // Kills while writers are at work, once some are through.
        while client.head_object().bucket(BUCKET).key(format!("{round}/3/9")).send().await.is_err() {}
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        for writer in writers {
            acknowledged.extend(writer.await.unwrap());
        }
    }
    let process = Process::start(dir.path());
    let client = client(&process.url, "gosync", "gosync-secret", "us-east-1");
    let mut pages = client.list_objects_v2().bucket(BUCKET).into_paginator().send();
    let (mut objects, mut files) = (0, 0);
    while let Some(page) = pages.next().await {
        for object in page.unwrap().contents() {
            let key = object.key().unwrap();
            let n: usize = key.rsplit('/').next().unwrap().parse().unwrap();
            let got = client.get_object().bucket(BUCKET).key(key).send().await.unwrap();
            assert_eq!(got.body.collect().await.unwrap().to_vec(), noise(n as u64, size(n)), "{key}");
            objects += 1;
            files += n % 2;
        }
    }
    assert!(objects >= acknowledged.len());
    assert_eq!(blob_files(dir.path()), files, "no file without an object");
    for (key, _) in acknowledged {
        let head = client.head_object().bucket(BUCKET).key(&key).send().await;
        assert!(head.as_ref().map_err(status).is_ok(), "{key} was acknowledged");
    }
}

/// Peak of the memory that the process has held, MiB.
fn peak_mib(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_keys_are_listed_in_bounded_memory() {
    const KEYS: i64 = 1_000_000;
    let dir = tempfile::tempdir().unwrap();
    drop(Process::start(dir.path()));
    // Written past the server: a million requests would show nothing more.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("index.db"));
    let mut index = options.connect().await.unwrap();
    sqlx::query(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $1)
         INSERT INTO versions (bucket, key, name, latest, marker, size, etag, modified_ms, details)
         SELECT (SELECT id FROM buckets), CAST(printf('folder-%03d/%07d', n % 1000, n) AS BLOB), 'null', 1, 0, 0,
                'd41d8cd98f00b204e9800998ecf8427e', 1700000000000, '{}' FROM numbers",
    )
    .bind(KEYS)
    .execute(&mut index)
    .await
    .unwrap();
    index.close().await.unwrap();

    let process = Process::start(dir.path());
    let client = client(&process.url, "gosync", "gosync-secret", "us-east-1");
    let mut pages = client.list_objects_v2().bucket(BUCKET).into_paginator().send();
    let (mut keys, mut last) = (0, String::new());
    let mut peak_at_first = 0;
    while let Some(page) = pages.next().await {
        for object in page.unwrap().contents() {
            let key = object.key().unwrap();
            assert!(*key > *last, "{key} comes after {last}");
            key.clone_into(&mut last);
            keys += 1;
        }
        if keys == 20_000 {
            peak_at_first = peak_mib(&process.child);
        }
    }
    assert_eq!(keys, KEYS);
    let folders = client.list_objects_v2().bucket(BUCKET).delimiter("/").send().await.unwrap();
    assert_eq!(folders.common_prefixes().len(), 1_000);
    // A hundred bytes a key would be a hundred more.
    let grown = peak_mib(&process.child) - peak_at_first;
    assert!(grown < 64, "{peak_at_first} MiB after 20 pages, {grown} more after all");
}
