//! Uploads in parts.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart};

use crate::fixture::{BUCKET, Fixture, noise, refusal, start};

const PART: usize = 5 * 1024 * 1024;

struct Upload<'a> {
    s3: &'a Fixture,
    key: &'a str,
    id: String,
}

impl<'a> Upload<'a> {
    async fn begin(s3: &'a Fixture, key: &'a str) -> Self {
        let created =
            s3.client.create_multipart_upload().bucket(BUCKET).key(key).metadata("mtime", "1.5").send().await.unwrap();
        Self { s3, key, id: created.upload_id.unwrap() }
    }

    async fn part(&self, number: i32, content: Vec<u8>) -> CompletedPart {
        let part = self.s3.client.upload_part().bucket(BUCKET).key(self.key).upload_id(&self.id).part_number(number);
        let part = part.body(ByteStream::from(content)).send().await.unwrap();
        CompletedPart::builder().part_number(number).set_e_tag(part.e_tag).build()
    }

    fn complete(
        &self,
        parts: &[CompletedPart],
    ) -> aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder {
        let list = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec())).build();
        self.s3
            .client
            .complete_multipart_upload()
            .bucket(BUCKET)
            .key(self.key)
            .upload_id(&self.id)
            .multipart_upload(list)
    }
}

#[tokio::test]
async fn parts_become_one_object() {
    let s3 = start().await;
    let upload = Upload::begin(&s3, "k").await;
    let (first, second, third) = (noise(1, PART), noise(2, PART + 3), noise(3, 100));
    // Out of order, one of them twice, one never listed.
    let parts = [
        upload.part(30, third.clone()).await,
        upload.part(2, noise(9, PART)).await,
        upload.part(1, first.clone()).await,
        upload.part(2, second.clone()).await,
        upload.part(7, noise(8, 50_000)).await,
    ];
    assert!(!s3.exists("k").await);
    let done = upload.complete(&[parts[2].clone(), parts[3].clone(), parts[0].clone()]).send().await.unwrap();
    let etag = done.e_tag.clone().unwrap();
    assert!(etag.ends_with("-3\""), "{etag}");
    let whole = [first.clone(), second.clone(), third.clone()].concat();
    let got = s3.client.get_object().bucket(BUCKET).key("k").checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
    assert_eq!(got.e_tag(), Some(etag.as_str()));
    assert_eq!(got.metadata().unwrap().get("mtime").unwrap(), "1.5");
    assert_eq!(got.checksum_type(), Some(&ChecksumType::FullObject));
    let combined = got.checksum_crc64_nvme().unwrap().to_owned();
    assert_eq!(got.body.collect().await.unwrap().to_vec(), whole);
    assert_eq!(s3.blob_files(), 2, "the last part is small, the unlisted ones are gone");

    let put = s3.client.put_object().bucket(BUCKET).key("whole").body(ByteStream::from(whole.clone()));
    let put = put.checksum_algorithm(ChecksumAlgorithm::Crc64Nvme).send().await.unwrap();
    assert_eq!(put.checksum_crc64_nvme().unwrap(), combined, "that of the whole, combined from the parts");

    let range = format!("bytes={}-{}", PART - 10, 2 * PART + 12);
    let got = s3.client.get_object().bucket(BUCKET).key("k").range(range).send().await.unwrap();
    assert_eq!(got.body.collect().await.unwrap().to_vec(), &whole[PART - 10..=2 * PART + 12]);
    let got = s3.client.get_object().bucket(BUCKET).key("k").part_number(2).send().await.unwrap();
    assert_eq!(got.parts_count(), Some(3));
    assert_eq!(got.body.collect().await.unwrap().to_vec(), second);
    let head = s3.client.head_object().bucket(BUCKET).key("k").part_number(3).send().await.unwrap();
    assert_eq!(head.content_length(), Some(100));
    assert!(refusal(s3.client.head_object().bucket(BUCKET).key("k").part_number(4).send().await).starts_with("416"));
    assert_eq!(refusal(upload.complete(&parts[2..3]).send().await), "404 NoSuchUpload", "an upload completes once");

    let copy =
        s3.client.copy_object().bucket(BUCKET).key("copy").copy_source(format!("{BUCKET}/k")).send().await.unwrap();
    assert_eq!(copy.copy_object_result.unwrap().e_tag, put.e_tag, "a copy is in one part");
    assert_eq!(s3.get("copy").await, whole);
}

#[tokio::test]
async fn the_etag_is_the_md5_of_the_md5s() {
    let s3 = start().await;
    let upload = Upload::begin(&s3, "k").await;
    let part = upload.part(1, b"hello world".to_vec()).await;
    let done = upload.complete(&[part]).send().await.unwrap();
    // md5(5eb63bbbe01eeed093cb22bb8f5acdc3 as bytes)
    assert_eq!(done.e_tag(), Some("\"241d8a27c836427bd7f04461b60e7359-1\""));
}

