//! Multipart uploads, call by call.

use std::collections::HashMap;
use std::ops::Range;

use aws_sdk_s3::operation::create_multipart_upload::CreateMultipartUploadOutput;
use aws_sdk_s3::operation::upload_part::UploadPartOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart, EncodingType, Part};
use bytes::Bytes;
use gosync_engine::ports::store::{
    Condition, ObjectHeaders, PendingUpload, StoreError, StoreErrorKind as Kind, Written,
};

use crate::headers::{content_type, metadata, quoted, unquoted};
use crate::integrity::crc64_header;
use crate::list::decoded;
use crate::object::{condition_headers, written};
use crate::store::S3Store;

const CREATE: &str = "CreateMultipartUpload";
const PART: &str = "UploadPart";
const COPY_PART: &str = "UploadPartCopy";
const COMPLETE: &str = "CompleteMultipartUpload";
const ABORT: &str = "AbortMultipartUpload";
const LIST_UPLOADS: &str = "ListMultipartUploads";
const LIST_PARTS: &str = "ListParts";

impl S3Store {
    pub(crate) async fn create_multipart(&self, key: &str, headers: &ObjectHeaders) -> Result<String, StoreError> {
        let attempt = |checked: bool| {
            let operation = self
                .client
                .create_multipart_upload()
                .bucket(&self.bucket)
                .key(key)
                .content_type(content_type(key))
                .set_metadata(Some(metadata(headers)))
                .set_checksum_algorithm(checked.then_some(ChecksumAlgorithm::Crc64Nvme))
                .set_checksum_type(checked.then_some(ChecksumType::FullObject))
                .set_server_side_encryption(self.writing.sse.clone())
                .set_ssekms_key_id(self.writing.kms_key_id.clone())
                .set_storage_class(self.writing.storage_class.clone());
            self.run(self.call(CREATE, key), operation.send())
        };
        let output: CreateMultipartUploadOutput = self.integrity.send(attempt).await?;
        let lost = || StoreError::new(Kind::Corrupt, CREATE, key, "the reply lacks an upload id");
        output.upload_id.ok_or_else(lost)
    }

    pub(crate) async fn send_part(
        &self,
        key: &str,
        upload: &str,
        number: u32,
        body: Bytes,
    ) -> Result<String, StoreError> {
        let number = part_number(PART, key, number)?;
        let size = body.len() as u64;
        let attempt = |checked: bool| {
            let unsigned = self.may_leave_unsigned(checked);
            let operation =
                self.client.upload_part().bucket(&self.bucket).key(key).upload_id(upload).part_number(number);
            let body = body.clone();
            let request = async move {
                let checksum = checked.then(|| crc64_header(&body));
                let operation = operation.set_checksum_crc64_nvme(checksum).body(ByteStream::from(body)).customize();
                if unsigned { operation.disable_payload_signing() } else { operation }.send().await
            };
            self.run(self.sending_call(PART, key, size), request)
        };
        let output: UploadPartOutput = self.integrity.send(attempt).await?;
        let lost = || StoreError::new(Kind::Corrupt, PART, key, "the reply lacks an ETag");
        output.e_tag().map(unquoted).ok_or_else(lost)
    }

