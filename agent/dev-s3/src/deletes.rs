//! DELETE of objects and versions, one by one or in bulk.

use http::HeaderName;
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETagCondition,
    ObjectIdentifier, Timestamp,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use crate::conditions::{self, WriteCondition};
use crate::faults::Chosen;
use crate::index;
use crate::objects::shown_name;
use crate::options::Condition;
use crate::reply;
use crate::store::Store;
use crate::versions::{self, Removed};

/// Keys in one DeleteObjects.
const DELETES_MAX: usize = 1000;

/// Which object a delete is about and what it demands of it.
struct Deletion {
    key: String,
    name: Option<String>,
    if_match: Option<ETagCondition>,
    size: Option<i64>,
    modified: Option<Timestamp>,
}

async fn remove(store: &Store, bucket: &str, deletion: Deletion, chosen: &Chosen) -> S3Result<Removed> {
    let ignored = store.options.conditions.delete == Condition::Ignored || chosen.ignores_conditions();
    let demands = deletion.if_match.is_some() || deletion.size.is_some() || deletion.modified.is_some();
    if store.options.conditions.delete == Condition::Refused && demands {
        return Err(conditions::not_implemented());
    }
    let key = deletion.key.as_str();
    // A delete evaluates its conditions the moment it arrives: there is no body to wait for.
    let demanded = if ignored { None } else { deletion.if_match };
    let unconditional = WriteCondition::default();
    let mut write = store.begin(bucket, key, &unconditional, chosen).await?;
    if let Some(condition) = &demanded {
        match (&write.current, condition) {
            (None, _) => return Err(reply::no_such_key()),
            (Some(version), _) if version.marker => return Err(conditions::precondition_failed("If-Match")),
            (Some(version), ETagCondition::ETag(etag)) if etag.value() != version.etag => {
                return Err(conditions::precondition_failed("If-Match"));
            }
            _ => {}
        }
    }
    if let Some(version) = write.current.as_ref().filter(|version| !version.marker && !ignored) {
        if deletion.size.is_some_and(|size| size.unsigned_abs() != version.size) {
            return Err(conditions::precondition_failed("x-amz-if-match-size"));
        }
        if deletion.modified.is_some_and(|time| reply::seconds(&time) != version.modified_ms.div_euclid(1000)) {
            return Err(conditions::precondition_failed("x-amz-if-match-last-modified-time"));
        }
    }
    let removed = match &deletion.name {
        None => {
            versions::remove_newest(&mut write.tx, &write.bucket, write.current.as_ref(), key, store.stamp_ms()).await?
        }
        Some(name) => match index::named(&mut write.tx, bucket, key, name).await?.1 {
            Some(version) => versions::remove_version(&mut write.tx, &write.bucket, key, &version).await?,
            None => Removed { name: Some(name.clone()), ..Removed::default() },
        },
    };
    let Removed { name, marker, freed } = removed;
    store.commit(write.tx, freed).await?;
    let name = name.and_then(|name| shown_name(&write.bucket, name));
    Ok(Removed { name, marker, freed: Vec::new() })
}

pub async fn one(store: &Store, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
    let chosen = Chosen::of(&request);
    let input = request.input;
    let deletion = Deletion {
        key: input.key,
        name: input.version_id,
        if_match: input.if_match,
        size: input.if_match_size,
        modified: input.if_match_last_modified_time,
    };
    let removed = remove(store, &input.bucket, deletion, &chosen).await?;
    Ok(S3Response::new(DeleteObjectOutput {
        delete_marker: removed.marker.then_some(true),
        version_id: removed.name,
        ..Default::default()
    }))
}

pub async fn many(store: &Store, request: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let chosen = Chosen::of(&request);
    let claimed = |name: &HeaderName| name == "content-md5" || name.as_str().starts_with("x-amz-checksum-");
    if !request.headers.keys().any(claimed) && !request.headers.contains_key("x-amz-trailer") {
        return Err(s3_error!(
            InvalidRequest,
            "Missing required header for this request: Content-MD5 OR x-amz-checksum-*"
        ));
    }
    let input = request.input;
    if input.delete.objects.is_empty() || input.delete.objects.len() > DELETES_MAX {
        return Err(s3_error!(
            MalformedXML,
            "The XML you provided was not well-formed or did not validate against our published schema"
        ));
    }
    index::bucket(&mut *store.index.reader().await?, &input.bucket).await?;
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for ObjectIdentifier { key, version_id, e_tag, size, last_modified_time } in input.delete.objects {
        let deletion = Deletion {
            key: key.clone(),
            name: version_id.clone(),
            if_match: e_tag
                .map(|etag| if etag.value() == "*" { ETagCondition::Any } else { ETagCondition::ETag(etag) }),
            size,
            modified: last_modified_time,
        };
        match remove(store, &input.bucket, deletion, &chosen).await {
            Ok(removed) => deleted.push(DeletedObject {
                key: Some(key),
                delete_marker: removed.marker.then_some(true),
                delete_marker_version_id: removed.name.filter(|_| removed.marker),
                version_id,
            }),
            Err(error) => errors.push(s3s::dto::Error {
                code: Some(error.code().as_str().to_owned()),
                key: Some(key),
                message: error.message().map(str::to_owned),
                version_id,
            }),
        }
    }
    let quiet = input.delete.quiet.unwrap_or(false);
    Ok(S3Response::new(DeleteObjectsOutput {
        deleted: (!quiet).then_some(deleted),
        errors: (!errors.is_empty()).then_some(errors),
        ..Default::default()
    }))
}
