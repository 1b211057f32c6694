//! Checksums: claimed ones are checked, kept ones come back.

use aws_sdk_s3::config::RequestChecksumCalculation;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, ChecksumType};

use crate::fixture::{BUCKET, Fixture, noise, refusal, start};

const HELLO_CRC64NVME: &str = "jSnVw/bqjr4=";

fn put(s3: &Fixture, content: &[u8]) -> aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder {
    s3.client.put_object().bucket(BUCKET).key("k").body(ByteStream::from(content.to_vec()))
}

/// A client that sends no checksum unless asked.
fn bare(s3: &Fixture) -> aws_sdk_s3::Client {
    let config = s3.client.config().to_builder().request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
    aws_sdk_s3::Client::from_conf(config.build())
}

#[tokio::test]
async fn an_object_without_a_claim_gets_a_crc64nvme() {
    let s3 = start().await;
    let put = bare(&s3)
        .put_object()
        .bucket(BUCKET)
        .key("k")
        .body(ByteStream::from_static(b"hello world"))
        .send()
        .await
        .unwrap();
    assert_eq!(put.checksum_crc64_nvme(), Some(HELLO_CRC64NVME));
    assert_eq!(put.checksum_type(), Some(&ChecksumType::FullObject));
    let head = s3.client.head_object().bucket(BUCKET).key("k");
    assert_eq!(head.clone().send().await.unwrap().checksum_crc64_nvme(), None);
    let head = head.checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
    assert_eq!(head.checksum_crc64_nvme(), Some(HELLO_CRC64NVME));
    let get = s3.client.get_object().bucket(BUCKET).key("k").checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
    assert_eq!(get.checksum_crc64_nvme(), Some(HELLO_CRC64NVME));
    assert_eq!(get.body.collect().await.unwrap().to_vec(), b"hello world");
}

#[tokio::test]
async fn every_algorithm_is_computed_by_the_client_and_kept() {
    let s3 = start().await;
    for (algorithm, size) in [
        (ChecksumAlgorithm::Crc32, 11),
        (ChecksumAlgorithm::Crc32C, 70_000),
        (ChecksumAlgorithm::Crc64Nvme, 11),
        (ChecksumAlgorithm::Sha1, 70_000),
        (ChecksumAlgorithm::Sha256, 11),
    ] {
        let content = noise(1, size);
        put(&s3, &content).checksum_algorithm(algorithm.clone()).send().await.unwrap();
        let get =
            s3.client.get_object().bucket(BUCKET).key("k").checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
        let kept = match algorithm {
            ChecksumAlgorithm::Crc32 => get.checksum_crc32(),
            ChecksumAlgorithm::Crc32C => get.checksum_crc32_c(),
            ChecksumAlgorithm::Crc64Nvme => get.checksum_crc64_nvme(),
            ChecksumAlgorithm::Sha1 => get.checksum_sha1(),
            _ => get.checksum_sha256(),
        };
        assert!(kept.is_some(), "{algorithm:?}");
        // The client compares what it reads with the checksum it was told.
        assert_eq!(get.body.collect().await.unwrap().to_vec(), content);
    }
}

#[tokio::test]
async fn a_wrong_claim_is_refused_and_leaves_nothing() {
    let s3 = start().await;
    let refused = [
        put(&s3, b"hello").checksum_crc64_nvme(HELLO_CRC64NVME).send().await,
        put(&s3, b"hello").checksum_crc32("AAAAAA==").send().await,
        put(&s3, b"hello").checksum_sha256("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=").send().await,
        put(&s3, b"hello").content_md5("1B2M2Y8AsgTpgAmY7PhCfg==").send().await,
        put(&s3, &noise(1, 50_000)).content_md5("1B2M2Y8AsgTpgAmY7PhCfg==").send().await,
    ];
    for refused in refused {
        assert_eq!(refusal(refused), "400 BadDigest");
    }
    assert_eq!(refusal(put(&s3, b"hello").content_md5("short").send().await), "400 InvalidDigest");
    assert_eq!(refusal(put(&s3, b"hello").checksum_crc32("AAA=").send().await), "400 InvalidRequest");
    assert!(!s3.exists("k").await);
    assert_eq!(s3.blob_files(), 0);
    put(&s3, b"hello").content_md5("XUFAKrxLKna5cZ2REBfFkg==").send().await.unwrap();
    put(&s3, b"hello world").checksum_crc64_nvme(HELLO_CRC64NVME).send().await.unwrap();
}

#[tokio::test]
async fn a_claim_in_a_trailer_is_checked() {
    let s3 = start().await;
    // A streaming body makes the client send its checksum behind it.
    let path = s3.dir.path().join("source");
    tokio::fs::write(&path, noise(5, 200_000)).await.unwrap();
    let body = ByteStream::from_path(&path).await.unwrap();
    let put =
        s3.client.put_object().bucket(BUCKET).key("k").body(body).checksum_algorithm(ChecksumAlgorithm::Crc64Nvme);
    let put = put.send().await.unwrap();
    let sum = put.checksum_crc64_nvme().unwrap();
    assert_eq!(s3.get("k").await, noise(5, 200_000));
    let bare = bare(&s3)
        .put_object()
        .bucket(BUCKET)
        .key("bare")
        .body(ByteStream::from(noise(5, 200_000)))
        .send()
        .await
        .unwrap();
    assert_eq!(bare.checksum_crc64_nvme(), Some(sum));
}
