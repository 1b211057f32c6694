//! What happens around the S3 service at the HTTP level: counting, faults that a trait can't express, and keeping a
//! request going when its client is gone.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use s3s::service::S3Service;
use s3s::{Body, HttpError, HttpResponse, S3Error, StdError, s3_error};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth;
use crate::counters::{Counters, Operation};
use crate::faults::{Chosen, Effect, Faults};
use crate::options::Checksums;

pub struct Front {
    pub service: S3Service,
    pub region: Option<String>,
    pub checksums: Checksums,
    pub faults: Faults,
    pub counters: Counters,
    pub tasks: TaskTracker,
    pub kill: CancellationToken,
}

/// Ends the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped on purpose")]
pub struct Dropped;

impl Front {
    /// Answers one request. It runs to its end in a task of its own, even when the connection ends before.
    pub async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<ReplyBody>, Dropped> {
        let (kill, tasks) = (self.kill.clone(), self.tasks.clone());
        let task = tasks.spawn(async move {
            tokio::select! {
                () = kill.cancelled() => Err(Dropped),
                answer = self.answer(request) => answer,
            }
        });
        task.await.unwrap_or(Err(Dropped))
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<ReplyBody>, Dropped> {
        let operation = Operation::of(request.method(), request.uri(), request.headers());
        self.counters.request(operation);
        let chosen = self.faults.choose(operation, &key_of(request.uri().path()));
        let counters = self.counters.clone();
        let mut request = request.map(|body| Body::http_body(CountedBody { body, counters }));
        for effect in chosen.iter() {
            if let Effect::Latency(latency) = effect {
                tokio::time::sleep(*latency).await;
            }
        }
        let refusal = chosen.iter().find_map(Effect::refusal);
        let response = match refusal {
            Some((code, status)) => {
                let mut error = S3Error::new(code);
                if let Some(status) = status {
                    error.set_status_code(status);
                }
                refuse(request.into_body(), error).await?
            }
            None if self.signed_elsewhere(&request) => {
                let region = self.region.as_deref().unwrap_or_default();
                let error = s3_error!(
                    AuthorizationHeaderMalformed,
                    "The authorization header is malformed; the region is wrong; expecting '{region}'"
                );
                refuse(request.into_body(), error).await?
            }
            None if self.checksums == Checksums::Refused && claims_checksum(request.headers()) => {
                let error = s3_error!(InvalidArgument, "x-amz-checksum headers and trailers are not known here");
                refuse(request.into_body(), error).await?
            }
            None => {
                request.extensions_mut().insert(chosen.clone());
                self.service.call(request).await.map_err(|_: HttpError| Dropped)?
            }
        };
        self.finish(response, &chosen)
    }

    fn signed_elsewhere(&self, request: &Request<Body>) -> bool {
        let signed = auth::signed_region(request.headers(), request.uri().query());
        self.region.as_ref().zip(signed).is_some_and(|(own, signed)| *own != signed)
    }

    fn finish(&self, response: HttpResponse, chosen: &Chosen) -> Result<Response<ReplyBody>, Dropped> {
        let mut response = response;
        let (mut cut, mut end, mut flip) = (None, None, None);
        for effect in chosen.iter() {
            match effect {
                Effect::LoseReply => return Err(Dropped),
                Effect::FailAfterEffect if response.status().is_success() => {
                    let error = s3_error!(InternalError, "We encountered an internal error. Please try again.");
                    response = error.to_http_response().map_err(|_| Dropped)?;
                }
                Effect::CutBody { after_bytes } => cut = Some(*after_bytes),
                Effect::ShortenBody { to_bytes } => end = Some(*to_bytes),
                Effect::FlipBit { at_byte } => flip = Some(*at_byte),
                _ => {}
            }
        }
        let headers = response.headers_mut();
        headers.insert(http::header::SERVER, HeaderValue::from_static("gosync-dev-s3"));
        if let Ok(id) = HeaderValue::try_from(hex::encode_upper(rand::random::<[u8; 8]>())) {
            headers.insert(HeaderName::from_static("x-amz-request-id"), id);
        }
        let length =
            headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if let Some((length, end)) = length.zip(end) {
            headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length.min(end)));
        }
        let counters = self.counters.clone();
        Ok(response.map(|body| ReplyBody { body, position: 0, cut, waited: false, end, flip, counters }))
    }
}

fn claims_checksum(headers: &http::HeaderMap) -> bool {
    let of_a_checksum = |name: &str| {
        matches!(name, "x-amz-trailer" | "x-amz-sdk-checksum-algorithm")
            || (name.starts_with("x-amz-checksum-") && name != "x-amz-checksum-mode")
    };
    headers.keys().any(|name| of_a_checksum(name.as_str()))
}

/// Reads the body to its end before refusing: a client that is still sending would miss the answer.
async fn refuse(body: Body, error: S3Error) -> Result<HttpResponse, Dropped> {
    let mut body = std::pin::pin!(body);
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        frame.map_err(|_| Dropped)?;
    }
    let status = error.status_code();
    let mut response = error.to_http_response().map_err(|_| Dropped)?;
    if status.is_none() {
        *response.status_mut() = http::StatusCode::BAD_REQUEST;
    }
    Ok(response)
}

fn key_of(path: &str) -> String {
    let key = path.strip_prefix('/').unwrap_or_default().split_once('/').map_or("", |(_, key)| key);
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *byte == b'%').and_then(|digits| hex::decode(digits).ok());
        match escaped.as_deref() {
            Some([decoded]) => (bytes.push(*decoded), rest = &after[2..]).1,
            _ => (bytes.push(*byte), rest = after).1,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The body of a request, counted.
struct CountedBody {
    body: Incoming,
    counters: Counters,
}

impl hyper::body::Body for CountedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref) {
            self.counters.bytes_in(data.len());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer: counted, and cut or falsified where a fault asks for it.
pub struct ReplyBody {
    body: Body,
    position: u64,
    /// Where the connection breaks.
    cut: Option<u64>,
    waited: bool,
    /// Where the body ends, as if that were all.
    end: Option<u64>,
    flip: Option<u64>,
    counters: Counters,
}

impl hyper::body::Body for ReplyBody {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        if self.cut.is_some_and(|cut| cut <= self.position) {
            if !std::mem::replace(&mut self.waited, true) {
                // A body that isn't ready makes hyper send what it has: an error alone would take that back.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(Some(Err(Box::new(Dropped))));
        }
        if self.end.is_some_and(|end| end <= self.position) {
            return Poll::Ready(None);
        }
        let bound = self.cut.into_iter().chain(self.end).min();
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)?) else {
            return Poll::Ready(None);
        };
        let mut data = match frame.into_data() {
            Ok(data) => data,
            Err(other) => return Poll::Ready(Some(Ok(other))),
        };
        let start = self.position;
        if let Some(bound) = bound {
            data.truncate(usize::try_from(bound - start).unwrap_or(usize::MAX));
        }
        self.position += data.len() as u64;
        if let Some(at) =
            self.flip.and_then(|flip| usize::try_from(flip.checked_sub(start)?).ok()).filter(|at| *at < data.len())
        {
            let mut falsified = BytesMut::from(data.as_ref());
            falsified[at] ^= 1;
            data = falsified.freeze();
        }
        self.counters.bytes_out(data.len());
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let Some(end) = self.end else { return self.body.size_hint() };
        let mut hint = SizeHint::new();
        if let Some(exact) = self.body.size_hint().exact() {
            hint.set_exact(exact.min(end.saturating_sub(self.position)));
        }
        hint
    }
}
