//! A counting HTTP proxy in front of an S3 endpoint. It forwards requests as they are, `Host` included, so signatures
//! stay valid; it notes each one, and delays or spoils those that a rule names.
//!
//! It isn't a proxy for clients that are set up to use one: they are given its address as their endpoint.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

use crate::server::Address;

/// What a request asks of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A whole object, or the part of one.
    Put,
    /// An object, or the part of one, from another object.
    Copy,
    Delete,
    /// Up to 1,000 deletes in one request.
    DeleteMany,
    Get,
    Head,
    List,
    MultipartCreate,
    MultipartComplete,
    MultipartAbort,
    /// Buckets, listings of uploads and parts, and the like.
    Other,
}

impl Kind {
    /// Whether it changes the bucket, or would.
    pub fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::Head | Self::List | Self::Other)
    }
}

/// One request as it went through.
#[derive(Clone, Debug)]
pub struct Seen {
    pub kind: Kind,
    /// Percent-encoded, without the bucket.
    pub key: String,
    pub query: String,
    pub range: Option<String>,
    /// As they came.
    pub headers: HeaderMap,
    /// Of the answer; none while it is under way, or when the rule kept it from the client.
    pub status: Option<u16>,
    /// Body bytes from the client.
    pub sent_bytes: u64,
    /// Body bytes to the client.
    pub received_bytes: u64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}?{} -> {:?}", self.kind, self.key, self.query, self.status)
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// Passes after this long.
    Delay(Duration),
    /// Doesn't reach the store: the connection is closed.
    Refuse,
    /// Doesn't reach the store: answered with this status and no body.
    Answer(u16),
    /// Takes effect in the store, but the answer is lost: the connection is closed.
    LoseReply,
    /// The answer's body ends in its middle, and with it the connection.
    CutBody,
}

type Rule = Arc<dyn Fn(&Seen) -> Verdict + Send + Sync>;

struct Shared {
    upstream: String,
    client: Client<HttpConnector, Counted>,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<Note>>,
}

pub struct Proxy {
    /// The store behind it, at the proxy's own endpoint.
    pub address: Address,
    shared: Arc<Shared>,
    server: AbortHandle,
}

impl Proxy {
    pub async fn start(store: &Address) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let local: SocketAddr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream: store.endpoint.clone(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            rule: Mutex::new(Arc::new(|_| Verdict::Pass)),
            seen: Mutex::default(),
        });
        let server = tokio::spawn(serve(listener, Arc::clone(&shared))).abort_handle();
        Self { address: store.at(&format!("http://{local}")), shared, server }
    }

    /// From now on this rule decides what becomes of each request.
    pub fn rule(&self, rule: impl Fn(&Seen) -> Verdict + Send + Sync + 'static) {
        *self.shared.rule.lock().unwrap() = Arc::new(rule);
    }

    pub fn pass(&self) {
        self.rule(|_| Verdict::Pass);
    }

    /// All requests since the start or the last [`Proxy::forget`].
    pub fn seen(&self) -> Vec<Seen> {
        let notes = self.shared.seen.lock().unwrap();
        notes.iter().map(|note| note.lock().unwrap().clone()).collect()
    }

    pub fn count(&self, kind: Kind) -> usize {
        self.seen().iter().filter(|seen| seen.kind == kind).count()
    }

    /// What would change the bucket, for an assertion that there was nothing.
    pub fn writes(&self) -> Vec<String> {
        self.seen().iter().filter(|seen| seen.kind.writes()).map(ToString::to_string).collect()
    }

    pub fn forget(&self) {
        self.shared.seen.lock().unwrap().clear();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task when the proxy is: its connections end with it.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        // Small requests and answers follow each other: Nagle would add 40 ms to each.
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| forward(Arc::clone(&shared), request));
            // An error is what a refused or lost request looks like from here.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// The error that makes hyper close the connection without an answer.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed by the proxy's rule")
    }
}

impl std::error::Error for Closed {}

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Answer = Response<UnsyncBoxBody<Bytes, Failure>>;

