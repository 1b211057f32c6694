//! The S3 trait, handed on to the file that knows each operation.

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use crate::store::Store;
use crate::{buckets, copy, deletes, listing, multipart, objects, reads};

pub struct Service(pub Arc<Store>);

/// One method of the trait for each line: its name, the shapes of its input and output, and who knows how.
macro_rules! operations {
    ($($name:ident($input:ty) -> $output:ty = $how:path;)+) => {
        #[async_trait::async_trait]
        impl S3 for Service {
            $(async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                $how(&self.0, request).await
            })+
        }
    };
}

operations! {
    list_buckets(ListBucketsInput) -> ListBucketsOutput = buckets::list;
    create_bucket(CreateBucketInput) -> CreateBucketOutput = buckets::create;
    head_bucket(HeadBucketInput) -> HeadBucketOutput = buckets::head;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput = buckets::delete;
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput = buckets::location;
    get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput = buckets::versioning;
    put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput = buckets::set_versioning;
    put_object(PutObjectInput) -> PutObjectOutput = objects::put;
    get_object(GetObjectInput) -> GetObjectOutput = reads::get;
    head_object(HeadObjectInput) -> HeadObjectOutput = reads::head;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput = deletes::one;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput = deletes::many;
    copy_object(CopyObjectInput) -> CopyObjectOutput = copy::object;
    list_objects(ListObjectsInput) -> ListObjectsOutput = listing::objects_v1;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output = listing::objects_v2;
    list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput = listing::versions;
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput = multipart::create;
    upload_part(UploadPartInput) -> UploadPartOutput = multipart::upload_part;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput = copy::part;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput = multipart::complete;
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput = multipart::abort;
    list_parts(ListPartsInput) -> ListPartsOutput = multipart::list_parts;
    list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput = multipart::list_uploads;
}
