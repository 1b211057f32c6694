//! Conditions, evaluated against the version they are about.

use s3s::dto::{ETag, ETagCondition, Timestamp};
use s3s::{S3Error, S3Result, s3_error};

use crate::index::Version;
use crate::reply;

/// What a write demands of the object it replaces or removes.
#[derive(Debug, Default)]
pub struct WriteCondition {
    absent: bool,
    matches: Option<ETagCondition>,
    /// There was an object when the request arrived: its absence at the end is a conflict, not a mistake.
    existed: bool,
}

impl WriteCondition {
    pub fn new(if_match: Option<ETagCondition>, if_none_match: Option<ETagCondition>) -> S3Result<Self> {
        if if_none_match.as_ref().is_some_and(|condition| !condition.is_any()) {
            return Err(not_implemented());
        }
        Ok(Self { absent: if_none_match.is_some(), matches: if_match, existed: false })
    }

    pub fn is_empty(&self) -> bool {
        !self.absent && self.matches.is_none()
    }

    pub fn note_arrival(&mut self, current: Option<&Version>) {
        self.existed = current.is_some_and(|version| !version.marker);
    }

    pub fn check(&self, current: Option<&Version>) -> S3Result<()> {
        let object = current.filter(|version| !version.marker);
        if self.absent && object.is_some() {
            return Err(precondition_failed("If-None-Match"));
        }
        match (&self.matches, object) {
            (None, _) | (Some(ETagCondition::Any), Some(_)) => Ok(()),
            (Some(_), None) if self.existed => Err(s3_error!(
                ConditionalRequestConflict,
                "The conditional request cannot succeed due to a conflicting operation against this resource."
            )),
            (Some(_), None) => Err(reply::no_such_key()),
            (Some(ETagCondition::ETag(etag)), Some(version)) if etag.value() == version.etag => Ok(()),
            (Some(ETagCondition::ETag(_)), Some(_)) => Err(precondition_failed("If-Match")),
        }
    }
}

pub fn not_implemented() -> S3Error {
    s3_error!(NotImplemented, "A header you provided implies functionality that is not implemented")
}

pub fn precondition_failed(header: &'static str) -> S3Error {
    s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold: {header}")
}

/// What a read, or the reading half of a copy, demands.
pub struct ReadCondition {
    pub if_match: Option<ETagCondition>,
    pub if_none_match: Option<ETagCondition>,
    pub if_modified_since: Option<Timestamp>,
    pub if_unmodified_since: Option<Timestamp>,
}

pub enum Verdict {
    Go,
    NotModified,
    Failed(&'static str),
}

impl ReadCondition {
    /// The order and the precedence are those of RFC 9110, 13.2.2; time stamps count whole seconds.
    pub fn check(&self, version: &Version) -> Verdict {
        let fits =
            |condition: &ETagCondition| condition.as_etag().is_none_or(|etag: &ETag| etag.value() == version.etag);
        let seconds = version.modified_ms.div_euclid(1000);
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) if !fits(condition) => return Verdict::Failed("If-Match"),
            (None, Some(time)) if seconds > reply::seconds(time) => return Verdict::Failed("If-Unmodified-Since"),
            _ => {}
        }
        match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) if fits(condition) => Verdict::NotModified,
            (None, Some(time)) if seconds <= reply::seconds(time) => Verdict::NotModified,
            _ => Verdict::Go,
        }
    }
}