async fn forward(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Failure> {
    let seen = note(&request);
    let rule = Arc::clone(&shared.rule.lock().unwrap());
    let verdict = rule(&seen);
    let note = Arc::new(Mutex::new(seen));
    shared.seen.lock().unwrap().push(Arc::clone(&note));
    match verdict {
        Verdict::Refuse => return Err(Closed.into()),
        Verdict::Answer(status) => {
            note.lock().unwrap().status = Some(status);
            // The body is read to its end, or the client would see a broken pipe instead of the answer.
            request.into_body().collect().await?;
            let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
            let mut answer = Response::new(body);
            *answer.status_mut() = StatusCode::from_u16(status)?;
            return Ok(answer);
        }
        Verdict::Delay(time) => tokio::time::sleep(time).await,
        Verdict::Pass | Verdict::LoseReply | Verdict::CutBody => {}
    }

    let (mut parts, body) = request.into_parts();
    parts.uri = Uri::try_from(format!("{}{}", shared.upstream, parts.uri))?;
    let body = Counted { body, note: Arc::clone(&note), direction: Direction::Sent, left_bytes: None };
    let request = Request::from_parts(parts, body);
    let Ok(response) = shared.client.request(request).await else {
        // The store isn't there: the client sees what it would see without a proxy, a closed connection.
        return Err(Closed.into());
    };
    let (parts, body) = response.into_parts();
    if verdict == Verdict::LoseReply {
        return Err(Closed.into());
    }
    note.lock().unwrap().status = Some(parts.status.as_u16());
    let left_bytes = (verdict == Verdict::CutBody).then(|| body.size_hint().exact().unwrap_or(200) / 2);
    let body = Counted { body, note, direction: Direction::Received, left_bytes };
    Ok(Response::from_parts(parts, body.boxed_unsync()))
}

/// One place in the list of what was seen; kept by the request until its last byte.
type Note = Arc<Mutex<Seen>>;

fn note(request: &Request<Incoming>) -> Seen {
    let path = request.uri().path().trim_start_matches('/');
    let (_, key) = path.split_once('/').unwrap_or((path, ""));
    let query = request.uri().query().unwrap_or_default();
    Seen {
        kind: kind(request.method(), key, query, request.headers()),
        key: key.to_owned(),
        query: query.to_owned(),
        range: request
            .headers()
            .get(http::header::RANGE)
            .map(|range| String::from_utf8_lossy(range.as_bytes()).into_owned()),
        headers: request.headers().clone(),
        status: None,
        sent_bytes: 0,
        received_bytes: 0,
    }
}

fn kind(method: &Method, key: &str, query: &str, headers: &HeaderMap) -> Kind {
    let asks = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    if key.is_empty() {
        return match *method {
            Method::GET if asks("list-type") || asks("versions") => Kind::List,
            Method::POST if asks("delete") => Kind::DeleteMany,
            _ => Kind::Other,
        };
    }
    match *method {
        Method::PUT if headers.contains_key("x-amz-copy-source") => Kind::Copy,
        Method::PUT => Kind::Put,
        Method::POST if asks("uploads") => Kind::MultipartCreate,
        Method::POST if asks("uploadId") => Kind::MultipartComplete,
        Method::DELETE if asks("uploadId") => Kind::MultipartAbort,
        Method::DELETE => Kind::Delete,
        Method::GET if asks("uploadId") => Kind::Other,
        Method::GET => Kind::Get,
        Method::HEAD => Kind::Head,
        _ => Kind::Other,
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Sent,
    Received,
}

/// A body on its way, counted; cut when only so many bytes are left to it.
struct Counted {
    body: Incoming,
    note: Note,
    direction: Direction,
    left_bytes: Option<u64>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if self.left_bytes == Some(0) {
            return Poll::Ready(Some(Err(Closed.into())));
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            Some(Ok(frame)) => frame,
        };
        let Ok(mut data) = frame.into_data() else {
            // Trailers: neither side sends any that matter here.
            return Poll::Ready(None);
        };
        if let Some(left) = &mut self.left_bytes {
            data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= data.len() as u64;
        }
        let mut seen = self.note.lock().unwrap();
        match self.direction {
            Direction::Sent => seen.sent_bytes += data.len() as u64,
            Direction::Received => seen.received_bytes += data.len() as u64,
        }
        drop(seen);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