#[tokio::test]
async fn a_wrong_list_of_parts_is_refused() {
    let s3 = start().await;
    let upload = Upload::begin(&s3, "k").await;
    let small = upload.part(1, noise(1, 1000)).await;
    let last = upload.part(2, noise(2, 1000)).await;
    let other = CompletedPart::builder().part_number(1).e_tag("\"other\"").build();
    let missing = CompletedPart::builder().part_number(3).e_tag("\"x\"").build();
    assert_eq!(refusal(upload.complete(&[last.clone(), small.clone()]).send().await), "400 InvalidPartOrder");
    assert_eq!(refusal(upload.complete(&[small.clone(), last.clone()]).send().await), "400 EntityTooSmall");
    assert_eq!(refusal(upload.complete(&[other]).send().await), "400 InvalidPart");
    assert_eq!(refusal(upload.complete(&[small.clone(), missing]).send().await), "400 InvalidPart");
    assert_eq!(
        refusal(upload.complete(std::slice::from_ref(&small)).mpu_object_size(7).send().await),
        "400 InvalidRequest"
    );
    assert!(!s3.exists("k").await);
    upload.complete(&[small]).mpu_object_size(1000).send().await.unwrap();
}

#[tokio::test]
async fn part_numbers_end_at_ten_thousand() {
    let s3 = start().await;
    let upload = Upload::begin(&s3, "k").await;
    for number in [0, 10_001] {
        let part = s3.client.upload_part().bucket(BUCKET).key("k").upload_id(&upload.id).part_number(number);
        assert_eq!(refusal(part.body(ByteStream::from_static(b"x")).send().await), "400 InvalidArgument");
    }
}

#[tokio::test]
async fn completing_obeys_conditions_and_keeps_the_upload_when_refused() {
    let s3 = start().await;
    let upload = Upload::begin(&s3, "k").await;
    let part = [upload.part(1, noise(1, 1000)).await];
    assert_eq!(refusal(upload.complete(&part).if_match("\"x\"").send().await), "404 NoSuchKey");
    let etag = s3.put("k", "there").await;
    assert_eq!(refusal(upload.complete(&part).if_none_match("*").send().await), "412 PreconditionFailed");
    assert_eq!(refusal(upload.complete(&part).if_match("\"x\"").send().await), "412 PreconditionFailed");
    assert_eq!(s3.get("k").await, b"there");
    upload.complete(&part).if_match(etag).send().await.unwrap();
    assert_eq!(s3.get("k").await, noise(1, 1000));
    let gone = upload.complete(&part).if_none_match("*").send().await;
    assert_eq!(refusal(gone), "404 NoSuchUpload", "the upload counts before the condition");
}

#[tokio::test]
async fn an_aborted_upload_is_gone_with_its_parts() {
    let s3 = start().await;
    let upload = Upload::begin(&s3, "k").await;
    let part = upload.part(1, noise(1, 100_000)).await;
    assert_eq!(s3.blob_files(), 1);
    s3.client.abort_multipart_upload().bucket(BUCKET).key("k").upload_id(&upload.id).send().await.unwrap();
    assert_eq!(s3.blob_files(), 0);
    assert_eq!(refusal(upload.complete(&[part]).send().await), "404 NoSuchUpload");
    let again = s3.client.upload_part().bucket(BUCKET).key("k").upload_id(&upload.id).part_number(1);
    assert_eq!(refusal(again.body(ByteStream::from_static(b"x")).send().await), "404 NoSuchUpload");
    let abort = s3.client.abort_multipart_upload().bucket(BUCKET).key("k").upload_id(&upload.id).send().await;
    assert_eq!(refusal(abort), "404 NoSuchUpload");
    let list = s3.client.list_parts().bucket(BUCKET).key("k").upload_id(&upload.id).send().await;
    assert_eq!(refusal(list), "404 NoSuchUpload");
}