    pub(crate) async fn copy_as_part(
        &self,
        source: &str,
        source_etag: &str,
        range: Range<u64>,
        key: &str,
        upload: &str,
        number: u32,
    ) -> Result<String, StoreError> {
        let operation = self
            .client
            .upload_part_copy()
            .bucket(&self.bucket)
            .key(key)
            .upload_id(upload)
            .part_number(part_number(COPY_PART, key, number)?)
            .copy_source(self.copy_source(source))
            .copy_source_if_match(quoted(source_etag))
            .copy_source_range(format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let output = self.run(self.long_call(COPY_PART, key), operation.send()).await?;
        let lost = || StoreError::new(Kind::Corrupt, COPY_PART, key, "the reply lacks an ETag");
        output.copy_part_result().and_then(|part| part.e_tag()).map(unquoted).ok_or_else(lost)
    }

    pub(crate) async fn complete_multipart(
        &self,
        key: &str,
        upload: &str,
        parts: &[(u32, String)],
        condition: &Condition,
    ) -> Result<Written, StoreError> {
        // Where parts went out with checksums the store wants them again, and it alone has them all after a restart.
        let sent = if self.integrity.is_in_use() { self.sent_parts(key, upload).await? } else { Vec::new() };
        let checksums: HashMap<_, _> =
            sent.iter().map(|part| (part.part_number(), part.checksum_crc64_nvme())).collect();
        let parts = parts
            .iter()
            .map(|(number, etag)| {
                let number = part_number(COMPLETE, key, *number)?;
                let checksum = checksums.get(&Some(number)).copied().flatten();
                let part = CompletedPart::builder().part_number(number).e_tag(quoted(etag));
                Ok(part.set_checksum_crc64_nvme(checksum.map(Into::into)).build())
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        let (if_none_match, if_match) = condition_headers(condition);
        let operation = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .upload_id(upload)
            .set_if_none_match(if_none_match)
            .set_if_match(if_match)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build());
        let output = self.run(self.long_call(COMPLETE, key), operation.send()).await?;
        written(COMPLETE, key, output.e_tag(), output.version_id(), 0)
    }

    pub(crate) async fn abort_multipart(&self, key: &str, upload: &str) -> Result<(), StoreError> {
        let operation = self.client.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload);
        match self.run(self.call(ABORT, key), operation.send()).await {
            // Stores differ in whether they say that there was nothing to abort.
            Err(error) if error.kind == Kind::NoSuchUpload => Ok(()),
            result => result.map(|_| ()),
        }
    }

    pub(crate) async fn list_multiparts(&self, prefix: &str) -> Result<Vec<PendingUpload>, StoreError> {
        let corrupt = |problem: &str| StoreError::new(Kind::Corrupt, LIST_UPLOADS, prefix, problem);
        let mut found = Vec::new();
        let (mut key_marker, mut upload_marker) = (None, None);
        loop {
            let operation = self
                .client
                .list_multipart_uploads()
                .bucket(&self.bucket)
                .prefix(prefix)
                .set_key_marker(key_marker.clone())
                .set_upload_id_marker(upload_marker.clone())
                .encoding_type(EncodingType::Url);
            let output = self.run(self.call(LIST_UPLOADS, prefix), operation.send()).await?;
            for pending in output.uploads() {
                let key = decoded(pending.key(), output.encoding_type());
                let (Some(key), Some(upload), Some(initiated)) = (key, pending.upload_id(), pending.initiated()) else {
                    return Err(corrupt("an upload without key, id or time"));
                };
                if key.starts_with(prefix) {
                    found.push(PendingUpload {
                        key: key.into_owned(),
                        upload: upload.into(),
                        initiated_seconds: initiated.secs(),
                    });
                }
            }
            if output.is_truncated() != Some(true) {
                return Ok(found);
            }
            let next = (
                decoded(output.next_key_marker(), output.encoding_type()).map(|key| key.into_owned()),
                output.next_upload_id_marker().map(str::to_owned),
            );
            if next == (None, None) || next == (key_marker, upload_marker) {
                return Err(corrupt("a truncated page that leads nowhere"));
            }
            (key_marker, upload_marker) = next;
        }
    }

    pub(crate) async fn list_sent_parts(&self, key: &str, upload: &str) -> Result<Vec<(u32, String, u64)>, StoreError> {
        let incomplete = || StoreError::new(Kind::Corrupt, LIST_PARTS, key, "a part without number, ETag or size");
        let known = |part: &Part| {
            let number = u32::try_from(part.part_number()?).ok()?;
            Some((number, unquoted(part.e_tag()?), u64::try_from(part.size()?).ok()?))
        };
        let parts = self.sent_parts(key, upload).await?;
        let mut found: Vec<_> = parts.iter().map(known).collect::<Option<_>>().ok_or_else(incomplete)?;
        found.sort_unstable_by_key(|(number, ..)| *number);
        Ok(found)
    }

    async fn sent_parts(&self, key: &str, upload: &str) -> Result<Vec<Part>, StoreError> {
        let mut found = Vec::new();
        let mut marker = None;
        loop {
            let operation = self
                .client
                .list_parts()
                .bucket(&self.bucket)
                .key(key)
                .upload_id(upload)
                .set_part_number_marker(marker.clone());
            let output = self.run(self.call(LIST_PARTS, key), operation.send()).await?;
            found.extend_from_slice(output.parts());
            if output.is_truncated() != Some(true) {
                return Ok(found);
            }
            let next = output.next_part_number_marker().map(str::to_owned);
            if next.is_none() || next == marker {
                return Err(StoreError::new(Kind::Corrupt, LIST_PARTS, key, "a truncated page that leads nowhere"));
            }
            marker = next;
        }
    }
}

fn part_number(operation: &'static str, key: &str, number: u32) -> Result<i32, StoreError> {
    let wrong = || StoreError::new(Kind::Invalid, operation, key, format!("there is no part {number}"));
    i32::try_from(number).ok().filter(|number| (1..=10_000).contains(number)).ok_or_else(wrong)
}
