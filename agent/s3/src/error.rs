//! From what the SDK and the store say to a kind that can be acted on.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use gosync_engine::ports::store::{StoreError, StoreErrorKind as Kind};

use crate::whole::CutReply;

/// What an error reply says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Refusal<'a> {
    pub status: u16,
    /// `None`: a reply without a body (HEAD), or one that was not understood.
    pub code: Option<&'a str>,
    pub message: Option<&'a str>,
    /// The key's latest version, or the one asked for, is a delete marker.
    pub delete_marker: bool,
    /// The request reads an object's content or headers.
    pub reads: bool,
}

impl Refusal<'_> {
    pub fn kind(&self) -> Kind {
        self.code.and_then(|code| self.kind_of_code(code)).unwrap_or_else(|| self.kind_of_status())
    }

    fn kind_of_code(&self, code: &str) -> Option<Kind> {
        Some(match code {
            "NoSuchKey" | "NoSuchVersion" | "NotFound" => Kind::NotFound,
            // Redirects say that the bucket lives in another region.
            "NoSuchBucket" | "InvalidBucketName" | "PermanentRedirect" | "TemporaryRedirect" => Kind::NoSuchBucket,
            "NoSuchUpload" => Kind::NoSuchUpload,
            "PreconditionFailed" => Kind::PreconditionFailed,
            "ConditionalRequestConflict" | "OperationAborted" => Kind::Conflict,
            "AccessDenied" | "AllAccessDisabled" => Kind::Denied,
            "SignatureDoesNotMatch"
            | "InvalidAccessKeyId"
            | "XAdminUserNotFound"
            | "ExpiredToken"
            | "TokenRefreshRequired"
            | "InvalidToken"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "RequestExpired"
            | "AuthorizationHeaderMalformed" => Kind::Credentials,
            "InvalidObjectState" => Kind::Unreadable,
            "InvalidRequest" if self.reads && self.speaks_of_encryption() => Kind::Unreadable,
            code if self.reads && code.starts_with("KMS.") => Kind::Unreadable,
            "SlowDown"
            | "SlowDownRead"
            | "SlowDownWrite"
            | "ServiceUnavailable"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequests"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "BandwidthLimitExceeded"
            | "ServerBusy" => Kind::Throttled,
            // The SDK has learnt the store's time from this very reply.
            "InternalError" | "RequestTimeTooSkewed" => Kind::Unavailable,
            "RequestTimeout" | "IncompleteBody" => Kind::Transport,
            "BadDigest" | "XAmzContentChecksumMismatch" => Kind::Corrupt,
            "NotImplemented" => Kind::NotImplemented,
            _ => return None,
        })
    }

    fn kind_of_status(&self) -> Kind {
        match (self.status, self.code) {
            (404, _) => Kind::NotFound,
            (405, _) if self.delete_marker => Kind::NotFound,
            (412, _) => Kind::PreconditionFailed,
            // With a code that is not one of the two above it's a lasting refusal, as versitygw's file against folder.
            (409, None) => Kind::Conflict,
            (401, _) => Kind::Credentials,
            (403, _) => Kind::Denied,
            (408, _) => Kind::Transport,
            (429 | 503, _) => Kind::Throttled,
            (501, _) => Kind::NotImplemented,
            (301 | 302 | 307 | 308, _) => Kind::NoSuchBucket,
            // An error in a reply that began well: whether the effect happened is not known.
            (200..=299, Some(_)) => Kind::Unavailable,
            (200..=299, None) => Kind::Corrupt,
            (500..=599, _) => Kind::Unavailable,
            _ => Kind::Invalid,
        }
    }

    fn speaks_of_encryption(&self) -> bool {
        self.message.is_some_and(|message| message.contains("Server Side Encryption") || message.contains("SSE-C"))
    }

    pub fn text(&self) -> String {
        match (self.code, self.message) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.into(),
            (None, _) => format!("HTTP {}", self.status),
        }
    }
}

pub(crate) fn from_sdk<E>(operation: &'static str, key: &str, error: SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    if let SdkError::ServiceError(refused) = &error {
        let meta = refused.err().meta();
        let refusal = Refusal {
            status: refused.raw().status().as_u16(),
            code: meta.code(),
            message: meta.message(),
            delete_marker: refused.raw().headers().get("x-amz-delete-marker") == Some("true"),
            reads: matches!(operation, "HeadObject" | "GetObject"),
        };
        let (kind, text, understood) = (refusal.kind(), refusal.text(), refusal.code.is_some());
        let source = if understood { None } else { error.into_source().ok() };
        return StoreError { source, ..StoreError::new(kind, operation, key, text) };
    }
    let (kind, text) = match &error {
        SdkError::ConstructionFailure(_) => (Kind::Invalid, "the request can't be made"),
        SdkError::TimeoutError(_) => (Kind::Transport, "time-out"),
        SdkError::DispatchFailure(_) if has_cause::<CredentialsError>(&error) => {
            (Kind::Credentials, "no credentials to be had")
        }
        SdkError::DispatchFailure(failure) if failure.is_user() => (Kind::Invalid, "the request can't be sent"),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => (Kind::Transport, "time-out"),
        SdkError::DispatchFailure(_) => (Kind::Transport, "the connection failed"),
        _ if has_cause::<CutReply>(&error) => (Kind::Corrupt, "the reply was cut"),
        _ => (Kind::Transport, "the reply was cut"),
    };
    StoreError { source: error.into_source().ok(), ..StoreError::new(kind, operation, key, text) }
}

fn has_cause<C: std::error::Error + 'static>(error: &dyn std::error::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<C>() {
            return true;
        }
        cause = error.source();
    }
    false
}