#[tokio::test]
async fn parts_and_uploads_are_listed_in_pages() {
    let s3 = start().await;
    let upload = Upload::begin(&s3, "dir/b").await;
    for number in [5, 1, 9] {
        upload.part(number, noise(1, 1000 + number as usize)).await;
    }
    let list = || s3.client.list_parts().bucket(BUCKET).key("dir/b").upload_id(&upload.id).max_parts(2);
    let page = list().send().await.unwrap();
    let told: Vec<_> = page.parts().iter().map(|part| (part.part_number().unwrap(), part.size().unwrap())).collect();
    assert_eq!(told, [(1, 1001), (5, 1005)]);
    assert_eq!(page.is_truncated(), Some(true));
    let page = list().part_number_marker(page.next_part_number_marker().unwrap()).send().await.unwrap();
    assert_eq!(page.parts().len(), 1);
    assert_eq!(page.is_truncated(), Some(false));

    let second = Upload::begin(&s3, "dir/b").await;
    let third = Upload::begin(&s3, "dir/a").await;
    let fourth = Upload::begin(&s3, "other").await;
    let mut told = Vec::new();
    let (mut key, mut id) = (None, None);
    loop {
        let page = s3.client.list_multipart_uploads().bucket(BUCKET).max_uploads(1);
        let page = page.set_key_marker(key).set_upload_id_marker(id).send().await.unwrap();
        told.extend(page.uploads().iter().map(|upload| upload.upload_id().unwrap().to_owned()));
        if page.is_truncated() != Some(true) {
            break;
        }
        (key, id) = (page.next_key_marker, page.next_upload_id_marker);
    }
    assert_eq!(told, [third.id, upload.id.clone(), second.id, fourth.id]);
    let page = s3.client.list_multipart_uploads().bucket(BUCKET).delimiter("/").send().await.unwrap();
    assert_eq!(page.common_prefixes()[0].prefix(), Some("dir/"));
    assert_eq!(page.common_prefixes().len(), 1);
    assert_eq!(page.uploads().len(), 1);
    let page = s3.client.list_multipart_uploads().bucket(BUCKET).prefix("dir/a").send().await.unwrap();
    assert_eq!(page.uploads().len(), 1);
}

#[tokio::test]
async fn a_part_can_be_copied_from_an_object() {
    let s3 = start().await;
    let content = noise(4, PART + 1000);
    let etag = s3.put("source", content.clone()).await;
    let upload = Upload::begin(&s3, "k").await;
    let copy = |number: i32| {
        let copy = s3.client.upload_part_copy().bucket(BUCKET).key("k").upload_id(&upload.id).part_number(number);
        copy.copy_source(format!("{BUCKET}/source"))
    };
    let refused = copy(1).copy_source_if_match("\"x\"").send().await;
    assert_eq!(refusal(refused), "412 PreconditionFailed");
    let refused = copy(1).copy_source_range(format!("bytes=0-{}", PART + 1000)).send().await;
    assert_eq!(refusal(refused), "400 InvalidArgument");
    let first = copy(1).copy_source_if_match(&etag).send().await.unwrap().copy_part_result.unwrap();
    let second = copy(2).copy_source_range("bytes=10-29").send().await.unwrap().copy_part_result.unwrap();
    let parts = [(1, first.e_tag), (2, second.e_tag)]
        .map(|(number, etag)| CompletedPart::builder().part_number(number).set_e_tag(etag).build());
    upload.complete(&parts).send().await.unwrap();
    assert_eq!(s3.get("k").await, [content.as_slice(), &content[10..30]].concat());
}

#[tokio::test]
async fn a_checksum_of_checksums_comes_back_with_its_number_of_parts() {
    let s3 = start().await;
    let create =
        s3.client.create_multipart_upload().bucket(BUCKET).key("k").checksum_algorithm(ChecksumAlgorithm::Sha256);
    let id = create.send().await.unwrap().upload_id.unwrap();
    let part = s3.client.upload_part().bucket(BUCKET).key("k").upload_id(&id).part_number(1);
    let part = part.checksum_algorithm(ChecksumAlgorithm::Sha256).body(ByteStream::from_static(b"hello world"));
    let part = part.send().await.unwrap();
    let wrong = s3.client.upload_part().bucket(BUCKET).key("k").upload_id(&id).part_number(2);
    let wrong = wrong.checksum_algorithm(ChecksumAlgorithm::Crc32).body(ByteStream::from_static(b"x")).send().await;
    assert_eq!(refusal(wrong), "400 InvalidRequest");
    let upload = Upload { s3: &s3, key: "k", id };
    let entry = CompletedPart::builder().part_number(1).set_e_tag(part.e_tag);
    assert_eq!(refusal(upload.complete(&[entry.clone().build()]).send().await), "400 InvalidRequest");
    let entry = entry.set_checksum_sha256(part.checksum_sha256).build();
    let done = upload.complete(&[entry]).send().await.unwrap();
    // sha256(sha256("hello world") as bytes)
    assert_eq!(done.checksum_sha256(), Some("vGLUuA2eNtopwWxdTZ8Rcx82BSxyQBp2wjwPtam3RCM=-1"));
    assert_eq!(done.checksum_type(), Some(&ChecksumType::Composite));
    let full = s3.client.create_multipart_upload().bucket(BUCKET).key("k").checksum_algorithm(ChecksumAlgorithm::Sha1);
    assert_eq!(refusal(full.checksum_type(ChecksumType::FullObject).send().await), "400 InvalidRequest");
}
