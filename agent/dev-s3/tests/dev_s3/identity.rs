//! Who may ask: signatures, regions, presigned addresses.

use std::net::SocketAddr;
use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fixture::{BUCKET, client, refusal, start, start_with};

/// Sends bytes as they are and returns the whole answer.
async fn raw(addr: SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_wrong_pair_of_keys_is_refused() {
    let s3 = start().await;
    s3.put("k", "content").await;
    let stranger = client(&s3.server.url(), "stranger", "gosync-secret", "us-east-1");
    let get = stranger.get_object().bucket(BUCKET).key("k").send().await;
    assert_eq!(refusal(get), "403 InvalidAccessKeyId");
    let liar = client(&s3.server.url(), "gosync", "wrong", "us-east-1");
    let get = liar.get_object().bucket(BUCKET).key("k").send().await;
    assert_eq!(refusal(get), "403 SignatureDoesNotMatch");
    assert_eq!(refusal(liar.list_objects_v2().bucket(BUCKET).send().await), "403 SignatureDoesNotMatch");
}

#[tokio::test]
async fn without_a_signature_nothing_is_told() {
    let s3 = start().await;
    s3.put("k", "content").await;
    for path in ["/bucket/k", "/bucket", "/"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = raw(s3.server.addr(), &request).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        assert!(answer.contains("<Code>AccessDenied</Code>"), "{answer}");
        assert!(answer.contains("x-amz-request-id: "), "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_the_signed_one_is_refused() {
    const OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let s3 = start().await;
    let config = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
    let put = s3.client.put_object().bucket(BUCKET).key("k").presigned(config).await.unwrap();
    let (path, host) = (put.uri().strip_prefix(&s3.server.url()).unwrap(), s3.server.addr());
    let head =
        format!("PUT {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nx-amz-content-sha256: {OF_NOTHING}\r\n");
    let answer = raw(host, &format!("{head}Content-Length: 5\r\n\r\nhello")).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("XAmzContentSHA256Mismatch"), "{answer}");
    assert!(!s3.exists("k").await);
    let answer = raw(host, &format!("{head}Content-Length: 0\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(s3.exists("k").await);
}

#[tokio::test]
async fn a_presigned_address_works_until_it_expires() {
    let s3 = start().await;
    s3.put("k ey", "content").await;
    let config = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
    let get = s3.client.get_object().bucket(BUCKET).key("k ey").presigned(config).await.unwrap();
    let path = get.uri().strip_prefix(&s3.server.url()).unwrap().to_owned();
    let host = s3.server.addr();
    let send = |path: String| async move {
        raw(host, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
    };
    let answer = send(path.clone()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("\r\n\r\ncontent"), "{answer}");
    let answer = send(path.replace("X-Amz-Expires=60", "X-Amz-Expires=61")).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("SignatureDoesNotMatch"), "{answer}");
}

#[tokio::test]
async fn a_request_signed_for_another_region_is_refused() {
    let s3 = start_with(|options| options.region = Some("eu-central-1".into())).await;
    let list = s3.client.list_objects_v2().bucket(BUCKET).send().await;
    assert_eq!(refusal(list), "400 AuthorizationHeaderMalformed");
    let right = client(&s3.server.url(), "gosync", "gosync-secret", "eu-central-1");
    assert!(right.list_objects_v2().bucket(BUCKET).send().await.is_ok());
}
