//! Misbehaviour on request, for tests.
//!
//! A fault waits for requests that fit it and acts on the first ones, or on all of them. It is chosen and counted
//! once, when the request arrives; the layers below only carry out what was chosen. Clearing faults doesn't touch
//! requests under way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use s3s::S3ErrorCode;

use crate::counters::Operation;

/// What goes wrong.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Effect {
    /// The request is answered later, and takes effect later.
    Latency(Duration),
    /// 503 SlowDown; nothing is done.
    SlowDown,
    /// This error code, as `InternalError` or `ConditionalRequestConflict`; nothing is done.
    Refuse(&'static str),
    /// The connection ends after so many bytes of the answer's body.
    CutBody { after_bytes: u64 },
    /// The answer's body is complete by its headers, and holds only so many bytes: cut XML, or half an object.
    ShortenBody { to_bytes: u64 },
    /// One bit of the answer's body is flipped; headers are those of the true body.
    FlipBit { at_byte: u64 },
    /// Each `every`-th entry of a listing page is missing, with nothing that says so.
    DropKeys { every: usize },
    /// The first entry of a listing page comes twice.
    DuplicateKeys,
    /// A listing page comes in reverse order.
    DisorderKeys,
    /// A listing ends with this page: `IsTruncated` is false although there is more.
    EndEarly,
    /// A listing page is well formed, says it is all, and holds nothing.
    EmptyPage,
    /// The operation takes effect, then the connection ends without an answer.
    LoseReply,
    /// The operation takes effect, then the answer is 500 InternalError.
    FailAfterEffect,
    /// Conditions of this write have no effect.
    IgnoreConditions,
    /// Somebody else's PUT of this content takes effect just before the conditions of this write are evaluated.
    StrangerPuts(Bytes),
    /// Somebody else's DELETE takes effect just before the conditions of this write are evaluated.
    StrangerDeletes,
    /// CompleteMultipartUpload answers 200 with an InternalError in its body; nothing is done.
    ErrorInOkReply,
}

impl Effect {
    fn concerns(&self, operation: Operation) -> bool {
        match self {
            Self::Latency(_)
            | Self::SlowDown
            | Self::Refuse(_)
            | Self::LoseReply
            | Self::FailAfterEffect
            | Self::CutBody { .. }
            | Self::ShortenBody { .. }
            | Self::FlipBit { .. } => true,
            Self::DropKeys { .. } | Self::DuplicateKeys | Self::DisorderKeys | Self::EndEarly | Self::EmptyPage => {
                operation.is_listing()
            }
            Self::IgnoreConditions | Self::StrangerPuts(_) | Self::StrangerDeletes => matches!(
                operation,
                Operation::PutObject
                    | Operation::CopyObject
                    | Operation::CompleteMultipartUpload
                    | Operation::DeleteObject
                    | Operation::DeleteObjects
            ),
            Self::ErrorInOkReply => operation == Operation::CompleteMultipartUpload,
        }
    }

    /// What is answered in the place of the operation, and with which status where it isn't that of the error.
    pub(crate) fn refusal(&self) -> Option<(S3ErrorCode, Option<StatusCode>)> {
        match self {
            Self::SlowDown => Some((S3ErrorCode::SlowDown, None)),
            Self::Refuse(code) => Some((S3ErrorCode::from_bytes(code.as_bytes())?, None)),
            Self::ErrorInOkReply => Some((S3ErrorCode::InternalError, Some(StatusCode::OK))),
            _ => None,
        }
    }
}

/// Which keys a fault concerns. Listings and DeleteObjects have no key: only `Any` fits them.
#[derive(Debug, Clone, Default)]
pub enum Keys {
    #[default]
    Any,
    Exactly(String),
    Under(String),
}

impl Keys {
    fn fit(&self, key: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(wanted) => key == wanted,
            Self::Under(prefix) => key.starts_with(prefix.as_str()),
        }
    }
}

/// An effect and the requests it is for: every one it can apply to, unless narrowed down.
#[derive(Debug, Clone)]
pub struct Fault {
    effect: Effect,
    operations: Vec<Operation>,
    keys: Keys,
    skip: u64,
    times: Option<u64>,
}

impl Fault {
    pub fn new(effect: Effect) -> Self {
        Self { effect, operations: Vec::new(), keys: Keys::Any, skip: 0, times: None }
    }

    /// Only this operation; called again, also that one.
    #[must_use]
    pub fn on(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.keys = Keys::Exactly(key.into());
        self
    }

    #[must_use]
    pub fn under(mut self, prefix: impl Into<String>) -> Self {
        self.keys = Keys::Under(prefix.into());
        self
    }

    /// Lets so many fitting requests pass before the first one is hit.
    #[must_use]
    pub fn after(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// Hits so many requests, then never again.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    fn fits(&self, operation: Operation, key: &str) -> bool {
        self.effect.concerns(operation)
            && (self.operations.is_empty() || self.operations.contains(&operation))
            && self.keys.fit(key)
    }
}

/// Names one fault for as long as the server lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId(u64);

/// The faults of one server; cheap to clone, all clones are the same set.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Set>>);

#[derive(Debug, Default)]
struct Set {
    next: u64,
    armed: Vec<Armed>,
}

#[derive(Debug)]
struct Armed {
    id: FaultId,
    fault: Fault,
    seen: u64,
    hits: u64,
}

impl Faults {
    pub fn add(&self, fault: Fault) -> FaultId {
        let mut set = self.lock();
        let id = FaultId(set.next);
        set.next += 1;
        set.armed.push(Armed { id, fault, seen: 0, hits: 0 });
        id
    }

    pub fn remove(&self, id: FaultId) {
        self.lock().armed.retain(|armed| armed.id != id);
    }

    pub fn clear(&self) {
        self.lock().armed.clear();
    }

    /// How many requests this fault has hit; 0 once removed.
    pub fn hits(&self, id: FaultId) -> u64 {
        self.lock().armed.iter().find(|armed| armed.id == id).map_or(0, |armed| armed.hits)
    }

    pub(crate) fn choose(&self, operation: Operation, key: &str) -> Chosen {
        let mut effects = Vec::new();
        for armed in &mut self.lock().armed {
            if !armed.fault.fits(operation, key) {
                continue;
            }
            armed.seen += 1;
            let spent = armed.fault.times.is_some_and(|times| armed.hits >= times);
            if armed.seen > armed.fault.skip && !spent {
                armed.hits += 1;
                effects.push(armed.fault.effect.clone());
            }
        }
        Chosen(effects.into())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Set> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was chosen for one request; travels with it as an extension.
#[derive(Debug, Clone)]
pub(crate) struct Chosen(Arc<[Effect]>);

impl Chosen {
    pub fn iter(&self) -> impl Iterator<Item = &Effect> {
        self.0.iter()
    }

    pub fn of<T>(request: &s3s::S3Request<T>) -> Self {
        request.extensions.get().cloned().unwrap_or_else(|| Self(Arc::new([])))
    }

    pub fn ignores_conditions(&self) -> bool {
        self.iter().any(|effect| matches!(effect, Effect::IgnoreConditions))
    }
}
